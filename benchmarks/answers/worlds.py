r"""Models with a known success probability that answer as real models write: what the served runs are measured on.

| world | asked | a right answer | a wrong one |
|---|---|---|---|
| capital | "... Answer with the name of the city only." | The capital of Peru is Lima. | The capital of Peru is Arequipa. |
| yesno | a question, yes or no | Yes, that is correct. | No, that is not correct. |
| math500-equivalent | MATH-500 | its gold in another spelling, boxed | a number of it changed, or another gold |
| math500-respelled | MATH-500; 17 of 100 golds in another spelling | its gold, boxed | the same |
| mbpp-fence | MBPP | a sentence, the code in a fence, a sentence | the same with a fault in the code |
| mbpp-usage | MBPP | the code in a fence, then a longer fence that uses it | the same with a fault in the code |
| gsm8k-base | GSM8K, as text to go on with | the worked solution, #### 18, then another question with its answer | another result |

Each problem has a success probability of its own: the quantiles of a Beta law around p, in a random order. What is right
is known here without any verifier: right texts are spellings of the gold answer, wrong ones of another value, and code
is run against its tests.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

SPREAD = 2.0
"""Sum of the two parameters of the Beta law: small is uneven."""
Row = dict[str, Any]
Writer = Callable[[random.Random], str]


@dataclass(frozen=True)
class Item:
    """A problem of a world and how its model answers it."""

    row: Row
    """As it stands in the tasks file."""
    p: float
    right: Writer
    wrong: Writer


@dataclass(frozen=True)
class World:
    """Tasks and a model with known success probabilities."""

    name: str
    p: float
    """What the success probabilities spread around."""
    items: tuple[Item, ...]
    chat: bool
    code: bool

    @property
    def truth(self) -> float:
        """Pass@1: the mean of the problems' success probabilities."""
        return float(np.mean([item.p for item in self.items]))


def probabilities(p: float, n: int, seed: int) -> list[float]:
    """Success probabilities of n problems: quantiles of Beta(SPREAD p, SPREAD (1 - p)), shuffled."""
    quantiles = (np.arange(n) + 0.5) / n
    found = stats.beta.ppf(quantiles, SPREAD * p, SPREAD * (1 - p))
    return np.random.default_rng(seed).permutation(found).tolist()


def worlds(tasks: Path) -> dict[str, Callable[[], World]]:
    """Every world by name; `tasks` is a folder with GSM8K, MATH-500 and MBPP."""
    return {
        "capital": _capital,
        "yesno": _yesno,
        "math500-equivalent": lambda: _math500(tasks, "math500-equivalent", 0.70, 40, 40),
        "math500-respelled": lambda: _math500(tasks, "math500-respelled", 0.60, 100, 17),
        "mbpp-fence": lambda: _mbpp(tasks, "mbpp-fence", _in_fence),
        "mbpp-usage": lambda: _mbpp(tasks, "mbpp-usage", _with_usage),
        "gsm8k-base": lambda: _gsm8k(tasks),
    }


# --- sentences -------------------------------------------------------------------------------------------------------

