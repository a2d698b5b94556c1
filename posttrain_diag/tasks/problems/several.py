"""Problems that accept several answers: each answer gets a verifier of its own, and one of them must pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.problems.drafts import Draft
from posttrain_diag.tasks.problems.rows import Row
from posttrain_diag.tasks.verifiers.spec import check_verifier
from posttrain_diag.types import Problem

Drafts = Sequence[tuple[Row, Draft]]


def accept_all(
    before: Drafts, decided: Drafts, decide: Callable[[Drafts], Drafts], notes: list[str]
) -> list[tuple[Row, Draft]]:
    """The decided drafts; those with several accepted answers get a verifier that takes any of them.

    Args:
        before: drafts as they were read, with the verifiers of the file alone.
        decided: the same drafts with a verifier each, for their first answer.
        decide: chooses verifiers, as it did for `decided`.
        notes: what is to be said of it is added here.
    """
    out = list(decided)
    several = [at for at, (_, draft) in enumerate(decided) if draft.accepted and not _runs_code(draft.verifier)]
    others = [
        (at, (before[at][0], replace(before[at][1], answer=answer, accepted=())))
        for at in several
        for answer in before[at][1].accepted
    ]
    chosen = decide([each for _, each in others])
    ways: dict[int, list[Draft]] = {at: [replace(decided[at][1], accepted=())] for at in several}
    for (at, _), (_, draft) in zip(others, chosen, strict=True):
        ways[at].append(draft)
    dropped = 0
    for at, drafts in ways.items():
        usable = [draft for draft in drafts if _fits(draft)]
        dropped += len(drafts) - len(usable) if usable else 0
        out[at] = (out[at][0], _any_of(usable or drafts))
    if several:
        notes.append(f"{len(several)} of {len(out)} problems accept several answers: any of them passes")
    if dropped:
        notes.append(f"{dropped} accepted answers were left out: the verifier cannot compare with them")
    return out


def _runs_code(spec: Mapping[str, Any] | None) -> bool:
    """Whether a callable or tests decide, which are not given one answer of several but the cell as it is."""
    return spec is not None and spec.get("type") == "python"


def _any_of(drafts: Sequence[Draft]) -> Draft:
    first = drafts[0]
    if len(drafts) == 1:
        return first
    entries = [{**(draft.verifier or {}), "answer": draft.answer} for draft in drafts]
    return replace(first, verifier={"type": "any", "of": entries})


def _fits(draft: Draft) -> bool:
    """Whether the verifier can compare with the answer."""
    problem = Problem("", draft.prompt, draft.messages, draft.answer, draft.verifier or {})
    try:
        check_verifier(problem)
    except VerifierError:
        return False
    return True
