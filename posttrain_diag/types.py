"""The data that flows through the tool, as frozen dataclasses.

    Problem ──► Rollout ──► Measurement ──► Diagnosis ──► Plan

Everything here is plain data: no torch, no I/O. Pydantic models live only at file boundaries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["pass", "fail", "truncated", "error"]
FinishReason = Literal["stop", "length", "error"]
Label = Literal["measured", "estimated", "model-dependent", "bound", "undefined"]
InstrumentStatus = Literal["ok", "suspect", "broken"]
FindingKind = Literal[
    "gold_fails",
    "truncation",
    "no_eos",
    "template",
    "guessable",
    "duplicate_draws",
    "verifier_error",
    "verifier_inconsistent",
    "wrong_reasoning",
    "duplicate_problems",
    "degenerate",
    "unequal_n",
    "not_checked",
]
Severity = Literal["note", "suspect", "broken"]
ProblemClass = Literal["mastered", "reshaping", "format", "guided", "support", "unresolved"]
ShareName = Literal[ProblemClass, "consolidation"]
"""What `Diagnosis.shares` may hold: consolidation lies on top of guided and support, it is no sixth class."""
Bottleneck = Literal[
    "support",
    "reshaping",
    "format",
    "guided",
    "consolidation",
    "mixed",
    "saturated",
    "instrument",
    "undetermined",
]
Message = Mapping[str, Any]
"""One chat turn: {"role": "system" | "developer" | "user" | "assistant" | "tool", "content": text}. A turn that calls
tools has `tool_calls` too, [{"type": "function", "function": {"name": text, "arguments": object}}], and may have the
template's further keys: `name`, `tool_call_id`, `reasoning_content`."""

CLASSES: tuple[ProblemClass, ...] = ("mastered", "reshaping", "format", "guided", "support")
"""The classes a problem can be resolved to; `unresolved` means that no posterior reaches .95."""


def turn_text(message: Message) -> str:
    """What a turn says as plain text: its content, then a line of JSON for each tool it calls."""
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in message.get("tool_calls") or ()]
    return "\n".join([message["content"], *calls] if message["content"] or not calls else calls)


@dataclass(frozen=True)
class Pair:
    """A preference pair for one problem."""

    chosen: str
    rejected: str


@dataclass(frozen=True)
class Problem:
    """One task item: a prompt and how to tell a right completion from a wrong one."""

    id: str
    """Unique in its tasks file."""
    prompt: str | None
    """Plain-text prompt; None when `messages` is given."""
    messages: tuple[Message, ...] | None
    """Chat turns; None when `prompt` is given."""
    answer: str | None
    """The gold final answer as the verifier compares it."""
    verifier: Mapping[str, Any]
    """Verifier as data: {"type": "numeric" | "words" | "choice" | "exact" | "python" | ..., ...}."""
    demos: tuple[str, ...] = ()
    """Complete correct completions (traces), best first."""
    pairs: tuple[Pair, ...] = ()
    tags: tuple[str, ...] = ()
    source: str = ""
    """Where the row came from: `file:line`."""

    @property
    def prompt_text(self) -> str:
        """The prompt as one string, for display and hashing."""
        if self.prompt is not None:
            return self.prompt
        return "\n".join(f"[{m['role']}] {turn_text(m)}" for m in self.messages or ())


@dataclass(frozen=True)
class Judgement:
    """What a verifier says of one completion: two readings of the same text."""

    strict: bool
    """Right in substance, and in the form that the task demands."""
    lenient: bool
    """Right in substance, as a careful human grader says it; strict implies lenient."""
    extracted: str | None
    """The answer that was compared; None when nothing could be extracted."""
    error: str | None = None
    """Why the verifier itself failed; then both readings are False and mean nothing."""
    score: float | None = None
    """Partial credit in [0, 1] where the verifier offers it."""


