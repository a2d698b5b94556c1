r"""Other spellings of a right answer, and wrong answers that look like it, made mechanically.

    \frac{14}{3}   right: \dfrac{14}{3}, 14/3, 4\frac{2}{3}, x = \frac{14}{3}, ...   wrong: \frac{3}{14}, -\frac{14}{3}
    90^\circ       right: 90^{\circ}, 90 \text{ degrees}, 90°, 90              wrong: 90\%, 900^\circ
    (3, 4]         right: 3 < x \le 4, \left(3, 4\right]                       wrong: [3, 4), (3, 4)

A sound verifier accepts the former and rejects the latter. Each rule knows one form of answer and leaves every other
alone, so that what it returns is right, or wrong, by construction. The texts are answers, not completions: put them
into the box or the sentence that the task asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from posttrain_diag.tasks.verifiers.math.context import context_of
from posttrain_diag.tasks.verifiers.math.respell import formulas, numbers, wrong

Rule = Callable[[str], Iterator[str]]


def respellings(gold: str, prompt: str = "") -> list[tuple[str, str]]:
    """Equivalent spellings of a gold answer, each with the name of its kind; none is the gold's own.

    Args:
        gold: the answer, LaTeX or plain.
        prompt: the question: it may ask for an order, so that the items of a list must not be rearranged.
    """
    left_out = {"order of items"} if context_of(prompt).ordered else set[str]()
    return _made(gold, RIGHT, left_out)


def near_misses(gold: str, prompt: str = "") -> list[tuple[str, str]]:
    """Wrong answers similar to a gold one, each with the name of its kind.

    Args:
        gold: the answer, LaTeX or plain.
        prompt: the question: where it asks for percent, a percent sign behind the gold number is right.
    """
    left_out = {"percent of a plain number"} if context_of(prompt).percent else set[str]()
    return _made(gold, WRONG, left_out)


def _made(gold: str, rules: Mapping[str, Rule], left_out: set[str]) -> list[tuple[str, str]]:
    gold = gold.strip()
    found: dict[str, str] = {}
    for name, rule in rules.items():
        if name not in left_out:
            for text in rule(gold):
                found.setdefault(text, name)
    return [(name, text) for text, name in found.items() if text != gold]


RIGHT = numbers.RULES | formulas.RULES
"""The rules that make right spellings, by the kind of spelling."""
WRONG = wrong.RULES
"""The rules that make wrong answers, by the kind of mistake."""
