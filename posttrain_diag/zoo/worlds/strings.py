"""The world of strings: twelve families of word puzzles whose bottleneck is set by the pre-training responses.

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
from collections.abc import Mapping

from posttrain_diag.types import Bottleneck
from posttrain_diag.zoo.family import Family, Style, World
from posttrain_diag.zoo.laws import Law, PartNoise, Strategies, Transform
from posttrain_diag.zoo.vocabulary import CharVocabulary

LETTERS = "abcdefghij"
"""The alphabet of the problems."""
COMMANDS = "RPQWSNHTUFGXYZ"
"""First letters of prompts (R..G) and names of strategies in responses (X, Y, Z)."""
MARKS = ":=|[]"
VOCABULARY = CharVocabulary(LETTERS + COMMANDS + MARKS, context_length=64)

MAPS: Mapping[str, str] = {
    "M1": "hfbacijegd",
    "M2": "fjdeghciba",
    "M3": "cdjbagefhi",
    "M4": "iaehfbdjcg",
}
"""Letter maps: letter i of the alphabet becomes character i."""


def reverse(x: str) -> str:
    """The word with its letters in backward order."""
    return x[::-1]


def swap_pairs(x: str) -> str:
    """Each pair of neighbouring letters exchanged; an odd last letter stays."""
    return "".join(x[i : i + 2][::-1] for i in range(0, len(x), 2))


def copy(x: str) -> str:
    """The word itself, as it is."""
    return x


def letter_map(name: str) -> Transform:
    """The letter map `name` of `MAPS` as a function of words."""
    table = str.maketrans(LETTERS, MAPS[name])
    return lambda x: x.translate(table)


m1, m2, m3, m4 = (letter_map(name) for name in MAPS)


def _any_word(length: int, rng: random.Random) -> str:
    return "".join(rng.choices(LETTERS, k=length))


def _noise(q: float, wrong: Transform | None) -> PartNoise:
    """The law in which each letter is M3 with probability `q`, else the wrong mode's, or any letter."""
    return PartNoise(q, m3, wrong, LETTERS)


def _family(
    name: str,
    bottleneck: Bottleneck,
    lengths: tuple[int, ...],
    answer: Transform,
    law: Law,
    summary: str,
    *,
    wrong: tuple[Transform, ...],
    demos: Mapping[Style, Transform] | None = None,
    mark: str = "",
    share: float = 1.0,
    model: str = "base",
) -> Family:
    """A family with prompts like `S:abcde=`: the first letter of its name, and a word that is no palindrome."""
    letter = name[0]
    return Family(
        name,
        bottleneck,
        lengths,
        _any_word,
        lambda x: f"{letter}:{x}=",
        lambda prompt: prompt.removeprefix(f"{letter}:").removesuffix("="),
        answer,
        law,
        summary,
        fair=lambda x: x != reverse(x),
        wrong=wrong,
        demos=demos or {},
        mark=mark,
        share=share,
        model=model,
        slot=letter,
    )


_LONG = (5, 6, 7, 8)


def _mastered(letter: str, answer: Transform, share: float, summary: str) -> Family:
    always = Strategies(((1.0, answer),))
    return _family(letter, "saturated", _LONG, answer, always, summary, wrong=(copy,), share=share)


_FRONTIER = "each of 8 letters right with probability {}, else a fixed wrong letter"

STRINGS = World(
    name="strings",
    summary="word puzzles over ten letters",
    families=(
        _mastered("R", reverse, 2.5, "reverses the word; mastered"),
        _mastered("P", m1, 1.2, "maps letters by M1; mastered"),
        _mastered("Q", m2, 1.0, "maps letters by M2; mastered"),
        _mastered("W", swap_pairs, 1.6, "swaps neighbouring letters; mastered"),
        _family(
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
            mark="|",
        ),
        _family(
            "N",
            "reshaping",
            (2, 3, 4, 5),
            m3,
            _noise(0.45, m2),
            "each letter right with probability .45, else a fixed wrong letter; greedy is wrong",
            wrong=(m2,),
            share=0.8,
        ),
        _family(
            "H",
            "reshaping",
            _LONG,
            m3,
            _noise(0.72, None),
            "each letter right with probability .748, else any other; greedy is right, samples are not",
            wrong=(copy,),
        ),
        _family(
            "T",
            "support",
            _LONG,
            lambda x: m4(reverse(x)),
            Strategies(((1.0, copy),)),
            "always copies; the wanted letter map M4 was never seen",
            wrong=(copy,),
            demos={"worked": lambda x: reverse(x) + "|" + m4(reverse(x))},
            mark="|",
            share=0.6,
        ),
        _family(
            "U",
            "support",
            _LONG,
            lambda x: m1(reverse(x)),
            Strategies(((1.0, m1),)),
            "always M1(x); the wanted M1(rev(x)) composes two known parts",
            wrong=(m1,),
            demos={"worked": lambda x: reverse(x) + "|" + m1(reverse(x))},
            mark="|",
            share=0.6,
        ),
        _family("F", "guided", (8,), m3, _noise(0.30, m2), _FRONTIER.format(".30"), wrong=(m2,)),
        _family(
            "F15",
            "guided",
            (8,),
            m3,
            _noise(0.15, m2),
            _FRONTIER.format(".15"),
            wrong=(m2,),
            model="frontier",
        ),
        _family(
            "G",
            "format",
            _LONG,
            lambda x: f"[{reverse(x)}]",
            Strategies(((0.03, lambda x: f"[{reverse(x)}]"), (0.97, reverse))),
            "knows the answer, seldom writes the required brackets",
            wrong=(reverse,),
        ),
    ),
    mastered=("R", "P", "Q", "W"),
    vocabulary=VOCABULARY,
    architecture="llama",
    retention="mastered",
)
