"""Is a tasks file fit to measure with? The data behind `diag tasks check FILE`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from posttrain_diag.tasks.problems.references import corrupted_completions, reference_completions
from posttrain_diag.tasks.problems.taskset import TaskSet
from posttrain_diag.tasks.verifiers.numbers import lone_number
from posttrain_diag.tasks.verifiers.spec import needs_code, verify
from posttrain_diag.tasks.verifiers.text import fold
from posttrain_diag.types import Problem

MAX_IDS = 20
"""Ids listed per finding; the count is always of all."""
MAX_CODE_PROBLEMS = 20
"""Problems whose corrupted completions are run when a run costs a process."""


@dataclass(frozen=True)
class Hits:
    """How many problems show something, and the first of them."""

    total: int
    ids: tuple[str, ...]
    """At most `MAX_IDS`."""
    reasons: tuple[str, ...] = ()
    """For each id: what was seen."""


@dataclass(frozen=True)
class TypeCheck:
    """Golds and corruptions of the problems with one type of verifier. `passed + failed + errored = n` for both."""

    problems: int
    golds: int
    golds_passed: int
    golds_failed: int
    golds_errored: int
    corrupted: int
    corrupted_passed: int
    """Wrong completions that pass strictly: each is a false reward."""
    corrupted_passed_leniently: int
    """Wrong completions that pass at least leniently."""
    corrupted_errored: int


@dataclass(frozen=True)
class Example:
    """A problem to look at."""

    id: str
    prompt: str
    answer: str | None
    reference: str | None
    extracted: str | None


@dataclass(frozen=True)
class TasksCheck:
    """What a tasks file holds, and whether its verifiers can be trusted. Plain data."""

    source: str
    sha: str
    layout: str
    columns: dict[str, str]
    notes: tuple[str, ...]
    problems: int
    types: dict[str, TypeCheck]
    golds_failing: Hits
    """Problems with a reference that does not pass strictly (or whose verifier erred)."""
    without_reference: Hits
    """Problems for which no completion is known to be right: their verifier stays unchecked."""
    corrupted_passing: Hits
    duplicate_prompts: Hits
    """Problems whose prompt an earlier problem has."""
    conflicting_answers: Hits
    """Problems whose prompt an earlier problem has with another answer."""
    share_with_demos: float
    share_with_pairs: float
    distinct_answers: int
    most_common_answer: str | None
    guess_rate: float | None
    """Share of the problems that the most common answer solves; None when there are no answers."""
    prompt_chars: dict[str, float]
    """Length of the prompts in characters: min, median, max."""
    examples: tuple[Example, ...]

    @property
    def ok(self) -> bool:
        """All golds pass, no corrupted completion does, and no prompt has two answers."""
        return not (self.golds_failing.total or self.corrupted_passing.total or self.conflicting_answers.total)

    def to_json(self) -> dict[str, Any]:
        """The same as JSON-compatible data."""
        return {"ok": self.ok, **asdict(self)}


@dataclass
class _Tally:
    golds: Counter[str]
    corrupted: Counter[str]


class _Verdicts:
    """What the verifiers said of their own references and corruptions."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = problems
        self.tallies: defaultdict[str, _Tally] = defaultdict(lambda: _Tally(Counter(), Counter()))
        self.failing: list[tuple[str, str]] = []
        self.unreferenced: list[tuple[str, str]] = []
        self.passing: list[tuple[str, str]] = []
        self.code = [i for i, problem in enumerate(problems) if needs_code(problem.verifier)]
        self.code_corrupted = _spread(self.code, MAX_CODE_PROBLEMS)

    def judge(self, i: int) -> None:
        """Judge all known completions of one problem."""
        problem = self.problems[i]
        tally = self.tallies[str(problem.verifier["type"])]
        references = reference_completions(problem)
        if not references:
            self.unreferenced.append((problem.id, "no demonstration, and none can be made from the answer"))
        reason = _judge_golds(problem, references, tally.golds)
        if reason:
            self.failing.append((problem.id, reason))
        if needs_code(problem.verifier) and i not in self.code_corrupted:
            return
        reason = _judge_corrupted(problem, _others(self.problems, i), tally.corrupted)
        if reason:
            self.passing.append((problem.id, reason))


