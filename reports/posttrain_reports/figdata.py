"""Figure data as typed values: one parse shared by the page's SVG and by the figures for papers.

Array suffixes: P problems, K bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.types import Label
from posttrain_diag.wording.numbers import finite
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import CLASSES
from posttrain_reports.data import as_mapping

if TYPE_CHECKING:
    import pandas as pd

MAX_POINTS = 2000
"""Most points drawn in a scatter; beyond this a seeded sample is drawn, and the caption says so."""
_LABELS: tuple[Label, ...] = ("measured", "estimated", "model-dependent", "bound", "undefined")
MAX_CURVE = 200
"""Most points drawn of one curve; beyond this it is evenly thinned, first and last kept."""
MAX_ARMS = 6
NAME_LIMIT = 80
P_EDGES = (1e-3, 0.998)
"""Ends of the drawn probability axis; the lower one moves below eps when eps is smaller."""


@dataclass(frozen=True)
class Point:
    """One estimate at one x. A `value` of None means undefined and is drawn as a gap."""

    x: float
    value: float | None
    low: float | None
    high: float | None
    label: Label = "measured"

    @property
    def bound(self) -> float | None:
        """The upper limit where that is all that is known, because no draw passed; else None."""
        return self.high if self.label == "bound" else None


@dataclass(frozen=True)
class Share:
    """One class, or one reading, with the share that it has."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    reason: str = ""


@dataclass(frozen=True)
class Histogram:
    """Problems by success probability, stacked by class, with the problems that never passed kept apart."""

    edges: NDArray[np.float64]
    """Bin edges on the probability scale, shape (K + 1,), equally spaced in logit."""
    counts: Mapping[str, NDArray[np.int64]]
    """For each class the problems per bin, shape (K,)."""
    zeros: Mapping[str, int]
    """For each class the problems with no passing rollout."""
    n_range: tuple[int, int]
    """Fewest and most rollouts drawn for a problem without a pass (0, 0 when unknown)."""
    eps: float | None
    mastery: float | None
    undefined: int
    """Number of problems with no estimate at all."""


@dataclass(frozen=True)
class Scatter:
    """The likelihood of the demonstrations, a dot per problem; array fields have shape (P,)."""

    x_P: NDArray[np.float64]
    """log pi(demo) of each problem, nats, shape (P,)."""
    y_P: NDArray[np.float64]
    """Smallest token probability along each demonstration, shape (P,)."""
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    total: int
    """Number of problems with a scored demonstration, before any sampling."""


def _column(data: Mapping[str, Any], name: str, size: int) -> list[Any]:
    values = data.get(name)
    cells = list(values) if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) else []
    return (cells + [None] * size)[:size]


def points(data: Mapping[str, Any], x_name: str) -> tuple[Point, ...]:
    """Parallel lists {x_name, value, low, high, label} as points in order of x; rows without x are left out."""
    xs = data.get(x_name)
    size = len(xs) if isinstance(xs, Sequence | np.ndarray) else 0
    columns = [_column(data, name, size) for name in (x_name, "value", "low", "high", "label")]
    found: list[Point] = []
    for x, value, low, high, label in zip(*columns, strict=True):
        position = finite(x)
        if position is None:
            continue
        known: Label = label if label in _LABELS else "measured"
        y = None if known == "undefined" else finite(value)
        found.append(Point(position, y, finite(low), finite(high), _known(known, y)))
    found.sort(key=lambda point: point.x)
    if len(found) > MAX_CURVE:
        found = [found[i] for i in np.linspace(0, len(found) - 1, MAX_CURVE).round().astype(int).tolist()]
    return tuple(found)


def _known(label: Label, value: float | None) -> Label:
    """The label of a point: without a value it is undefined, unless it is an upper limit."""
    return label if value is not None or label == "bound" else "undefined"


def point_of(x: float, block: Mapping[str, Any]) -> Point:
    """An estimate block as a point at x."""
    label = block.get("label")
    known: Label = label if label in _LABELS else "measured"
    y = None if known == "undefined" else finite(block.get("value"))
    return Point(x, y, finite(block.get("low")), finite(block.get("high")), _known(known, y))


def ladder(data: Mapping[str, Any]) -> dict[str, tuple[Point, ...]]:
    """Success after a share rho of a trace by arm, for the arms that have any value."""
    arms: dict[str, tuple[Point, ...]] = {}
    for arm, columns in as_mapping(data.get("arms")).items():
        arm_points = points({"rho": data.get("rho", ()), **as_mapping(columns)}, "rho")
        if any(point.value is not None for point in arm_points):
            arms[clip(str(arm), NAME_LIMIT)] = arm_points
        if len(arms) == MAX_ARMS:
            break
    return arms


def _held(value: object) -> float | None:
    """A share within [0, 1], which sums of posteriors leave by rounding errors."""
    number = finite(value)
    return None if number is None else min(max(number, 0.0), 1.0)


def class_shares(diagnosis: Mapping[str, Any]) -> tuple[Share, ...]:
    """The six class shares in their fixed order; an absent class is undefined, not zero."""
    shares = as_mapping(diagnosis.get("shares"))
    result: list[Share] = []
    for name in CLASSES:
        block = as_mapping(shares.get(name))
        value, low, high = (_held(block.get(key)) for key in ("value", "low", "high"))
        result.append(Share(name, value, low, high, str(block.get("reason") or "")))
    return tuple(result)


