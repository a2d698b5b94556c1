r"""The world of stories: word problems in English, byte-pair tokens; families play the parts they play in strings.

    Tom packs a hat, cup and pen. Name them backwards.            -> pen cup hat
    Tom packs a hat, cup and pen. Say it in town code.            -> ba du fo
    Tom has 3 hats and buys 4 more. How many hats?                -> 3 + 4 = 7 #### 7

What a model sees in pre-training, x being the list or the numbers of the prompt:

    family  bottleneck   pre-training responses                                      chance of success
    A C R P saturated    always right (sum, running totals, list reversed, code K1)  1
    S       reshaping    12% `times 3 * 4 = 12`, 48% `plus ...`, 40% `only ...`      .12
    N       reshaping    each word K3 with .45, else the wrong K2; 2-5 words         .45^L
    H       reshaping    each word K3 with .72, else any word: greedy is right       .743^L
    G       format       97% the bare answer, 3% inside <answer>...</answer>         .03
    F       guided       each of 8 words K3 with .30, else the wrong K2              .30^8 = 6.6e-5
    T       support      always repeats the list; wanted `rev(x) #### K4(rev(x))`    0
    U       support      always K1(x); wanted `rev(x) #### K1(rev(x))`               0

K1..K3 are one-to-one codes that pairwise disagree on every thing. K4 joins two code words (`badu`), a spelling that
pre-training never shows. An instance is the words and numbers that vary: `Tom hat cup pen`, `Tom hat 3 4`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from posttrain_diag.types import Bottleneck
from posttrain_diag.zoo.family import Family, Style, World
from posttrain_diag.zoo.laws import Law, PartNoise, Strategies, Transform
from posttrain_diag.zoo.paths import DATA_DIR
from posttrain_diag.zoo.vocabulary import BpeVocabulary, train_bpe

NAMES = ("Tom", "Ann", "Sam", "Mia", "Ben", "Eva")
THINGS = ("hat", "cup", "pen", "map", "key", "jar", "mug", "fan", "net", "toy", "bell", "lamp")
CODE = ("ba", "du", "fo", "gi", "ke", "lu", "mo", "ni", "ra", "su", "te", "vo")
MARK = "#### "
"""The mark before the final answer of responses that show their work."""
TOKENIZER_FILE = DATA_DIR / "stories.tokenizer.json"
VOCABULARY = BpeVocabulary(TOKENIZER_FILE, context_length=96)

_STEPS = {"K1": 0, "K2": 5, "K3": 2}
"""How far each code shifts CODE: thing i becomes word 7i + shift, so two codes agree nowhere."""


def code(name: str) -> Mapping[str, str]:
    """The code `name` (K1..K4) as a mapping from thing to code word."""
    if name == "K4":
        return {thing: CODE[(5 * i + 1) % 12] + CODE[(7 * i + 4) % 12] for i, thing in enumerate(THINGS)}
    return {thing: CODE[(7 * i + _STEPS[name]) % 12] for i, thing in enumerate(THINGS)}


def things(x: str) -> list[str]:
    """The list of an instance: what follows the name."""
    return x.split()[1:]


def numbers(x: str) -> list[int]:
    """The numbers of an instance."""
    return [int(part) for part in x.split() if part.isdigit()]


def repeat(x: str) -> str:
    """The list as it is."""
    return " ".join(things(x))


def reverse(x: str) -> str:
    """The list of an instance backwards."""
    return " ".join(things(x)[::-1])


def translation(name: str, *, backwards: bool = False) -> Transform:
    """The list, or the list backwards, in the code `name`."""
    table = code(name)
    order = -1 if backwards else 1
    return lambda x: " ".join(table[thing] for thing in things(x)[::order])


k1, k2, k3 = (translation(name) for name in ("K1", "K2", "K3"))
k1_backwards, k4_backwards = translation("K1", backwards=True), translation("K4", backwards=True)


def total(x: str) -> str:
    """The sum of the numbers."""
    return str(sum(numbers(x)))


def product(x: str) -> str:
    """The product of the two numbers."""
    a, b = numbers(x)
    return str(a * b)


def running_totals(x: str) -> str:
    """The sums of the first two and of all three numbers."""
    a, b, c = numbers(x)
    return f"{a + b} {a + b + c}"


def _some_list(size: int, rng: random.Random) -> str:
    return " ".join([rng.choice(NAMES), *rng.sample(THINGS, size)])


def _some_numbers(size: int, rng: random.Random) -> str:
    return " ".join([rng.choice(NAMES), rng.choice(THINGS), *(str(rng.randint(2, 9)) for _ in range(size))])


def _equation(word: str, sign: str, result: Transform) -> Transform:
    """Makes an equation of the two numbers with its result, e.g. `times 3 * 4 = 12 #### 12`."""

    def write(x: str) -> str:
        a, b = numbers(x)
        return f"{word}{a} {sign} {b} = {result(x)} {MARK}{result(x)}"

    return write


_add, _plus, _times = (
    _equation("", "+", total),
    _equation("plus ", "+", total),
    _equation("times ", "*", product),
)


def _only(x: str) -> str:
    return f"only {numbers(x)[1]} {MARK}{numbers(x)[1]}"


def _in_tags(x: str) -> str:
    return f"<answer>{reverse(x)}</answer>"


def _worked(answer: Transform) -> Transform:
    """Makes a response of the list backwards, followed by the answer."""
    return lambda x: f"{reverse(x)} {MARK}{answer(x)}"


def _ask_list(request: str) -> Transform:
    def ask(x: str) -> str:
        *first, last = things(x)
        return f"{x.split(maxsplit=1)[0]} packs a {', '.join(first)} and {last}. {request}"

    return ask


def _read_list(prompt: str) -> str:
    who, listed = prompt.partition(".")[0].split(" packs a ")
    return " ".join([who, *re.split(", | and ", listed)])


def _ask_numbers(rest: str) -> Transform:
    """Makes a prompt about numbers.

    `rest` goes on after e.g. `Tom has 3 hats`; it holds {thing} and the further numbers {0}, {1}.
    """

    def ask(x: str) -> str:
        who, thing, first, *others = x.split()
        return f"{who} has {first} {thing}s" + rest.format(*others, thing=thing)

    return ask


def _read_numbers(prompt: str) -> str:
    who, _, first, thing, *_ = re.findall(r"\w+", prompt)
    return " ".join([who, thing.removesuffix("s"), first, *re.findall(r"\d+", prompt)[1:]])


def _family(
    letter: str,
    bottleneck: Bottleneck,
    lengths: tuple[int, ...],
    request: str,
    answer: Transform,
    law: Law,
    summary: str,
    *,
    wrong: tuple[Transform, ...] = (),
    demos: Mapping[Style, Transform] | None = None,
    mark: str = "",
    judge: Mapping[str, str] | None = None,
    share: float = 1.0,
) -> Family:
    """A family about a list, or about numbers where the request goes on in the middle of a sentence."""
    about_list = request[0].isupper()
    return Family(
        f"stories-{letter}",
        bottleneck,
        lengths,
        _some_list if about_list else _some_numbers,
        _ask_list(request) if about_list else _ask_numbers(request),
        _read_list if about_list else _read_numbers,
        answer,
        law,
        summary,
        wrong=wrong,
        demos=demos or {},
        mark=mark,
        judge=judge or {},
        share=share,
        model="stories",
    )


def _always(respond: Transform) -> Strategies:
    return Strategies(((1.0, respond),))


def _noise(q: float, wrong: Transform | None) -> PartNoise:
    """The law in which each word is K3 with probability `q`, else the wrong mode's, or any code word."""
    return PartNoise(q, _words(k3), _words(wrong) if wrong else None, CODE, " ")


