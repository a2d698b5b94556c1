"""The task families of the real-model benchmark: what people ask a small instruct model, 40 problems each.

| family | asked | form demanded |
|---|---|---|
| sums | What is 34 + 5? | none |
| word-sums | a story with two numbers, worked demonstrations | ends with "answer: N" |
| products | What is 3 times 4? | none |
| capitals | What is the capital of France? | none |
| capitals-bare | the same | the name of the city only |
| yesno | Is the sun a star? | yes or no |
| choice | four listed options | the letter only |
| json | a fact in JSON | one JSON object and nothing else |
| tag | a fact in answer tags | `<answer>...</answer>` |
| letter-count | How many times does the letter s occur in "grass"? | none |
| reverse | Write the word "tab" backwards. | the word only |
| dates | Write March 5, 2021 as YYYY-MM-DD. | the date only |
| units | How many centimeters are 3 meters? | none |
| gsm8k | GSM8K's own rows, with their worked solutions | none |
| mbpp | MBPP's own rows | none |
| few-shot | three worked lines and a fourth to go on with, as text without a chat template | none |

Every family is a tasks file as a user would write it. The verifier is the one that the product chooses, but where the
rows name one. `python -m benchmarks.real.families FAMILY DIR` writes one. Rows of GSM8K (MIT) and MBPP (CC BY 4.0) come from files of theirs that the benchmark is given.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROBLEMS = 40
TEMPERATURE = 0.7
"""Of every draw: what chat models of this size are used with; at 1 most of what they write is no sentence."""
LONG = 160
"""Token cap where answers are worked out."""
Row = dict[str, Any]

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Japan": "Tokyo", "Egypt": "Cairo",
    "Greece": "Athens", "Poland": "Warsaw", "Russia": "Moscow", "Peru": "Lima", "Cuba": "Havana", "Ireland": "Dublin",
    "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Austria": "Vienna", "Hungary": "Budapest",
    "Portugal": "Lisbon", "China": "Beijing", "Canada": "Ottawa", "Kenya": "Nairobi", "Turkey": "Ankara",
    "Chile": "Santiago", "Iran": "Tehran", "Iraq": "Baghdad", "Thailand": "Bangkok", "Denmark": "Copenhagen",
    "Belgium": "Brussels", "Argentina": "Buenos Aires", "Colombia": "Bogota", "Venezuela": "Caracas",
    "South Korea": "Seoul", "Vietnam": "Hanoi", "Nepal": "Kathmandu", "Ukraine": "Kyiv", "Romania": "Bucharest",
    "Bulgaria": "Sofia", "Jamaica": "Kingston", "Ghana": "Accra", "the United Kingdom": "London",
}  # fmt: skip
"""Country -> capital."""

FACTS = {
    "Is the sun a star?": "yes", "Is a whale a fish?": "no", "Is ice frozen water?": "yes", "Is the moon a planet?": "no",
    "Do birds have feathers?": "yes", "Can dogs fly?": "no", "Is gold a metal?": "yes", "Is a spider an insect?": "no",
    "Is Paris in France?": "yes", "Is Tokyo in China?": "no", "Is 10 larger than 7?": "yes", "Is 3 larger than 8?": "no",
    "Is snow white?": "yes", "Is coal white?": "no", "Do fish live in water?": "yes", "Do cows lay eggs?": "no",
    "Is a rose a flower?": "yes", "Is a carrot a fruit tree?": "no", "Is January a month?": "yes",
    "Is Monday a month?": "no", "Is the Earth round?": "yes", "Is fire cold?": "no", "Is milk a drink?": "yes",
    "Is glass a metal?": "no", "Is a triangle a shape with three sides?": "yes", "Does a square have five sides?": "no",
    "Is Mars a planet?": "yes", "Is the Atlantic a desert?": "no", "Do humans need oxygen?": "yes",
    "Do rocks need sleep?": "no", "Is honey made by bees?": "yes", "Is silk made by cows?": "no",
    "Is iron heavier than paper?": "yes", "Is a mouse larger than an elephant?": "no", "Is water wet?": "yes",
    "Is sugar salty?": "no", "Is Shakespeare the author of Hamlet?": "yes", "Is Einstein the author of Hamlet?": "no",
    "Is winter colder than summer?": "yes", "Is the desert wetter than the sea?": "no",
}  # fmt: skip

QUIZ = (
    ("Which of these is an animal?", "dog", ("table", "stone", "river")),
    ("Which of these is a fruit?", "apple", ("chair", "cloud", "hammer")),
    ("Which of these is a color?", "blue", ("seven", "bread", "train")),
    ("Which planet is known as the Red Planet?", "Mars", ("Venus", "Saturn", "Neptune")),
    ("Which of these is a metal?", "iron", ("wood", "wool", "paper")),
    ("How many days are in a week?", "7", ("5", "9", "12")),
    ("Which animal barks?", "dog", ("cat", "fish", "sheep")),
    ("What do bees make?", "honey", ("milk", "silk", "wine")),
    ("Which of these is a country?", "Brazil", ("London", "Amazon", "Toyota")),
    ("Which gas do humans breathe in to live?", "oxygen", ("helium", "argon", "methane")),
    ("What is frozen water called?", "ice", ("steam", "sand", "smoke")),
    ("Which of these can fly?", "eagle", ("horse", "shark", "snail")),
    ("What is the opposite of hot?", "cold", ("tall", "fast", "loud")),
    ("Which month comes first in the year?", "January", ("June", "August", "November")),
    ("Which of these is a vegetable?", "carrot", ("bicycle", "window", "pencil")),
    ("Which organ pumps blood?", "heart", ("liver", "lung", "stomach")),
    ("Which of these is used to write?", "pen", ("spoon", "shoe", "pillow")),
    ("What color is grass?", "green", ("purple", "orange", "white")),
    ("Which of these is a season?", "winter", ("Friday", "morning", "century")),
    ("Which of these is the largest?", "elephant", ("mouse", "rabbit", "bee")),
    ("Which of these lives in water?", "fish", ("lion", "camel", "goat")),
    ("Which of these is a musical instrument?", "piano", ("ladder", "bottle", "blanket")),
    ("Which of these is a language?", "French", ("Paris", "Euro", "Seine")),
    ("Which of these is a number?", "ten", ("leaf", "door", "rain")),
    ("What is the color of the sky on a clear day?", "blue", ("red", "brown", "black")),
    ("Which of these do we read?", "book", ("soup", "sock", "brick")),
    ("How many legs does a spider have?", "8", ("4", "6", "10")),
    ("Which of these is a drink?", "tea", ("sand", "glass", "rope")),
    ("Where do fish swim?", "water", ("air", "fire", "rock")),
    ("Which of these is a tool?", "hammer", ("banana", "tiger", "cloud")),
    ("Which of these is a continent?", "Africa", ("Berlin", "Nile", "Everest")),
    ("Which of these is a sport?", "football", ("kitchen", "carpet", "lemon")),
    ("Which of these shines at night?", "moon", ("shoe", "bread", "grass")),
    ("Who wrote Hamlet?", "Shakespeare", ("Mozart", "Picasso", "Newton")),
    ("Which of these is a body part?", "hand", ("lamp", "truck", "plate")),
    ("Which of these is the smallest number?", "2", ("5", "8", "11")),
    ("Which of these is a bird?", "parrot", ("cobra", "trout", "wolf")),
    ("Which of these keeps you dry in the rain?", "umbrella", ("spoon", "candle", "mirror")),
    ("Which of these tells the time?", "clock", ("fork", "pillow", "basket")),
    ("Which ocean lies between Europe and America?", "Atlantic", ("Pacific", "Indian", "Arctic")),
)
"""Question, right option, wrong options."""

OPPOSITES = {
    "hot": "cold", "big": "small", "up": "down", "day": "night", "fast": "slow", "happy": "sad", "old": "young",
    "open": "closed", "left": "right", "good": "bad", "light": "dark", "rich": "poor", "hard": "soft", "wet": "dry",
    "high": "low", "full": "empty", "early": "late", "strong": "weak", "black": "white", "love": "hate",
    "win": "lose", "first": "last", "true": "false", "above": "below", "inside": "outside", "long": "short",
    "loud": "quiet", "clean": "dirty", "war": "peace", "buy": "sell", "push": "pull", "north": "south",
    "east": "west", "cheap": "expensive", "thick": "thin", "deep": "shallow", "near": "far", "alive": "dead",
    "begin": "end", "summer": "winter",
}  # fmt: skip

WORDS = (
    "tab", "net", "cat", "dog", "sun", "map", "pen", "cup", "bed", "red", "box", "fan", "hat", "jam", "lip", "mud",
    "nap", "pot", "rat", "sit", "book", "tree", "lamp", "fish", "moon", "star", "rain", "snow", "wind", "door",
    "apple", "bread", "chair", "grass", "house", "light", "mouse", "plant", "river", "stone",
)  # fmt: skip

COUNTED = (
    ("s", "grass"), ("l", "balloon"), ("e", "tree"), ("a", "banana"), ("p", "apple"), ("o", "moon"), ("t", "butter"),
    ("n", "dinner"), ("r", "mirror"), ("i", "mississippi"), ("o", "book"), ("e", "cheese"), ("s", "glasses"),
    ("b", "bubble"), ("z", "puzzle"), ("f", "coffee"), ("l", "hello"), ("a", "cat"), ("d", "daddy"), ("g", "eggs"),
    ("m", "hammer"), ("c", "soccer"), ("u", "sun"), ("y", "yesterday"), ("e", "elephant"), ("t", "tomato"),
    ("o", "potato"), ("n", "onion"), ("r", "strawberry"), ("k", "kick"), ("h", "church"), ("w", "window"),
    ("p", "happy"), ("s", "lesson"), ("i", "river"), ("v", "seven"), ("a", "panama"), ("e", "green"), ("l", "little"),
    ("d", "garden"),
)  # fmt: skip
"""Letter and word."""

UNITS = (
    ("centimeters", "meters", 100), ("minutes", "hours", 60), ("grams", "kilograms", 1000), ("days", "weeks", 7),
    ("inches", "feet", 12), ("seconds", "minutes", 60), ("months", "years", 12), ("millimeters", "centimeters", 10),
)  # fmt: skip
"""Small unit, large unit, how many of the small make one of the large."""

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
NAMES = ("Ivan", "Omar", "Lena", "Mia", "Noah", "Sara", "Tom", "Zoe")
THINGS = ("stamps", "apples", "books", "coins", "shells", "cards", "pens", "marbles")


@dataclass(frozen=True)
class Family:
    """One tasks file, and how it is drawn."""

    name: str
    rows: tuple[Row, ...]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Settings of `diag analyze` that a user of these tasks would give."""
    cap: int = 96
    """Token cap of the draws behind the truth."""

    def write(self, folder: Path) -> Path:
        """Write the tasks file."""
        path = folder / f"{self.name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        return path


