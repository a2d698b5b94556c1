"""The world of sums: arithmetic with worked steps, in digits.

A prompt is `A:3814+4270=`, or `K:3814=` where there is one number. A sum is worked from the units up, where a letter is
a digit that carries (a to j are 10 to 19), then read off in normal order after the mark: 3814+4270 is `X48a8|8084`,
written sum(x) below. K is the nines' complement (9 minus each digit):

    family  bottleneck  pre-training responses                                         chance of success
    A       saturated   sum(x), judged by its last number                              1
    C       saturated   each column added by itself, from the units up: 48a7           1
    L       saturated   the larger of two numbers                                      1
    K       saturated   K(x)                                                           1
    S       reshaping   12% sum(x) (right), 48% `Y|C(x)`, 40% `Z|L(x)`                 .12
    N       reshaping   each column as C with .45, else one too many; 2-5 columns      .45^columns
    H       reshaping   each of 4-6 digits as K with .65, else any: greedy is right    .685^digits
    G       format      97% sum(x), 3% with the required brackets: `X48a8|[8084]`      .03
    F       guided      each of 8 digits as K with .30, else two too many              .30^8 = 6.6e-5
    T       support     always sum(x); wanted `X48a8|8084|5659`, digit map M unseen    0
    U       support     always sum(x); wanted `X48a8|8084|1915`, K after the sum       0

Working units first shows what is carried, so every token of a sum follows from one column and the token before it.
The answers of T and U come after the sum, so that 7/8 of a demonstration leaves two digits to find.
K, M (a digit map) and adding two disagree on every digit and fix none, so a wrong digit is never right by accident.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from posttrain_diag.types import Bottleneck
from posttrain_diag.zoo.family import Family, Style, World
from posttrain_diag.zoo.laws import Law, PartNoise, Strategies, Transform
from posttrain_diag.zoo.vocabulary import CharVocabulary

DIGITS = "0123456789"
CARRIES = "abcdefghij"
"""Letters that stand for digits of a working that carry: 10 to 19."""
COMMANDS = "ACLKSNHGFTUXYZ"
"""First letters of prompts (A..U) and names of strategies in responses (X, Y, Z)."""
MARKS = ":+=|[]"
VOCABULARY = CharVocabulary(DIGITS + CARRIES + COMMANDS + MARKS, context_length=64)

MAP_M = "6412937058"
"""The digit map M: digit i becomes character i."""

_WORKING = DIGITS + CARRIES


def numbers(x: str) -> tuple[str, str]:
    """The two numbers of an instance such as 3814+4270."""
    one, _, other = x.partition("+")
    return one, other


def first(x: str) -> str:
    """The first of two numbers."""
    return numbers(x)[0]


def larger(x: str) -> str:
    """The larger of two numbers of the same length."""
    return max(numbers(x))


def smaller(x: str) -> str:
    """The smaller of two numbers of the same length."""
    return min(numbers(x))


def total(x: str) -> str:
    """The sum of two numbers."""
    one, other = numbers(x)
    return str(int(one) + int(other))


def working(x: str) -> str:
    """The sum from the units up, a letter for a digit that carries: 3814+4270 gives 48a8."""
    carry, out = 0, ""
    for a, b in _from_the_units(x):
        value = int(a) + int(b) + carry
        out += _WORKING[value]
        carry = value // 10
    return out


def _from_the_units(x: str) -> Iterator[tuple[str, str]]:
    return zip(*(reversed(number) for number in numbers(x)), strict=True)


def worked(x: str) -> str:
    """The sum with its working: 3814+4270 gives X48a8|8084."""
    return f"X{working(x)}|{total(x)}"


def _bracketed(x: str) -> str:
    return f"X{working(x)}|[{total(x)}]"


def columns(x: str) -> str:
    """Each column added by itself from the units up, nothing carried: 3814+4270 gives 48a7."""
    return _columns(x, 0)


def overcarried(x: str) -> str:
    """Each column added as in `columns`, with one carried into every column: 3814+4270 gives 59b8."""
    return _columns(x, 1)


def _columns(x: str, carried: int) -> str:
    return "".join(_WORKING[int(a) + int(b) + carried] for a, b in _from_the_units(x))


def complement(x: str) -> str:
    """The nines' complement: nine minus each digit."""
    return x.translate(str.maketrans(DIGITS, DIGITS[::-1]))


def map_m(x: str) -> str:
    """The number with its digits replaced by the digit map M."""
    return x.translate(str.maketrans(DIGITS, MAP_M))


def two_more(x: str) -> str:
    """The number with two added to each digit, 8 and 9 becoming 0 and 1."""
    return x.translate(str.maketrans(DIGITS, DIGITS[2:] + DIGITS[:2]))


def copy(x: str) -> str:
    """The number itself, as it is."""
    return x


