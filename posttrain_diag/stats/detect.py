"""Ways of sampling that break the binomial model, recognised in the counts or in the order of outcomes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from posttrain_diag.stats.counts import BoolArray, Counts, FloatArray, IntArray

FlawKind = Literal["stop_at_first_success", "duplicate_draws", "deterministic", "unequal_n", "few_problems"]

_PASSES = (1, 2, 3, 4)
"""Numbers of passes at which sampling may have been stopped."""
_SHARE = 0.9
"""Share of the problems with fewer draws that must show the pattern of stopping."""
_RARE = 1e-4
"""The pattern must be rarer than this where the number of draws does not depend on their outcomes."""
_TESTED = 1000
"""About as many problems are tested at most."""


@dataclass(frozen=True)
class SamplingFlaw:
    """Something in how the rollouts were drawn that estimators cannot take as given."""

    kind: FlawKind
    fatal: bool
    """True: the counts must not be used as they are. False: a note."""
    share: float
    """Share of the problems that show it."""
    advice: str


def sampling_flaws(
    counts: Counts,
    *,
    outcomes: Sequence[Sequence[bool]] | None = None,
    texts: Sequence[Sequence[Hashable]] | None = None,
    temperature: float | None = None,
) -> tuple[SamplingFlaw, ...]:
    """What about these rollouts breaks the assumption of independent draws in a number set beforehand.

    Args:
        counts: the counts to be used.
        outcomes: pass or fail of each rollout in the order drawn, per problem; the last one is read. Without it
            stopping at a success is recognised from the counts alone.
        texts: completions (or hashes of them) per problem, to find duplicates.
        temperature: sampling temperature, if known.

    Returns:
        The flaws found, fatal ones first.
    """
    found = [
        flaw
        for flaw in (
            _stopped_at_success(counts, outcomes),
            _deterministic(counts, temperature),
            _duplicates(texts),
            _unequal(counts),
        )
        if flaw is not None
    ]
    return tuple(sorted(found, key=lambda flaw: not flaw.fatal))


def _stopped_at_success(counts: Counts, outcomes: Sequence[Sequence[bool]] | None) -> SamplingFlaw | None:
    """Sampling ended at the first pass, or at the second, third or fourth."""
    passes = _clean_stop(counts, outcomes) or _stop_of_the_shorter(counts, outcomes)
    if not passes:
        return None
    ordinal = {1: "first", 2: "second", 3: "third", 4: "fourth"}[passes]
    return SamplingFlaw(
        "stop_at_first_success",
        True,
        float((counts.c_P > 0).mean()),
        f"sampling stopped at the {ordinal} pass: the number of draws depends on their outcomes, so c/n is biased "
        f"upwards and unbiased pass@k does not hold. {_still_told(counts, passes)}Draw a fixed number per problem, or "
        "let `diag analyze` draw",
    )


def _clean_stop(counts: Counts, outcomes: Sequence[Sequence[bool]] | None) -> int:
    """1 where c is 0 or 1 everywhere, and where it is 1 the pass came last (or n is smaller); else 0."""
    solved_P = counts.c_P > 0
    if counts.c_P.max() > 1 or solved_P.sum() < 3 or int(counts.n_P.max()) < 2:
        return 0
    if outcomes is not None:
        ends = [row[-1] for row, solved in zip(outcomes, solved_P.tolist(), strict=True) if solved and len(row) > 0]
        return int(bool(ends) and all(ends) and int(counts.n_P[solved_P].max()) > 1)
    zeros = counts.n_P[~solved_P]
    cap = int(zeros.max()) if len(zeros) else int(counts.n_P.max()) + 1
    shorter = counts.n_P[solved_P] < cap
    same_cap = len(zeros) == 0 or int(zeros.min()) == cap
    return int(same_cap and len(np.unique(counts.n_P)) > 1 and float(shorter.mean()) > 0.5)


def _stop_of_the_shorter(counts: Counts, outcomes: Sequence[Sequence[bool]] | None) -> int:
    """The number of passes at which the problems with fewer draws were stopped; 0 where nothing says so.

    They have fewer than the usual problem without a pass, which was drawn as often as was allowed. A few may break the
    pattern: topped up, or stopped by something else. With the order of outcomes the test is whether the last draw
    passes more often than any other, for draws in a fixed number are exchangeable: given c of n passes the last one is
    among them with probability c/n. Without it the test is whether the shorter ones have the same c more often than a
    binomial has that c under the p that favours it most.
    """
    unsolved_P = counts.c_P == 0
    cap = float(np.median(counts.n_P[unsolved_P])) if unsolved_P.any() else float(counts.n_P.max())
    rows = np.flatnonzero((counts.n_P < cap) & (counts.n_P > 0))
    rows = rows[:: max(1, len(rows) // _TESTED)]
    n_S, c_S = counts.n_P[rows], counts.c_P[rows]
    if outcomes is not None:
        rows, n_S, c_S = rows[c_S > 0], n_S[c_S > 0], c_S[c_S > 0]
        last_S = np.asarray([bool(outcomes[row][-1]) for row in rows.tolist()])
        usual = int(np.bincount(c_S).argmax()) if len(rows) else 0
        same = usual in _PASSES and float((c_S == usual).mean()) >= _SHARE
        return usual if same and _beyond(last_S, c_S / n_S) else 0
    for passes in _PASSES:
        if _beyond(c_S == passes, _most_favourable(passes, n_S)):
            return passes
    return 0


def _most_favourable(passes: int, n_S: IntArray) -> FloatArray:
    """Probability of so many passes in n draws under the p that favours it most, passes / n; shape (S,)."""
    n_S = np.maximum(n_S, 1)
    p_S, failed_S = np.minimum(1.0, passes / n_S), np.maximum(n_S - passes, 0)
    log_S = gammaln(n_S + 1.0) - gammaln(passes + 1.0) - gammaln(failed_S + 1.0)
    mass_S = np.exp(log_S + xlogy(passes, p_S) + xlog1py(failed_S, -p_S))
    return np.where(n_S >= passes, mass_S, 0.0)


def _beyond(seen_S: BoolArray, chance_S: FloatArray) -> bool:
    """Whether nearly all events were seen, and so many are rarer than _RARE, each having its own chance at most."""
    if len(seen_S) == 0 or float(seen_S.mean()) < _SHARE:
        return False
    mass = np.ones(1)  # of the number of events, for events of unequal probabilities
    for chance in chance_S.tolist():
        mass = np.convolve(mass, [1.0 - chance, chance])
    return float(mass[int(seen_S.sum()) :].sum()) < _RARE


def _still_told(counts: Counts, passes: int) -> str:
    """What can be read off counts that stopped at the first pass: whether it came within k draws is not biased."""
    unsolved_P = counts.c_P == 0
    cap = int(counts.n_P.max())
    if passes > 1 or counts.c_P.max() > 1 or (counts.n_P[unsolved_P] < cap).any():
        return ""
    first = float(((counts.n_P == 1) & ~unsolved_P).mean())
    return (
        f"What they do tell is how many problems pass within k draws: pass@1 is {first:.1%} and pass@{cap} "
        f"{float((~unsolved_P).mean()):.1%} on these {len(counts)} problems. "
    )


def _deterministic(counts: Counts, temperature: float | None) -> SamplingFlaw | None:
    """Every problem is all-pass or all-fail over several rollouts, as greedy decoding gives."""
    several_P = counts.n_P >= 4
    if temperature is not None and temperature <= 0.0 and int(counts.n_P.max()) > 1:
        return SamplingFlaw(
            "deterministic", True, 1.0, f"temperature is {temperature:g}: repeats of one greedy rollout; draw at > 0"
        )
    extreme_P = (counts.c_P == 0) | (counts.c_P == counts.n_P)
    mixed_outcomes = bool((counts.c_P[several_P] == 0).any() and (counts.c_P[several_P] > 0).any())
    if several_P.sum() < 20 or not extreme_P[several_P].all() or not mixed_outcomes:
        return None
    return SamplingFlaw(
        "deterministic",
        False,
        float(several_P.mean()),
        "every problem passes always or never: either the model is certain of each, or the rollouts are copies of one "
        "greedy rollout. Check the temperature and that seeds differ between rollouts",
    )


def _duplicates(texts: Sequence[Sequence[Hashable]] | None) -> SamplingFlaw | None:
    """All rollouts of a problem are the same text."""
    if texts is None:
        return None
    several = [row for row in texts if len(row) >= 2]
    if not several:
        return None
    share = float(np.mean([len(set(row)) == 1 for row in several]))
    if share == 0.0:
        return None
    return SamplingFlaw(
        "duplicate_draws",
        share >= 0.95,
        share,
        f"{share:.0%} of the problems have identical rollouts only: check the temperature and the seeds; a model that "
        "is certain of short answers does this too",
    )


def _unequal(counts: Counts) -> SamplingFlaw | None:
    """Different problems have different n."""
    if counts.is_uniform:
        return None
    usual = int(np.bincount(counts.n_P).argmax())
    return SamplingFlaw(
        "unequal_n",
        False,
        float((counts.n_P != usual).mean()),
        f"n runs from {counts.n_P.min()} to {counts.n_P.max()}: if it depended on outcomes (adaptive allocation) use "
        "the mixing law, not c/n or unbiased pass@k",
    )
