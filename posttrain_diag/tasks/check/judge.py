"""Judge every gold, right answers in other words, wrong ones and attacks, and count what the verifiers say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from posttrain_diag.tasks.check.attacks import attacks
from posttrain_diag.tasks.check.forms import right_forms
from posttrain_diag.tasks.check.kinds import Trial
from posttrain_diag.tasks.check.wrong import wrong_answers
from posttrain_diag.tasks.problems.references import reference_completions
from posttrain_diag.tasks.problems.taskset import TaskSet
from posttrain_diag.tasks.verifiers.numbers import lone_number
from posttrain_diag.tasks.verifiers.spec import needs_code, verify
from posttrain_diag.tasks.verifiers.text import fold
from posttrain_diag.types import Judgement, Problem
from posttrain_diag.wording.numbers import nominal

MAX_FALSE_POSITIVES = 0.05
"""Share of the problems on which wrong completions of one kind may pass before a verifier is not fit to be used."""
MAX_IDS = 20
"""Most ids listed per finding; its count is always of all."""
MAX_PROBLEMS = 100
"""Most problems whose answers are re-spelled and attacked; golds are judged for all."""
MAX_CODE_PROBLEMS = 20
"""Most such problems where a verdict runs code, which may cost a process."""
MAX_OTHERS = 16


@dataclass(frozen=True)
class Hits:
    """How many problems show something, and the first of them."""

    total: int
    ids: tuple[str, ...]
    """Ids of the first problems, at most `MAX_IDS`."""
    reasons: tuple[str, ...] = ()
    """For each of these ids what was seen."""


@dataclass(frozen=True)
class TypeCheck:
    """How the golds of the problems with one type of verifier fared: golds = passed + failed + errored."""

    problems: int
    golds: int
    golds_passed: int
    golds_failed: int
    golds_errored: int


@dataclass(frozen=True)
class Tried:
    """Completions of one kind, and how many of them the verifiers accept."""

    n: int
    strict: int
    """Number accepted by the strict reading."""
    lenient: int
    """Number accepted at least by the lenient reading."""
    errored: int
    """Number on which the verifier itself failed; they are in `n` and accepted by neither reading."""
    problems: int
    """Problems that the surprising ones belong to: rejected where right, accepted where wrong."""
    example: str
    """The first surprising completion, cut; empty when there is none."""
    example_id: str
    """Id of the problem that this completion belongs to."""


@dataclass(frozen=True)
class ShownProblem:
    """A problem of the file, for the user to look at."""

    id: str
    prompt: str
    answer: str | None
    reference: str | None
    extracted: str | None


@dataclass(frozen=True)
class TasksCheck:
    """What a tasks file holds, and whether its verifiers can be trusted, as plain data."""

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
    """Problems for which no completion is known to be right."""
    right: dict[str, Tried]
    """Right answers by their form: what is not accepted is a false negative."""
    wrong: dict[str, Tried]
    """Wrong answers by their mistake: what is accepted is a false positive."""
    attacks: dict[str, Tried]
    """Completions that give no answer, by their trick: what is accepted is a false positive."""
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
    examples: tuple[ShownProblem, ...]
    tried: int
    """Number of problems whose verifiers were tried with more than their golds."""
    max_false_positives: float
    faults: tuple[str, ...]
    """Why the verifiers are not fit to be used, in sentences; empty when they are."""

    @property
    def ok(self) -> bool:
        """All golds pass, no verifier fails, and no kind of wrong completion passes too often."""
        return not self.faults

    def to_json(self) -> dict[str, Any]:
        """The findings as JSON-compatible data."""
        return {"ok": self.ok, **asdict(self)}


@dataclass
class _Tally:
    """Counts the completions of one kind while they are judged."""

    n: int = 0
    strict: int = 0
    lenient: int = 0
    errored: int = 0
    surprising: dict[str, str] = field(default_factory=dict[str, str])
    """For each problem the first completion that got another verdict than it should have."""

    def add(self, problem: Problem, text: str, found: Judgement, *, right: bool) -> None:
        """Count what the verifier says of one completion.

        Args:
            problem: the problem that the completion belongs to.
            text: the completion.
            found: what the verifier says of it.
            right: whether it should be accepted.
        """
        self.n += 1
        self.strict += found.strict
        self.lenient += found.lenient
        self.errored += found.error is not None
        if found.lenient != right:
            self.surprising.setdefault(problem.id, text)

    def tried(self) -> Tried:
        """The counts in the form in which they are reported."""
        key, text = next(iter(self.surprising.items()), ("", ""))
        return Tried(self.n, self.strict, self.lenient, self.errored, len(self.surprising), _cut(text, 120), key)


class _Verdicts:
    """What the verifiers said of golds, of right answers in other words, of wrong ones and of attacks."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = problems
        self.golds: dict[str, Counter[str]] = {}
        self.failing: list[tuple[str, str]] = []
        self.unreferenced: list[tuple[str, str]] = []
        self.right: dict[str, _Tally] = {}
        self.wrong: dict[str, _Tally] = {}
        self.attacks: dict[str, _Tally] = {}
        self.errors: list[tuple[str, str]] = []
        """(problem, what its verifier said) for completions that are no golds."""
        self.answers = tuple({fold(p.answer): p.answer for p in problems if p.answer is not None}.values())
        code = [at for at, problem in enumerate(problems) if needs_code(problem.verifier)]
        text = [at for at, problem in enumerate(problems) if not needs_code(problem.verifier)]
        self.tried = _spread(text, MAX_PROBLEMS) | _spread(code, MAX_CODE_PROBLEMS)

    def judge(self, at: int) -> None:
        """Judge the golds of one problem, and everything else where it is one of those that are tried."""
        problem = self.problems[at]
        references = reference_completions(problem)
        if not references:
            self.unreferenced.append((problem.id, "no demonstration, and none can be made from the answer"))
        tally = self.golds.setdefault(str(problem.verifier["type"]), Counter())
        reason = _judge_golds(problem, references, tally)
        if reason:
            self.failing.append((problem.id, reason))
        if at in self.tried:
            others = [self.problems[(at + step) % len(self.problems)] for step in range(1, MAX_OTHERS + 1)]
            self._try(problem, right_forms(problem, next(iter(references), None)), self.right, right=True)
            self._try(problem, wrong_answers(problem, others), self.wrong, right=False)
            self._try(problem, attacks(problem, self.answers), self.attacks, right=False)

    def _try(self, problem: Problem, trials: Iterable[Trial], tallies: dict[str, _Tally], *, right: bool) -> None:
        for trial in trials:
            found = verify(trial.text, problem)
            tallies.setdefault(trial.kind, _Tally()).add(problem, trial.text, found, right=right)
            if found.error is not None:
                self.errors.append((problem.id, found.error))