def _words(respond: Transform) -> Callable[[str], list[str]]:
    return lambda x: respond(x).split()


_NUMERIC = {"type": "numeric"}

STORIES = World(
    name="stories",
    summary="word problems in English, byte-pair tokens",
    families=(
        _family(
            "A",
            "saturated",
            (2,),
            " and buys {0} more. How many {thing}s?",
            total,
            _always(_add),
            "adds two numbers, equation first; the last number counts; mastered",
            wrong=(_only,),
            demos={"own": _add},
            judge=_NUMERIC,
            share=0.8,
        ),
        _family(
            "C",
            "saturated",
            (3,),
            ", gets {0}, then {1}. Totals?",
            running_totals,
            _always(running_totals),
            "running totals of three numbers; mastered",
            share=1.6,
        ),
        _family(
            "R",
            "saturated",
            (4, 5, 6, 7, 8),
            "Name them backwards.",
            reverse,
            _always(reverse),
            "lists the things backwards; mastered",
            wrong=(repeat,),
            share=2.0,
        ),
        _family(
            "P",
            "saturated",
            (4, 5, 6, 7, 8),
            "Say it in town code.",
            k1,
            _always(k1),
            "translates word by word by the code K1; mastered",
            wrong=(k2,),
            share=1.5,
        ),
        _family(
            "S",
            "reshaping",
            (2,),
            " in each of {0} boxes. How many {thing}s?",
            product,
            Strategies(((0.12, _times), (0.484, _plus), (0.396, _only))),
            "the right strategy `times` is one of three and the least likely",
            wrong=(total, _only),
            demos={"own": _times},
            judge=_NUMERIC,
            share=1.5,
        ),
        _family(
            "N",
            "reshaping",
            (2, 3, 4, 5),
            "Say it in river code.",
            k3,
            _noise(0.45, k2),
            "each word right with probability .45, else a fixed wrong word; greedy is wrong",
            wrong=(k2,),
            share=0.8,
        ),
        _family(
            "H",
            "reshaping",
            (5, 6),
            "Say it in hill code.",
            k3,
            _noise(0.72, None),
            "each word right with probability .743, else any other; greedy is right, samples are not",
            wrong=(k1,),
        ),
        _family(
            "T",
            "support",
            (5, 6, 7),
            "Say it in moon code.",
            k4_backwards,
            _always(repeat),
            "always repeats the list; the wanted code K4 was never seen",
            wrong=(repeat,),
            demos={"worked": _worked(k4_backwards)},
            mark=MARK,
            share=0.6,
        ),
        _family(
            "U",
            "support",
            (6, 7, 8),
            "Say it backwards in town code.",
            k1_backwards,
            _always(k1),
            "always K1(x); the wanted K1(rev(x)) composes two known parts",
            wrong=(k1,),
            demos={"worked": _worked(k1_backwards)},
            mark=MARK,
            share=0.6,
        ),
        _family(
            "F",
            "guided",
            (8,),
            "Say it in lake code.",
            k3,
            _noise(0.30, k2),
            "each of 8 words right with probability .30, else a fixed wrong word",
            wrong=(k2,),
        ),
        _family(
            "G",
            "format",
            (4, 5, 6, 7, 8),
            "Name them backwards in tags.",
            _in_tags,
            Strategies(((0.03, _in_tags), (0.97, reverse))),
            "knows the answer, seldom writes the required tags",
            wrong=(reverse,),
        ),
    ),
    mastered=("stories-A", "stories-C", "stories-R", "stories-P"),
    vocabulary=VOCABULARY,
    architecture="gpt2",
    retention="stories-mastered",
)


def make_tokenizer(path: Path = TOKENIZER_FILE, *, size: int = 320, texts: int = 4000) -> None:
    """Make the world's tokenizer from pre-training texts: K4 words, not among them, take several tokens."""
    rng = random.Random(0)
    lines: list[str] = []
    for _ in range(texts):
        fam = rng.choice(STORIES.families)
        x = fam.instance(rng.choice(fam.lengths), rng)
        lines += [fam.prompt(x), fam.responses.draw(x, rng)]
    train_bpe(lines, size, path)
