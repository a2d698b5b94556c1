"""The page: offline, safe with hostile data, bounded in size, honest about what is undefined."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from posttrain_reports import ReportData, render_html, render_markdown, selection

from posttrain_diag.errors import StoreError, UsageError
from posttrain_diag.wording.text import clip, visible

from .synthetic_run import (
    BOTTLENECKS,
    CLASSES,
    HOSTILE,
    RUN_KEYWORDS,
    make_diagnosis,
    make_problems,
    make_run,
    poisoned,
)


class Page(HTMLParser):
    """Collects tags, attributes and text outside script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def payload_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    assert not re.search("[<>&]", found.group(1))
    return json.loads(found.group(1))


@pytest.mark.parametrize("bottleneck", BOTTLENECKS)
def test_every_bottleneck_has_a_verdict_sentence(bottleneck: str) -> None:
    data = make_run(bottleneck)
    page = Page(render_html(data))
    assert [tag for tag, _ in page.tags].count("h1") == 1
    sections = [attrs.get("id") for tag, attrs in page.tags if tag == "section"]
    assert sections == ["verdict", "actions", "instrument", "numbers", "figures", "problems", "settings", "notes"]
    for action in data.diagnosis["plan"][:3]:
        assert action["command"] in page.text
        assert action["why"] in page.text
    assert "93.0%" in page.text
    assert "nan" not in page.text.lower().split()
    assert not re.search(r"\bNone\b", page.text)


@pytest.mark.parametrize("bottleneck", ["support", "mixed"])
def test_page_asks_nothing_of_the_network(bottleneck: str) -> None:
    page = render_html(make_run(bottleneck))
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page
    assert not re.search(r"url\(|@import|\bfetch\(|XMLHttpRequest|WebSocket|importScripts", page)
    for tag, attrs in Page(page).tags:
        assert tag not in ("img", "link", "iframe", "object", "embed", "base", "audio", "video", "form")
        assert "src" not in attrs
        assert attrs.get("href", "#").startswith("#")
        assert not [name for name in attrs if name.startswith("on")], "inline event handler"


def test_policy_admits_exactly_the_pages_own_script() -> None:
    page = render_html(make_run())
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in page


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text_everywhere(text: str) -> None:
    clean = make_run("support", 30)
    problems = clean.problems.assign(
        **{
            name: pd.Series([one + text for one in clean.problems[name]], dtype=object)
            for name in ("id", "prompt", "answer")
        }
    )
    data = ReportData(
        diagnosis=poisoned(clean.diagnosis, text, RUN_KEYWORDS, fixed={"schema", "bottleneck"}),
        problems=problems,
        measurements=poisoned(list(clean.measurements), text, RUN_KEYWORDS),
        failures=poisoned(list(clean.failures), text, RUN_KEYWORDS),
        transcripts=[
            {
                **t,
                **{
                    key: f"{t[key]}{text}"
                    for key in ("problem_id", "text", "arm", "extracted", "finish_reason", "verdict")
                },
            }
            for t in clean.transcripts
        ],
        command=text,
        created=text,
    )
    page = render_html(data)
    assert len(page.encode()) < 5_000_000
    parsed = Page(page)
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert "img" not in {tag for tag, _ in parsed.tags}
    assert not [name for _, attrs in parsed.tags for name in attrs if name.startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\u2066\u2028\ufeff\ud800-\udfff]", page)
    assert "49" not in parsed.text.split(), "template syntax in data was evaluated"
    row = payload_of(page)["rows"][0]
    columns = payload_of(page)["columns"]
    assert row[columns.index("prompt")] == clip(str(problems["prompt"].iloc[0]), selection.PROMPT_LIMIT)
    assert row[columns.index("id")] == clip(str(problems["id"].iloc[0]), selection.ID_LIMIT)
    markdown = render_markdown(data)
    assert "<script" not in re.sub(r"```+\n.*?\n```+", "", markdown, flags=re.DOTALL).replace("\\<", "")
    markdown.encode()


def test_payload_round_trips_every_embedded_number() -> None:
    data = make_run("mixed", 40)
    body = payload_of(render_html(data))
    assert body["total"] == 40
    assert [row[0] for row in body["rows"]] == list(data.problems["id"])
    for name in ("n", "c"):
        assert [row[body["columns"].index(name)] for row in body["rows"]] == data.problems[name].tolist()
    assert np.allclose(
        [row[body["columns"].index("p_mean")] for row in body["rows"]], data.problems["p_mean"], rtol=1e-3
    )
    assert {row[1] for row in body["rows"]} <= set(CLASSES)
    shown = [t for group in body["transcripts"].values() for t in group]
    assert shown
    assert {t["verdict"] for t in shown} == {"pass", "fail", "truncated"}


