"""Which problems crossed the support threshold between two runs: before < eps <= after, or the other way.

Taking the two posteriors of a problem as independent counts every doubtful problem as half gained and half lost: two
runs of one model then seem to trade a tenth of their support (`benchmarks/compare`). So the joint law of p before and
p after is learned too, as a mixture of ways in which a problem may move:

    stays              p after = p before
    drifts, shifts     logit p after = logit p before + shift + noise
    arrives            p after anywhere within a band, whatever it was before

each with its own share below and above eps. Shares are sampled (Gibbs) together with the two mixing laws.
Suffixes: `P` problems, `R` distinct pairs of rows of the two runs' counts, `J` bins of logit p, `M` ways, `2` side of
eps before (below, at or above), `4` fates, `S` draws, `T` chains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import logit, ndtr

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import BoolArray, Counts, FloatArray, IntArray
from posttrain_diag.stats.functionals import LOGIT_HIGH, LOGIT_LOW
from posttrain_diag.stats.mixing_law import MixingLaw, coarsening

FATES = ("preserved", "expanded", "shrunk", "outside")
"""What can happen to a problem's support, in the order used everywhere: supported in both runs, gained in the second,
lost in the second, supported in neither."""

_STEP = 0.25
_SHIFTS = ((0.0, 0.4), (1.0, 0.5), (-1.0, 0.5), (2.0, 0.7), (-2.0, 0.7), (3.5, 1.0), (-3.5, 1.0))
"""Mean and sd of the move in logit p of each drift."""
_BANDS = (0.05, 0.3, 0.8)
"""Where the bands of arrival end, above eps."""
_STAYS, _DRIFTS, _SHIFTED, _ARRIVES = 0.5, 0.5, 0.2, 1.0
"""Pseudo-problems of the prior: to stay, the first drift, each other drift, all arrivals together. Few: where counts
do not tell ways apart the chains differ, and so does the answer."""
_BORROWED = 2.0
"""Pseudo-problems with which the shares on one side of eps follow those of both sides."""
_CHAINS, _BURN, _KEEP = 24, 5, 20
_EVIDENCE = 0.5
"""Power of a chain's mean likelihood in its weight: chains in worse places keep a say."""
_LEARN = 4000
"""Problems the shares are learned from at most; coarsening takes no more out of further ones."""
_CHUNK = 2000
_CELLS = 1_500_000
"""Rows x draws of the answer, within 120 to 480 draws."""
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Crossing:
    """Posterior of what happened to each problem's support, and to all of them together."""

    fate_P4: FloatArray
    """Probability of each fate of each problem, in the order of FATES; rows sum to 1."""
    count_S4: FloatArray
    """Joint draws of the number of problems with each fate."""
    moved_S4: FloatArray
    """Joint draws of the part of the mean change that lies on the problems of each fate; a row sums to the change."""