@dataclass(frozen=True)
class SamplingParams:
    """Everything that fixes the distribution of a draw. Hashed into every rollout's identity."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """Only so many likeliest tokens can be drawn; 0 means off."""
    max_new_tokens: int = 256
    seed: int = 0
    min_p: float = 0.0
    """Tokens below this share of the likeliest token's probability are cut; 0 means off."""
    stop: tuple[str, ...] = ()
    """Texts that end a draw beside the model's own stop tokens; what is drawn ends before the first of them."""

    def shown(self) -> dict[str, Any]:
        """What diagnosis.json says of it; stop texts where there are any."""
        values = asdict(self)
        del values["stop"]
        return {**values, "stop": sorted(set(self.stop))} if self.stop else values

    def identity(self) -> dict[str, Any]:
        """What is hashed and compared; settings that are off and came later are left out, so that old runs go on."""
        return {key: value for key, value in self.shown().items() if key != "min_p" or value > 0}


@dataclass(frozen=True)
class Rollout:
    """One draw of one problem, judged. Identity: (model_sha, prompt_sha, sampling_sha, sample_idx)."""

    problem_id: str
    arm: str
    """"main", or the variation of the prompt that was drawn, e.g. "prefix:0.50"."""
    sample_idx: int
    seed: int
    text: str
    """The whole response: the given prefix, if any, and what was drawn after it."""
    token_ids: tuple[int, ...]
    """The drawn tokens only; empty where the engine does not tell them."""
    token_logprobs: tuple[float, ...] | None
    """Log-probability of each token under the raw model (temperature 1, no truncation of the law), nats; None where
    the engine does not tell it."""
    finish_reason: FinishReason
    verdict: Verdict
    strict: bool
    """The strict reading of its text, whether or not the draw was finished (a truncated text can read right)."""
    lenient: bool
    """The lenient reading of its text by the verifier, whether or not the draw was finished."""
    extracted: str | None
    score: float | None
    engine: str
    model_sha: str
    prompt_sha: str
    sampling_sha: str
    verifier_sha: str
    error: str | None = None
    response_prefix: str = ""
    """The beginning of `text` that was given to the model rather than drawn."""
    policy_logprob: float | None = None
    """log pi under the declared sampling law, nats; None where the engine does not tell it."""
    proposal_logprob: float | None = None
    """log q of the proposal that drew it, nats; None for draws from the policy."""
    token_count: int | None = None
    """Generated tokens where `token_ids` does not hold them."""
    prompt_ids: tuple[int, ...] = ()
    """Token ids the model was conditioned on, the given prefix included, where a trainer asked for them; never stored.
    """

    @property
    def passed(self) -> bool:
        """Whether the draw was finished and is right by the strict reading."""
        return self.verdict == "pass"

    @property
    def n_tokens(self) -> int:
        """Number of generated tokens, the stop token included."""
        return len(self.token_ids) if self.token_count is None else self.token_count

    @property
    def logprob(self) -> float | None:
        """Sum of token log-probabilities under the raw model, nats."""
        return None if self.token_logprobs is None else float(sum(self.token_logprobs))


@dataclass(frozen=True)
class Estimate:
    """A number with its interval and with what it rests on. Undefined is a state, never 0, NaN or 999.

    With the label "bound" no draw passed and `high` is what is known: an upper limit that holds with probability
    (1 + level) / 2. `value` is 0 where that was counted, and None where only a fitted law would give one.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float = 0.9
    """Nominal coverage of [low, high]."""
    n: int = 0
    """Observations it rests on (problems, unless the name says otherwise)."""
    label: Label = "measured"
    reason: str = ""
    """Why it is undefined, or the assumption a model-dependent value rests on."""
    bounds: tuple[float, float] | None = None
    """Assumption-free bounds beside a model-dependent value."""

    @staticmethod
    def undefined(reason: str, level: float = 0.9) -> Estimate:
        """An estimate without a value, and the reason why there is none."""
        return Estimate(None, None, None, level, 0, "undefined", reason)


@dataclass(frozen=True)
class Finding:
    """Something the instrument check saw."""

    kind: FindingKind
    severity: Severity
    share: Estimate
    """Share of the problems (or rollouts, as the advice says) that it concerns."""
    problems: tuple[str, ...]
    advice: str
    """One or two sentences: what was seen, and what to do about it."""


@dataclass(frozen=True)
class Figure:
    """Data for one figure; the report decides how to draw it."""

    name: str
    title: str
    data: Mapping[str, Any]
    """The figure's data, JSON-compatible."""


