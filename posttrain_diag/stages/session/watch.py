"""Looks at the policy every few steps: pass@1, pass@k, retention, KL to the start, truncation, collapse."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from posttrain_diag.engines.contract import Prompt, ScoreRequest
from posttrain_diag.rollouts.judge import Judge
from posttrain_diag.rollouts.live import counts_of, passed_P, sample_judged, truncated_share
from posttrain_diag.settings.stage import RETENTION_WEIGHT
from posttrain_diag.stages.policy.policy import Policy
from posttrain_diag.stats import pass_at_k_per_problem
from posttrain_diag.store import write_atomic
from posttrain_diag.tasks.problems.split import some
from posttrain_diag.types import Problem, Rollout, SamplingParams
from posttrain_diag.wording.numbers import nats, percent

RETENTION_ROLLOUTS = 4
MOST_RETAINED = 48
"""Most retained problems that are looked at while training."""
KL_DRAWS = 2
"""How many of the start's draws per probe problem are scored again, for the KL."""
COLLAPSE_SE = 2.0
"""pass@k has fallen, or pass@1 risen, when the paired difference to the start is more than so many standard errors."""


@dataclass(frozen=True)
class Look:
    """What was seen of the policy after some optimizer steps of the stage."""

    step: int
    pass_1: float
    pass_k: float
    k: int
    retention: float | None
    """Mean pass rate on retained problems; None where none were given."""
    kl_nats: float
    """Mean over the start's draws of log pi_start - log pi_now, nats per response."""
    truncated: float
    collapse: bool
    """Whether pass@k is below the start's while pass@1 is above it, both beyond chance."""
    utility: float
    """pass@1 + 0.5 x change of retention since the start."""

    def __str__(self) -> str:
        kept = "" if self.retention is None else f", retention {percent(self.retention)}"
        fallen = ", pass@k is falling" if self.collapse else ""
        return (
            f"step {self.step}: pass@1 {percent(self.pass_1)}, pass@{self.k} {percent(self.pass_k)}{kept}, "
            f"KL {nats(self.kl_nats)}{fallen}"
        )


