r"""Draws words of a family and turns them into task rows.

Every word belongs to one of two splits by a hash of the word itself, so held-out problems never occur in
pre-training or in training problems, whatever the seeds:

    {"id": "S-017", "prompt": "S:ahcij=", "answer": "cfdhi", "demos": ["X|cfdhi"], "tags": ["zoo", "family:S"],
     "verifier": {"type": "regex", "pattern": "(?:^|\\|)([^|]*)$"}}
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from posttrain_diag.errors import UsageError
from posttrain_diag.types import Problem
from posttrain_diag.zoo.family import Family, Style, World
from posttrain_diag.zoo.worlds import STRINGS, family, world_of

WordSplit = Literal["heldout", "training"]

_PER_MASTERED_FAMILY = 25
_TRIES = 2000
"""Draws without a new word after which a word length counts as used up."""


def split_of(fam: Family, x: str) -> WordSplit:
    """The split a word belongs to, for every seed: half of all words are held out."""
    digest = hashlib.blake2b(fam.prompt(x).encode(), digest_size=1).digest()
    return "heldout" if digest[0] % 2 == 0 else "training"


def draw_word(fam: Family, length: int, split: WordSplit, rng: random.Random) -> str | None:
    """Draw a fair word of a split; None when `_TRIES` draws found none.

    Args:
        fam: the family of the word.
        length: size of the word.
        split: the split that the word must belong to.
        rng: source of randomness.
    """
    for _ in range(_TRIES):
        x = fam.instance(length, rng)
        if split_of(fam, x) == split and not fam.degenerate(x):
            return x
    return None


def draw_pretraining_word(fam: Family, rng: random.Random) -> str:
    """Draw a word of the training split, of a random length; words may recur.

    Raises:
        UsageError: the family has no fair word in its training split.
    """
    x = draw_word(fam, rng.choice(fam.lengths), "training", rng)
    if x is None:
        raise UsageError(f"family {fam.name} has no fair words in its training split; widen its lengths")
    return x


def words(fam: Family, split: WordSplit, rng: random.Random) -> Iterator[str]:
    """Distinct fair words, lengths in turn; ends when every length is used up."""
    open_lengths = list(fam.lengths)
    seen: set[str] = set()
    while open_lengths:
        for length in tuple(open_lengths):
            x = _new_word(fam, length, split, rng, seen)
            if x is None:
                open_lengths.remove(length)
                continue
            seen.add(x)
            yield x


def _new_word(fam: Family, length: int, split: WordSplit, rng: random.Random, seen: set[str]) -> str | None:
    for _ in range(_TRIES):
        x = draw_word(fam, length, split, rng)
        if x is None:
            return None
        if x not in seen:
            return x
    return None


def problems(
    name: str, n: int, *, split: WordSplit = "heldout", seed: int = 0, style: Style | None = None
) -> tuple[Problem, ...]:
    """`n` distinct problems of a family, lengths in turn.

    Args:
        name: name of the family.
        n: number of problems.
        split: `heldout` (the shipped tasks) or `training`; the two never share a word, whatever the seeds.
        seed: seeds the draw; the same call gives the same problems on every machine.
        style: how the demonstration is written; None: the family's default (own style for S, worked for T and U).

    Raises:
        UsageError: the family or style does not exist, or it has fewer than `n` such problems.
    """
    fam = family(name)
    rng = random.Random(f"{fam.prompts_of}|{split}|{seed}")
    drawn = [x for x, _ in zip(words(fam, split, rng), range(n), strict=False)]
    if len(drawn) < n:
        raise UsageError(
            f"family {name} has only {len(drawn)} different {split} problems, {n} were asked for; ask for fewer"
        )
    stem = f"{name}-train" if split == "training" else name
    return tuple(problem(fam, x, f"{stem}-{i:03d}", style=style) for i, x in enumerate(drawn))


def problem(fam: Family, x: str, problem_id: str, *, style: Style | None = None) -> Problem:
    """Make the task row of the word `x`.

    Args:
        fam: the family of the problem.
        x: the word, or another instance of the family.
        problem_id: the problem's id.
        style: how the demonstration is written; None: the family's default.
    """
    return Problem(
        id=problem_id,
        prompt=fam.prompt(x),
        messages=None,
        answer=fam.answer(x),
        verifier=fam.verifier,
        demos=(fam.demo(x, style),),
        tags=("zoo", f"family:{fam.name}"),
        source=f"zoo family {fam.name}",
    )


def mastered_problems(
    world: World = STRINGS, per_family: int = _PER_MASTERED_FAMILY, *, seed: int = 1
) -> tuple[Problem, ...]:
    """The retention set: held-out problems of a world's mastered families."""
    rows: list[Problem] = []
    for name in world.mastered:
        fam = family(name)
        for i, row in enumerate(problems(name, per_family, seed=seed)):
            rows.append(problem(fam, fam.word(row.prompt or ""), f"mastered-{name}-{i:03d}"))
    return tuple(rows)


def mix(shares: Mapping[str, int], seed: int = 0) -> tuple[Problem, ...]:
    """A set of held-out problems with known shares of several families, in shuffled order.

    Args:
        shares: number of problems by family; the families are of one world.
        seed: seeds the problems and their order.

    Returns:
        Problems with ids like `mix-S-017`, which name the family.

    Raises:
        UsageError: no families, families of several worlds, or a family has too few problems.
    """
    worlds = {world_of(family(name)).name for name in shares}
    if len(worlds) != 1:
        raise UsageError(
            f"a mixture is made of families of one world, got {', '.join(shares) or 'none'} "
            f"(worlds: {', '.join(sorted(worlds)) or 'none'})"
        )
    rows = [replace(row, id=f"mix-{row.id}") for name, n in shares.items() for row in problems(name, n, seed=seed)]
    random.Random(f"mix|{seed}").shuffle(rows)
    return tuple(rows)


def family_of(row: Problem) -> Family:
    """The family a zoo problem belongs to, from its tag.

    Raises:
        UsageError: the problem carries no family tag.
    """
    for tag in row.tags:
        if tag.startswith("family:"):
            return family(tag.removeprefix("family:"))
    raise UsageError(
        f"problem {row.id!r} has no tag 'family:NAME' (tags: {list(row.tags)}); "
        "exact probabilities are known only for problems of builtin:zoo tasks"
    )
