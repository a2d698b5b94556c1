"""Draws judged by the answers of other problems, and what they and a problem's own wrong answers say of luck.

Suffixes: `P` problems; `PP` draws of the row problem judged by the column problem.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posttrain_diag.stats import rate_by_answer_set, rate_by_own_answers
from posttrain_diag.tasks import reference_completions, verify
from posttrain_diag.types import Estimate, Problem


@dataclass(frozen=True)
class Exchange:
    """Draws of some problems, each judged by all of them."""

    ids: tuple[str, ...]
    judged_P: NDArray[np.int64]
    """Draws of each problem that were judged."""
    passes_PP: NDArray[np.int64]
    hits_PP: NDArray[np.int64]
    """Those of them that fail on their own problem."""
    apart_PP: NDArray[np.bool_]
    """Whether a right answer to the row problem fails on the column problem."""

    def among(self, chosen_P: NDArray[np.bool_]) -> Exchange:
        """The same between some of the problems, marked by a mask of shape (P,)."""
        pairs = np.ix_(chosen_P, chosen_P)
        ids = tuple(key for key, keep in zip(self.ids, chosen_P.tolist(), strict=True) if keep)
        parts = (self.passes_PP[pairs], self.hits_PP[pairs], self.apart_PP[pairs])
        return Exchange(ids, self.judged_P[chosen_P], *parts)

    def rate_by_answer_set(self) -> NDArray[np.float64]:
        """How often draws of problems with another gold give each problem's gold, shape (P,)."""
        return rate_by_answer_set(self.hits_PP, self.judged_P, self.apart_PP)


@dataclass(frozen=True)
class Luck:
    """What luck explains of the passes on some problems."""

    ids: tuple[str, ...]
    """Those that are not mastered."""
    share: Estimate
    """Share of their passes."""
    share_by_set: Estimate
    """The same by answers to other problems alone. A problem's own wrong answers may be near misses of a right
    calculation: they tell how much luck there may be, and are no ground for a suspicion."""
    rate: float
    """Lucky passes per draw, the mean over these problems."""
    known: Estimate
    """Mean pass rate that luck does not explain, over all problems that were exchanged."""


def exchange(rows: pd.DataFrame, problems: Sequence[Problem], draws: int, *, lenient: bool = False) -> Exchange:
    """Judge draws by the verifiers of all problems.

    Args:
        rows: the main arm's rollouts, with finished draws of every one of the problems.
        problems: the problems that exchange their draws.
        draws: of each problem, the first finished ones.
        lenient: in substance, whatever the form.
    """

    def passes_on(text: str, other: Problem) -> bool:
        judged = verify(text, other)
        return judged.lenient if lenient else judged.strict

    finished = rows[rows["verdict"].isin(["pass", "fail"])]
    by_problem = dict(iter(finished.groupby("problem_id")))
    heads = [by_problem[problem.id].iloc[:draws] for problem in problems]
    right_at_home = [head["lenient"].astype(bool) if lenient else head["verdict"] == "pass" for head in heads]
    texts = [
        Counter(zip(head["text"].map(str), right.tolist(), strict=True))
        for head, right in zip(heads, right_at_home, strict=True)
    ]
    passes, hits, apart = ([[] for _ in problems] for _ in range(3))
    for i, (problem, drawn) in enumerate(zip(problems, texts, strict=True)):
        right = [text for text, passed in drawn if passed][:1]
        right = right or list(reference_completions(problem)[:1])
        for other in problems:
            found = [(passed, n) for (text, passed), n in drawn.items() if passes_on(text, other)]
            passes[i].append(sum(n for _, n in found))
            hits[i].append(sum(n for passed, n in found if not passed))
            apart[i].append(other is not problem and not any(passes_on(text, other) for text in right))
    sizes = np.asarray([len(head) for head in heads], dtype=np.int64)
    ids = tuple(problem.id for problem in problems)
    return Exchange(ids, sizes, np.asarray(passes, np.int64), np.asarray(hits, np.int64), np.asarray(apart, bool))


def rates_by_own_answers(rows: pd.DataFrame, ids: Sequence[str]) -> NDArray[np.float64]:
    """How often a guess at each problem would hit, by its own wrong answers (`stats.luck`), shape (P,).

    A draw that is right in substance and fails for its form is no wrong answer. Where right answers fail for their form
    so would guesses, so that guesses count as often as right answers are in form.

    Args:
        rows: the main arm's rollouts.
        ids: the problems; a failed draw without a readable answer is no guess.
    """
    finished = rows[rows["verdict"].isin(["pass", "fail"]) & rows["problem_id"].isin(ids)]
    drawn = finished.groupby("problem_id").size()
    failed = finished["verdict"] == "fail"
    lost = failed & finished["lenient"].astype(bool)
    passed = int((~failed).sum())
    in_form = 1.0 if not lost.any() else passed / (passed + int(lost.sum()))
    wrong = finished[failed & ~lost & finished["extracted"].notna()]
    answers = {str(key): group.value_counts().tolist() for key, group in wrong.groupby("problem_id")["extracted"]}
    rates = [rate_by_own_answers(answers.get(key, []), int(drawn[key])) for key in ids]
    return in_form * np.asarray(rates, dtype=np.float64)
