"""Failed draws read again, more forgivingly: right answers that a verifier rejects, and whether their form is why.

A rejected draw is right where a fair reading finds the gold in it: that of the verifier which suits the gold best
(numbers, words, formulas, letters, ...), the marked answer, or the last number; for code, the program that another
completion passed with. What such readings hit by coincidence is counted on other problems' golds.

Why it was rejected is told by an experiment. The answer, as the model spelled it, is put into a demonstration in the
place of the gold. If that passes, the verifier takes the answer, and what it rejects is the form around it; if it
fails, the verifier rejects the right answer itself. Only where demonstrations show a form, and the draw has another
one, is the form to blame.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from posttrain_diag.tasks.problems.layouts import BOXED
from posttrain_diag.tasks.problems.references import in_reference
from posttrain_diag.tasks.problems.traces import answer_place
from posttrain_diag.tasks.verifiers.any_of import ways
from posttrain_diag.tasks.verifiers.defaults import default_verifier
from posttrain_diag.tasks.verifiers.final import FairAnswer, Finals, answer, finals, gives, same_answer, stated
from posttrain_diag.tasks.verifiers.numbers import iter_numbers, lone_number, same_number
from posttrain_diag.tasks.verifiers.spec import needs_code, verify
from posttrain_diag.types import Judgement, Problem

NULL_OTHERS = 4
"""Number of other problems whose answers say how often a failed draw hits an answer by coincidence."""
FORMULA_OTHERS = 1
"""Number of such problems where a reading compares formulas, which takes longer."""
MIN_REJECTED = 8
"""With fewer right answers rejected than this there is no pattern."""
REJECTED_SUSPECT = 0.1
"""From this share of the right answers being rejected on, the numbers are bent."""
CHANCE = 1e-3
"""It is a pattern only where coincidence is less probable than this."""
AFFIX_SHARE = 0.8
MIN_AFFIX = 8
MAX_PASSED = 8
"""Most passing draws that a failed one is compared with."""
FRAME_CHARS = 40
MIN_FRAMES = 3
"""Fewest demonstrations that show the demanded form; fewer show none."""
_FENCE = re.compile(r"```[\w+-]*[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
_FORMULAS = ("math", "regex")


@dataclass(frozen=True)
class Draws:
    """The draws of one problem, as they are read again."""

    fine: int
    """Number of draws that pass, at least leniently."""
    passed: tuple[str, ...]
    """The different texts among the passing draws."""
    failed: Mapping[str, int]
    """Each text that fails both readings, and how often it was drawn."""


@dataclass
class Reread:
    """What the second reading found, over all problems."""

    right: int = 0
    """Number of draws that pass, at least leniently."""
    rejected: dict[str, int] = field(default_factory=dict[str, int])
    """For each problem the number of draws that fail both readings and give the right answer."""
    misformed: dict[str, int] = field(default_factory=dict[str, int])
    """For each problem the number of those in `rejected` whose form alone is wrong."""
    coincidence: float = 0.0
    """Number of failed draws that are expected to give another problem's answer."""
    example: str = ""
    """A rejected draw, in words."""
    form_example: str = ""
    """A draw whose form alone is wrong, in words."""

    @property
    def by_form(self) -> int:
        """Number of right answers whose form alone is wrong."""
        return sum(self.misformed.values())

    @property
    def excess(self) -> float:
        """Number of right answers that are rejected, beyond what coincidence explains."""
        return sum(self.rejected.values()) - self.coincidence

    def is_pattern(self, problems: int) -> bool:
        """Whether so many right answers are rejected that neither coincidence nor a few odd spellings explain it.

        Args:
            problems: number of measured problems.
        """
        if self.excess < MIN_REJECTED or len(self.rejected) < min(3, problems):
            return False
        if self.excess < REJECTED_SUSPECT * (self.right + self.excess):
            return False
        if not self.coincidence:
            return True
        from scipy import stats

        return float(stats.poisson.sf(sum(self.rejected.values()) - 1, self.coincidence)) <= CHANCE


