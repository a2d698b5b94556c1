"""The `any` verifier: several answers are accepted, each compared in its own way.

    {"type": "any", "of": [{"type": "numeric", "answer": "4"}, {"type": "exact", "answer": "four"}]}

Each entry is a verifier with the answer it compares with; without `answer` that is the problem's. A completion passes
when it passes one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.options import Verifier
from posttrain_diag.types import Judgement, Problem

KEYS = frozenset({"of"})


def verifier(spec: Mapping[str, Any], compile_verifier: Callable[[Mapping[str, Any]], Verifier]) -> Verifier:
    """Make a verifier that passes what one of several verifiers passes.

    Args:
        spec: the verifier as data; its `of` lists the verifiers.
        compile_verifier: makes a function of a verifier given as data.

    Raises:
        VerifierError: `of` is no list of verifiers, or one of them is not usable.
    """
    for entry in entries(spec):
        compile_verifier(_plain(entry))

    def judge(completion: str, problem: Problem) -> Judgement:
        best: Judgement | None = None
        for way in ways(problem):
            found = compile_verifier(way.verifier)(completion, way)
            if found.strict:
                return found
            if best is None or _rank(found) > _rank(best):
                best = found
        assert best is not None
        return best

    return judge


def entries(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The verifiers of an `any` verifier.

    Raises:
        VerifierError: there are none, or one is no verifier.
    """
    of = spec.get("of")
    listed = tuple(cast("list[Any]", of)) if isinstance(of, list) else ()
    for entry in listed:
        if not isinstance(entry, dict) or cast("dict[str, Any]", entry).get("type") == "any":
            raise VerifierError(f"an any verifier's 'of' lists verifiers of other types, got {str(entry)[:80]}")
        answer = cast("dict[str, Any]", entry).get("answer")
        if answer is not None and not isinstance(answer, str):
            raise VerifierError(f"an any verifier's answers are texts, got {answer!r}: write it in quotes")
    if not listed:
        raise VerifierError(
            'an any verifier needs \'of\', a list of verifiers as {"type": "exact", "answer": "four"}; '
            f"got {str(of)[:80]}"
        )
    return listed


def ways(problem: Problem) -> tuple[Problem, ...]:
    """The problem as each of its verifiers sees it: one for most, several for `any`."""
    if problem.verifier.get("type") != "any":
        return (problem,)
    return tuple(
        replace(problem, answer=entry.get("answer", problem.answer), verifier=_plain(entry))
        for entry in entries(problem.verifier)
    )


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "answer"}


def _rank(judgement: Judgement) -> int:
    """Orders failed judgements by which is the better reading: leniently right, then undecided, then wrong."""
    return 2 if judgement.lenient else 1 if judgement.error is not None else 0
