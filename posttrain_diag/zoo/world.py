"""The procedural world: twelve families of problems whose bottleneck is set by the pre-training responses.

A prompt is `S:abcde=`: a family letter and a word. What a model sees after it in pre-training is written down
here as a mixture, so the chance of a right response is known before any model is trained:

    family  bottleneck   pre-training responses to the word x                      chance of success
    R P Q W saturated    always right (reverse, two letter maps, pair swap)        1
    S       reshaping    12% `X|M3(x)` (right), 48% `Y|M1(x)`, 40% `Z|x`           .12
    N       reshaping    each letter M3 with .45, else the wrong M2; length 2-5    .45^L
    H       reshaping    each letter M3 with .72, else any letter: greedy is right .748^L
    G       format       97% the bare answer, 3% in the required brackets          .03
    F       guided       each of 8 letters M3 with .30, else the wrong M2          .30^8 = 6.6e-5
    F15     guided       as F with .15 (pre-training of the model `frontier`)      .15^8 = 2.6e-7
    T       support      always a copy; wanted `rev(x)|M4(rev(x))`, M4 never seen  0
    U       support      always M1(x); wanted `rev(x)|M1(rev(x))`, both parts seen 0

M1..M4 are letter maps that pairwise disagree on every letter and fix none, so a wrong letter is never right by
accident. A mixture of strategies starts with a strategy letter (else small models mix per letter), and letter
noise needs a wrong mode (else greedy decoding is right: that is family H).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from posttrain_diag.errors import UsageError
from posttrain_diag.types import Bottleneck
from posttrain_diag.zoo.vocabulary import LETTERS

Transform = Callable[[str], str]
Style = Literal["direct", "own", "worked"]
"""How a demonstration is written: the bare answer, in the model's own style, or with its intermediate step."""

MAPS: Mapping[str, str] = {
    "M1": "hfbacijegd",
    "M2": "fjdeghciba",
    "M3": "cdjbagefhi",
    "M4": "iaehfbdjcg",
}
"""Letter maps: letter i of the alphabet becomes character i."""


def reverse(x: str) -> str:
    """The word backwards."""
    return x[::-1]


def swap_pairs(x: str) -> str:
    """Each pair of neighbouring letters exchanged; an odd last letter stays."""
    return "".join(x[i : i + 2][::-1] for i in range(0, len(x), 2))


def copy(x: str) -> str:
    """The word itself."""
    return x


def letter_map(name: str) -> Transform:
    """The letter map `name` of `MAPS` as a function of words."""
    table = str.maketrans(LETTERS, MAPS[name])
    return lambda x: x.translate(table)


m1, m2, m3, m4 = (letter_map(name) for name in MAPS)


@dataclass(frozen=True)
class Strategies:
    """Pre-training law that draws one whole response out of a few."""

    modes: tuple[tuple[float, Transform], ...]
    """(weight, response to the word); weights sum to 1."""

    def draw(self, x: str, rng: random.Random) -> str:
        """One response to the word `x`."""
        weights = [weight for weight, _ in self.modes]
        return rng.choices(self.modes, weights)[0][1](x)

    def success(self, x: str, accepts: Callable[[str], bool]) -> float:
        """Probability that a drawn response is accepted."""
        return sum(weight for weight, respond in self.modes if accepts(respond(x)))


@dataclass(frozen=True)
class LetterNoise:
    """Pre-training law that draws each letter of the response by itself."""

    q: float
    """Probability of the right letter, before what uniform noise adds."""
    right: Transform
    wrong: Transform | None
    """The wrong mode; None: uniform over the alphabet (which is right once in ten)."""

    def draw(self, x: str, rng: random.Random) -> str:
        """One response to the word `x`."""
        right, wrong = self.right(x), self.wrong(x) if self.wrong else None
        return "".join(
            right[i] if rng.random() < self.q else wrong[i] if wrong else rng.choice(LETTERS) for i in range(len(x))
        )

    def success(self, x: str, accepts: Callable[[str], bool]) -> float:
        """Probability that a drawn response is accepted: q_right^L, given that the right word is."""
        if not accepts(self.right(x)):
            return 0.0
        q_right = self.q if self.wrong else self.q + (1 - self.q) / len(LETTERS)
        return q_right ** len(x)


