"""Evidence from texts: every draw is judged by the problem's own verifier, as `analyze` would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from posttrain_probes import BUILTIN, instrument
from posttrain_probes.synthetic import frame_of, make_problem, rollout_row

from posttrain_diag.diagnose import diagnose
from posttrain_diag.evidence import Evidence, Settings
from posttrain_diag.store.base import verdict_of
from posttrain_diag.tasks import reference_completions, verify
from posttrain_diag.types import Diagnosis, Problem, SamplingParams


def problem(index: int, answer: str | None, verifier: Mapping[str, Any] | None = None, **values: Any) -> Problem:
    return make_problem(index, answer=answer, verifier=verifier or {"type": "exact"}, **values)


def judged(problems: Sequence[Problem], texts: Sequence[Sequence[str]], **fields: Any) -> Evidence:
    """texts[i] are the draws of problems[i]."""
    rows: list[dict[str, Any]] = []
    for one, drawn in zip(problems, texts, strict=True):
        for index, text in enumerate(drawn):
            found = verify(text, one)
            rows.append(
                rollout_row(
                    one.id,
                    index,
                    text=text,
                    verdict=verdict_of(found, "stop"),
                    strict=found.strict,
                    lenient=found.lenient,
                    extracted=found.extracted,
                    logprob=-2.0,
                )
            )
    values: dict[str, Any] = {
        "problems": {one.id: one for one in problems},
        "rollouts": frame_of(rows),
        "scores": (),
        "settings": Settings(SamplingParams(max_new_tokens=64)),
        "model": None,
        "references": {one.id: found for one in problems if (found := reference_completions(one))},
    }
    return Evidence(**{**values, **fields})


def findings(evidence: Evidence) -> list[tuple[str, str]]:
    return [(finding.kind, finding.severity) for finding in instrument.measure(evidence).findings]


def verdict(evidence: Evidence) -> Diagnosis:
    return diagnose(evidence, [probe.measure(evidence) for probe in BUILTIN])


def confident(evidence: Evidence) -> bool:
    """Whether the verdict is one that a broken instrument must never give."""
    found = verdict(evidence)
    return found.bottleneck in ("support", "reshaping") and found.confidence > 0.8
