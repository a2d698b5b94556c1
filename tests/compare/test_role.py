"""The rules by which a role is measured, one case each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from posttrain_diag.compare.role import forecast, measured_role
from posttrain_diag.compare.types import Decomposition, NullControl, PassChange
from posttrain_diag.types import Estimate

P = 10


def estimate(value, half=0.01):
    return Estimate(value, value - half, value + half)


def role(
    change=0.3,
    p_value=0.001,
    *,
    expansion=0.0,
    attrition=0.0,
    null_p=0.5,
    lost_p=0.5,
    forgetting=None,
    columns=None,
    comparable=True,
):
    parts = Decomposition(
        change=estimate(change),
        reshaping=estimate(change - expansion + attrition),
        expansion=estimate(expansion),
        attrition=estimate(attrition),
        outside=estimate(0.0),
        forgetting=forgetting,
        net=0.0,
    )
    pass_1 = PassChange(1, estimate(0.1), estimate(0.1 + change), parts.change, p_value)
    return measured_role(
        pass_1,
        parts,
        (NullControl(5.0, 1.0, 2.0, null_p, 400), NullControl(7.0, 1.0, 2.0, lost_p, 400)),
        pd.DataFrame(columns or {}, index=range(P)),
        np.full(P, change),
        comparable=comparable,
    )


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({}, "reshaping"),
        ({"expansion": 0.25, "null_p": 0.01}, "expansion"),
        ({"expansion": 0.25, "null_p": 0.3}, "undetermined"),
        ({"expansion": 0.1, "null_p": 0.01}, "reshaping"),
        ({"p_value": 0.2}, "none"),
        ({"p_value": 0.2, "expansion": 0.25}, "none"),
        ({"p_value": 0.2, "expansion": 0.25, "null_p": 0.01}, "expansion"),
        ({"p_value": 0.2, "expansion": 0.1, "null_p": 0.01}, "none"),
        ({"change": -0.2}, "none"),
        ({"comparable": False}, "undetermined"),
        ({"columns": {"posterior_format": 0.9}}, "repair"),
        ({"columns": {"posterior_format": 0.2}}, "reshaping"),
        ({"columns": {"posterior_consolidation": 0.9}, "expansion": 0.28, "null_p": 0.01}, "consolidation"),
        ({"p_value": 0.4, "change": 0.0, "forgetting": estimate(-0.2)}, "consolidation"),
        ({"p_value": 0.4, "change": 0.0, "forgetting": estimate(0.2)}, "none"),
    ],
)
def test_rules(case, expected):
    found, reason = role(**case)
    assert found == expected, reason


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"p_value": 0.2, "change": 0.02}, "attrition"),
        ({"change": -0.2, "attrition": 0.2}, "attrition"),
        ({}, "reshaping"),
        ({"expansion": 0.25, "null_p": 0.01}, "expansion"),
    ],
)
def test_lost_support_beyond_its_null_is_said_in_role_or_reason(case, expected):
    found, reason = role(**case, lost_p=0.01)
    assert found == expected and "support of about 7 problems was lost, more than noise (p = 0.01)" in reason
    assert "support" not in role(p_value=0.2, change=0.02)[1]
    assert role(**case, lost_p=0.01, comparable=False)[0] == "undetermined"


def test_forecast_beside_outcome():
    gain = {
        "value": 0.3,
        "low": 0.1,
        "high": 0.4,
        "level": 0.9,
        "n": 5,
        "label": "estimated",
        "reason": "",
        "bounds": None,
    }
    plan = [{"stage": "sft", "role": "expansion", "expected_gain": gain}]
    assert forecast(plan, "grpo", estimate(0.2), "expansion") is None
    assert forecast(plan, None, estimate(0.2), "expansion") is None
    hit, miss = (forecast(plan, "sft", estimate(x), r) for x, r in ((0.2, "expansion"), (0.6, "reshaping")))
    assert (hit.within, hit.agrees, miss.within, miss.agrees) == (True, True, False, False)
    open_plan = [{**plan[0], "expected_gain": {**gain, "value": None, "low": None, "high": None}}]
    unknown = forecast(open_plan, "sft", estimate(0.2), "undetermined")
    assert (unknown.within, unknown.agrees) == (None, None)