def crossing(before: MixingLaw, after: MixingLaw, eps: float, change_P: FloatArray, *, seed: int) -> Crossing:
    """Posterior of the fates of the problems that two runs share.

    Args:
        before: law of the first run.
        after: law of the second run over the same problems in the same order.
        eps: support threshold on p.
        change_P: estimated change of each problem's pass rate, a function of its counts alone, shape (P,).
        seed: seeds the chains.

    Returns:
        Fates per problem, and draws of their numbers and of their parts in the mean change.

    Raises:
        StatsError: the laws are of different numbers of problems.

    References:
        Mixture shares by data augmentation: Diebolt and Robert 1994, doi:10.1111/j.2517-6161.1994.tb01985.x.
    """
    problems = len(before.counts)
    if len(after.counts) != problems or change_P.shape != (problems,):
        raise StatsError(f"runs hold {problems} and {len(after.counts)} problems: give the same ones in one order")
    rng = np.random.default_rng([seed, 3])
    bins = _Bins(eps)
    sides = (_Side.of(before, bins), _Side.of(after, bins))
    rows = _PairRows.of(before.counts, after.counts)
    learn = rows if problems <= _LEARN else rows.take(rng.choice(problems, _LEARN, replace=False))
    mean_n = min(before.counts.n_rollouts, after.counts.n_rollouts) / problems
    alpha = coarsening(mean_n)
    draws = int(np.clip(_CELLS // len(rows.weight_R), 120, _CHAINS * _KEEP))
    states = _explore(_Pairs(bins, sides, learn), problems * alpha / (alpha + problems), draws, rng)
    change_R, variance_R = np.zeros((2, len(rows.weight_R)))
    change_R[rows.row_P] = change_P
    variance_R[rows.row_P] = _variance(before.counts) + _variance(after.counts)
    return _answer(rows, partial(_Pairs, bins, sides), states, change_R, variance_R, rng)


class _Bins:
    """Bins of equal width in logit p with an edge at eps, and an atom at p = 0 first."""

    def __init__(self, eps: float) -> None:
        cut = float(logit(eps))
        below = int(np.ceil((cut - LOGIT_LOW) / _STEP)) + 1
        above = int(np.ceil((LOGIT_HIGH - cut) / _STEP)) + 1
        self.edges = cut + _STEP * np.arange(-below, above + 1)
        self.centres = (self.edges[1:] + self.edges[:-1]) / 2
        self.up_J: BoolArray = np.concatenate([[False], self.centres > cut])
        ends = [cut, *(float(logit(band)) for band in _BANDS if band > 1.5 * eps)]
        band_J = np.concatenate([[0], np.searchsorted(ends, self.centres)])
        self.band_JB = np.eye(len(ends) + 1)[band_J]
        """Which band of arrival a bin is in; the first one is all below eps."""

    def move(self, shift: float, sd: float) -> FloatArray:
        """Probability to come from one bin to another, shape (J, J); p = 0 stays."""
        reach = ndtr((self.edges[None, :] - self.centres[:, None] - shift) / sd)
        reach[:, 0], reach[:, -1] = 0.0, 1.0
        out = np.zeros((len(self.up_J), len(self.up_J)))
        out[0, 0] = 1.0
        out[1:, 1:] = np.diff(reach, axis=1)
        return out


@dataclass(frozen=True)
class _Side:
    """One of the two runs, carried over to the bins that both share."""

    law_SJ: FloatArray
    """Masses of each drawn law."""
    likelihood_RJ: FloatArray
    """Mean likelihood of each count row within each bin, under the mean law."""

    @staticmethod
    def of(law: MixingLaw, bins: _Bins) -> _Side:
        """Carry a law's cells over to the bins; a cell that an edge cuts is shared out evenly."""
        low, high = law.grid.edges[:-1, None], law.grid.edges[1:, None]
        inside = np.minimum(high, bins.edges[None, 1:]) - np.maximum(low, bins.edges[None, :-1])
        share = np.zeros((len(law.grid.p_J), len(bins.up_J)))
        share[0, 0] = 1.0
        share[1:, 1:] = np.clip(inside, 0.0, None) / law.grid.step
        weight = share * law.law_SJ.mean(axis=0)[:, None]
        weight = np.where(weight.sum(axis=0) > 1e-14, weight, share)
        return _Side(law.law_SJ @ share, law.likelihood_RJ @ (weight / np.maximum(weight.sum(axis=0), _TINY)))


@dataclass(frozen=True)
class _PairRows:
    """The distinct pairs of count rows (before, after) that the problems of two runs have, and each problem's pair."""

    before_R: IntArray
    after_R: IntArray
    weight_R: IntArray
    row_P: IntArray

    @staticmethod
    def of(before: Counts, after: Counts) -> _PairRows:
        """Find the distinct pairs in the counts of two runs over the same problems."""
        return _PairRows._unique(before.table.row_P, after.table.row_P)

    @staticmethod
    def _unique(before_P: IntArray, after_P: IntArray) -> _PairRows:
        width = int(after_P.max()) + 1
        key_R, row_P, weight_R = np.unique(before_P * width + after_P, return_inverse=True, return_counts=True)
        return _PairRows(key_R // width, key_R % width, weight_R.astype(np.int64), row_P.reshape(-1).astype(np.int64))

    def take(self, problems: IntArray) -> _PairRows:
        """The pairs of some problems, whose positions are given, shape (number of problems wanted,)."""
        row_P = self.row_P[problems]
        return _PairRows._unique(self.before_R[row_P], self.after_R[row_P])

    def part(self, rows: slice) -> _PairRows:
        """The given slice of the rows; `row_P` is kept as it is and still numbers all rows."""
        return _PairRows(self.before_R[rows], self.after_R[rows], self.weight_R[rows], self.row_P)


class _Pairs:
    """Likelihood of each pair of count rows under every way to move, as a function of the two runs' laws."""

    def __init__(self, bins: _Bins, sides: tuple[_Side, _Side], rows: _PairRows) -> None:
        self.bins, self.rows = bins, rows
        self.before, self.after = sides
        own_RJ = sides[0].likelihood_RJ[rows.before_R]
        self._own_RJ = own_RJ
        self._then_RJ = sides[1].likelihood_RJ[rows.after_R]
        moved = [self._then_RJ, *((sides[1].likelihood_RJ @ bins.move(*s).T)[rows.after_R] for s in _SHIFTS)]
        up = [
            self._then_RJ * bins.up_J,
            *(((sides[1].likelihood_RJ * bins.up_J) @ bins.move(*s).T)[rows.after_R] for s in _SHIFTS),
        ]
        self._joint = np.stack([own_RJ * then_RJ for then_RJ in moved]).reshape(-1, len(bins.up_J))
        self._joint_up = np.stack([own_RJ * then_RJ for then_RJ in up]).reshape(-1, len(bins.up_J))
        self.n_moves = len(moved)
        self.n_ways = len(moved) + bins.band_JB.shape[1]

    def ways(self, law_before: IntArray, law_after: IntArray) -> tuple[FloatArray, FloatArray]:
        """Likelihood of each pair by way and side before; the same with p after at or above eps.

        Args:
            law_before: which draw of the law before, shape (T,).
            law_after: which draw of the law after, shape (T,).

        Returns:
            Two arrays of shape (M, R, 2, T), without the shares of the ways.
        """
        chains, rows = len(law_before), len(self.rows.weight_R)
        law_TJ = self.before.law_SJ[law_before]
        side_J = np.stack([law_TJ * ~self.bins.up_J, law_TJ * self.bins.up_J]).reshape(2 * chains, -1).T
        full = np.empty((self.n_ways, rows, 2, chains))
        up = np.empty_like(full)
        full[: self.n_moves] = (self._joint @ side_J).reshape(self.n_moves, rows, 2, chains)
        up[: self.n_moves] = (self._joint_up @ side_J).reshape(self.n_moves, rows, 2, chains)
        own = (self._own_RJ @ side_J).reshape(rows, 2, chains)
        then_TJ = self.after.law_SJ[law_after]
        for band, member_J in enumerate(self.bins.band_JB.T):
            mass_T = np.maximum(then_TJ @ member_J, _TINY)
            way = self.n_moves + band
            full[way] = own * ((self._then_RJ * member_J) @ then_TJ.T / mass_T)[:, None, :]
            up[way] = full[way] if band else 0.0
        return full, up

    def prior_M(self) -> FloatArray:
        """Pseudo-problems that the prior gives to each way to move, shape (M,)."""
        moves = np.full(self.n_moves, _SHIFTED)
        moves[:2] = _STAYS, _DRIFTS
        return np.concatenate([moves, _ARRIVES * (self.after.law_SJ.mean(axis=0) @ self.bins.band_JB)])


@dataclass(frozen=True)
class _States:
    """Equally likely posterior draws: a law before, a law after, and the shares of the ways to move."""

    law_before_S: IntArray
    law_after_S: IntArray
    share_M2S: FloatArray


def _explore(pairs: _Pairs, informative: float, draws: int, rng: np.random.Generator) -> _States:
    """Sample laws and shares: chains from the prior, weighted by the likelihood of the place each went to.

    Args:
        pairs: the rows that shares are learned from.
        informative: how many problems they may count as: the coarsening of the mixing laws.
        draws: how many states are wanted.
        rng: source of randomness.
    """
    prior_M, weight_R = pairs.prior_M(), pairs.rows.weight_R
    worth = informative / weight_R.sum()
    pool_MT = _dirichlet(np.repeat(prior_M[:, None], _CHAINS, axis=1), rng)
    share = _dirichlet(np.repeat(_BORROWED * pool_MT[:, None], 2, axis=1), rng)
    kept: list[tuple[IntArray, IntArray, FloatArray]] = []
    fit_T = np.zeros(_CHAINS)
    for sweep in range(_BURN + _KEEP):
        law_before_T, law_after_T = (rng.integers(len(s.law_SJ), size=_CHAINS) for s in (pairs.before, pairs.after))
        part, _ = pairs.ways(law_before_T, law_after_T)
        part *= share[:, None]
        part += _TINY
        total_RT = part.sum(axis=(0, 2))
        if sweep >= _BURN:
            kept.append((law_before_T, law_after_T, share))
            fit_T += worth * (weight_R @ np.log(total_RT)) / _KEEP
        part /= total_RT[:, None]
        took = np.stack([_allocate(weight_R, part[..., chain], rng) for chain in range(_CHAINS)], axis=-1) * worth
        pool_MT = _dirichlet(prior_M[:, None] + took.sum(axis=1), rng)
        share = _dirichlet(_BORROWED * pool_MT[:, None] + took, rng)
    weight_T = np.exp(_EVIDENCE * (fit_T - fit_T.max()))
    reach_T = np.cumsum(weight_T) / weight_T.sum()
    chain_S = np.minimum(np.searchsorted(reach_T, (rng.random() + np.arange(draws)) / draws), _CHAINS - 1)
    at_S = rng.integers(_KEEP, size=draws)
    picked = [tuple(values[..., chain] for values in kept[at]) for at, chain in zip(at_S, chain_S, strict=True)]
    return _States(
        np.asarray([law for law, _, _ in picked]),
        np.asarray([law for _, law, _ in picked]),
        np.stack([shares for _, _, shares in picked], axis=-1),
    )


def _dirichlet(pseudo: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Dirichlet draws along the first axis of `pseudo`; the result has the same shape and sums to 1 along that axis."""
    gamma = np.maximum(rng.standard_gamma(pseudo), _TINY)
    return gamma / gamma.sum(axis=0)


def _allocate(weight_R: IntArray, chance: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draw which way the problems of each row took, and count them over all rows.

    Args:
        weight_R: problems per row, shape (R,).
        chance: unnormalised chances of way and side for each row, shape (M, R, 2).
        rng: source of randomness.

    Returns:
        Problems per way and side, shape (M, 2).
    """
    ways, rows, sides = chance.shape
    flat = np.moveaxis(chance, 1, 0).reshape(rows, -1)
    took_RW = rng.multinomial(weight_R, flat / flat.sum(axis=1, keepdims=True))
    return took_RW.sum(axis=0).reshape(ways, sides).astype(np.float64)


def _answer(
    rows: _PairRows,
    pairs_of: Callable[[_PairRows], _Pairs],
    states: _States,
    change_R: FloatArray,
    variance_R: FloatArray,
    rng: np.random.Generator,
) -> Crossing:
    """Put the fates under every sampled state together, working through the rows in pieces that fit into memory."""
    draws, problems = len(states.law_before_S), int(rows.weight_R.sum())
    fate_R4 = np.empty((len(rows.weight_R), 4))
    count_S4, moved_S4, noise_S4 = np.zeros((3, draws, 4))
    for start in range(0, len(fate_R4), _CHUNK):
        piece = slice(start, start + _CHUNK)
        pairs = pairs_of(rows.part(piece))
        mean_R4 = np.zeros((len(pairs.rows.weight_R), 4))
        for first in range(0, draws, _CHAINS):
            some = slice(first, first + _CHAINS)
            full, up = pairs.ways(states.law_before_S[some], states.law_after_S[some])
            share = states.share_M2S[:, None, :, some]
            all_R2T, up_R2T = (full * share).sum(axis=0) + _TINY, (up * share).sum(axis=0)
            fate_4RT = np.stack(
                [up_R2T[:, 1], up_R2T[:, 0], all_R2T[:, 1] - up_R2T[:, 1], all_R2T[:, 0] - up_R2T[:, 0]]
            )
            fate_4RT = np.maximum(fate_4RT, 0.0)
            fate_4RT /= fate_4RT.sum(axis=0)
            mean_R4 += fate_4RT.sum(axis=2).T
            for at, fate_4R in enumerate(np.moveaxis(fate_4RT, 2, 0), first):
                took_R4 = rng.multinomial(pairs.rows.weight_R, fate_4R.T)
                count_S4[at] += took_R4.sum(axis=0)
                moved_S4[at] += change_R[piece] @ took_R4
                noise_S4[at] += variance_R[piece] @ took_R4
        fate_R4[piece] = mean_R4 / draws
    moved_S4 += np.sqrt(noise_S4) * rng.standard_normal(noise_S4.shape)
    return Crossing(fate_R4[rows.row_P], count_S4, moved_S4 / problems)


def _variance(counts: Counts) -> FloatArray:
    """Posterior variance of each problem's p from its own rollouts (Jeffreys), shape (P,)."""
    passed, failed = counts.c_P + 0.5, counts.n_P - counts.c_P + 0.5
    return passed * failed / ((counts.n_P + 1.0) ** 2 * (counts.n_P + 2.0))