def read_looks(stage: Path) -> tuple[Look, ...]:
    """Read every look at a stage from its folder."""
    lines = (stage / "watch" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(Look(**json.loads(line)) for line in lines)


def rise_at_the_end(looks: Sequence[Look]) -> float:
    """Mean utility in the last quarter of a stage's steps, less that in the quarter before; 0 with too few looks."""
    steps = looks[-1].step
    third, last = ([k.utility for k in looks if low < k.step / steps <= low + 0.25] for low in (0.5, 0.75))
    return sum(last) / len(last) - sum(third) / len(third) if third and last else 0.0


@dataclass
class Watched:
    """The probe problems' pass rates at the start, and every look so far."""

    start_pass_1_P: list[float] = field(default_factory=list[float])
    start_pass_k_P: list[float] = field(default_factory=list[float])
    start_retention: float | None = None
    looks: list[Look] = field(default_factory=list[Look])
    best_step: int = 0
    tokens: int = 0
    """Tokens drawn while watching."""

    @property
    def best(self) -> Look | None:
        """The look with the highest utility."""
        return max(self.looks, key=lambda look: look.utility, default=None)


@dataclass(frozen=True)
class StartDraw:
    """A draw of the starting policy, by which the distance from it is measured."""

    problem_id: str
    token_ids: tuple[int, ...]
    token_logprobs: tuple[float, ...]
    """Log-probability of each token under the starting policy, nats."""

    @staticmethod
    def of(problem_id: str, token_ids: Sequence[int], token_logprobs: Sequence[float], **_: Any) -> StartDraw:
        """Make a draw from an entry of start_draws.json.

        Args:
            problem_id: the problem that it answers.
            token_ids: its tokens.
            token_logprobs: log-probability of each under the starting policy, nats.
            **_: further keys, which earlier versions wrote and nobody reads.
        """
        return StartDraw(problem_id, tuple(token_ids), tuple(token_logprobs))


class Watcher:
    """Looks at the probe and retained problems under the weights of the last `Policy.sync`; keeps the best weights."""

    def __init__(
        self,
        policy: Policy,
        probe: Sequence[Problem],
        retained: Sequence[Problem],
        params: SamplingParams,
        rollouts: int,
        folder: Path,
    ) -> None:
        self.policy = policy
        self.probe = probe
        self.retained = some(retained, MOST_RETAINED, seed=params.seed)
        self.params = params
        self.rollouts = rollouts
        self.folder = folder
        self.judge = Judge([*probe, *self.retained])
        self.start_draws: list[StartDraw] = []
        self.seen = self._restored()

    def _restored(self) -> Watched:
        path = self.folder / "watch.json"
        if not path.exists():
            return Watched()
        data: dict[str, Any] = json.loads(path.read_text())
        data["looks"] = [Look(**look) for look in data["looks"]]
        return Watched(**data)

    def reload(self) -> None:
        """Take over what the process that looks at the policy has written."""
        self.seen = self._restored()

    def begin(self) -> None:
        """Look before the first step. After a restart the start's draws are read from disk."""
        path = self.folder / "start_draws.json"
        if self.seen.looks and path.exists():
            self.start_draws = [StartDraw.of(**row) for row in json.loads(path.read_text())]
            return
        draws = self._draw(self.probe, self.rollouts, "watch")
        counts = counts_of(draws) if draws else None
        self.seen = Watched(
            start_pass_1_P=[] if counts is None else passed_P(draws).tolist(),
            start_pass_k_P=[] if counts is None else pass_at_k_per_problem(counts, self.rollouts).tolist(),
            tokens=self.seen.tokens,
        )
        self.start_draws = [
            StartDraw(draw.problem_id, draw.token_ids, draw.token_logprobs)
            for own in draws.values()
            for draw in own[:KL_DRAWS]
            if draw.token_logprobs
        ]
        write_atomic(path, json.dumps([asdict(draw) for draw in self.start_draws]))
        self._record(self._look(0, draws))

    def look(self, step: int) -> Look:
        """Sample from the policy, compare with the start, record it, and keep the weights if they are the best."""
        found = self._look(step, self._draw(self.probe, self.rollouts, "watch"))
        self._record(found)
        return found

    def _look(self, step: int, draws: dict[str, list[Rollout]]) -> Look:
        retention = self._retention()
        if self.seen.start_retention is None:
            self.seen.start_retention = retention
        won = 0.0 if retention is None else retention - (self.seen.start_retention or 0.0)
        if not draws:
            unknown = float("nan")
            return Look(step, unknown, unknown, self.rollouts, retention, 0.0, 0.0, False, RETENTION_WEIGHT * won)
        pass_1_P = passed_P(draws)
        pass_k_P = pass_at_k_per_problem(counts_of(draws), self.rollouts)
        gained = _beyond_chance(pass_1_P - np.array(self.seen.start_pass_1_P))
        fallen = _beyond_chance(np.array(self.seen.start_pass_k_P) - pass_k_P)
        pass_1 = float(pass_1_P.mean())
        return Look(
            step,
            pass_1,
            float(pass_k_P.mean()),
            self.rollouts,
            retention,
            self._kl() if step else 0.0,
            truncated_share(draws),
            gained and fallen,
            pass_1 + RETENTION_WEIGHT * won,
        )

    def _draw(self, problems: Sequence[Problem], n: int, name: str) -> dict[str, list[Rollout]]:
        if not problems:
            return {}
        draws = sample_judged(self.policy.engine, self.judge, problems, n, self.params, seed_text=name)
        self.seen.tokens += sum(len(draw.token_ids) for own in draws.values() for draw in own)
        return draws

    def _retention(self) -> float | None:
        if not self.retained:
            return None
        return float(passed_P(self._draw(self.retained, RETENTION_ROLLOUTS, "retention")).mean())

    def _kl(self) -> float:
        """Monte Carlo estimate of KL(start || now) per response, on the start's own draws."""
        if not self.start_draws:
            return 0.0
        prompts = {problem.id: Prompt(problem.prompt, problem.messages) for problem in self.probe}
        requests = [
            ScoreRequest(str(i), prompts[d.problem_id], completion_ids=d.token_ids, append_stop=False)
            for i, d in enumerate(self.start_draws)
        ]
        gaps = [
            sum(self.start_draws[int(score.key)].token_logprobs) - float(score.logprob_T.sum())
            for score in self.policy.engine.score(requests)
        ]
        return float(np.mean(gaps))

    def _record(self, look: Look) -> None:
        """Add a line to metrics.jsonl and replace watch.json and best/ as a whole."""
        self.seen.looks = [*(old for old in self.seen.looks if old.step < look.step), look]
        best = self.seen.best
        if best is look:
            self.seen.best_step = look.step
            self.policy.save_training_state(self.folder / "best")
        write_atomic(self.folder / "watch.json", json.dumps(asdict(self.seen)))
        lines = "".join(json.dumps(asdict(old)) + "\n" for old in self.seen.looks)
        write_atomic(self.folder / "metrics.jsonl", lines)


def _beyond_chance(difference_P: np.ndarray[Any, Any]) -> bool:
    """Whether a paired difference is above zero by more than COLLAPSE_SE standard errors."""
    if len(difference_P) < 2:
        return False
    error = float(difference_P.std(ddof=1)) / len(difference_P) ** 0.5
    return bool(difference_P.mean() > COLLAPSE_SE * error and difference_P.mean() > 0)