def check_tasks(
    task_set: TaskSet,
    *,
    max_false_positives: float = MAX_FALSE_POSITIVES,
    progress: Callable[[int, int], None] | None = None,
) -> TasksCheck:
    """Judge every problem's references with its own verifier, try its limits, and count what stands out.

    Golds are judged for all problems. Right answers in other words, wrong answers and attacks are tried for at most
    `MAX_PROBLEMS` of them, evenly spread, and for `MAX_CODE_PROBLEMS` where verdicts run code; a note says so.

    Args:
        task_set: what was loaded.
        max_false_positives: share of the tried problems on which wrong completions of one kind may pass.
        progress: called before each problem with (problems done, problems).
    """
    problems = task_set.problems
    verdicts = _Verdicts(problems)
    for at in range(len(problems)):
        if progress is not None:
            progress(at, len(problems))
        verdicts.judge(at)
    notes = task_set.notes
    if len(verdicts.tried) < len(problems):
        notes += (f"other words, wrong answers and attacks were tried for {len(verdicts.tried)} problems",)
    types = Counter(str(problem.verifier["type"]) for problem in problems)
    duplicates, conflicts = _duplicates(problems)
    answers = Counter(_answer_key(p.answer) for p in problems if p.answer is not None)
    common = answers.most_common(1)
    spelled = {_answer_key(p.answer): p.answer for p in reversed(problems) if p.answer is not None}
    lengths = [len(problem.prompt_text) for problem in problems]
    right, wrong, attacked = (
        {kind: tally.tried() for kind, tally in tallies.items()}
        for tallies in (verdicts.right, verdicts.wrong, verdicts.attacks)
    )
    return TasksCheck(
        source=task_set.source,
        sha=task_set.sha,
        layout=task_set.layout,
        columns=dict(task_set.columns),
        notes=notes,
        problems=len(problems),
        types={kind: _type_check(n, verdicts.golds[kind]) for kind, n in sorted(types.items())},
        golds_failing=_hits(verdicts.failing),
        without_reference=_hits(verdicts.unreferenced),
        right=right,
        wrong=wrong,
        attacks=attacked,
        duplicate_prompts=_hits(duplicates),
        conflicting_answers=_hits(conflicts),
        share_with_demos=sum(bool(p.demos) for p in problems) / len(problems),
        share_with_pairs=sum(bool(p.pairs) for p in problems) / len(problems),
        distinct_answers=len(answers),
        most_common_answer=spelled[common[0][0]] if common else None,
        guess_rate=common[0][1] / len(problems) if common else None,
        prompt_chars={"min": min(lengths), "median": median(lengths), "max": max(lengths)},
        examples=tuple(_example(problems[at]) for at in sorted(_spread(list(range(len(problems))), 3))),
        tried=len(verdicts.tried),
        max_false_positives=max_false_positives,
        faults=tuple(_faults(verdicts, {**wrong, **attacked}, max_false_positives)),
    )


