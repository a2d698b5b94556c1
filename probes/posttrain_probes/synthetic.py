"""Constructed evidence with a known answer, for the probes' `validate` and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from posttrain_diag.evidence import MAIN, Evidence, Settings
from posttrain_diag.store.columns import FRAME_COLUMNS
from posttrain_diag.types import Problem, SamplingParams


def rollout_row(problem_id: str, sample_idx: int, **values: Any) -> dict[str, Any]:
    """One row of the rollout frame; a plain failed draw unless `values` say otherwise."""
    passed = values.get("verdict", "fail") == "pass"
    row: dict[str, Any] = {
        "problem_id": problem_id,
        "arm": MAIN,
        "sample_idx": sample_idx,
        "seed": sample_idx,
        "response_prefix": "",
        "text": f"right-{problem_id}" if passed else f"wrong-{sample_idx}",
        "n_tokens": 4,
        "logprob": -0.01 if passed else -4.0,
        "finish_reason": "stop",
        "verdict": "fail",
        "strict": passed,
        "lenient": passed,
        "extracted": None,
        "score": None,
        "error": None,
        "verifier_sha": "v",
        "prompt_sha": f"{problem_id}|{values.get('arm', MAIN)}",
        "sampling_sha": "s",
        "policy_logprob": None,
        "proposal_logprob": None,
    }
    return {**row, **values}


def make_problem(index: int, **values: Any) -> Problem:
    """Problem number `index` with an exact verifier."""
    fields: dict[str, Any] = {
        "id": f"p{index}",
        "prompt": f"question {index}",
        "messages": None,
        "answer": f"right-p{index}",
        "verifier": {"type": "exact"},
    }
    return Problem(**{**fields, **values})


def frame_of(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rollout rows as the frame the store gives."""
    frame = pd.DataFrame(list(rows), columns=FRAME_COLUMNS)
    return frame.astype({"strict": bool, "lenient": bool}) if len(frame) else frame


def make_evidence(
    counts: Sequence[tuple[int, int]],
    *,
    extra: Sequence[dict[str, Any]] = (),
    settings: Settings | None = None,
    **fields: Any,
) -> Evidence:
    """Evidence with problem i drawn n times and passed c times, in the order of `counts`.

    Args:
        counts: (n, c) per problem.
        extra: further rollout rows (see `rollout_row`), e.g. of other arms.
        settings: settings of the evidence; by default B = 256, mastery .8.
        **fields: further fields of `Evidence`.
    """
    problems = {f"p{i}": make_problem(i) for i in range(len(counts))}
    rows = [
        rollout_row(f"p{i}", index, verdict="pass" if index < c else "fail")
        for i, (n, c) in enumerate(counts)
        for index in range(n)
    ]
    values: dict[str, Any] = {
        "problems": problems,
        "rollouts": frame_of([*rows, *extra]),
        "scores": (),
        "settings": settings or Settings(SamplingParams(max_new_tokens=64)),
        "model": None,
        "references": {key: (problem.answer or "",) for key, problem in problems.items()},
    }
    return Evidence(**{**values, **fields})


def demonstrated(evidence: Evidence, demos: Mapping[str, str] | None = None) -> Evidence:
    """Evidence whose problems have a demonstration.

    Args:
        evidence: of problems without.
        demos: by problem id, for some or all of them; None: "so it is ANSWER" for all.
    """
    if demos is None:
        demos = {key: f"so it is {problem.answer}" for key, problem in evidence.problems.items()}
    problems = {
        key: replace(problem, demos=(demos[key],) if key in demos else ()) for key, problem in evidence.problems.items()
    }
    return replace(evidence, problems=problems)