CAPITALS = """Australia Canberra Sydney|Brazil Brasília Rio de Janeiro|Canada Ottawa Toronto|Turkey Ankara Istanbul
Peru Lima Arequipa|Kenya Nairobi Mombasa|Morocco Rabat Casablanca|Nigeria Abuja Lagos|Pakistan Islamabad Karachi
Vietnam Hanoi Da Nang|India New Delhi Mumbai|Switzerland Bern Zurich|New Zealand Wellington Auckland|Kazakhstan Astana Almaty
Tanzania Dodoma Dar es Salaam|Myanmar Naypyidaw Yangon|Ecuador Quito Guayaquil|France Paris Lyon|Spain Madrid Barcelona
Italy Rome Milan|Germany Berlin Munich|Poland Warsaw Kraków|Portugal Lisbon Porto|Greece Athens Thessaloniki
Norway Oslo Bergen|Sweden Stockholm Gothenburg|Finland Helsinki Tampere|Denmark Copenhagen Aarhus|Ireland Dublin Cork
Austria Vienna Graz|Hungary Budapest Debrecen|Romania Bucharest Cluj-Napoca|Bulgaria Sofia Plovdiv|Croatia Zagreb Split
Ukraine Kyiv Lviv|Egypt Cairo Alexandria|Japan Tokyo Osaka|China Beijing Shanghai|Chile Santiago Valparaíso
Cuba Havana Camagüey"""
"""Country, capital, another city of it; the country is one word or "New Zealand"."""
STATEMENTS = """yes Is iron a metal?|yes Is a whale a mammal?|no Is the Moon a star?|no Is a spider an insect?|yes Is Venus a planet?
no Is glass a metal?|yes Is 97 a prime number?|no Is 57 a prime number?|yes Is the square root of 2 irrational?
no Is zero a positive number?|yes Is Everest higher than Kilimanjaro?|no Is lead lighter than aluminium?
yes Do penguins lay eggs?|no Do snakes have eyelids?|yes Can ostriches run faster than people?|no Can penguins fly?
yes Is Madrid the capital of Spain?|no Is Sydney the capital of Australia?|yes Was Mozart born in Salzburg?
no Was Einstein born in Vienna?|yes Is sound faster in water than in air?|no Is sound faster than light?
yes Is helium lighter than air?|no Is carbon dioxide lighter than air?|yes Does the Danube flow into the Black Sea?
no Does the Rhine flow into the Black Sea?|yes Is Japanese written in several scripts?|no Is Finnish a Slavic language?
yes Do bees dance?|no Do plants breathe in nitrogen?|yes Is honey made by bees?|no Is silk made by bees?
yes Is 2 the smallest prime number?|no Is 9 the largest digit of 18?|yes Is a square a rectangle?|no Is a circle a polygon?
yes Did Rome have emperors?|no Did Athens have emperors?|yes Is chess played on 64 squares?|no Is go played on 64 squares?"""


def _capital() -> World:
    found: list[tuple[str, str, str]] = []
    for entry in re.split(r"\||\n", CAPITALS):
        match = re.match(r"(New Zealand|\S+) (New Delhi|\S+) (.+)", entry)
        assert match is not None
        found.append((match[1], match[2], match[3]))
    ps = probabilities(0.51, len(found), seed=1)
    items = [
        Item(
            {"prompt": f"What is the capital of {country}? Answer with the name of the city only.", "answer": capital},
            p,
            _fixed(f"The capital of {country} is {capital}."),
            _fixed(f"The capital of {country} is {other}."),
        )
        for (country, capital, other), p in zip(found, ps, strict=True)
    ]
    return World("capital", 0.51, tuple(items), chat=True, code=False)


def _yesno() -> World:
    entries = [entry.split(" ", 1) for entry in re.split(r"\||\n", STATEMENTS)]
    said = {"yes": _fixed("Yes, that is correct."), "no": _fixed("No, that is not correct.")}
    items = [
        Item({"prompt": question, "answer": gold}, p, said[gold], said["no" if gold == "yes" else "yes"])
        for (gold, question), p in zip(entries, probabilities(0.55, len(entries), seed=2), strict=True)
    ]
    return World("yesno", 0.55, tuple(items), chat=True, code=False)


def _fixed(text: str) -> Writer:
    return lambda rng: text


# --- MATH-500 --------------------------------------------------------------------------------------------------------

BOXED = (
    "So the final answer is $\\boxed{%s}$.",
    "Therefore, $$\\boxed{%s}$$",
    "We conclude that the answer is $\\boxed{%s}$.",
)