def reread(problems: Sequence[Problem], draws: Mapping[str, Draws]) -> Reread:
    """Read failed draws again, by more forgiving readings than the verifiers'.

    Args:
        problems: the problems of the run, in its order.
        draws: the draws by problem id; problems without an entry are left out.
    """
    found = Reread()
    drawn = [problem for problem in problems if problem.id in draws]
    affix = _affix([problem.answer or "" for problem in drawn])
    readers = [_DrawReader(problem, affix) for problem in drawn]
    frame = demanded_frame(drawn)
    for at, reader in enumerate(readers):
        spread = [(at + 1 + step * len(readers) // (NULL_OTHERS + 1)) % len(readers) for step in range(NULL_OTHERS)]
        others = [readers[i] for i in spread if not reader.overlaps(readers[i])]
        _add(found, reader, draws[reader.problem.id], others, frame)
    return found


def fairly_right(problem: Problem, completion: str) -> Judgement | None:
    """What the verifier that suits the gold best says of a completion; None where no answer is known."""
    judgements = [verify(completion, way) for way in _fair_ways(problem)]
    return max(judgements, key=lambda found: found.lenient, default=None)


def _fair_ways(problem: Problem) -> list[Problem]:
    """The problem with the verifiers that suit its accepted answers best."""
    prompt = problem.prompt_text
    return [
        replace(way, verifier=default_verifier(way.answer, prompt, boxed=BOXED))
        for way in ways(problem)
        if way.answer is not None and way.answer.strip()
    ]


class _DrawReader:
    """Reads the draws of one problem again."""

    def __init__(self, problem: Problem, affix: tuple[str, str]) -> None:
        self.problem = problem
        self.wanted = _wanted(problem, affix)

    @cached_property
    def code(self) -> bool:
        """Whether a program is asked for."""
        if not needs_code(self.problem.verifier):
            return False
        return self.problem.answer is None and any(program_in(demo) is not None for demo in self.problem.demos)

    @cached_property
    def formula(self) -> bool:
        """Whether answers are compared as formulas."""
        return any(way.verifier.get("type") in _FORMULAS for way in _fair_ways(self.problem))

    def overlaps(self, other: _DrawReader) -> bool:
        """Whether some text is right for both problems."""
        return any(same_answer(x, y) for x in self.wanted for y in other.wanted)

    def gives(self, text: str, found: Finals) -> bool:
        """Whether a text, whose final answers were read, gives the right one by a fair reading."""
        if any(gives(found, each) for each in self.wanted):
            return True
        fair = fairly_right(self.problem, text)
        return fair is not None and fair.lenient


def _add(
    found: Reread, reader: _DrawReader, draws: Draws, others: Sequence[_DrawReader], frame: tuple[str, str] | None
) -> None:
    """Read the draws of one problem again."""
    problem = reader.problem
    found.right += draws.fine
    if not draws.failed:
        return
    others = others[:FORMULA_OTHERS] if reader.formula else others
    given = _said_by(problem, draws.passed)
    programs = {} if not reader.code else {_key(text): text for text in (*problem.demos, *draws.passed)}
    hits = 0.0
    for text, count in draws.failed.items():
        if reader.code:
            right, twin = _key(text) in programs and _key(text) is not None, programs.get(_key(text))
        else:
            read = finals(text)
            right = reader.gives(text, read)
            twin = None if right else _twin(stated(text), given)
            hits += count * sum(other.gives(text, read) for other in others) / max(1, len(others))
        if not right and twin is None:
            continue
        found.rejected[problem.id] = found.rejected.get(problem.id, 0) + count
        if _only_form(reader, text, frame):
            found.misformed[problem.id] = found.misformed.get(problem.id, 0) + count
            found.form_example = found.form_example or _form_example(problem, text)
        elif not found.example:
            found.example = _example(problem, text, twin)
    found.coincidence += hits


def _only_form(reader: _DrawReader, text: str, frame: tuple[str, str] | None) -> bool:
    """Whether the verifier takes the answer of a rejected draw as soon as it stands in a demonstration's form."""
    problem = reader.problem
    if not problem.demos or not verify(problem.demos[0], problem).strict:
        return False
    if reader.code:
        program = program_in(text)
        return program is not None and program != text and verify(program, problem).strict
    if frame is None or problem.answer is None:
        return False
    said = _spelled(problem, text)
    if said is None or _keeps(text, said, frame):
        return False
    return said == problem.answer or any(verify(shown, problem).strict for shown in in_reference(problem, said))


def _spelled(problem: Problem, text: str) -> str | None:
    """The right answer as a draw spells it, where it can be found in the draw."""
    gold, target = problem.answer or "", lone_number(problem.answer or "")
    candidates: list[str] = []
    if target is not None:
        candidates = [number.text for number in iter_numbers(text) if same_number(number, target, lenient=True)][::-1]
    fair = fairly_right(problem, text)
    candidates += [gold, *([fair.extracted] if fair is not None and fair.lenient and fair.extracted else [])]
    return next((each for each in candidates if _where(text, each) is not None), None)


def _where(text: str, said: str) -> int | None:
    """Where an answer stands for the last time as a thing of its own, in whatever case."""
    if not said:
        return None
    inside = r"[\w.]*\w" if said[-1].isdigit() else r"\w"
    found = list(re.finditer(rf"(?<!\w){re.escape(said)}(?!{inside})", text, re.IGNORECASE))
    if not found and not (said[:1].isalnum() and said[-1:].isalnum()):
        found = list(re.finditer(re.escape(said), text, re.IGNORECASE))
    return found[-1].start() if found else None


def demanded_frame(problems: Sequence[Problem]) -> tuple[str, str] | None:
    """What all demonstrations write before and after their answer; None where they show nothing in common.

    Both are empty where demonstrations are nothing but their answer.
    """
    before: list[str] = []
    after: list[str] = []
    for problem in problems:
        place = answer_place(problem, problem.demos[0]) if problem.demos else None
        if place is not None:
            before.append(problem.demos[0][: place[0]][-FRAME_CHARS:])
            after.append(problem.demos[0][place[1] :].rstrip()[:FRAME_CHARS])
    if len(before) < MIN_FRAMES:
        return None
    frame = _beginning([text[::-1] for text in before])[::-1], _beginning(after)
    alone = not any(before) and not any(after)
    return frame if alone or frame[0].strip() or frame[1].strip() else None


def _beginning(texts: Sequence[str]) -> str:
    """The longest common beginning of texts."""
    first, last = min(texts), max(texts)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:same]


def _keeps(text: str, said: str, frame: tuple[str, str]) -> bool:
    """Whether a draw gives its answer in the form that the demonstrations show."""
    before, after = frame
    if not before and not after:
        return text.strip().casefold() == said.casefold()
    at = _where(text, said)
    return at is not None and text[:at].endswith(before) and text[at + len(said) :].startswith(after)


def program_in(text: str) -> str | None:
    """The program that a completion holds: its longest code block that is Python, else all of it; None if none."""
    blocks = sorted(_FENCE.findall(text), key=len, reverse=True)
    return next((block for block in (*blocks, text) if _dumped(block) is not None), None)


def _key(text: str) -> str | None:
    """A form of a program that two spellings of it share; None where it is no Python."""
    program = program_in(text)
    return None if program is None else _dumped(program)


@lru_cache(maxsize=4096)
def _dumped(program: str) -> str | None:
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    defines = any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for node in tree.body)
    return ast.dump(tree) if defines else None


