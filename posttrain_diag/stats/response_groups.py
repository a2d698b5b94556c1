"""Groups of problems by how they respond to a row of treatments: which respond at all, and how often?

One law for all problems cannot say that some never respond while others respond often: between the two heaps it leaves
room near the threshold. Here a problem belongs to one of a few latent groups. One of them does not respond: its success
stays below eps after every treatment. The others respond, each with a mean and a spread of its own after each
treatment, and the mean does not fall from one treatment to the next. How many groups there are, how large they are and
what they do is inferred by Gibbs sampling; groups that the data do not support stay empty. Where labels divide the
problems, the shares of the groups may differ between labels as much as the data say (a hierarchical Dirichlet prior).

Suffixes: `P` problems, `A` treatments in rising order, `C` chains, `K` groups (the first does not respond), `L` labels,
`M` cells (a mean and a precision of a group's beta law), `S` posterior draws.

References:
    Sparse finite mixtures, whose superfluous groups empty themselves: Rousseau and Mengersen 2011,
    doi:10.1111/j.1467-9868.2011.00781.x. Sampler of the hierarchical Dirichlet prior: Teh et al. 2006,
    doi:10.1198/016214506000000302.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, expit, gammaln, logit

from posttrain_diag.errors import StatsError
from posttrain_diag.stats.counts import FloatArray
from posttrain_diag.stats.functionals import PGrid

IntArray = NDArray[np.int64]

_RESPONDING = 4
"""Groups that may respond, at most."""
_NULL_PRIOR = 0.5
"""Dirichlet weight of the group that does not respond."""
_RESPONSE_PRIOR = 0.5
"""Dirichlet weight of all groups that respond together: with `_NULL_PRIOR`, "all alike" is likely before any data."""
_MEANS = 28
_LOWEST, _HIGHEST = -3.5, 5.0
"""Means of responding groups reach from this far below eps to this, in logit(p)."""
_PRECISIONS = (2.0, 8.0, 30.0, 200.0)
"""Pseudo-draws of a group's beta law: how alike its problems are."""
_NULL_CELLS = 16
_CONCENTRATIONS = (1.0, 4.0, 16.0, np.inf)
"""How much alike the labels' shares of the groups are: from hardly to the same."""
_CHAINS = 16
_BURN_IN = 80
_KEPT = 25
_THIN = 4
_NEVER = -1e300


@dataclass(frozen=True, eq=False)
class ResponseGroups:
    """Which problems respond, in equally likely draws of the groups."""

    response_SP: FloatArray
    """Probability that some treatment given to the problem lifts its success to eps, under each draw of the groups."""
    rate_SAM: FloatArray
    """Share of the problems in each cell of `cells` after each treatment, under each draw of the groups; the first cell
    is of those that do not respond."""
    mean_M: FloatArray
    precision_M: FloatArray
    """Mean and precision of the beta law in each cell but the first."""

    @cached_property
    def response_P(self) -> FloatArray:
        """Posterior probability that some treatment lifts the problem to eps, shape (P,)."""
        return self.response_SP.mean(axis=0)

    def laws(self, treatment: int, grid: PGrid) -> FloatArray:
        """The laws of success after a treatment over all problems, one per draw of the groups.

        Args:
            treatment: its place.
            grid: the cells; those that do not respond are put at p = 0.

        Returns:
            Masses on the grid, shape (S, J).
        """
        edge_J = expit(grid.edges)
        a_M, b_M = self.mean_M * self.precision_M, (1.0 - self.mean_M) * self.precision_M
        body_MJ = np.diff(betainc(a_M[:, None], b_M[:, None], edge_J), axis=1)
        body_MJ /= body_MJ.sum(axis=1, keepdims=True)
        rate_SM = self.rate_SAM[:, treatment]
        return np.concatenate([rate_SM[:, :1], rate_SM[:, 1:] @ body_MJ], axis=1)