def _math500(tasks: Path, name: str, p: float, n: int, respelled: int) -> World:
    """MATH-500; in the problems that can be spelled otherwise, `respelled` of them, the model always does so."""
    rows = _lines(tasks / "math500_test.jsonl")
    random.Random(3).shuffle(rows)
    other = [row for row in rows if equivalents(row["answer"])][:respelled]
    chosen = other + [row for row in rows if row not in other][: n - respelled]
    items: list[Item] = []
    for i, (row, share) in enumerate(zip(chosen, probabilities(p, n, seed=4), strict=True)):
        spellings = equivalents(row["answer"]) if i < respelled else [row["answer"]]
        lure = _wrong_answer(row["answer"], [one["answer"] for one in rows])
        wrong = (equivalents(lure) or [lure]) if i < respelled else [lure]
        items.append(Item(row, share, _boxed(spellings), _boxed(wrong)))
    return World(name, p, tuple(items), chat=True, code=False)


def _boxed(spellings: Sequence[str]) -> Writer:
    return lambda rng: rng.choice(BOXED) % rng.choice(spellings)


def equivalents(answer: str) -> list[str]:
    r"""Other spellings of an answer, by rules of this benchmark alone: \dfrac, a/b, decimals, x = ..., units as text."""
    found: list[str] = []
    if fraction := re.fullmatch(r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}", answer):
        sign, above, below = fraction[1], int(fraction[2]), int(fraction[3])
        found += [
            f"{sign}{above}/{below}",
            f"{sign}\\tfrac{{{above}}}{{{below}}}",
            f"\\frac{{{sign}{2 * above}}}{{{2 * below}}}",
        ]
        if 1000 * above % below == 0:
            found.append(f"{sign}{above / below:g}")
    elif "\\frac" in answer:
        found += [answer.replace("\\frac", "\\dfrac"), answer.replace("\\frac", "\\displaystyle\\frac", 1)]
    if re.fullmatch(r"-?\d+", answer):
        found += [f"{answer}.0", f"\\text{{{answer}}}", f"\\mathbf{{{answer}}}"]
        found += [f"{int(answer):,}".replace(",", "{,}")] if abs(int(answer)) >= 1000 else []
    if re.search(r"\\sqrt\{\d\}", answer):
        found.append(re.sub(r"\\sqrt\{(\d)\}", r"\\sqrt \1", answer))
    if answer.startswith("\\left("):
        found.append(answer.replace("\\left", "").replace("\\right", "").replace(" ", ""))
    if "\\pi" in answer:
        found.append(answer.replace("\\pi", "\\pi{}"))
    return found


def _wrong_answer(answer: str, others: Sequence[str]) -> str:
    """The answer with its last number raised by one; another problem's answer where it has no number."""
    numbers = list(re.finditer(r"\d+", answer))
    if numbers:
        last = numbers[-1]
        return f"{answer[: last.start()]}{int(last[0]) + 1}{answer[last.end() :]}"
    return next(other for other in others if other != answer and not re.search(r"\d", other))


# --- code ------------------------------------------------------------------------------------------------------------

INTRODUCTIONS = (
    "Here is a function that does this:",
    "Sure! You can solve this as follows:",
    "The following code works:",
)
CLOSINGS = ("It goes through the input once and returns the result.", "This covers the cases of the task.")
MUTATIONS = (
    (r"<=", "<"),
    (r"(?<![<>=!])<(?![<=])", "<="),
    (r"\+ 1\b", "+ 2"),
    (r"(?<=[\w)\]] )\+(?= [\w(])", "-"),
    (r"\b0\b", "1"),
    (r"\b1\b", "2"),
    (r"(?<=return )(.+)", r"not (\1)"),
    (r"\bsorted\(", "list("),
    (r"\bmax\(", "min("),
    (r"(?<=return )(.+)", r"(\1, None)"),
    (r"(?<=return )(.+)", "None"),
)
"""Faults that a model makes: the first that fails the tests is the wrong answer."""
TEST_S = 10.0


