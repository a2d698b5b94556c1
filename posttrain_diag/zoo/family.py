"""A family holds problems of one kind and the law of pre-training responses to them; a world holds families."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from posttrain_diag.errors import UsageError
from posttrain_diag.tasks import verify
from posttrain_diag.types import Bottleneck, Problem
from posttrain_diag.zoo.laws import Law, Transform
from posttrain_diag.zoo.vocabulary import Vocabulary

Style = Literal["direct", "own", "worked"]
"""How a demonstration is written: the bare answer, in the model's own style, or with its intermediate step."""
Architecture = Literal["llama", "qwen3", "gpt2"]


@dataclass(frozen=True)
class Family:
    """Problems of one kind, and the law of pre-training responses to them.

    An instance x is the text that varies: a word, two numbers, the slots of a story.
    """

    name: str
    """Unique in the zoo: tasks are builtin:zoo/NAME."""
    bottleneck: Bottleneck
    """What holds the pre-trained model back, by construction."""
    lengths: tuple[int, ...]
    """Sizes of instances that occur, equally often."""
    instance: Callable[[int, random.Random], str]
    """Draws a random instance of a size."""
    ask: Transform
    """Makes the prompt of an instance."""
    read: Transform
    """Reads the instance from a prompt: undoes `ask`."""
    answer: Transform
    responses: Law
    summary: str
    wrong: tuple[Transform, ...] = ()
    """Responses that must differ from the answer; instances where they do not are no problems."""
    fair: Callable[[str], bool] = lambda x: True
    """Tells whether an instance is a fair problem in other respects."""
    demos: Mapping[Style, Transform] = field(default_factory=dict[Style, Transform])
    """Correct responses by style, the default style first; `direct` (the bare answer) always exists."""
    mark: str = ""
    """The answer is what follows the last such mark, e.g. `|`; empty: the whole response."""
    judge: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The verifier as data, e.g. {"type": "numeric"}; empty: exact, or a regex where there is a mark."""
    share: float = 1.0
    """Relative frequency in pre-training."""
    model: str = "base"
    """The zoo model that this family's bottleneck and chance of success are about."""
    slot: str = ""
    """Families of one slot have the same prompts, and a model knows one of them. Empty: the family's name."""

    @property
    def prompts_of(self) -> str:
        """What names the prompts: the slot, else the name."""
        return self.slot or self.name

    @property
    def styles(self) -> tuple[Style, ...]:
        """The styles of its demonstrations, the default first."""
        return tuple(self.demos) if "direct" in self.demos else (*self.demos, "direct")

    @property
    def verifier(self) -> Mapping[str, Any]:
        """The family's verifier as data."""
        if self.judge:
            return self.judge
        if not self.mark:
            return {"type": "exact"}
        return {"type": "regex", "pattern": after_last(self.mark)}

    def prompt(self, x: str) -> str:
        """The prompt of the instance `x`."""
        return self.ask(x)

    def word(self, prompt: str) -> str:
        """The instance inside a prompt."""
        return self.read(prompt)

    def demo(self, x: str, style: Style | None = None) -> str:
        """A correct response to the instance `x`; in the family's default style when none is given.

        Raises:
            UsageError: the family has no such style.
        """
        chosen = self.styles[0] if style is None else style
        if chosen not in self.styles:
            raise UsageError(
                f"family {self.name} has no demonstrations in the style {chosen!r}; styles: {', '.join(self.styles)}"
            )
        return self.demos.get(chosen, self.answer)(x)

    def accepts(self, x: str, response: str) -> bool:
        """Whether a response to the instance `x` is right: the strict reading of the family's verifier."""
        if self.judge:
            row = Problem(id=self.name, prompt=None, messages=None, answer=self.answer(x), verifier=self.judge)
            return verify(response, row).strict
        return (response.rpartition(self.mark)[2] if self.mark else response) == self.answer(x)

    def degenerate(self, x: str) -> bool:
        """Whether the instance is no fair problem."""
        return not self.fair(x) or any(self.accepts(x, wrong(x)) for wrong in self.wrong)

    def closed_form_p(self, x: str) -> float:
        """Chance of success on the instance `x` of a model that learned the pre-training law exactly."""
        return self.responses.success(x, lambda response: self.accepts(x, response))

    def mean_closed_form_p(self) -> float:
        """`closed_form_p` averaged over the sizes, on the first fair instance of each."""
        rng = random.Random(0)
        total = 0.0
        for n in self.lengths:
            x = self.instance(n, rng)
            while self.degenerate(x):
                x = self.instance(n, rng)
            total += self.closed_form_p(x)
        return total / len(self.lengths)


@dataclass(frozen=True)
class World:
    """Families that live in the same models, with their tokens and an architecture."""

    name: str
    summary: str
    families: tuple[Family, ...]
    mastered: tuple[str, ...]
    """Families that every model of the world should keep: the retention set is drawn from them."""
    vocabulary: Vocabulary
    architecture: Architecture
    retention: str
    """Name of the retention set's tasks."""


def after_last(mark: str) -> str:
    r"""A regular expression for what follows the last mark, or for all of a response without one.

    The one for `|` is (?:^|\|)([^|]*)$.
    """
    import re

    if len(mark) == 1:
        return rf"(?:^|{re.escape(mark)})([^{mark}]*)$"
    quoted = re.escape(mark)
    return rf"(?:^|{quoted})((?:(?!{quoted})[\s\S])*)$"