def fit_response_groups(
    n_PA: IntArray, c_PA: IntArray, eps: float, *, labels: Sequence[str] | None = None, seed: int = 0
) -> ResponseGroups:
    """Infer the groups and each problem's chance to respond.

    Args:
        n_PA: draws of each problem after each treatment, in rising order of the treatments; 0 where it was not given.
        c_PA: successes among them.
        eps: success probability from which a problem responds.
        labels: a label for each problem, whose shares of the groups may differ; None: all alike.
        seed: seeds the sampler; the same counts and seed give the same groups.

    Raises:
        StatsError: the arrays do not fit each other, or eps is no probability.
    """
    if n_PA.ndim != 2 or n_PA.shape != c_PA.shape or (labels is not None and len(labels) != len(n_PA)):
        raise StatsError(f"n has shape {n_PA.shape}, c {c_PA.shape}: give two arrays of problems x treatments")
    if not 0.0 < eps < 1.0:
        raise StatsError(f"eps is {eps}: give a probability between 0 and 1")
    label_P = np.zeros(len(n_PA), np.int64) if labels is None else np.unique(list(labels), return_inverse=True)[1]
    return _Sampler(_Tables.build(n_PA, c_PA, eps), label_P.astype(np.int64), np.random.default_rng([seed, 5])).run()


@dataclass(frozen=True, eq=False)
class _Tables:
    """What the sampler looks up: each problem's likelihood in each cell."""

    log_AMP: FloatArray
    """Log likelihood of the counts after a treatment in a responding group's cell."""
    below_AMP: FloatArray
    """Log probability that success after the treatment stays below eps, given cell and counts; 0 where not given."""
    null_P: FloatArray
    """Log likelihood of all counts in the group that does not respond."""
    rank_M: FloatArray
    """Place of the cell's mean among the means, from 0."""
    low_M: NDArray[np.bool_]
    """Whether the cell's mean lies below eps."""
    mean_M: FloatArray
    precision_M: FloatArray

    @staticmethod
    def build(n_PA: IntArray, c_PA: IntArray, eps: float) -> _Tables:
        """Evaluate the likelihoods."""
        means = expit(np.linspace(min(float(logit(eps)), 0.0) + _LOWEST, _HIGHEST, _MEANS))
        mean_M = np.repeat(means, len(_PRECISIONS))
        precision_M = np.tile(_PRECISIONS, _MEANS)
        a_M, b_M = (mean_M * precision_M)[:, None], ((1.0 - mean_M) * precision_M)[:, None]
        log_AMP = np.empty((n_PA.shape[1], len(mean_M), len(n_PA)))
        below_AMP = np.zeros_like(log_AMP)
        null_P = np.zeros(len(n_PA))
        q_J = eps * (np.arange(_NULL_CELLS) + 0.5) / _NULL_CELLS
        for a, (n_P, c_P) in enumerate(zip(n_PA.T.astype(np.float64), c_PA.T.astype(np.float64), strict=True)):
            log_AMP[a] = betaln(a_M + c_P, b_M + n_P - c_P) - betaln(a_M, b_M)
            below = betainc(a_M + c_P, b_M + n_P - c_P, eps)
            below_AMP[a] = np.where(n_P > 0, np.log(np.maximum(below, 1e-300)), 0.0)
            even_P = np.exp(np.log(q_J)[:, None] * c_P + np.log1p(-q_J)[:, None] * (n_P - c_P)).mean(axis=0)
            null_P += np.log(np.maximum(0.5 * (c_P == 0) + 0.5 * even_P, 1e-300))
        rank_M = np.repeat(np.arange(_MEANS, dtype=np.float64), len(_PRECISIONS))
        return _Tables(log_AMP, below_AMP, null_P, rank_M, mean_M < eps, mean_M, precision_M)


