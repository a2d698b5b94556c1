"""What is true of a family: pass@1, coverage, the class of every problem, and the verdict that follows from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from posttrain_probes.format_gap import repairable

from benchmarks.real.draws import stored_draws
from benchmarks.real.families import Family, Row
from benchmarks.real.labels import RULES, label
from posttrain_diag.diagnose.bottleneck import DOMINANT, SATURATED
from posttrain_diag.settings.analysis import VerdictSettings
from posttrain_diag.stats import Counts, pass_at_k

GUESSED = 0.05
"""Below this rate of right answers among the draws of other problems nothing is called guessed."""
OTHERS = 12
"""Other problems whose most frequent texts are tried on each problem."""
TEXTS = 20
RESAMPLED = 400
"""Draws of every problem's probabilities, for how sure the true verdict is."""
CLASSES = ("mastered", "reshaping", "format", "out of reach")
"""Without demonstrations, what is out of reach is support-limited; with them, some of it is guided."""


@dataclass(frozen=True)
class Truth:
    """What the draws behind the truth say of a family."""

    n: int
    """Draws per problem."""
    strict_P: NDArray[np.int64]
    """Draws that pass, per problem."""
    right_P: NDArray[np.int64]
    """Draws that are right in substance."""
    others_P: NDArray[np.float64]
    """How often draws made for other problems are right on each problem."""
    settings: VerdictSettings

    @property
    def pass_at_1(self) -> float:
        """Mean chance to pass."""
        return float(self.strict_P.mean() / self.n)

    @property
    def substance(self) -> float:
        """Mean chance to be right in whatever form."""
        return float(self.right_P.mean() / self.n)

    @property
    def coverage(self) -> float:
        """Share of problems that passed at least once in eps times as many draws: pass@n, with n = 1 / eps = 256."""
        return float((self.strict_P >= self.n * self.settings.eps).mean())

    @property
    def guessed(self) -> bool:
        """Whether the model is right no more often than its draws for other problems are: its passes show nothing."""
        edge_P = self.right_P / self.n - self.others_P
        error = float(edge_P.std(ddof=1)) / len(edge_P) ** 0.5
        return float(self.others_P.mean()) >= GUESSED and float(edge_P.mean()) <= 1.645 * error

    def pass_at(self, k: int) -> float:
        """Mean chance that one of k draws passes; k at most n."""
        return float(pass_at_k(Counts(np.full_like(self.strict_P, self.n), self.strict_P), k).value or 0.0)

    def classes(self) -> Counter[str]:
        """How many problems are in each class, by their frequencies."""
        p_P = self.strict_P / self.n
        share_P = (self.right_P - self.strict_P) / np.maximum(self.n - self.strict_P, 1)
        return Counter(_classes(p_P[None], share_P[None], self.settings)[0].tolist())

    def verdict(self) -> tuple[str, float]:
        """The verdict from the frequencies, and how probable it is given that they come from `n` draws."""
        if self.guessed:
            return "instrument", 1.0
        named = self._name(self.classes())
        p_SP, share_SP = self._sampled()
        names = [self._name(Counter(row.tolist())) for row in _classes(p_SP, share_SP, self.settings)]
        return named, names.count(named) / len(names)

    def _sampled(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        rng = np.random.default_rng(0)
        shape = (RESAMPLED, len(self.strict_P))
        failed_P, lost_P = self.n - self.strict_P, self.right_P - self.strict_P
        p_SP = rng.beta(self.strict_P + 0.5, failed_P + 0.5, shape)
        return p_SP, rng.beta(lost_P + 0.5, failed_P - lost_P + 0.5, shape)

    @staticmethod
    def _name(classes: Counter[str]) -> str:
        problems = classes.total()
        if classes["mastered"] >= SATURATED * problems:
            return "saturated"
        unsolved = [(n, name) for name, n in classes.items() if name != "mastered"]
        most, name = max(unsolved)
        if most < DOMINANT * (problems - classes["mastered"]):
            return "mixed"
        return "support" if name == "out of reach" else name


def _classes(p_SP: NDArray[np.float64], share_SP: NDArray[np.float64], settings: VerdictSettings) -> NDArray[np.str_]:
    """The class of each problem in each draw, shape (S, P).

    Args:
        p_SP: chance to pass, shape (S, P).
        share_SP: share of the failures that is right in substance, shape (S, P).
        settings: eps and mastery.
    """
    lost_SP = share_SP >= repairable(p_SP, settings.eps)
    conditions = [p_SP >= settings.mastery, lost_SP, p_SP >= settings.eps]
    return np.select(conditions, ["mastered", "format", "reshaping"], "out of reach")


def truth_of(family: Family, settings: VerdictSettings, cap: int) -> Truth:
    """What is true of a family under a token cap: a longer draw is cut, so it does not pass.

    Args:
        family: with published draws.
        settings: eps and mastery.
        cap: new tokens of a draw at most.
    """
    rows = {str(row["id"]): row for row in family.rows}
    strict: list[int] = []
    right: list[int] = []
    n = 0
    for key, draws in stored_draws(family.name).items():
        n = sum(often for *_, often in draws)
        read = [(label(family.name, rows[key], text), tokens, finish, often) for text, tokens, finish, often in draws]
        whole = [(said, often) for said, tokens, finish, often in read if finish == "stop" and tokens <= cap]
        strict.append(sum(often for said, often in whole if said.strict))
        right.append(sum(often for said, _, _, often in read if said.right))
    return Truth(n, np.array(strict), np.array(right), _rate_of_others(family.name, rows), settings)


def _rate_of_others(name: str, rows: Mapping[str, Row]) -> NDArray[np.float64]:
    """How often draws made for other problems are right on each problem, shape (P,)."""
    if name not in RULES:  # code is judged by its own tests
        return np.zeros(len(rows))
    right, rng = RULES[name][0], np.random.default_rng(0)
    drawn: dict[str, list[str]] = {}
    for key, draws in stored_draws(name).items():
        texts = [text for text, _, _, often in draws for _ in range(often)]
        drawn[key] = [texts[i] for i in rng.permutation(len(texts))[:TEXTS]]
    keys = list(drawn)
    out: list[float] = []
    for i, key in enumerate(keys):
        others = [keys[(i + step) % len(keys)] for step in range(1, OTHERS + 1)]
        out.append(float(np.mean([right(text, rows[key]) for other in others for text in drawn[other]])))
    return np.array(out)