def check_tasks(task_set: TaskSet, *, progress: Callable[[int, int], None] | None = None) -> TasksCheck:
    """Judge every problem's references and corruptions with its own verifier, and count what stands out.

    Verifiers that run code cost a process per completion: all their references are run, their corruptions only for
    `MAX_CODE_PROBLEMS` problems, evenly spread (a note says so).

    Args:
        task_set: what was loaded.
        progress: called before each problem with (problems done, problems).
    """
    problems = task_set.problems
    verdicts = _Verdicts(problems)
    for i in range(len(problems)):
        if progress is not None:
            progress(i, len(problems))
        verdicts.judge(i)
    notes = task_set.notes
    n_run, n_code = len(verdicts.code_corrupted), len(verdicts.code)
    if n_code > n_run:
        notes += (f"corrupted completions were run for {n_run} of {n_code} problems with code tests",)
    types = Counter(str(problem.verifier["type"]) for problem in problems)
    duplicates, conflicts = _duplicates(problems)
    answers = Counter(_answer_key(p.answer) for p in problems if p.answer is not None)
    common = answers.most_common(1)
    spelled = {_answer_key(p.answer): p.answer for p in reversed(problems) if p.answer is not None}
    lengths = [len(problem.prompt_text) for problem in problems]
    return TasksCheck(
        source=task_set.source,
        sha=task_set.sha,
        layout=task_set.layout,
        columns=dict(task_set.columns),
        notes=notes,
        problems=len(problems),
        types={kind: _type_check(n, verdicts.tallies[kind]) for kind, n in sorted(types.items())},
        golds_failing=_hits(verdicts.failing),
        without_reference=_hits(verdicts.unreferenced),
        corrupted_passing=_hits(verdicts.passing),
        duplicate_prompts=_hits(duplicates),
        conflicting_answers=_hits(conflicts),
        share_with_demos=sum(bool(p.demos) for p in problems) / len(problems),
        share_with_pairs=sum(bool(p.pairs) for p in problems) / len(problems),
        distinct_answers=len(answers),
        most_common_answer=spelled[common[0][0]] if common else None,
        guess_rate=common[0][1] / len(problems) if common else None,
        prompt_chars={"min": min(lengths), "median": median(lengths), "max": max(lengths)},
        examples=tuple(_example(problems[i]) for i in sorted(_spread(list(range(len(problems))), 3))),
    )


def _judge_golds(problem: Problem, references: Sequence[str], tally: Counter[str]) -> str:
    """Judge all references; why the first that does not pass does not, or ""."""
    reason = ""
    for completion in references:
        judgement = verify(completion, problem)
        outcome = "errored" if judgement.error is not None else "passed" if judgement.strict else "failed"
        tally[outcome] += 1
        if outcome != "passed" and not reason:
            lenient = ", passes leniently" if judgement.lenient else ""
            reason = judgement.error or f"expected {_cut(problem.answer)}, got {_cut(judgement.extracted)}{lenient}"
    return reason


def _judge_corrupted(problem: Problem, others: Sequence[Problem], tally: Counter[str]) -> str:
    """Judge all corruptions; the first that wrongly passes, or ""."""
    reason = ""
    for completion in corrupted_completions(problem, others):
        judgement = verify(completion, problem)
        if judgement.error is not None:
            tally["errored"] += 1
            continue
        tally["failed" if not judgement.lenient else "passed" if judgement.strict else "lenient"] += 1
        if judgement.strict and not reason:
            reason = f"a wrong completion passes: {_cut(completion)}"
    return reason


def _type_check(n: int, tally: _Tally) -> TypeCheck:
    golds, corrupted = tally.golds, tally.corrupted
    return TypeCheck(
        problems=n,
        golds=golds.total(),
        golds_passed=golds["passed"],
        golds_failed=golds["failed"],
        golds_errored=golds["errored"],
        corrupted=corrupted.total(),
        corrupted_passed=corrupted["passed"],
        corrupted_passed_leniently=corrupted["passed"] + corrupted["lenient"],
        corrupted_errored=corrupted["errored"],
    )


def _duplicates(problems: Sequence[Problem]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Problems with the prompt of an earlier one: all of them, and those that want another answer."""
    first: dict[str, Problem] = {}
    duplicates: list[tuple[str, str]] = []
    conflicts: list[tuple[str, str]] = []
    for problem in problems:
        earlier = first.setdefault(problem.prompt_text, problem)
        if earlier is problem:
            continue
        duplicates.append((problem.id, f"same prompt as {earlier.id}"))
        if _answer_key(earlier.answer or "") != _answer_key(problem.answer or ""):
            conflicts.append(
                (
                    problem.id,
                    f"{earlier.id} has the same prompt with {_cut(earlier.answer)}, here {_cut(problem.answer)}",
                )
            )
    return duplicates, conflicts


def _answer_key(answer: str) -> str:
    number = lone_number(answer)
    return str(number.value) if number is not None and number.value is not None else fold(answer)


def _others(problems: Sequence[Problem], i: int) -> list[Problem]:
    """The next few problems, around the end: enough to find one with a different answer."""
    return [problems[(i + step) % len(problems)] for step in range(1, min(len(problems), 17))]


def _example(problem: Problem) -> Example:
    reference = next(iter(reference_completions(problem)), None)
    extracted = verify(reference, problem).extracted if reference is not None else None
    return Example(problem.id, problem.prompt_text, problem.answer, reference, extracted)


def _spread(indices: Sequence[int], n: int) -> set[int]:
    """At most n of the indices, evenly spread."""
    if len(indices) <= n:
        return set(indices)
    return {indices[round(k * (len(indices) - 1) / (n - 1))] for k in range(n)}


def _hits(found: Sequence[tuple[str, str]]) -> Hits:
    shown = found[:MAX_IDS]
    return Hits(len(found), tuple(name for name, _ in shown), tuple(reason for _, reason in shown))


def _cut(text: str | None) -> str:
    shown = "nothing" if text is None else repr(text)
    return shown if len(shown) <= 60 else shown[:57] + "..."
