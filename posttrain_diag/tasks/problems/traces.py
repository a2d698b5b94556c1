"""What may be given away of a demonstration: the part before its answer, where that is more than nothing.

    3 + 8 = 11, so Ivan has 11 stamps. #### 11      ->  "3 + 8 = 11, so Ivan has 11 stamps. #### "
    Madrid                                          ->  nothing: a beginning of the answer is a hint, not a trace

A model that goes on from a part of the answer shows that it can guess the rest, and nothing about what it could learn.
Only where a demonstration is one long answer (a program, a string built symbol by symbol) the answer is the trace.
"""

from __future__ import annotations

from collections.abc import Callable

from posttrain_diag.tasks.verifiers.numbers import iter_numbers, lone_number, same_number
from posttrain_diag.types import Problem

LONG_ANSWER = 8
"""Tokens from which a demonstration that is nothing but its answer is a trace."""


def answer_place(problem: Problem, demo: str) -> tuple[int, int] | None:
    """Where a demonstration gives its answer: the last place where the answer stands, from and to; None: nowhere."""
    if not problem.answer:
        return None
    target = lone_number(problem.answer)
    if target is not None:
        numbers = [number for number in iter_numbers(demo) if same_number(number, target)]
        return (numbers[-1].start, numbers[-1].end) if numbers else None
    at = demo.rfind(problem.answer)
    return None if at < 0 else (at, at + len(problem.answer))


def trace_prefix(
    problem: Problem, demo: str, ids: tuple[int, ...], share: float, decode: Callable[[tuple[int, ...]], str]
) -> tuple[int, ...]:
    """The first tokens of a demonstration that may be given away; never all of them, and none where it is no trace.

    Args:
        problem: what is asked.
        demo: the demonstration.
        ids: its tokens.
        share: of the trace's tokens, in (0, 1); rounded.
        decode: tokens -> text.
    """
    return ids[: max(0, min(len(ids) - 1, round(share * trace_tokens(problem, demo, ids, decode))))]


def trace_tokens(problem: Problem, demo: str, ids: tuple[int, ...], decode: Callable[[tuple[int, ...]], str]) -> int:
    """How many of a demonstration's first tokens are its trace; 0 where it shows none. Arguments of `trace_prefix`."""
    place = answer_place(problem, demo)
    if place is None:  # tests decide, or the answer is written in another way
        return len(ids) if len(ids) >= LONG_ANSWER else 0
    before, after = demo[: place[0]].strip(), demo[place[1] :].strip()
    if not any(char.isalnum() for char in before) and not any(char.isalnum() for char in after):
        return len(ids) if len(ids) >= LONG_ANSWER else 0
    low, high = 0, len(ids)
    while low < high:  # the most tokens whose text ends before the answer begins
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(decode(ids[:middle])) <= place[0] else (low, middle - 1)
    return low