class _Sampler:
    """Gibbs sampling of several chains at once."""

    def __init__(self, tables: _Tables, label_P: IntArray, rng: np.random.Generator) -> None:
        self.tables, self.rng = tables, rng
        self.label_P = label_P
        self.label_PL = np.eye(int(label_P.max(initial=0)) + 1)[label_P]
        self.prior_K = np.array([_NULL_PRIOR, *[_RESPONSE_PRIOR / _RESPONDING] * _RESPONDING])
        self.treatments, self.cells, self.problems = tables.log_AMP.shape
        self.cell_CKA = np.zeros((_CHAINS, _RESPONDING, self.treatments), np.int64)
        self.concentration_C = np.full(_CHAINS, np.inf)
        self.base_CK = np.tile(self.prior_K / self.prior_K.sum(), (_CHAINS, 1))

    def run(self) -> ResponseGroups:
        """The kept draws of all chains."""
        member_CKP = self._begin()
        self.cell_CKA[:] = self.rng.integers(self.cells, size=self.cell_CKA.shape)
        self.cell_CKA.sort(axis=2)
        responses: list[FloatArray] = []
        rates: list[FloatArray] = []
        for step in range(_BURN_IN + _KEPT * _THIN):
            self._draw_cells(member_CKP[:, 1:])
            share_CLK = self._draw_shares(member_CKP @ self.label_PL)
            log_CKP = self._likelihood() + np.log(share_CLK)[:, self.label_P].transpose(0, 2, 1)
            log_CKP -= log_CKP.max(axis=1, keepdims=True)
            chance_CKP = np.exp(log_CKP)
            chance_CKP /= chance_CKP.sum(axis=1, keepdims=True)
            if step >= _BURN_IN and (step - _BURN_IN) % _THIN == 0:
                responses.append(self._response(chance_CKP))
                rates.append(self._rates(chance_CKP.mean(axis=2)))
            member_CKP = self._members(chance_CKP)
        return ResponseGroups(
            np.concatenate(responses), np.concatenate(rates), self.tables.mean_M, self.tables.precision_M
        )

    def _begin(self) -> FloatArray:
        """First groups: by success; in every other chain even the problems without any begin in a responding group."""
        best_P = (self.tables.log_AMP.sum(axis=0)).argmax(axis=0)
        order_P = self.tables.mean_M[best_P].argsort(kind="stable").argsort(kind="stable")
        group_P = 1 + order_P * _RESPONDING // max(1, self.problems)
        null_P = self.tables.null_P > self.tables.log_AMP.sum(axis=0).max(axis=0) - 3.0
        member_CKP = np.zeros((_CHAINS, _RESPONDING + 1, self.problems))
        for chain, members_KP in enumerate(member_CKP):
            chosen_P = np.where(null_P & (chain % 2 == 0), 0, group_P)
            members_KP[chosen_P, np.arange(self.problems)] = 1.0
        return member_CKP

    def _draw_cells(self, member_CKP: FloatArray) -> None:
        """Each responding group's mean and precision after each treatment, given its problems."""
        rank_M, last = self.tables.rank_M, self.treatments - 1
        for a in reversed(range(self.treatments)):
            log_CKM = member_CKP @ self.tables.log_AMP[a].T
            if a == last:
                log_CKM = log_CKM + np.where(self.tables.low_M, _NEVER, 0.0)
            else:
                above_CK = rank_M[self.cell_CKA[:, :, a + 1]]
                log_CKM = np.where(rank_M <= above_CK[:, :, None], log_CKM, _NEVER)
            if a > 0:  # the mean after the treatment before is spread evenly below this one
                under_CK = rank_M[self.cell_CKA[:, :, a - 1]]
                log_CKM = np.where(rank_M >= under_CK[:, :, None], log_CKM - np.log1p(rank_M), _NEVER)
            self.cell_CKA[:, :, a] = (log_CKM + self.rng.gumbel(size=log_CKM.shape)).argmax(axis=2)

    def _likelihood(self) -> FloatArray:
        """Log likelihood of each problem's counts in each group, shape (C, K, P)."""
        log_CKP = np.empty((_CHAINS, _RESPONDING + 1, self.problems))
        log_CKP[:, 0] = self.tables.null_P
        log_CKP[:, 1:] = sum(self.tables.log_AMP[a][self.cell_CKA[:, :, a]] for a in range(self.treatments))
        return log_CKP

    def _draw_shares(self, size_CKL: FloatArray) -> FloatArray:
        """Shares of the groups for each label, shape (C, L, K), given how many problems of it they hold."""
        size_CLK = size_CKL.transpose(0, 2, 1)
        if size_CLK.shape[1] == 1:
            return self._dirichlet(self.prior_K + size_CLK)
        tables_CK = np.stack([self._tables_of(size_LK, chain) for chain, size_LK in enumerate(size_CLK)])
        self.base_CK = self._dirichlet(self.prior_K + tables_CK)
        self._draw_concentration(size_CLK)
        same_C = np.isinf(self.concentration_C)
        finite_C = np.where(same_C, 1.0, self.concentration_C)
        own_CLK = self._dirichlet(finite_C[:, None, None] * self.base_CK[:, None] + size_CLK)
        return np.where(same_C[:, None, None], self.base_CK[:, None], own_CLK)

    def _tables_of(self, size_LK: FloatArray, chain: int) -> FloatArray:
        """How many of a group's problems were drawn from the common shares, not after others of their label, (K,)."""
        if np.isinf(self.concentration_C[chain]):
            return size_LK.sum(axis=0)
        out_K = np.zeros(size_LK.shape[1])
        for size_K in size_LK:
            for k, size in enumerate(size_K.astype(int).tolist()):
                weight = self.concentration_C[chain] * self.base_CK[chain, k]
                out_K[k] += (self.rng.random(size) < weight / (weight + np.arange(size))).sum()
        return out_K

    def _draw_concentration(self, size_CLK: FloatArray) -> None:
        """How much alike the labels are, given the groups' sizes per label."""
        log_CV = np.empty((_CHAINS, len(_CONCENTRATIONS)))
        for v, value in enumerate(_CONCENTRATIONS):
            if np.isinf(value):
                log_CV[:, v] = (size_CLK * np.log(self.base_CK)[:, None]).sum(axis=(1, 2))
                continue
            weight_CLK = value * self.base_CK[:, None]
            total_CL = size_CLK.sum(axis=2)
            log_CV[:, v] = (gammaln(weight_CLK + size_CLK) - gammaln(weight_CLK)).sum(axis=(1, 2))
            log_CV[:, v] += (gammaln(value) - gammaln(value + total_CL)).sum(axis=1)
        picks_C = (log_CV + self.rng.gumbel(size=log_CV.shape)).argmax(axis=1)
        self.concentration_C = np.asarray(_CONCENTRATIONS)[picks_C]

    def _dirichlet(self, weight: FloatArray) -> FloatArray:
        """Dirichlet draws along the last axis, kept off 0."""
        gamma = np.maximum(self.rng.standard_gamma(weight), 1e-12)
        return gamma / gamma.sum(axis=-1, keepdims=True)

    def _members(self, chance_CKP: FloatArray) -> FloatArray:
        """A group for each problem, as 0 and 1, shape (C, K, P)."""
        at_CP = self.rng.random((_CHAINS, 1, self.problems))
        picks_CP = np.minimum((np.cumsum(chance_CKP, axis=1) < at_CP).sum(axis=1), _RESPONDING)
        return (picks_CP[:, None, :] == np.arange(_RESPONDING + 1)[:, None]).astype(np.float64)

    def _response(self, chance_CKP: FloatArray) -> FloatArray:
        """Probability that some treatment lifts a problem to eps, shape (C, P)."""
        below_CKP = sum(self.tables.below_AMP[a][self.cell_CKA[:, :, a]] for a in range(self.treatments))
        return np.clip((chance_CKP[:, 1:] * -np.expm1(below_CKP)).sum(axis=1), 0.0, 1.0)

    def _rates(self, share_CK: FloatArray) -> FloatArray:
        """Share of the problems in each cell after each treatment, those that do not respond first, (C, A, 1 + M)."""
        out_CAM = np.zeros((_CHAINS, self.treatments, self.cells + 1))
        out_CAM[:, :, 0] = share_CK[:, :1]
        for a in range(self.treatments):
            for k in range(_RESPONDING):
                out_CAM[np.arange(_CHAINS), a, 1 + self.cell_CKA[:, k, a]] += share_CK[:, 1 + k]
        return out_CAM