def test_size_is_bounded_for_20k_problems_with_long_rollouts() -> None:
    problems = make_problems("mixed", 20_000)
    problems["prompt"] = problems["prompt"] + "数" * 3000
    text = "<&>\u202e数" * 3000
    rolls = [
        {"problem_id": i, "arm": "main", "sample_idx": 0, "text": f"{text}{i}", "verdict": "fail", "lenient": False,
         "extracted": text, "finish_reason": "stop", "n_tokens": 9, "logprob": -1.0}
        for i in problems["id"]
    ]  # fmt: skip
    page = render_html(make_run("mixed", 20_000, problems=problems, transcripts=rolls))
    assert len(page.encode()) < 5_000_000
    body = payload_of(page)
    assert 100 < len(body["rows"]) <= selection.MAX_ROWS
    assert {row[1] for row in body["rows"]} == set(problems["class"])
    assert body["groupTotals"] == {name: int((problems["class"] == name).sum()) for name in CLASSES}
    text = Page(page).text
    assert f"{len(body['rows']):,} of 20,000 problems" in text
    assert "problems.parquet" in text
    shown = sum(map(len, body["transcripts"].values()))
    assert f"{shown:,} of 20,000 rollouts" in text


def test_one_problem_and_no_problem() -> None:
    assert "The one problem of the run." in Page(render_html(make_run("support", 1))).text
    empty = make_run("support", 5)
    data = ReportData(empty.diagnosis, empty.problems.iloc[:0], [], [], [], "", "")
    page = Page(render_html(data))
    assert "0 rollouts = 0 passed" in page.text
    assert "command not recorded" in page.text


def test_undefined_is_never_a_number() -> None:
    problems = make_problems("undetermined", 20)
    diagnosis = make_diagnosis("undetermined", problems)
    hollow = {
        "value": None,
        "low": None,
        "high": None,
        "label": "undefined",
        "n": 0,
        "reason": "k = 16 needs 16 rollouts, problems have 4",
    }
    diagnosis["confidence"] = None
    diagnosis["shares"] = {name: {} for name in CLASSES}
    diagnosis["estimates"] = {
        "pass@1": {"value": float("nan"), "low": float("nan"), "high": 1.0, "n": 20},
        "pass@16": hollow,
        "coverage": {},
        "mixed_groups@8": hollow,
    }
    for action in diagnosis["plan"]:
        action["expected_gain"] = {"value": None, "low": None, "high": None}
        action["cost"] = {"tokens": None, "flops": None, "time_s": None}
        action["retention_risk"] = None
    curve = {
        "k": [1, 4, 16],
        "value": [None, None, None],
        "low": [None] * 3,
        "high": [None] * 3,
        "label": ["undefined"] * 3,
    }
    hidden = problems.assign(p_mean=np.nan, p_low=np.nan, p_high=np.nan, n=0, c=0)
    measurements = [{"probe": "pass_at_k", "question": "?", "summary": {"pass@16": hollow}, "figures": [
        {"name": "pass_at_k", "title": "", "data": curve}, {"name": "prefix_ladder", "title": "", "data": {"rho": [0.5], "arms": {"true": {"value": [None]}}}},
        {"name": "mixed_groups", "title": "", "data": {"G": [8], "value": [None]}}, {"name": "demo_likelihood", "title": "", "data": {"problem_id": ["a"], "demo_logprob_nats": [None], "min_token_prob": [None]}},
        {"name": "demo_tokens", "title": "", "data": {"examples": []}}, {"name": "format", "title": "", "data": {}}], "notes": []}]  # fmt: skip
    data = ReportData(diagnosis, hidden, measurements, [], [], "diag", "now")
    for text in (Page(render_html(data)).text, render_markdown(data)):
        assert text.count("—") >= 12
        assert "k = 16 needs 16 rollouts" in text.replace("\\", "")
        assert not re.search(r"\bnan\b|\bNone\b|(?<![.\d])0%|(?<!\d)0 points", text), re.findall(
            r".{30}(?:nan|None|0%|0 points).{10}", text
        )
        assert "No point of the curve could be estimated." in text
    assert "<svg" not in render_html(data)