def reported_shares(diagnosis: Mapping[str, Any]) -> tuple[Share, ...]:
    """The class shares, then that of consolidation, which overlaps with them, where another model was compared."""
    block = as_mapping(as_mapping(diagnosis.get("shares")).get("consolidation"))
    if not block:
        return class_shares(diagnosis)
    value, low, high = (_held(block.get(key)) for key in ("value", "low", "high"))
    return (*class_shares(diagnosis), Share("consolidation", value, low, high, str(block.get("reason") or "")))


def strict_lenient(data: Mapping[str, Any]) -> tuple[Share, ...]:
    """The strict and lenient pass rates, given as numbers or as estimates."""
    result: list[Share] = []
    for name in ("strict", "lenient"):
        raw = data.get(name)
        block = as_mapping(raw)
        value = finite(block.get("value")) if block else finite(raw)
        result.append(Share(name, value, finite(block.get("low")), finite(block.get("high"))))
    return tuple(result)


def problem_classes(problems: pd.DataFrame) -> NDArray[np.object_]:
    """The class of each problem, shape (P,); anything unknown or absent is unresolved."""
    if "class" not in problems.columns:
        return np.full(len(problems), "unresolved", dtype=object)
    column = problems["class"].astype(object)
    return column.where(column.isin(list(CLASSES)), "unresolved").to_numpy(dtype=object)


def numeric_column(problems: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A column as floats with NaN for what is missing or not finite, shape (P,)."""
    return _numbers(problems[name]) if name in problems.columns else np.full(len(problems), np.nan)


def _numbers(values: Any) -> NDArray[np.float64]:
    """A list or column as floats with NaN for what is not a finite number, shape (P,); a million values at once."""
    import pandas as pd

    found = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(found), found, np.nan)


def logit(p: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Log-odds of probabilities, which are held within [1e-9, 1 - 1e-9].

    Args:
        p: probabilities of any shape.

    Returns:
        Log-odds, of the same shape.
    """
    held = np.clip(p, 1e-9, 1 - 1e-9)
    return np.log(held) - np.log1p(-held)


def p_histogram(problems: pd.DataFrame, eps: float | None, mastery: float | None, bins: int = 28) -> Histogram:
    """Count problems by their posterior mean success probability.

    Problems with c = 0 are counted apart, not placed.

    Args:
        problems: the rows of problems.parquet.
        eps: the support threshold, if it is known.
        mastery: success probability from which a problem counts as mastered, if it is known.
        bins: the number K of bins.
    """
    p_P, c_P, n_P = (numeric_column(problems, name) for name in ("p_mean", "c", "n"))
    class_P = problem_classes(problems)
    ratio_P = np.divide(c_P, n_P, out=np.full_like(c_P, np.nan), where=n_P > 0)
    p_P = np.where(np.isnan(p_P), ratio_P, p_P)
    drawn_P = n_P > 0
    zero_P = (c_P == 0) & drawn_P
    placed_P = ~zero_P & ~np.isnan(p_P) & drawn_P
    low, high = min(P_EDGES[0], eps / 3 if eps else P_EDGES[0]), P_EDGES[1]
    edges_logit = np.linspace(float(logit(low)), float(logit(high)), bins + 1)
    held_P = np.clip(logit(np.clip(p_P, low, high)), edges_logit[0], edges_logit[-1])
    counts: dict[str, NDArray[np.int64]] = {}
    zeros: dict[str, int] = {}
    for name in CLASSES:
        own_P = class_P == name
        counts[name] = np.histogram(held_P[own_P & placed_P], edges_logit)[0].astype(np.int64)
        zeros[name] = int(np.count_nonzero(own_P & zero_P))
    n_zero = n_P[zero_P]
    n_range = (int(n_zero.min()), int(n_zero.max())) if len(n_zero) else (0, 0)
    return Histogram(
        edges=1 / (1 + np.exp(-edges_logit)),
        counts=counts,
        zeros=zeros,
        n_range=n_range,
        eps=eps,
        mastery=mastery,
        undefined=int(np.count_nonzero(~zero_P & ~placed_P)),
    )


def demo_scatter(data: Mapping[str, Any], problems: pd.DataFrame, limit: int = MAX_POINTS) -> Scatter:
    """The problems with a scored demonstration, coloured by class; a seeded sample above `limit` points."""
    ids = list(data.get("problem_id") or ())
    x_P, y_P = (_numbers(_column(data, name, len(ids))) for name in ("demo_logprob_nats", "min_token_prob"))
    kept = np.flatnonzero(~np.isnan(x_P) & ~np.isnan(y_P) & (y_P >= 0))
    total = len(kept)
    if total > limit:
        kept = np.sort(np.random.default_rng(0).choice(kept, size=limit, replace=False))
    shown = [str(ids[i]) for i in kept]
    known = problems[problems["id"].astype(str).isin(shown)]
    lookup = dict(zip(known["id"].astype(str), problem_classes(known), strict=True))
    return Scatter(
        x_P=x_P[kept],
        y_P=y_P[kept],
        classes=tuple(str(lookup.get(one, "unresolved")) for one in shown),
        ids=tuple(clip(one, NAME_LIMIT) for one in shown),
        total=total,
    )


def thresholds(diagnosis: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The thresholds (eps, mastery) from the settings, where eps = 1 / rollout budget."""
    settings = as_mapping(diagnosis.get("settings"))
    budget = finite(settings.get("rollout_budget"))
    return (1 / budget if budget else None), finite(settings.get("mastery"))
