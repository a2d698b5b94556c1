"""The families of laws from which pass@k is forecast, with a prior learned from real models.

With few rollouts per problem the counts fix pass@1 and little else, so that a forecast rests on what laws real models
have (`law_prior`). Classes and shares below a threshold keep the wider priors of `mixing_prior`: a verdict on one set
of problems should not lean on other models.
"""

from __future__ import annotations

from posttrain_diag.stats.law_prior import BETA, NORMAL
from posttrain_diag.stats.mixing_components import Components
from posttrain_diag.stats.mixing_groups import Groups
from posttrain_diag.stats.mixing_prior import LawFamily, SmoothFamily

_ZEROS = (-2.6, 1.8)
"""Mean and sd of the logit of the mass at 0."""


def _beta(name: str, weight: float, *, atom: bool = False, spline_sd: float = 0.0) -> SmoothFamily:
    mean, sd = (*BETA.mean, _ZEROS[0]), (*BETA.sd, _ZEROS[1])
    return SmoothFamily(name, mean, sd, spline_sd, atom=atom, weight=weight, point_weight=weight)


def _normal(name: str, weight: float, *, atom: bool = False) -> SmoothFamily:
    mean, sd = (*NORMAL.mean, _ZEROS[0]), (*NORMAL.sd, _ZEROS[1])
    return SmoothFamily(name, mean, sd, 0.0, atom=atom, weight=weight, point_weight=weight, core="normal")


FORECAST_FAMILIES: tuple[LawFamily, ...] = (
    _beta("beta", 0.25),
    _beta("spline 1", 0.05, spline_sd=1.0),
    _beta("zeros + beta", 0.15, atom=True),
    _normal("normal", 0.2),
    _normal("zeros + normal", 0.05, atom=True),
    Groups("beta + heap", 1, core=True, atom=False, weight=0.1),
    Groups("zeros + beta + heap", 1, core=True, atom=True, weight=0.05),
    Groups("zeros + 3 groups", 3, core=False, atom=True, weight=0.1),
    *(Components(f"{k} components", k, weight, weight) for k, weight in ((2, 0.04), (3, 0.03), (5, 0.04))),
)
"""About two thirds of the weight has no mass at 0. Equal weights forecast real counts as well (stats/NOTES.md)."""