LINE: Mapping[str, Any] = {"stop": ("\n",)}
"""Short answers end with their line, as the field's own generation tasks stop them."""


def _rows(name: str, pairs: Sequence[tuple[str, str]], **more: Any) -> tuple[Row, ...]:
    return tuple(
        {"id": f"{name}-{i}", "prompt": asked, "answer": gold, **more} for i, (asked, gold) in enumerate(pairs)
    )


def _sums() -> Family:
    rng = random.Random("sums")
    pairs = [(rng.randint(11, 89), rng.randint(2, 9)) for _ in range(PROBLEMS)]
    return Family("sums", _rows("sums", [(f"What is {a} + {b}?", str(a + b)) for a, b in pairs]), options=LINE)


def _word_sums() -> Family:
    rng = random.Random("word-sums")
    rows: list[Row] = []
    for i in range(PROBLEMS):
        name, thing, a, b = rng.choice(NAMES), rng.choice(THINGS), rng.randint(2, 12), rng.randint(2, 9)
        prompt = f"{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now? "
        demo = f"{a} + {b} = {a + b}, so {name} has {a + b} {thing}.\nanswer: {a + b}"
        asked = prompt + "End with a line 'answer: N'."
        rows.append({"id": f"word-sums-{i}", "prompt": asked, "answer": str(a + b), "demos": [demo]})
    return Family("word-sums", tuple(rows), cap=128)


