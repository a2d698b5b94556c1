"""The true class of each problem for a zoo model, and the true bottleneck of a set: the diagnosis' rules on exact p.

    mastered    p >= mastery
    format      else, lenient - p >= half of 1 - p, or lenient >= eps and at least four times p
    reshaping   else, p >= eps
    guided      else, p after some prefix of the demonstration >= eps
    support     else
    unclear     the bounds of p straddle a threshold that decides, whatever the effort

Each number is bounded only as closely as its threshold needs, and only where it decides: by enumeration, and where
that leaves too much open by drawn rollouts of the rest too (tail.py; each such bound fails with probability 1e-4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posttrain_diag.tasks import verify
from posttrain_diag.tasks.problems.traces import trace_prefix
from posttrain_diag.types import Bottleneck, Problem
from posttrain_diag.zoo.family import Style
from posttrain_diag.zoo.problems import family_of
from posttrain_diag.zoo.truth import Bounds, ExactModel, FloatArray, one_world
from posttrain_diag.zoo.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

PREFIX_SHARES = (0.25, 0.5, 0.75, 0.875)
"""Shares of a demonstration's tokens that are given: the prefix ladder's."""
REPAIRABLE = 0.5
"""Share of the strict failures that the lenient reading must forgive for a problem to be format-limited ..."""
IN_FORM = 0.25
"""... or share of the lenient passes that may at most be strict ones, where lenient success reaches eps."""
SATURATED = 0.9
"""Share of mastered problems from which a set is saturated."""
DOMINANT = 0.6
"""Share of the open problems that a bottleneck must hold to name a set; else it is mixed."""

_LEVELS = (
    {"prune": 1e-4, "width": 200},
    {"prune": 1e-4, "width": 200, "tail_draws": 128},
    {"prune": 1e-4, "width": 200, "tail_draws": 1024},
)
"""Settings of the enumeration (see `success_bounds`), tried in turn until no threshold is straddled."""


def true_classes(
    model_dir: str | Path,
    problems: Sequence[Problem],
    *,
    eps: float = 1 / 256,
    mastery: float = 0.8,
    demos: Style | None = None,
) -> pd.DataFrame:
    """The class that each problem is in, by the exact success probabilities of this model.

    Args:
        model_dir: a zoo model's directory.
        problems: problems of builtin:zoo tasks, all of one world.
        eps: effective-support threshold, one over the rollouts per prompt.
        mastery: success probability from which a problem is mastered.
        demos: style of the demonstrations whose prefixes are given; None: the problems' own.

    Returns:
        One row per problem, in order: id, family, p_low, p_high, lenient_p (lower bound; NaN where mastered),
        best_prefix_p (lower bound, the best of `PREFIX_SHARES`; NaN where p >= eps or another class holds, 0 without
        a usable prefix), class (of `CLASSES`, or "unclear").

    Raises:
        ModelError: the model does not have the vocabulary of the problems' world.
        UsageError: a problem carries no family tag, the problems are of several worlds or none, or a family has no
            demonstrations in this style.
    """
    import pandas as pd

    model = ExactModel(model_dir, one_world(problems))
    low_P, high_P = _refined(
        lambda rows, settings: model.bounds([problems[i] for i in rows], **settings),
        len(problems),
        lambda low_P, high_P: ((low_P < mastery) & (high_P >= mastery)) | ((low_P < eps) & (high_P >= eps)),
    )
    class_P = np.full(len(problems), "unclear", dtype=object)
    class_P[low_P >= mastery] = "mastered"
    lenient_P = np.full(len(problems), np.nan)
    prefix_P = np.full(len(problems), np.nan)

    open_rows = np.flatnonzero(high_P < mastery)
    lenient_P[open_rows], forgiven_R, failed_R = _forgiven(
        model, [problems[i] for i in open_rows.tolist()], low_P[open_rows], high_P[open_rows], eps
    )
    class_P[open_rows[forgiven_R]] = "format"
    class_P[open_rows[failed_R & (low_P[open_rows] >= eps)]] = "reshaping"

    deep_rows = open_rows[failed_R & (high_P[open_rows] < eps)]
    prefix_P[deep_rows], high_R = _after_prefixes(model, [problems[i] for i in deep_rows.tolist()], eps, demos)
    class_P[deep_rows[prefix_P[deep_rows] >= eps]] = "guided"
    class_P[deep_rows[high_R < eps]] = "support"
    return pd.DataFrame(
        {
            "id": [problem.id for problem in problems],
            "family": [family_of(problem).name for problem in problems],
            "p_low": low_P,
            "p_high": high_P,
            "lenient_p": lenient_P,
            "best_prefix_p": prefix_P,
            "class": class_P,
        }
    )


def after_prefixes(
    model_dir: str | Path, problems: Sequence[Problem], *, demos: Style | None = None, prune: float = 1e-5
) -> pd.DataFrame:
    """How likely success is after each share of the demonstration that the prefix ladder gives.

    Args:
        model_dir: a zoo model's directory.
        problems: problems of builtin:zoo tasks, all of one world.
        demos: style of the demonstrations; None: the problems' own.
        prune: nodes below this probability are not grown further, as in `exact_success`.

    Returns:
        One row per problem, in order; columns p_low@0.25, p_high@0.25, ... for `PREFIX_SHARES`, NaN where the ladder
        gives no such prefix.
    """
    import pandas as pd

    model = ExactModel(model_dir, one_world(problems))
    table: dict[str, FloatArray] = {}
    for share in PREFIX_SHARES:
        cut = [demo_prefix(problem, model.vocabulary, share, demos) for problem in problems]
        given = [i for i, ids in enumerate(cut) if ids is not None]
        low_P, high_P = np.full(len(problems), np.nan), np.full(len(problems), np.nan)
        low_P[given], high_P[given] = model.bounds(
            [problems[i] for i in given], prune=prune, response_prefix_ids=[cut[i] or () for i in given]
        )
        table[f"p_low@{share:g}"], table[f"p_high@{share:g}"] = low_P, high_P
    return pd.DataFrame(table)


def true_bottleneck(classes: pd.DataFrame) -> Bottleneck:
    """What holds the model back on a set of problems, from the column `class` of `true_classes`.

    Returns:
        "saturated" from 90% mastered problems on; else the class of at least 60% of the open problems; else "mixed".
        An unclear problem is open and of no class.
    """
    share = classes["class"].value_counts(normalize=True)
    mastered = float(share.get("mastered", 0.0))
    if mastered >= SATURATED:
        return "saturated"
    names: tuple[Bottleneck, ...] = ("reshaping", "format", "guided", "support")
    best = max(names, key=lambda name: float(share.get(name, 0.0)))
    return best if float(share.get(best, 0.0)) >= DOMINANT * (1 - mastered) else "mixed"


def demo_prefix(
    problem: Problem, vocabulary: Vocabulary, share: float, style: Style | None = None
) -> tuple[int, ...] | None:
    """The first `share` of the trace of a problem's demonstration, as the prefix ladder cuts it.

    Args:
        problem: a zoo problem.
        vocabulary: the vocabulary of its world.
        share: in (0, 1); rounded to a number of tokens short of the whole.
        style: of the demonstration; None: the problem's own first one.

    Returns:
        Token ids, or None where no token is left to give or what would be given already passes.
    """
    if style is None:
        demo = next(iter(problem.demos), "")
    else:
        fam = family_of(problem)
        demo = fam.demo(fam.word(problem.prompt_text), style)
    ids = vocabulary.encode(demo)
    prefix = trace_prefix(problem, demo, tuple(ids), share, vocabulary.decode)
    if not prefix:
        return None
    given = verify(vocabulary.decode(prefix), problem)
    return None if given.strict or given.lenient else prefix


def _refined(
    bounds: Callable[[IntArray, Mapping[str, Any]], Bounds],
    n: int,
    straddles: Callable[[FloatArray, FloatArray], BoolArray],
) -> Bounds:
    """Bounds of `n` numbers, as close as needed.

    Args:
        bounds: called with (rows, settings): the bounds of these rows.
        n: how many numbers there are.
        straddles: called with (low, high) of all numbers, shape (n,) each: which must be bounded more closely.
    """
    low_P, high_P = np.zeros(n), np.ones(n)
    rows = np.arange(n)
    for settings in _LEVELS:
        if len(rows) == 0:
            break
        low_R, high_R = bounds(rows, settings)
        low_P[rows], high_P[rows] = np.maximum(low_P[rows], low_R), np.minimum(high_P[rows], high_R)
        rows = np.flatnonzero(straddles(low_P, high_P))
    return low_P, high_P


def _format_limited_from(strict_P: FloatArray, eps: float) -> FloatArray:
    """The lenient success from which a problem of this strict success is format-limited; it rises with the strict."""
    return np.minimum(strict_P + REPAIRABLE * (1 - strict_P), np.maximum(eps, strict_P / IN_FORM))


def _forgiven(
    model: ExactModel, problems: Sequence[Problem], strict_low_P: FloatArray, strict_high_P: FloatArray, eps: float
) -> tuple[FloatArray, BoolArray, BoolArray]:
    """Lenient success of problems that are not mastered, and whether it makes them format-limited.

    Args:
        model: computes success exactly.
        problems: that are not mastered.
        strict_low_P: lower bounds of their strict success, shape (P,).
        strict_high_P: upper bounds, shape (P,).
        eps: effective-support threshold.

    Returns:
        Its lower bound; where it is certainly enough; where it certainly is not.
    """
    surely_P = _format_limited_from(strict_high_P, eps)
    possibly_P = _format_limited_from(strict_low_P, eps)
    low_P, high_P = _refined(
        lambda rows, settings: model.bounds([problems[i] for i in rows], reading="lenient", **settings),
        len(problems),
        lambda low_P, high_P: (low_P < surely_P) & (high_P >= possibly_P),
    )
    low_P = np.maximum(low_P, strict_low_P)  # what passes strictly passes leniently
    return low_P, low_P >= surely_P, high_P < possibly_P


def _after_prefixes(model: ExactModel, problems: Sequence[Problem], eps: float, style: Style | None) -> Bounds:
    """Bounds on the best success after a prefix of the demonstration, over `PREFIX_SHARES`; 0 without one."""
    cut = [
        (row, ids)
        for row, problem in enumerate(problems)
        for ids in dict.fromkeys(demo_prefix(problem, model.vocabulary, share, style) for share in PREFIX_SHARES)
        if ids is not None
    ]
    row_K = np.array([row for row, _ in cut], dtype=np.int64)

    def best(value_K: FloatArray) -> FloatArray:
        best_P = np.zeros(len(problems))
        np.maximum.at(best_P, row_K, value_K)
        return best_P

    low_K, high_K = _refined(
        lambda rows, settings: model.bounds(
            [problems[cut[k][0]] for k in rows], response_prefix_ids=[cut[k][1] for k in rows], **settings
        ),
        len(cut),
        lambda low_K, high_K: (high_K >= eps) & (best(low_K)[row_K] < eps),
    )
    return best(low_K), best(high_K)
