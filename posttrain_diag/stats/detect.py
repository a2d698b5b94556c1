"""Ways of sampling that break the binomial model, recognised in the counts or in the order of outcomes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from posttrain_diag.stats.counts import Counts

FlawKind = Literal["stop_at_first_success", "duplicate_draws", "deterministic", "unequal_n", "few_problems"]


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
        outcomes: pass or fail of each rollout in the order drawn, per problem; without it stopping at the first
            success is recognised from the counts alone.
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
    """Sampling ended at the first pass: c is 0 or 1, and where it is 1 the pass came last (or n is smaller)."""
    solved_P = counts.c_P > 0
    if counts.c_P.max() > 1 or solved_P.sum() < 3 or int(counts.n_P.max()) < 2:
        return None
    if outcomes is not None:
        ends = [row[-1] for row, solved in zip(outcomes, solved_P.tolist(), strict=True) if solved and len(row) > 0]
        suspicious = bool(ends) and all(ends) and int(counts.n_P[solved_P].max()) > 1
    else:
        zeros = counts.n_P[~solved_P]
        cap = int(zeros.max()) if len(zeros) else int(counts.n_P.max()) + 1
        shorter = counts.n_P[solved_P] < cap
        suspicious = len(np.unique(counts.n_P)) > 1 and float(shorter.mean()) > 0.5
        if len(zeros) and int(zeros.min()) < cap:
            suspicious = False
    if not suspicious:
        return None
    return SamplingFlaw(
        "stop_at_first_success",
        True,
        float(solved_P.mean()),
        "sampling stopped at the first pass: c/n is biased upwards and unbiased pass@k does not hold. Draw a fixed "
        "number per problem; the mixing law stays valid when every rollout up to the stop is counted",
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