def _products() -> Family:
    rng = random.Random("products")
    cells = [(a, b) for a in range(2, 11) for b in range(2, 11)]
    chosen = rng.sample(cells, PROBLEMS)
    return Family(
        "products", _rows("products", [(f"What is {a} times {b}?", str(a * b)) for a, b in chosen]), options=LINE
    )


def _capitals() -> Family:
    pairs = [(f"What is the capital of {country}?", city) for country, city in CAPITALS.items()]
    return Family("capitals", _rows("capitals", pairs), cap=128)


def _capitals_bare() -> Family:
    ask = "What is the capital of {}? Answer with the name of the city only."
    return Family(
        "capitals-bare", _rows("capitals-bare", [(ask.format(c), city) for c, city in CAPITALS.items()]), cap=128
    )


def _yesno() -> Family:
    pairs = [(f"{question} Answer yes or no.", gold) for question, gold in FACTS.items()]
    return Family("yesno", _rows("yesno", pairs), options=LINE)


def _choice() -> Family:
    rng = random.Random("choice")
    pairs: list[tuple[str, str]] = []
    for question, right, wrong in QUIZ:
        options = [right, *wrong]
        rng.shuffle(options)
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True))
        pairs.append((f"{question}\n{listed}\nAnswer with the letter only.", "ABCD"[options.index(right)]))
    return Family("choice", _rows("choice", pairs), cap=128)