def test_zero_of_n_is_an_interval_not_nothing() -> None:
    diagnosis = make_diagnosis("support", make_problems("support", 20))
    diagnosis["estimates"] = {"pass@1": {"value": 0.0, "low": 0.0, "high": 0.0023, "label": "measured", "n": 20}}
    assert "[0, 0.23]" in Page(render_html(make_run("support", 20, diagnosis=diagnosis))).text


def test_expected_gain_of_null_is_said_in_the_headline() -> None:
    text = Page(render_html(make_run("guided"))).text
    assert "Next: Guided RL with demonstration prefixes; its gain is not estimated." in text


def test_broken_instrument_comes_before_any_stage() -> None:
    diagnosis = make_diagnosis("support", make_problems("support", 20))
    diagnosis["instrument"] = make_diagnosis("instrument", make_problems("support", 20))["instrument"]
    text = Page(render_html(make_run("support", 20, diagnosis=diagnosis))).text
    assert "Repair the instrument first: gold answers fail their own verifier (31.0%" in text
    assert "Next: Supervised" not in text


def test_pass_at_k_zones_are_drawn_apart() -> None:
    page = render_html(make_run())
    for label in ("measured", "estimated", "model-dependent"):
        assert f'class="zone {label}"' in page
        assert f'class="curve {label}"' in page
        assert f'class="dot {label}"' in page


def test_unknown_figure_becomes_a_table_that_says_so() -> None:
    text = Page(render_html(make_run())).text
    assert "The page has no drawing for 'answer_lengths'" in text
    assert "length share 1 0.2 2 0.5 3 0.3" in text


def test_rounding_noise_in_shares_is_not_shown() -> None:
    diagnosis = make_diagnosis("reshaping", make_problems("reshaping", 20))
    values = dict.fromkeys(CLASSES, -1e-17) | {"reshaping": 1 - 1e-12, "support": 4e-19}
    diagnosis["shares"] = {name: {"value": v, "low": v, "high": v} for name, v in values.items()}
    text = Page(render_html(make_run("reshaping", 20, diagnosis=diagnosis))).text
    assert "drawn too rarely on practically all problems." in text
    assert "Mastered 0% Reshaping-limited >99.9%" in text
    assert "Support-limited <0.1%" in text
    assert "e-1" not in text


def test_unblocked_demonstrations_are_not_called_blocked() -> None:
    examples = [{"problem_id": "a", "tokens": [{"text": "x", "logprob": -0.5, "rank": 0}]}]
    measurements = [
        {"probe": "likelihood", "figures": [{"name": "demo_tokens", "title": "", "data": {"examples": examples}}]}
    ]
    assert "nothing blocks them" in Page(render_html(make_run("reshaping", 5, measurements=measurements))).text


def test_many_estimates_fold_behind_the_main_ones() -> None:
    diagnosis = make_diagnosis("support", make_problems("support", 20))
    for k in (2, 4, 8, 32, 128, 512, 1024, 2048, 4096):
        diagnosis["estimates"][f"pass@{k}"] = {
            "value": 0.5,
            "low": 0.4,
            "high": 0.6,
            "label": "model-dependent" if k > 256 else "measured",
            "n": 20,
        }
    page = render_html(make_run("support", 20, diagnosis=diagnosis))
    tiles = page[page.index('class="tiles"') : page.index('id="actions"')]
    assert "pass@256" in tiles
    assert "pass@4096" not in tiles
    table = page[page.index('id="numbers"') : page.index("more estimates")]
    assert "pass@16" in table
    assert "pass@4096" not in table
    assert "pass@4096" in page


def test_failed_probe_is_shown() -> None:
    assert "Probe selection failed" in Page(render_html(make_run("support"))).text


def test_same_data_same_page() -> None:
    assert render_html(make_run("mixed")) == render_html(make_run("mixed"))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"diagnosis": {"schema": 1}}, StoreError, "lacks bottleneck"),
        ({"problems": pd.DataFrame({"id": ["a"]})}, StoreError, r"lacks the column\(s\) n, c"),
        ({"measurements": [{"name": "x"}]}, UsageError, "no 'probe'"),
        ({"transcripts": [{"problem_id": "a"}]}, UsageError, "lacks text, verdict"),
    ],
)
def test_unusable_data_is_named(change: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make_run("support", 3, **change)


def test_unknown_schema_is_refused() -> None:
    diagnosis = {**make_diagnosis("support", make_problems("support", 3)), "schema": 2}
    with pytest.raises(StoreError, match="schema 2"):
        make_run("support", 3, diagnosis=diagnosis)


def test_lone_surrogate_is_spelled_out() -> None:
    assert visible("a\ud800b") == "a⟦U+D800⟧b"