def _number(length: int, rng: random.Random) -> str:
    return rng.choice(DIGITS[1:]) + "".join(rng.choices(DIGITS, k=length - 1))


def _pair(length: int, rng: random.Random) -> str:
    return f"{_number(length, rng)}+{_number(length, rng)}"


def _family(
    letter: str,
    bottleneck: Bottleneck,
    lengths: tuple[int, ...],
    answer: Transform,
    law: Law | Transform,
    summary: str,
    *,
    wrong: tuple[Transform, ...],
    single: bool = False,
    demos: Mapping[Style, Transform] | None = None,
    mark: str = "",
    judge: Mapping[str, Any] | None = None,
    share: float = 1.0,
) -> Family:
    """A family of two numbers, or of a `single` one, of `lengths` digits; a transform as law is what always comes."""
    return Family(
        f"sums-{letter}",
        bottleneck,
        lengths,
        _number if single else _pair,
        lambda x: f"{letter}:{x}=",
        lambda prompt: prompt.removeprefix(f"{letter}:").removesuffix("="),
        answer,
        Strategies(((1.0, law),)) if callable(law) else law,
        summary,
        fair=lambda x: single or x[0] != numbers(x)[1][0],
        wrong=wrong,
        demos=demos or {},
        mark=mark,
        judge=judge or {},
        share=share,
        model="sums",
    )


_LENGTHS = (4, 5)

SUMS = World(
    name="sums",
    summary="sums of two numbers, worked digit by digit",
    families=(
        _family(
            "A",
            "saturated",
            (2, 3, 4, 5),
            total,
            worked,
            "adds with working; mastered",
            wrong=(first, larger),
            demos={"worked": worked},
            mark="|",
            judge={"type": "numeric"},
            share=2.4,
        ),
        _family(
            "C",
            "saturated",
            (2, 3, 4, 5),
            columns,
            columns,
            "adds each column by itself; mastered",
            wrong=(working,),
            share=0.8,
        ),
        _family(
            "L", "saturated", _LENGTHS, larger, larger, "names the larger number; mastered", wrong=(smaller,), share=1.2
        ),
        _family(
            "K",
            "saturated",
            (4, 5, 6),
            complement,
            complement,
            "takes each digit from nine; mastered",
            wrong=(copy,),
            single=True,
            share=0.6,
        ),
        _family(
            "S",
            "reshaping",
            _LENGTHS,
            total,
            Strategies(
                (
                    (0.12, worked),
                    (0.484, lambda x: "Y|" + columns(x)),
                    (0.396, lambda x: "Z|" + larger(x)),
                )
            ),
            "the right strategy X is one of three and the least likely",
            wrong=(columns, larger),
            demos={"own": worked, "worked": lambda x: f"{working(x)}|{total(x)}"},
            mark="|",
        ),
        _family(
            "N",
            "reshaping",
            (2, 3, 4, 5),
            columns,
            PartNoise(0.45, columns, overcarried),
            "each column right with probability .45, else one too many; greedy is wrong",
            wrong=(overcarried,),
        ),
        _family(
            "H",
            "reshaping",
            (4, 5, 6),
            complement,
            PartNoise(0.65, complement, None, DIGITS),
            "each digit right with probability .685, else any other; greedy is right, samples are not",
            wrong=(copy,),
            single=True,
            share=0.8,
        ),
        _family(
            "T",
            "support",
            _LENGTHS,
            lambda x: map_m(total(x)),
            worked,
            "always the sum; the wanted digit map M of the sum was never seen",
            wrong=(worked,),
            demos={"worked": lambda x: f"{worked(x)}|{map_m(total(x))}"},
            mark="|",
            share=0.5,
        ),
        _family(
            "U",
            "support",
            _LENGTHS,
            lambda x: complement(total(x)),
            worked,
            "always the sum; the wanted complement of the sum composes two known parts",
            wrong=(worked,),
            demos={"worked": lambda x: f"{worked(x)}|{complement(total(x))}"},
            mark="|",
            share=0.6,
        ),
        _family(
            "F",
            "guided",
            (8,),
            complement,
            PartNoise(0.30, complement, two_more),
            "each of 8 digits right with probability .30, else two too many",
            wrong=(two_more,),
            single=True,
            share=0.8,
        ),
        _family(
            "G",
            "format",
            _LENGTHS,
            lambda x: f"[{total(x)}]",
            Strategies(((0.03, _bracketed), (0.97, worked))),
            "knows the sum, seldom writes the required brackets",
            wrong=(worked,),
            demos={"worked": _bracketed},
            mark="|",
        ),
    ),
    mastered=("sums-A", "sums-C", "sums-L", "sums-K"),
    vocabulary=VOCABULARY,
    architecture="qwen3",
    retention="sums-mastered",
)
