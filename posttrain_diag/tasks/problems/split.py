"""Which problems a stage is trained on, watched on and measured on: the one split that every part of the tool uses.

    problems ──► train │ watched │ held out      by a hash of each problem's id and the seed

The plan counts demonstrations in `train`, `diag train` trains on them, `diag export` writes them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from posttrain_diag.errors import UsageError
from posttrain_diag.settings.stage import WATCHED
from posttrain_diag.types import Problem

HELD_OUT = 0.3
"""Chance of each problem to be kept for measuring a stage, where no separate training tasks are given."""
MOST_WATCHED = 0.2
"""At most this share of the training problems is taken out for watching."""
FEWEST = 4
"""With fewer problems none can be held out."""


@dataclass(frozen=True)
class Split:
    """The problems by what a stage does with them; the three sets are disjoint."""

    train: tuple[Problem, ...]
    watched: tuple[Problem, ...]
    held_out: tuple[Problem, ...]
    notes: tuple[str, ...]
    """Choices that were made for the user, in words."""


def divide(
    tasks: Sequence[Problem], given: Sequence[Problem] | None = None, *, watched: int = WATCHED, seed: int
) -> Split:
    """Divide problems into those that a stage trains on, watches, and is measured on.

    Args:
        tasks: the problems that were analysed.
        given: problems to train on that the user gave apart; None: some of `tasks` are trained on.
        watched: most problems to watch.
        seed: seeds the split.

    Raises:
        UsageError: too few problems to hold any out, or the training problems are all among `tasks`.
    """
    if given is None:
        train, held_out = split_tasks(tasks, seed=seed)
        share = f"{len(held_out)} of the {len(tasks)} problems"
        notes = [f"{share} are held out for measuring (--train-tasks FILE trains on others)"]
    else:
        held_out = tuple(tasks)
        train, notes = without_held_out(given, held_out)
    train, looked_at = take_watched(train, watched, seed=seed)
    notes.append(f"{len(train)} problems to train on, {len(looked_at)} to watch")
    return Split(train, looked_at, held_out, tuple(notes))


def split_tasks(problems: Sequence[Problem], *, seed: int) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Divide problems into those to train on and those held out, each of the latter with chance 0.3.

    The split is seeded, and a problem's side does not depend on the others, so that more problems leave the known ones
    where they are.

    Raises:
        UsageError: too few problems to hold any out.
    """
    if len(problems) < FEWEST:
        raise UsageError(
            f"{len(problems)} problems are too few to train on some and measure on others: give at least {FEWEST}, or "
            "--train-tasks FILE beside --tasks FILE"
        )
    ranked = sorted(problems, key=lambda problem: rank_of(problem.id, seed))
    limit = int(HELD_OUT * 2**64).to_bytes(8, "big")
    count = sum(rank_of(problem.id, seed) < limit for problem in ranked)
    held = {problem.id for problem in ranked[: min(max(1, count), len(ranked) - 1)]}  # neither side is empty
    return (
        tuple(problem for problem in problems if problem.id not in held),
        tuple(problem for problem in problems if problem.id in held),
    )


def take_watched(train: Sequence[Problem], most: int, *, seed: int) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Divide training problems into those to train on and those to watch.

    At most `most` problems are watched, and at most a fifth of them all.
    """
    count = min(most, int(MOST_WATCHED * len(train)))
    watched = {problem.id for problem in sorted(train, key=lambda p: rank_of(p.id, seed + 1))[:count]}
    return (
        tuple(problem for problem in train if problem.id not in watched),
        tuple(problem for problem in train if problem.id in watched),
    )


def rank_of(problem_id: str, seed: int) -> bytes:
    """Where a problem stands in the order that a seed gives: it depends on no other problem."""
    return hashlib.blake2b(f"{seed}|{problem_id}".encode(), digest_size=8).digest()


def some(problems: Sequence[Problem], most: int, *, seed: int) -> tuple[Problem, ...]:
    """At most `most` of the problems, chosen by the seed, in their order."""
    if len(problems) <= most:
        return tuple(problems)
    picked = set(random.Random(seed).sample(range(len(problems)), most))
    return tuple(problem for i, problem in enumerate(problems) if i in picked)


def without_held_out(train: Sequence[Problem], held_out: Sequence[Problem]) -> tuple[tuple[Problem, ...], list[str]]:
    """Training problems that are no held-out ones, by prompt, and what was left out, in words.

    Equal ids of different problems are told apart.

    Raises:
        UsageError: nothing is left to train on.
    """
    prompts = {problem.prompt_text for problem in held_out}
    fresh = tuple(problem for problem in train if problem.prompt_text not in prompts)
    if not fresh:
        raise UsageError("--train-tasks holds only problems of --tasks: every claim is measured on held-out ones")
    notes: list[str] = []
    if len(fresh) < len(train):
        notes.append(f"{len(train) - len(fresh)} training problems are in --tasks too and are left out")
    ids = {problem.id for problem in held_out}
    return tuple(replace(p, id=f"train:{p.id}") if p.id in ids else p for p in fresh), notes
