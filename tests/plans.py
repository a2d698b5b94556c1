"""The plan of a diagnosis, as `analyze` makes it, for tests."""

from __future__ import annotations

from typing import Any

from posttrain_diag.evidence import Evidence
from posttrain_diag.recommend import Facts, Resources, recommend
from posttrain_diag.types import Diagnosis, Plan


def plan_of(found: Diagnosis, evidence: Evidence, run: str = "runs/x", **has: Any) -> Plan:
    given = Resources.of_problems(list(evidence.problems.values()), teacher=bool(evidence.teachers))
    return recommend(Facts.of(found, evidence), Resources(**{**vars(given), **has}), run)