def _mbpp(tasks: Path, name: str, wrap: Callable[[str, Row, random.Random], str]) -> World:
    rows = _lines(tasks / "mbpp.jsonl")[10:510]  # the test split
    random.Random(5).shuffle(rows)
    pairs: list[tuple[Row, str, str]] = []
    for row in rows:
        code = row["code"].replace("\r", "").replace("\t", "    ")
        fault = _faulty(code, row) if len(code) < 600 and _passes(code, row) else None
        if fault is not None:
            pairs.append((row, code, fault))
        if len(pairs) == 40:
            break
    items = [
        Item(row, p, _wrapped(wrap, code, row), _wrapped(wrap, fault, row))
        for (row, code, fault), p in zip(pairs, probabilities(0.60, len(pairs), seed=6), strict=True)
    ]
    return World(name, 0.60, tuple(items), chat=True, code=True)


def _wrapped(wrap: Callable[[str, Row, random.Random], str], code: str, row: Row) -> Writer:
    return lambda rng: wrap(code, row, rng)


def _in_fence(code: str, row: Row, rng: random.Random) -> str:
    del row
    return f"{rng.choice(INTRODUCTIONS)}\n\n```python\n{code.strip()}\n```\n\n{rng.choice(CLOSINGS)}"


def _with_usage(code: str, row: Row, rng: random.Random) -> str:
    """The function in a block of its own, and a longer block that uses it as a script would."""
    calls = [re.sub(r"^assert\s+|\s*==.*$", "", line.split("\n")[0]) for line in row["test_list"]]
    lines = ["# Example usage", "print('Trying the function on some inputs')"]
    while len("\n".join(lines)) <= len(code):
        for call in calls:
            lines += [
                f"result = {call}",
                "print('Result:', result)",
                "print('Type:', type(result).__name__)",
                "print()",
            ]
    usage = "\n".join([*lines, "print('Done')"])
    start = f"{rng.choice(INTRODUCTIONS)}\n\n```python\n{code.strip()}\n```"
    return f"{start}\n\nYou can use it like this:\n\n```python\n{usage}\n```"


@lru_cache(1024)
def _run(program: str) -> bool:
    try:
        done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, timeout=TEST_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _passes(code: str, row: Row) -> bool:
    return _run("\n".join([row.get("test_setup_code", ""), code, *row["test_list"]]))


def _faulty(code: str, row: Row) -> str | None:
    for pattern, put in MUTATIONS:
        mutant = re.sub(pattern, put, code, count=1)
        if mutant != code and _run(mutant) and not _passes(mutant, row):
            return mutant
    return None


# --- GSM8K -----------------------------------------------------------------------------------------------------------


def _gsm8k(tasks: Path) -> World:
    rows = _lines(tasks / "gsm8k_test.jsonl")
    random.Random(7).shuffle(rows)
    chosen, others = rows[:40], rows[40:400]
    items = [
        Item(
            {**row, "prompt": f"Question: {row['question']}\nAnswer:"},
            p,
            _run_on(_worked(row), others),
            _run_on(_worked(row, shift=True), others),
        )
        for row, p in zip(chosen, probabilities(0.60, 40, seed=8), strict=True)
    ]
    return World("gsm8k-base", 0.60, tuple(items), chat=False, code=False)


def _worked(row: Row, *, shift: bool = False) -> str:
    """The solution without calculator marks; with another result in its last line where it is to be wrong."""
    work, _, result = re.sub(r"<<.*?>>", "", row["answer"]).rpartition("\n#### ")
    if not shift:
        return f"{work}\n#### {result}"
    wrong = str(int(result.replace(",", "")) + 7)
    return f"{work.replace(result, wrong)}\n#### {wrong}"


def _run_on(text: str, others: Sequence[Row]) -> Writer:
    """A base model goes on with a question of its own."""

    def write(rng: random.Random) -> str:
        following = rng.choice(others)
        return f" {text}\n\nQuestion: {following['question']}\nAnswer: {_worked(following)}\n\nQuestion:"

    return write


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