def _json() -> Family:
    ask = 'What is the capital of {}? Reply only with a JSON object of the form {{"city": "TEXT"}}.'
    pairs = [(ask.format(country), json.dumps({"city": city})) for country, city in CAPITALS.items()]
    return Family("json", _rows("json", pairs), options={"stop": ("\n\n",)})


def _tag() -> Family:
    ask = "What is the opposite of {}? Give the answer as <answer>WORD</answer>."
    return Family("tag", _rows("tag", [(ask.format(word), other) for word, other in OPPOSITES.items()]), cap=128)


def _letter_count() -> Family:
    ask = "How many times does the letter '{}' occur in the word '{}'?"
    return Family(
        "letter-count", _rows("letter-count", [(ask.format(c, w), str(w.count(c))) for c, w in COUNTED]), cap=128
    )


def _reverse() -> Family:
    ask = "Write the word '{}' backwards. Answer with one word only."
    return Family("reverse", _rows("reverse", [(ask.format(word), word[::-1]) for word in WORDS]), options=LINE)


def _dates() -> Family:
    rng = random.Random("dates")
    pairs: list[tuple[str, str]] = []
    for _ in range(PROBLEMS):
        year, month, day = rng.randint(1950, 2024), rng.randint(1, 12), rng.randint(1, 28)
        asked = f"Write the date {MONTHS[month - 1]} {day}, {year} in the form YYYY-MM-DD. Answer with the date only."
        pairs.append((asked, f"{year}-{month:02}-{day:02}"))
    return Family("dates", _rows("dates", pairs), options=LINE)


def _units() -> Family:
    rng = random.Random("units")
    cells = [(small, large, factor, n) for small, large, factor in UNITS for n in range(2, 8)]
    chosen = rng.sample(cells, PROBLEMS)
    pairs = [(f"How many {small} are {n} {large}?", str(n * factor)) for small, large, factor, n in chosen]
    return Family("units", _rows("units", pairs), options=LINE)


def _few_shot() -> Family:
    shots = "Q: What is the capital of Morocco?\nA: Rabat\n\nQ: What is the capital of Mexico?\nA: Mexico City\n\n"
    shots += "Q: What is the capital of Qatar?\nA: Doha\n\n"
    pairs = [(f"{shots}Q: What is the capital of {country}?\nA:", city) for country, city in CAPITALS.items()]
    return Family("few-shot", _rows("few-shot", pairs), options={"chat_template": False, **LINE}, cap=128)


def _evenly(rows: Sequence[Row]) -> list[Row]:
    return [rows[i * len(rows) // PROBLEMS] for i in range(PROBLEMS)]


def _gsm8k(rows: Sequence[Row]) -> Family:
    chosen = [{"id": f"gsm8k-{i}", **row} for i, row in enumerate(_evenly(rows))]
    return Family("gsm8k", tuple(chosen), cap=LONG)


def _mbpp(rows: Sequence[Row]) -> Family:
    chosen = [{"id": f"mbpp-{row['task_id']}", **row} for row in _evenly(rows)]
    return Family("mbpp", tuple(chosen), options={"allow_code": True}, cap=LONG)


OWN: tuple[Callable[[], Family], ...] = (
    _sums, _word_sums, _products, _capitals, _capitals_bare, _yesno, _choice, _json, _tag, _letter_count, _reverse,
    _dates, _units, _few_shot,
)  # fmt: skip
"""Families whose rows are made here."""


def own_families() -> dict[str, Family]:
    """The families that need no other file, by name."""
    return {family.name: family for family in (make() for make in OWN)}


def all_families(folder: Path) -> dict[str, Family]:
    """Every family.

    Args:
        folder: holds gsm8k_test.jsonl and mbpp.jsonl as their authors publish them.
    """

    def read(name: str) -> list[Row]:
        return [json.loads(line) for line in (folder / name).read_text().splitlines() if line.strip()]

    outside = (_gsm8k(read("gsm8k_test.jsonl")), _mbpp(read("mbpp.jsonl")))
    return own_families() | {family.name: family for family in outside}


def main() -> int:
    """Write the tasks file of a family."""
    parser = argparse.ArgumentParser(description="Write the tasks file of a family of the real-model benchmark.")
    parser.add_argument("family", choices=own_families())
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(own_families()[arguments.family].write(arguments.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
