"""Can the policy finish a correct trace that it could not have started?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posttrain_diag.engines.contract import Engine
from posttrain_diag.evidence import DrawSpec, Evidence, Needs
from posttrain_diag.stats import below
from posttrain_diag.stats.functionals import PGrid
from posttrain_diag.tasks import verify
from posttrain_diag.tasks.problems.traces import trace_prefix, trace_tokens
from posttrain_diag.types import Estimate, Figure, Measurement
from posttrain_probes.card import Probe, ProbeCard
from posttrain_probes.estimates import not_in_counts
from posttrain_probes.synthetic import make_evidence, rollout_row

CARD = ProbeCard(
    name="prefix_ladder",
    question="Can the policy finish a correct trace that it could not have started (prefix reachability)?",
    method="Success after the first rho of a demonstration's trace, rho = 1/4, 1/2, 3/4, 7/8 of its tokens, on "
    "problems with p probably below eps. The problems are taken to be of groups that respond alike, one of which no "
    "prefix helps; the counts decide how many there are and who is in them. A few draws after each prefix come "
    "first, then more after the one that helps most. A trace is what stands before the "
    "answer, or an answer of 8 tokens or more. Controls: a prefix of another problem's "
    "trace (permuted) and a prefix of repeated filler (neutral) of the same length must not help as much; they are "
    "drawn for the prefix that helps most, where it was followed by a success. "
    "A prefix that passes the verifier by itself gives the answer away and is not drawn.",
    chance_level="the permuted and neutral arms",
    cost="4 shares x a few draws on low-p problems only, more and two controls at one share (controls on a sample)",
    references=("arXiv:2601.18779",),
)

SHARES = (0.25, 0.5, 0.75, 0.875)
ARMS = ("true", "permuted", "neutral")
LOW_P = 0.05
"""The ladder is run on problems whose posterior puts at least this much below eps."""
MAX_PROBLEMS = 200
"""Most problems that the ladder is run on, chosen evenly; the others get the pooled rate."""
POOLED = 1600
"""Draws after the most helpful prefix that a few problems are given together, each at most the rollout budget, whose
zeros certify p < eps: their pooled zeros tell what no prefix lifts from what one might lift."""
CONTROL_PROBLEMS = 32
"""Number of problems whose controls are drawn: the controls speak for the set, so that a sample is enough."""


def arm_name(kind: str, share: float) -> str:
    """Name of a ladder arm in the store."""
    return f"prefix:{kind}:{share:.3f}"


def _evenly(ids: list[str], at_most: int) -> list[str]:
    if len(ids) <= at_most:
        return ids
    picks = np.linspace(0, len(ids) - 1, at_most).round().astype(int)
    return [ids[i] for i in picks]


def laddered(evidence: Evidence) -> list[str]:
    """Problems that the ladder is run on: demonstration at hand, p probably below eps."""
    if len(evidence.measured) == 0:
        return []
    below = 1 - evidence.law.prob_at_least(evidence.settings.eps)
    low = [str(key) for key, value in zip(evidence.measured.index, below, strict=True) if value >= LOW_P]
    return _evenly([key for key in low if evidence.problems[key].demos], MAX_PROBLEMS)


def plan(evidence: Evidence, engine: Engine) -> Needs:
    """A few draws after each prefix; once they are made, more after the prefix that helps most, and its controls."""
    ids = laddered(evidence)
    if not ids:
        return Needs()
    found = prefixes(evidence, engine, ids)
    n = evidence.settings.ladder_rollouts
    ranked = by_success(evidence)
    n_best = max(n, min(evidence.settings.rollout_budget, -(-POOLED // len(ids))))
    draws: list[DrawSpec] = []
    for key, given in found.given.items():
        best = next((share for share in ranked if share in given), None)
        draws += [
            DrawSpec(key, arm_name("true", share), n_best if share == best else n, prefix)
            for share, prefix in given.items()
        ]
    if ranked and evidence.table(arm_name("true", ranked[0]))["c"].sum() > 0:
        draws += _controls(evidence, engine, ids, found.given, ranked[0])
    return Needs(draws=tuple(draws), notes=found.notes)


@dataclass(frozen=True)
class Prefixes:
    """What the ladder gives the model of each trace."""

    given: dict[str, dict[float, tuple[int, ...]]]
    """Problem -> share -> the prefix, shortest first; problems without one are left out."""
    notes: tuple[str, ...]
    """What was not given, and why."""


def prefixes(evidence: Evidence, engine: Engine, ids: Sequence[str]) -> Prefixes:
    """The prefixes of the first demonstration of each problem that do not give its answer away.

    Args:
        evidence: with the problems.
        engine: encodes and decodes.
        ids: problems with a demonstration.
    """
    out: dict[str, dict[float, tuple[int, ...]]] = {}
    short = leaked = 0
    for key in ids:
        problem = evidence.problems[key]
        demo = problem.demos[0]
        own = engine.response_ids(demo)
        if trace_tokens(problem, demo, own, engine.decode) == 0:
            short += 1
            continue
        given_before = 0
        for share in SHARES:
            prefix = trace_prefix(problem, demo, own, share, engine.decode)
            if len(prefix) < 1 or len(prefix) == given_before:
                continue
            given_before = len(prefix)
            given = verify(engine.decode(prefix), problem)
            if given.strict or given.lenient:
                leaked += 1
                continue
            out.setdefault(key, {})[share] = prefix
    notes: list[str] = []
    if short:
        notes.append(
            f"prefix ladder: the demonstrations of {short} problems are bare answers; a beginning of the answer is no "
            "trace, so nothing was drawn after it"
        )
    if leaked:
        notes.append(f"{leaked} prefixes already contain the answer and were not drawn")
    return Prefixes(out, tuple(notes))


def by_success(evidence: Evidence) -> list[float]:
    """The shares that were drawn, those after which success is most frequent first, longer ones before shorter."""
    tables = {share: evidence.table(arm_name("true", share)) for share in SHARES}
    rates = {share: table["c"].sum() / table["n"].sum() for share, table in tables.items() if table["n"].sum() > 0}
    return sorted(rates, key=lambda share: (rates[share], share), reverse=True)


def _controls(
    evidence: Evidence,
    engine: Engine,
    ids: list[str],
    given: Mapping[str, Mapping[float, tuple[int, ...]]],
    share: float,
) -> list[DrawSpec]:
    """Draws after another problem's prefix and after filler of the same length, for a sample of the problems.

    Args:
        evidence: with the problems.
        engine: encodes and decodes.
        ids: the laddered problems.
        given: problem -> share -> prefix.
        share: whose prefix is controlled.
    """
    n, filler = evidence.settings.ladder_rollouts, _filler(engine)
    draws: list[DrawSpec] = []
    for key in _evenly([key for key in given if share in given[key]], CONTROL_PROBLEMS):
        prefix = given[key][share]
        size = len(prefix)
        donor = ids[(ids.index(key) + 1 + _spread(key, len(ids))) % len(ids)]
        other = engine.response_ids(evidence.problems[donor].demos[0])
        if len(ids) > 1 and len(other) >= size and other[:size] != prefix:
            draws.append(DrawSpec(key, arm_name("permuted", share), n, other[:size]))
        draws.append(DrawSpec(key, arm_name("neutral", share), n, (filler * size)[:size]))
    return draws


def _spread(key: str, size: int) -> int:
    """A stable offset, so that permuted prefixes do not all come from the neighbour."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "little") % max(1, size - 1)


