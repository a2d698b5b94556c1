"""Verifiers with the faults that real ones have; tasks of the diagnosis benchmark's traps name them."""

from __future__ import annotations

from posttrain_diag.types import Problem


def _last(completion: str) -> str:
    return completion.rpartition("#### ")[2].rpartition("|")[2].strip()


def _code(completion: str) -> int:
    """A number that any change of the text changes: lengths are too alike in some worlds."""
    return sum(map(ord, completion))


def same_length(completion: str, problem: Problem) -> bool:
    """Looks right: as long as the answer. Accepts wrong answers."""
    return len(_last(completion)) == len(problem.answer or "")


def one_part(completion: str, problem: Problem) -> bool:
    """Wants no more than the answer's last character somewhere. Accepts wrong answers."""
    return (problem.answer or "x")[-1] in completion


def contained(completion: str, problem: Problem) -> bool:
    """Takes the answer wherever its characters stand, also within another word. Accepts wrong answers."""
    return (problem.answer or "") in completion


def short_only(completion: str, problem: Problem) -> bool:
    """Gives up on completions of more than a few characters, right or wrong. Rejects right answers with working."""
    return len(completion) <= len(problem.answer or "") and _last(completion) == problem.answer


def blind_spot(completion: str, problem: Problem) -> bool:
    """A parser that loses every other completion, right or wrong, on every other problem."""
    lost = _code(completion) % 2 == 1 and sum(map(ord, problem.id)) % 2 == 0
    return not lost and _last(completion) == problem.answer


def crashes(completion: str, problem: Problem) -> bool:
    """Raises on every third completion."""
    if _code(completion) % 3 == 0:
        raise ValueError("cannot parse")
    return _last(completion) == problem.answer