@dataclass(frozen=True)
class Measurement:
    """What one probe found: estimates, a table per problem, figures and notes."""

    probe: str
    question: str
    per_problem: pd.DataFrame
    """A table indexed by problem id; its columns are the probe's own."""
    summary: Mapping[str, Estimate]
    figures: tuple[Figure, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    """What the probe could not measure, and why."""


@dataclass(frozen=True)
class ProbeFailure:
    """A probe that raised an error; shown in the report while its siblings go on."""

    probe: str
    error: str


@dataclass(frozen=True)
class Alternative:
    """Another bottleneck that the evidence allows."""

    bottleneck: Bottleneck
    probability: float


@dataclass(frozen=True)
class Instrument:
    """Whether the measurement can be trusted at all, and what was found about it."""

    status: InstrumentStatus
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Needed:
    """The samples after which an undetermined verdict would probably be named."""

    rollouts_per_problem: int | None
    """Mean rollouts per problem to give as --rollouts; None where no number of samples is likely to decide."""
    problems: int | None
    """Number of measured problems; more than the present ones where further rollouts on those could not decide."""
    more_rollouts: int | None
    """Draws beyond the present ones, all problems together."""
    probability: float
    """Probability that the verdict is named then, in [0, 1]."""
    expected: Mapping[Bottleneck, float]
    """Probability of each verdict then, "undetermined" among them."""
    reason: str
    """All of this in a sentence."""


@dataclass(frozen=True)
class Diagnosis:
    """Which bottleneck holds the model back on these tasks, and how sure that is."""

    bottleneck: Bottleneck
    confidence: float
    """Posterior probability of `bottleneck`, in [0, 1]."""
    alternatives: tuple[Alternative, ...]
    instrument: Instrument
    shares: Mapping[ShareName, Estimate]
    """Share of problems in each class; `unresolved` counts problems with no posterior >= .95. `consolidation`, there
    when another model was compared, is the share of the guided and support problems that it solves."""
    estimates: Mapping[str, Estimate]
    """pass@1, pass@16, pass@256, coverage, expected_successes, mixed_groups@8, ..."""
    per_problem: pd.DataFrame
    """One row per problem: the columns of problems.parquet."""
    reasons: tuple[str, ...]
    """The evidence in sentences, strongest first."""
    measurements: tuple[Measurement, ...] = ()
    failures: tuple[ProbeFailure, ...] = ()
    needed: Needed | None = None
    """What it would take to decide; None when the verdict is named or nothing could be judged."""


@dataclass(frozen=True)
class Cost:
    """What a stage would cost on this device."""

    tokens: int | None
    flops: float | None
    """Floating-point operations; None, like tokens, where only counts are known."""
    time_s: float | None
    """Seconds on this device; None where no speed was measured."""


@dataclass(frozen=True)
class StageProposal:
    """One stage that could be run next."""

    stage: str
    role: str
    """The role it is expected to play: reshaping | expansion | consolidation | repair."""
    expected_gain: Estimate
    """Change of pass@1 over all problems."""
    expected_after: Estimate
    """pass@1 after the stage."""
    expected_retention: Estimate
    """Change of the mean pass rate on other tasks; replayed by default where there are tasks to retain."""
    retention_risk: float
    """Probability in [0, 1] that other tasks lose more than 5 points."""
    utility: float
    """Expected gain less half of what other tasks are expected to lose."""
    chance_best: float
    """Probability that no other stage that can run has a utility higher by more than .02."""
    cost: Cost
    needs: tuple[str, ...]
    """What the user must still provide; empty means it can run now."""
    why: str
    """The sentence that ties the stage to what was measured on this model."""
    evidence: str
    """What the forecast rests on: the stage in known situations of this kind."""
    command: str


@dataclass(frozen=True)
class FreeStep:
    """Something to try before any training: it changes no weight."""

    title: str
    why: str
    commands: tuple[str, ...]
    """The commands that try it; words in capitals stand for what the user fills in."""


@dataclass(frozen=True)
class Plan:
    """Stages in the order in which they pay, and why the others do not."""

    proposals: tuple[StageProposal, ...]
    rejected: Mapping[str, str] = field(default_factory=dict[str, str])
    """For each stage that is not proposed, why."""
    free: tuple[FreeStep, ...] = ()
    """What to try before the first stage."""
