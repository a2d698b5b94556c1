"""The one way in which a number reads; the scripts of the pages say the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import posttrain_reports
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.types import Estimate
from posttrain_diag.wording import estimates, numbers
from posttrain_diag.wording.numbers import (
    alone,
    class_percent,
    count,
    duration,
    finite,
    memory,
    nats,
    nominal,
    p_test,
    p_value,
    percent,
    percent_between,
    percent_with,
    plain,
    points_with,
    scientific,
    signed_points,
    token_count,
)


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (percent(0.128), "12.8%"), (percent(0.0039), "0.39%"), (percent(0.00024), "0.024%"), (percent(0.005), "0.50%"),
        (percent(0), "0%"), (percent(-0.0), "0%"), (percent(1), "100%"), (percent(1e-6), "<0.001%"), (percent(0.9999), ">99.9%"),
        (percent(0.9994), "99.9%"), (percent(0.00996), "1.0%"), (percent(-0.05), "−5.0%"), (percent(-1e-7), ">−0.001%"),
        (percent(49 / 400), "12.3%"),  # a half is rounded away from zero, as browsers do
        (class_percent(0.0004), "<0.1%"), (class_percent(0.9997), ">99.9%"),
        (percent_with(0.128, 0.117, 0.14), "12.8% [11.7, 14.0]"), (percent_with(0, 0, 0.023), "0% [0, 2.3]"),
        (percent_with(0.5, None, None), "50.0%"), (percent_with(1.0, 1.0, 1.0), "100%"), (percent_with(1, 0.974, 1), "100% [97.4, 100]"),
        (alone(0, 0.023), "≤2.3%"), (alone(0, None), "0%"), (alone(0.5, 0.6), "50.0%"), (alone(0, 1.0), "0%"),
        (signed_points(0.843), "+84.3"), (signed_points(-0.009), "−0.90"), (signed_points(0), "0"), (signed_points(-1e-7), "0"),
        (points_with(0.843, 0.821, 0.87), "+84.3 points [+82.1, +87.0]"), (points_with(-0.05, -0.121, 0.0), "−5.0 points [−12.1, 0]"),
        (nominal(0.9), "90%"), (nominal(0.025), "2.5%"), (count(13200), "13,200"),
        (token_count(900), "900"), (token_count(8432), "8,432"), (token_count(229_999), "230 k"), (token_count(999_600), "1 M"),
        (token_count(1_200_000), "1.2 M"), (token_count(1.2e9), "1.2 B"), (token_count(3.41e12), "3.41 T"), (token_count(0), "0"),
        (duration(0.432), "0.43 s"), (duration(1.9), "1.9 s"), (duration(3.0), "3 s"), (duration(45.2), "45 s"), (duration(59.7), "1 min"),
        (duration(200), "3 min 20 s"), (duration(3599.8), "1 h"), (duration(3570), "1 h"), (duration(599.6), "10 min"), (duration(2108), "35 min"), (duration(7500), "2 h 5 min"), (duration(270_000), "3 days 3 h"), (duration(0), "0 s"),
        (memory(1.5 * 2**30), "1.5 GiB"), (p_value(0.0131), "0.013"), (p_value(1), "1.0"), (p_value(0.00025), "<0.001"),
        (p_test(0.2), "p = 0.20"), (p_test(0.0), "p < 0.001"), (nats(-12.34), "−12.3 nats"), (nats(0.0432), "0.043 nats"), (nats(-1e-9), "0 nats"),
        (plain(11.3), "11.3"), (plain(1234567), "1,234,567"), (plain(0.5), "0.5"), (plain(-24.1), "−24.1"), (plain(999.96), "1,000"),
        (plain(1e-5), "1e-5"), (plain(3.2e-5), "3.2e-5"), (plain(0), "0"), (scientific(3.4e15), "3.4e15"), (scientific(9.96e14), "1e15"),
    ],
)  # fmt: skip
def test_numbers_in_words(shown: str, words: str) -> None:
    assert shown == words


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_no_number_of_a_damaged_file_ends_a_report(value: float) -> None:
    for read in (percent, class_percent, signed_points, plain, nats, token_count, duration, memory, nominal, count):
        assert 0 < len(read(value)) < 350
    assert p_value(abs(value)) and alone(value, value) and percent_with(value, value, value)


@given(st.floats(0, 1))
def test_a_share_never_rounds_to_an_extreme(share: float) -> None:
    if 0 < share < 1:
        assert percent(share) not in ("0%", "100%", "0.0%", "100.0%") and not percent(share).startswith("0.00%")


@given(st.floats(1e-5, 1), st.floats(1e-5, 1))
def test_what_reads_larger_is_larger(a: float, b: float) -> None:
    read = [float(percent(x).strip("<>%")) for x in (a, b)]
    assert (read[0] <= read[1]) or a > b


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.5", True, pd.NA, []])
def test_only_finite_numbers_are_numbers(value: object) -> None:
    assert finite(value) is None


def test_an_estimate_reads_alike_as_a_record_and_as_json() -> None:
    found = Estimate(0.128, 0.117, 0.14, 0.9, 100, "model-dependent", bounds=(0.05, 0.3))
    for block in (found, vars(found)):
        assert estimates.share_text(block) == "12.8% [11.7, 14.0]"
        assert estimates.points_text(block) == "+12.8 points [+11.7, +14.0]"
        assert estimates.label_text(block) == "model-dependent ([5.0, 30.0] without a fitted law)"
    missing = Estimate.undefined("no draw was judged")
    for block in (missing, vars(missing)):
        assert estimates.share_text(block) == estimates.points_text(block) == "— (no draw was judged)"
        assert estimates.share_alone(block) == "—" and estimates.share_ends(block) == ""
    assert estimates.share_text(None) == "—"
    zero = {"value": 0.0, "low": 0.0, "high": 0.023, "label": "measured"}
    assert estimates.change_alone(zero, vars(found)) == "≤2.3% → 12.8%"
    assert estimates.change_text(zero, vars(found)) == "0% [0, 2.3] → 12.8% [11.7, 14.0]"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("pass@16", 0.5, "50.0%"),
        ("expected_successes", 0.5, "0.5"),
        ("demo_logprob_nats", -24.1, "−24.1"),
        ("chance_pass@1", 0.004, "0.40%"),
    ],
)
def test_the_name_of_an_estimate_gives_its_unit(name: str, value: float, words: str) -> None:
    assert estimates.quantity(name, value) == words


SCRIPT = Path(posttrain_reports.__file__).parent / "templates" / "numbers.js"
AS_IN_PYTHON = {
    "percent": percent,
    "signedPoints": signed_points,
    "plain": plain,
    "nats": nats,
    "count": count,
    "scientific": scientific,
}


def in_a_script(source: str, values: object) -> object:
    """What an expression over `values` gives after numbers.js; in node, or in chromium where there is no node."""
    body = f"{SCRIPT.read_text(encoding='utf-8')}\nconst values = {json.dumps(values)};"
    if node := shutil.which("node"):
        text = f"{body}\nconsole.log(JSON.stringify({source}));"
        return json.loads(subprocess.run([node, "-"], input=text, text=True, capture_output=True, check=True).stdout)
    from browser import CHROMIUM, chromium

    if CHROMIUM is None:
        pytest.skip("neither node nor chromium on PATH")
    with chromium() as browser:
        return browser.new_page().evaluate(f"() => {{ {body}\nreturn {source}; }}")


def test_the_scripts_of_a_page_read_numbers_as_the_rest_does() -> None:
    rng = np.random.default_rng(0)
    shares = [0.0, 1.0, 0.5, 0.1225, 0.005, 0.0999, 0.9995, 1e-5, 9.9e-6, 1e-9, *rng.random(300).tolist()]
    shares += (10 ** rng.uniform(-6, 0, 300)).tolist() + [k / 400 for k in range(401)]
    values = [
        *shares,
        *(-x for x in shares),
        2.0,
        12.0,
        1234.5,
        999.96,
        1e7,
        3.4e15,
        *(10 ** rng.uniform(-7, 9, 300)).tolist(),
    ]
    for name, read in AS_IN_PYTHON.items():
        given = (
            [x for x in values if x]
            if name == "scientific"
            else [abs(float(round(x))) for x in values]
            if name == "count"
            else values
        )
        shown = in_a_script(f"values.map((x) => {name}(x))", given)
        assert isinstance(shown, list)
        assert [(x, s) for x, s in zip(given, shown, strict=True) if s != read(x)] == [], name
    rows = [[a, *sorted((b, c))] for a, b, c in rng.random((50, 3)).tolist()] + [[1.0, 1.0, 1.0], [0.0, 0.0, 0.1]]
    assert in_a_script("values.map((row) => percentWith(...row))", rows) == [percent_with(*row) for row in rows]
    assert in_a_script("values.map((x) => percentWith(x, null, null))", [None, 0.3]) == [numbers.UNDEFINED, "30.0%"]


def test_the_scripts_have_no_other_way_to_write_a_number() -> None:
    others = [path for path in SCRIPT.parent.glob("*.js") if path != SCRIPT]
    found = {
        path.name: re.findall(r"toFixed|toPrecision|toLocaleString|toExponential", path.read_text()) for path in others
    }
    assert others and not any(found.values()), found


def test_intervals_that_read_like_the_value_are_left_out() -> None:
    assert percent_between(0.5, 0.49999, 0.50001) == "" and percent_between(0.5, 0.4, None) == ""
    assert percent_between(0.5, 0.49, 0.5) == "[49.0, 50.0]"