def _filler(engine: Engine) -> tuple[int, ...]:
    """Content-free tokens: the first of these texts that the tokenizer can write without an unknown token."""
    for text in (" ...", ".", ",", "|", "-", "a"):
        ids = engine.response_ids(text)
        if ids and engine.decode(ids).strip() == text.strip():
            return ids
    return engine.response_ids("a")


def reach(evidence: Evidence) -> pd.Series:
    """Probability that success after some prefix of a correct trace is at least eps, per laddered problem.

    The problems are taken to be of groups, one of which no prefix helps (`stats.response_groups`). Only shares count
    whose true prefix beats both controls.
    """
    drawn = evidence.responding(tuple(arm_name("true", share) for share in SHARES))
    out = pd.Series(0.0, index=drawn)
    if arms := counted_arms(evidence):
        out[evidence.responding(arms)] = evidence.response_groups(arms).response_P
    return out


def counted_arms(evidence: Evidence) -> tuple[str, ...]:
    """The arms of the true prefixes that count as evidence of reach, shortest prefix first."""
    return tuple(arm_name("true", share) for share in SHARES if share_counts(evidence, share))


def share_counts(evidence: Evidence, share: float) -> bool:
    """Whether this share was drawn, and its success, if there is any, exceeds that of the controls.

    A share without controls of its own is judged by those that have some.
    """
    table = evidence.table(arm_name("true", share))
    if table["n"].sum() == 0:
        return False
    controlled = [other for other in SHARES if _has_controls(evidence, other)]
    judges = [share] if share in controlled else controlled
    return bool(table["c"].sum() == 0) or not judges or any(beats_controls(evidence, judge) for judge in judges)


def _has_controls(evidence: Evidence, share: float) -> bool:
    return any(evidence.table(arm_name(kind, share))["n"].sum() > 0 for kind in ARMS[1:])


def best_share_law(evidence: Evidence, grid: PGrid) -> tuple[str, NDArray[np.float64]] | None:
    """The arm whose prefix helps most, and draws of the law of success after it; None where none counts.

    Args:
        evidence: with the ladder's draws.
        grid: the cells of the law.

    Returns:
        The arm's name and masses on the grid, shape (S, J).
    """
    arms = () if evidence.counts is not None else counted_arms(evidence)
    if not arms:
        return None
    reached_J = 1.0 - grid.evaluate(below(evidence.settings.eps))
    laws = [evidence.response_groups(arms).laws(place, grid) for place in range(len(arms))]
    best = max(range(len(arms)), key=lambda place: float((laws[place] @ reached_J).mean()))
    return arms[best], laws[best]


