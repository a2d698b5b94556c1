"""How probable is success at least, on problems that plain rollouts never solved?

Plain rollouts say nothing of p far below 1/n. Here rollouts come from a proposal q that leans towards a correct
demonstration (`Tilt`): at each step the demonstration's next token is taken with probability `lean`, else the policy
chooses; a draw that leaves the demonstration is the policy's own from there on. Then

    p = E_q[ 1{success}·pi(y)/q(y) ],   0 <= pi/q <= 1/(1-lean),

exactly and for any model, nothing is trained, and the weighted successes carry a betting lower bound on p.

Why no sequence-level share of pi (delta = 0): it exists to bound the weights, and leaving the demonstration bounds
them already; the plain rollouts of the main arm found nothing anyway. Why lean = REACH**(1/T): a draw then follows
all T tokens with probability at least REACH = 1/2 whatever the length, which leaves the weighted successes of a
problem with one correct response a variance below that of fair coin flips; the other half leaves at a token spread
evenly over the demonstration, which finds other ways to finish it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from posttrain_diag.engines.contract import Engine, Tilt
from posttrain_diag.errors import StatsError
from posttrain_diag.evidence import DrawSpec, Evidence, Needs
from posttrain_diag.stats import deep_support
from posttrain_diag.tasks import verify
from posttrain_diag.types import Estimate, Measurement
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.estimates import share_estimate
from posttrain_probes.synthetic import make_evidence, rollout_row

CARD = ProbeCard(
    name="deep_support",
    question="How probable is success at least, on problems that plain rollouts never solved (deep support)?",
    method="Importance sampling from a proposal that leans token by token towards a correct demonstration; each "
    "rollout weighs pi/q exactly, and betting turns the weighted successes into a lower bound on p. It certifies "
    "support, never its absence. No estimate where fewer than 20 effective successes carry it, one rollout carries a "
    "fifth of the weight, or plain rollouts contradict it.",
    chance_level="none: every softmax policy gives every response some probability, so the size of the bound counts",
    cost="at most 16 problems x 64 draws (128 with --effort thorough), on problems without a pass only",
    references=("arXiv:2010.09686",),
)

ARM = "deep:demo"
REACH = 0.5
"""Least probability that a draw follows the whole demonstration."""
MAX_PROBLEMS = 16
"""Most problems that are probed, chosen evenly: the probe speaks for the set."""
MIN_DRAWS = 64
"""Fewest draws per problem: half of them follow the demonstration, and 20 effective successes are needed."""
FLOOR = 1e-9
"""Bounds below this are of no use to any training: a policy gives every response some probability, so `bounded`
alone says little."""


def tilt_towards(token_ids: tuple[int, ...]) -> Tilt:
    """The proposal that follows all of a demonstration with probability at least REACH."""
    return Tilt(token_ids, REACH ** (1.0 / len(token_ids)))


def probed(evidence: Evidence) -> list[str]:
    """Problems without a pass, more likely than not below eps, with a demonstration; chosen evenly."""
    table = evidence.measured
    if len(table) == 0:
        return []
    below_P = 1 - evidence.law.prob_at_least(evidence.settings.eps)
    found = [
        str(key)
        for key, c, below in zip(table.index, table["c"], below_P, strict=True)
        if c == 0 and below > 0.5 and evidence.problems[str(key)].demos
    ]
    picks = np.linspace(0, len(found) - 1, min(len(found), MAX_PROBLEMS)).round().astype(int)
    return [found[i] for i in picks]


def plan(evidence: Evidence, engine: Engine) -> Needs:
    """Draws that lean towards the first demonstration which passes the verifier."""
    ids = probed(evidence)
    if not ids:
        return Needs()
    if evidence.settings.sampling.temperature == 0.0:
        return Needs(notes=("deep support: greedy decoding succeeds always or never, there is no p to bound",))
    n = max(MIN_DRAWS, 4 * evidence.settings.ladder_rollouts)
    draws: list[DrawSpec] = []
    for key in ids:
        demo = demonstration(evidence, engine, key)
        if demo is not None:
            draws.append(DrawSpec(key, ARM, n, tilt=tilt_towards(demo)))
    without = len(ids) - len(draws)
    note = f"deep support: {without} problems have no demonstration that passes the verifier within --max-new-tokens"
    return Needs(draws=tuple(draws), notes=(note,) if without else ())


def demonstration(evidence: Evidence, engine: Engine, key: str) -> tuple[int, ...] | None:
    """Tokens of the first demonstration that passes and fits; ended by the stop token where there is just one.

    With several stop tokens the policy itself chooses among them: leaning towards the wrong one would cost weight.
    """
    stops = engine.info.stop_token_ids
    for text in evidence.problems[key].demos:
        ids = engine.response_ids(text)
        fits = 0 < len(ids) < evidence.settings.sampling.max_new_tokens
        if fits and verify(engine.decode(ids), evidence.problems[key]).strict:
            return (*ids, *stops) if len(stops) == 1 else ids
    return None


def bounds(evidence: Evidence) -> dict[str, Estimate]:
    """For each probed problem the weighted estimate; `low` is the lower bound on p at one-sided level (1 + level) / 2.

    Raises:
        StatsError: not all tilted draws were read into memory.
    """
    alpha = (1.0 - evidence.settings.level) / 2
    plain, drawn = evidence.main, int(evidence.table(ARM)["drawn"].sum())
    if len(evidence.arm(ARM)) != drawn:
        raise StatsError(f"the weights of all {drawn} tilted draws are needed, {len(evidence.arm(ARM))} were read")
    out: dict[str, Estimate] = {}
    for key, rows in evidence.arm(ARM).groupby("problem_id", sort=False):
        name = str(key)
        out[name] = deep_support(
            rows["policy_logprob"].to_numpy(np.float64),
            rows["proposal_logprob"].to_numpy(np.float64),
            (rows["verdict"] == "pass").to_numpy(),
            delta=0.0,
            plain_counts=(int(plain["n"][name]), int(plain["c"][name])),
            alpha=alpha,
        )
    return out


def measure(evidence: Evidence) -> Measurement:
    """Measure lower bounds on p for the probed problems, and the share of them that have one."""
    level = evidence.settings.level
    found = bounds(evidence)
    ids = list(evidence.ids)
    table = pd.DataFrame({"deep_support": np.nan, "deep_support_low": np.nan}, index=ids, dtype=float)
    names = ("bounded", f"certified@{FLOOR:g}", "median_at_least")
    if not found:
        reason = "no problem without a pass, probably below eps, has a reference that could be leant towards"
        return Measurement(CARD.name, CARD.question, table, {name: Estimate.undefined(reason, level) for name in names})
    for key, estimate in found.items():
        if estimate.low is not None and estimate.value is not None:
            table.loc[key, ["deep_support", "deep_support_low"]] = estimate.value, estimate.low
    low = table["deep_support_low"].dropna()
    low = low[low > 0]
    summary = dict(
        zip(
            names,
            (
                share_estimate(len(low), len(found), level=level),
                share_estimate(int((low >= FLOOR).sum()), len(found), level=level),
                _median(low, found, level),
            ),
            strict=True,
        )
    )
    reasons = [estimate.reason for key, estimate in found.items() if key not in low.index]
    notes = (f"{len(reasons)} of {len(found)} probed problems have no bound, e.g. {reasons[0]}",) if reasons else ()
    return Measurement(CARD.name, CARD.question, table, summary, notes=notes)


def _median(low: pd.Series, found: dict[str, Estimate], level: float) -> Estimate:
    """The median bound of the problems that have one; p is at least so large there."""
    if len(low) == 0:
        return Estimate.undefined(next(iter(found.values())).reason or "every bound is 0", level)
    middle = float(np.median(low))
    reason = f"at least: p is bounded from below only, on {len(low)} of {len(found)} probed problems"
    return Estimate(middle, middle, 1.0, level, len(low), "estimated", reason)


def validate() -> None:
    """Check that eight tokens of probability .15 are bounded within 3x, and a demonstration 90 nats away hardly."""
    lean, size = REACH ** (1 / 8), 64
    extra = [
        row
        for i, logprob in enumerate((np.log(0.15), -90 / 8))
        for row in (_validation_row(i, j, float(logprob), lean, passed=j % 2 == 0) for j in range(size))
    ]
    found = measure(make_evidence([(64, 0)] * 4, extra=extra))
    low = found.per_problem["deep_support_low"]
    assert 0.15**8 / 3 < low["p0"] <= 0.15**8, low
    assert 0 < low["p1"] <= np.exp(-90), low
    assert np.isnan(low["p2"]), low
    certified = found.summary["bounded"], found.summary[f"certified@{FLOOR:g}"]
    assert [estimate.value for estimate in certified] == [1.0, 0.5], certified


def _validation_row(index: int, draw: int, logprob: float, lean: float, *, passed: bool) -> dict[str, object]:
    """A draw that follows the whole demonstration, or one that left it at the first token."""
    step = float(np.logaddexp(np.log1p(-lean) + logprob, np.log(lean)))
    policy, proposal = (8 * logprob, 8 * step) if passed else (-0.1, float(np.log1p(-lean)) - 0.1)
    verdict = "pass" if passed else "fail"
    return rollout_row(f"p{index}", draw, arm=ARM, verdict=verdict, policy_logprob=policy, proposal_logprob=proposal)


PROBE = Probe(CARD, measure, validate, plan, requires=("tokens", "tilts"))