def _affix(golds: Sequence[str]) -> tuple[str, str]:
    """The word that nearly all golds begin with, and the one they end with: wording rather than answer; else empty."""
    ends: list[str] = []
    for at in (0, -1):
        words = Counter(gold.split()[at] for gold in golds if len(gold.split()) > 1)
        word, number = words.most_common(1)[0] if words else ("", 0)
        ends.append(word if number >= max(MIN_AFFIX, AFFIX_SHARE * len(golds)) else "")
    return ends[0], ends[1]


def _wanted(problem: Problem, affix: tuple[str, str]) -> tuple[FairAnswer, ...]:
    """Right answers that are known beforehand: the golds with and without what all golds share, else the demos'."""
    golds = [way.answer.strip() for way in ways(problem) if way.answer is not None]
    if golds:
        cores = [
            gold.removeprefix(affix[0]).removesuffix(affix[1]).strip() if len(gold.split()) > 1 else gold
            for gold in golds
        ]
        return tuple(answer(text) for text in dict.fromkeys((*golds, *cores)) if text)
    return tuple(dict.fromkeys(reading for demo in problem.demos for reading in stated(demo)))


def _said_by(problem: Problem, passed: Sequence[str]) -> dict[FairAnswer, str]:
    """Each answer that the passing draws give, with one draw that gives it.

    A callable may judge more than the marked answer.
    """
    given: dict[FairAnswer, str] = {}
    for text in passed[:MAX_PASSED]:
        said = (answer(text.strip()),) if problem.verifier.get("type") == "python" else stated(text)
        given |= dict.fromkeys(said, text)
    return given


def _twin(said: Sequence[FairAnswer], given: Mapping[FairAnswer, str]) -> str | None:
    """The passing draw that says the same; None where none does."""
    return next((text for reading, text in given.items() for mine in said if same_answer(mine, reading)), None)


def _example(problem: Problem, text: str, twin: str | None) -> str:
    if twin is not None:
        return f"on {problem.id!r} {_short(twin)} passes and {_short(text)} fails"
    right = problem.answer if problem.answer is not None else problem.demos[0]
    return f"on {problem.id!r} {_short(text)} fails where the answer is {_short(right)}"


def _form_example(problem: Problem, text: str) -> str:
    return f"on {problem.id!r} {_short(problem.demos[0])} is demonstrated and {_short(text)} is drawn"


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else "..." + text[-77:])