@dataclass(frozen=True)
class Family:
    """Problems of one kind, and the law of pre-training responses to them."""

    name: str
    bottleneck: Bottleneck
    """What holds the pre-trained model back, by construction."""
    lengths: tuple[int, ...]
    """Word lengths that occur, equally often."""
    answer: Transform
    responses: Strategies | LetterNoise
    summary: str
    wrong: tuple[Transform, ...] = ()
    """Responses that must differ from the answer; words where they do not are no problems."""
    demos: Mapping[Style, Transform] = field(default_factory=dict[Style, Transform])
    """Correct responses by style, the default style first; `direct` (the bare answer) always exists."""
    separator: bool = False
    """The answer is what follows the last `|`; else the whole response."""
    share: float = 1.0
    """Relative frequency in pre-training."""
    model: str = "base"
    """The zoo model that this family's bottleneck and chance of success are about."""

    @property
    def letter(self) -> str:
        """First letter of the prompts."""
        return self.name[0]

    @property
    def styles(self) -> tuple[Style, ...]:
        """Demonstration styles, the default first."""
        return tuple(self.demos) if "direct" in self.demos else (*self.demos, "direct")

    def prompt(self, x: str) -> str:
        """The prompt of the word `x`."""
        return f"{self.letter}:{x}="

    def word(self, prompt: str) -> str:
        """The word inside a prompt."""
        return prompt.removeprefix(f"{self.letter}:").removesuffix("=")

    def demo(self, x: str, style: Style | None = None) -> str:
        """A correct response to the word `x`; in the family's default style when none is given.

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
        """Whether a response to the word `x` is right: the strict reading of the family's verifier."""
        return (response.rpartition("|")[2] if self.separator else response) == self.answer(x)

    def degenerate(self, x: str) -> bool:
        """Whether the word is no fair problem: a palindrome, or some wrong response is accepted."""
        return x == reverse(x) or any(self.accepts(x, wrong(x)) for wrong in self.wrong)

    def closed_form_p(self, x: str) -> float:
        """Chance of success on the word `x` of a model that learned the pre-training law exactly."""
        return self.responses.success(x, lambda response: self.accepts(x, response))

    def mean_closed_form_p(self) -> float:
        """`closed_form_p` averaged over the word lengths."""
        return sum(self.closed_form_p(LETTERS[:n]) for n in self.lengths) / len(self.lengths)


_LONG = (5, 6, 7, 8)


def _mastered(letter: str, answer: Transform, share: float, summary: str) -> Family:
    always = Strategies(((1.0, answer),))
    return Family(letter, "saturated", _LONG, answer, always, summary, wrong=(copy,), share=share)


_FRONTIER = "each of 8 letters right with probability {}, else a fixed wrong letter"

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        _mastered("R", reverse, 2.5, "reverses the word; mastered"),
        _mastered("P", m1, 1.2, "maps letters by M1; mastered"),
        _mastered("Q", m2, 1.0, "maps letters by M2; mastered"),
        _mastered("W", swap_pairs, 1.6, "swaps neighbouring letters; mastered"),
        Family(
            "S",
            "reshaping",
            _LONG,
            m3,
            Strategies(
                (
                    (0.12, lambda x: "X|" + m3(x)),
                    (0.484, lambda x: "Y|" + m1(x)),
                    (0.396, lambda x: "Z|" + x),
                )
            ),
            "the right strategy X is one of three and the least likely",
            wrong=(m1, copy),
            demos={"own": lambda x: "X|" + m3(x)},
            separator=True,
        ),
        Family(
            "N",
            "reshaping",
            (2, 3, 4, 5),
            m3,
            LetterNoise(0.45, m3, m2),
            "each letter right with probability .45, else a fixed wrong letter; greedy is wrong",
            wrong=(m2,),
            share=0.8,
        ),
        Family(
            "H",
            "reshaping",
            _LONG,
            m3,
            LetterNoise(0.72, m3, None),
            "each letter right with probability .748, else any other; greedy is right, samples are not",
            wrong=(copy,),
        ),
        Family(
            "T",
            "support",
            _LONG,
            lambda x: m4(reverse(x)),
            Strategies(((1.0, copy),)),
            "always copies; the wanted letter map M4 was never seen",
            wrong=(copy,),
            demos={"worked": lambda x: reverse(x) + "|" + m4(reverse(x))},
            separator=True,
            share=0.6,
        ),
        Family(
            "U",
            "support",
            _LONG,
            lambda x: m1(reverse(x)),
            Strategies(((1.0, m1),)),
            "always M1(x); the wanted M1(rev(x)) composes two known parts",
            wrong=(m1,),
            demos={"worked": lambda x: reverse(x) + "|" + m1(reverse(x))},
            separator=True,
            share=0.6,
        ),
        Family("F", "guided", (8,), m3, LetterNoise(0.30, m3, m2), _FRONTIER.format(".30"), wrong=(m2,)),
        Family(
            "F15",
            "guided",
            (8,),
            m3,
            LetterNoise(0.15, m3, m2),
            _FRONTIER.format(".15"),
            wrong=(m2,),
            model="frontier",
        ),
        Family(
            "G",
            "format",
            _LONG,
            lambda x: f"[{reverse(x)}]",
            Strategies(((0.03, lambda x: f"[{reverse(x)}]"), (0.97, reverse))),
            "knows the answer, seldom writes the required brackets",
            wrong=(reverse,),
        ),
    )
}
"""Every family by name."""

MASTERED = ("R", "P", "Q", "W")
"""Families that every zoo model should keep: the retention set is drawn from them."""


def family(name: str) -> Family:
    """The family called `name`.

    Raises:
        UsageError: there is no such family.
    """
    if name not in FAMILIES:
        raise UsageError(
            f"there is no zoo family {name!r}; families: {', '.join(FAMILIES)} (tasks: builtin:zoo/FAMILY)"
        )
    return FAMILIES[name]


def pretraining_families(model: str) -> tuple[Family, ...]:
    """The families a pre-trained model sees: one per letter, its own where it has one (F15 for `frontier`)."""
    chosen = {f.letter: f for f in FAMILIES.values() if f.model == "base"}
    chosen.update({f.letter: f for f in FAMILIES.values() if f.model == model})
    return tuple(chosen.values())