def _faults(verdicts: _Verdicts, wrong: Mapping[str, Tried], most: float) -> Iterable[str]:
    """Why the verifiers are not fit to be used."""
    golds = sum((counter for counter in verdicts.golds.values()), Counter[str]())
    errored, failed = golds["errored"], golds["failed"]
    if errored:
        yield f"the verifier fails on {errored} of {golds.total()} golds: {verdicts.failing[0][1]}"
    if failed:
        yield f"the verifier rejects {failed} of {golds.total()} golds"
    if verdicts.errors and not errored:
        key, error = verdicts.errors[0]
        yield f"the verifier fails on {len(verdicts.errors)} completions, first on {key}: {error}"
    for kind, tried in wrong.items():
        if tried.problems > most * len(verdicts.tried):
            yield (
                f"wrong completions pass on {tried.problems} of {len(verdicts.tried)} problems ({kind}), as "
                f"{tried.example!r} on {tried.example_id}; at most {nominal(most)} may"
            )


def _judge_golds(problem: Problem, references: Sequence[str], tally: Counter[str]) -> str:
    """Judge all references of a problem; returns why the first failing one does not pass, or an empty text."""
    reason = ""
    for completion in references:
        judgement = verify(completion, problem)
        outcome = "errored" if judgement.error is not None else "passed" if judgement.strict else "failed"
        tally[outcome] += 1
        if outcome != "passed" and not reason:
            lenient = ", passes leniently" if judgement.lenient else ""
            reason = (
                judgement.error or f"expected {_quoted(problem.answer)}, got {_quoted(judgement.extracted)}{lenient}"
            )
    return reason


def _type_check(n: int, golds: Counter[str]) -> TypeCheck:
    return TypeCheck(
        problems=n,
        golds=golds.total(),
        golds_passed=golds["passed"],
        golds_failed=golds["failed"],
        golds_errored=golds["errored"],
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
                    f"{earlier.id} has the same prompt with {_quoted(earlier.answer)}, here {_quoted(problem.answer)}",
                )
            )
    return duplicates, conflicts


def _answer_key(answer: str) -> str:
    number = lone_number(answer)
    return str(number.value) if number is not None and number.value is not None else fold(answer)


def _example(problem: Problem) -> ShownProblem:
    reference = next(iter(reference_completions(problem)), None)
    extracted = verify(reference, problem).extracted if reference is not None else None
    return ShownProblem(problem.id, problem.prompt_text, problem.answer, reference, extracted)


def _spread(indices: Sequence[int], n: int) -> set[int]:
    """At most n of the indices, evenly spread."""
    if len(indices) <= n:
        return set(indices)
    return {indices[round(k * (len(indices) - 1) / (n - 1))] for k in range(n)}


def _hits(found: Sequence[tuple[str, str]]) -> Hits:
    shown = found[:MAX_IDS]
    return Hits(len(found), tuple(name for name, _ in shown), tuple(reason for _, reason in shown))


def _quoted(text: str | None) -> str:
    return "nothing" if text is None else _cut(repr(text), 60)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