def reach_draws(evidence: Evidence, n_draws: int) -> NDArray[np.bool_]:
    """Joint posterior draws of "some prefix lifts success to eps" for each measured problem, shape (n_draws, P).

    Every draw takes one draw of the groups, so what is unsure about them moves all problems together. Problems outside
    the ladder's sample are reached with the frequency of those inside in the same draw.
    """
    index = evidence.measured.index
    out_SP = np.zeros((n_draws, len(index)), dtype=np.bool_)
    arms = counted_arms(evidence)
    if not arms:
        return out_SP
    rng = np.random.default_rng([evidence.settings.sampling.seed, 3])
    place_P = index.get_indexer(pd.Index(evidence.responding(arms)))
    chance_SP = evidence.response_groups(arms).response_SP[:, place_P >= 0]
    inside = place_P[place_P >= 0]
    out_SP[:, inside] = rng.random((n_draws, len(inside))) < chance_SP[np.arange(n_draws) % len(chance_SP)]
    outside = np.setdiff1d(np.arange(len(index)), inside)
    for row in out_SP:
        row[outside] = rng.random(len(outside)) < row[inside].mean()
    return out_SP


def beats_controls(evidence: Evidence, share: float) -> bool:
    """Whether the true prefix is better than each control on the same problems, by an exact one-sided test at 1%."""
    from scipy.stats import fisher_exact

    true = evidence.table(arm_name("true", share))
    for kind in ("permuted", "neutral"):
        control = evidence.table(arm_name(kind, share))
        control = control[control["n"] > 0]
        if len(control) == 0 or control["c"].sum() == 0:
            continue
        c, n = int(true["c"].sum()), int(true["n"].sum())
        c0, n0 = int(control["c"].sum()), int(control["n"].sum())
        if float(fisher_exact(np.array([[c, n - c], [c0, n0 - c0]]), alternative="greater").pvalue) > 0.01:
            return False
    return True


def measure(evidence: Evidence) -> Measurement:
    """Measure success by prefix share and arm, and for each problem its reach posterior and hint depth."""
    level = evidence.settings.level
    if evidence.counts is not None:
        why = "prefixes of correct traces need the model, so guided-reachable cannot be told from support-limited"
        return not_in_counts(CARD.name, CARD.question, "reach", why, evidence)
    if not evidence.arms("prefix:"):
        reason = "no problem has both p probably below eps and a demonstration with a trace"
        empty = pd.DataFrame({"reach": np.nan, "hint_depth": np.nan}, index=list(evidence.ids))
        return Measurement(CARD.name, CARD.question, empty, {"reach": Estimate.undefined(reason, level)})
    data = {kind: [_pooled(evidence, kind, share) for share in (0.0, *SHARES)] for kind in ARMS}
    figure = Figure(
        "prefix_ladder",
        "Success after a prefix of a correct trace",
        {
            "rho": [0.0, *SHARES],
            "arms": {
                kind: {name: [getattr(e, name) for e in estimates] for name in ("value", "low", "high")}
                for kind, estimates in data.items()
            },
        },
    )
    summary = {
        f"{kind}@{share:g}": estimate
        for kind, estimates in data.items()
        for share, estimate in zip((0.0, *SHARES), estimates, strict=True)
        if share > 0
    }
    per_problem = pd.DataFrame({"reach": reach(evidence), "hint_depth": hint_depth(evidence)})
    return Measurement(CARD.name, CARD.question, per_problem.reindex(list(evidence.ids)), summary, (figure,))


def _pooled(evidence: Evidence, kind: str, share: float) -> Estimate:
    """Mean success over the laddered problems at one share; share 0 is the main arm on the same problems."""
    from posttrain_diag.stats import Counts, pass_at_k

    table = evidence.main.loc[laddered(evidence)] if share == 0.0 else evidence.table(arm_name(kind, share))
    table = table[table["n"] > 0]
    if len(table) == 0:
        return Estimate.undefined("not drawn", evidence.settings.level)
    counts = Counts(table["n"].to_numpy(), table["c"].to_numpy())
    return pass_at_k(counts, 1, level=evidence.settings.level)


def hint_depth(evidence: Evidence) -> pd.Series:
    """Smallest share after which the problem was solved at least once; NaN when it never was."""
    depth = pd.Series(np.nan, index=list(evidence.ids))
    for share in reversed(SHARES):
        table = evidence.table(arm_name("true", share))
        depth[table.index[table["c"] > 0]] = share
    return depth


def validate() -> None:
    """Check the probe where p0..p19 succeed after three quarters of the trace and p20..p39 never do."""
    extra = [
        rollout_row(f"p{i}", j, arm=arm_name("true", 0.75), verdict="pass" if i < 20 and j % 2 else "fail")
        for i in range(40)
        for j in range(16)
    ]
    found = reach(make_evidence([(256, 0)] * 40, extra=extra))
    assert found["p0"] > 0.95 and found["p30"] < 0.3, found


PROBE = Probe(CARD, measure, validate, plan, requires=("tokens", "prefixes"))
