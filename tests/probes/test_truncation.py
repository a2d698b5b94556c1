"""Does the token cap matter? What the longer draws of cut problems say, and which cap is advised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from fake_engine import FakeEngine
from posttrain_probes import stopping, truncation
from posttrain_probes.synthetic import make_evidence, make_problem, rollout_row

from posttrain_diag.evidence import Evidence, Needs, Settings
from posttrain_diag.types import Finding, SamplingParams

CAP = 32
Drawn = tuple[int, str]
"""(tokens, verdict) of a longer draw."""


def evidence(cut: int, *, passed: int = 0, of: int = 16, longer: Sequence[Drawn] = (), **values: Any) -> Evidence:
    """12 problems with so many cut and so many passed draws of 16; longer draws are dealt out over them in turn."""
    rows = [
        rollout_row(f"p{i}", 100 + j, verdict="truncated", finish_reason="length", n_tokens=CAP)
        for i in range(12)
        for j in range(cut)
    ]
    for index, (tokens, verdict) in enumerate(longer):
        right = verdict in ("pass", "lenient")
        kept = {"verdict": "fail" if verdict == "lenient" else verdict, "lenient": right, "n_tokens": tokens}
        rows.append(rollout_row(f"p{index % 12}", index, arm=truncation.LONGER_ARM, **kept))
    settings = Settings(SamplingParams(max_new_tokens=CAP))
    return make_evidence([(of - cut, passed)] * 12, extra=rows, settings=settings, **values)


def finding(cut: int, **values: Any) -> Finding:
    found = stopping.truncation(evidence(cut, **values))
    assert found is not None
    return found


def test_longer_draws_that_end_and_never_pass_make_the_cap_a_note() -> None:
    """The case that was called broken: 75% cut; 57 of 60 longer draws end by 100 tokens, none passes."""
    found = finding(12, longer=[(40 + i, "fail") for i in range(57)] + [(128, "truncated")] * 3)
    assert found.severity == "note"
    assert found.advice == (
        "144 of 192 draws were cut at 32 tokens. Of 60 draws that were repeated and ran on, for up to 128 tokens, 57 "
        "ended and 0 passed. The cap hides no right answers: --max-new-tokens 96 would let 95% of the draws end."
    )


def test_longer_draws_that_pass_break_the_instrument_and_say_what_which_cap_gives() -> None:
    found = finding(8, longer=[(60, "pass")] * 24 + [(90, "fail")] * 24)
    assert found.severity == "broken"
    assert "48 ended and 24 passed" in found.advice
    assert "--max-new-tokens 96 would let 95% of the draws end and add about 25 points to pass@1" in found.advice
    assert found.advice.endswith("set it and rerun into a new --out.")


def test_longer_draws_that_would_have_ended_under_the_old_cap_say_nothing() -> None:
    """A quarter is cut and half of the others pass: longer draws pass as often as they, but none that ran on does."""
    short = [(8, "pass")] * 24 + [(8, "fail")] * 24
    found = finding(4, passed=6, longer=[*short, *[(50, "fail")] * 16])
    assert found.severity == "note"
    assert "16 ended and 0 passed" in found.advice
    alone = finding(4, passed=6, longer=short)
    assert alone.severity == "broken"
    assert "None of 48 repeated draws ran past the cap." in alone.advice


def test_a_few_right_answers_beside_many_are_no_matter() -> None:
    """A quarter is cut, 10 of 16 draws pass, and one of 48 that ran on: half a point of 63."""
    longer = [(50, "pass"), *[(50, "fail")] * 47]
    assert finding(4, passed=10, longer=longer).severity == "note"
    assert finding(4, passed=0, longer=longer).severity == "broken"


def test_draws_that_do_not_end_with_more_room_break_the_instrument() -> None:
    found = finding(12, longer=[(128, "truncated")] * 40 + [(100, "fail")] * 8)
    assert found.severity == "broken"
    assert "Even 128 tokens would let only 38% of the draws end" in found.advice


def test_right_answers_in_another_form_are_right_answers() -> None:
    found = finding(8, longer=[(60, "lenient")] * 48)
    assert found.severity == "broken"
    assert "0 passed, 48 more were right in substance" in found.advice


def test_few_longer_draws_are_no_evidence() -> None:
    assert finding(8, longer=[(60, "fail")] * 15).severity == "broken"
    assert finding(8, longer=[(60, "fail")] * 16).severity == "note"


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ((), "No longer draws tell whether that matters."),
        ((truncation.NO_ROOM,), "The context leaves no room for longer draws."),
    ],
)
def test_the_context_is_blamed_only_where_it_is_full(notes: tuple[str, ...], said: str) -> None:
    assert said in finding(8, notes=notes).advice
    assert ("context" in finding(8, notes=notes).advice) == bool(notes)


class Server(FakeEngine):
    """Without a tokenizer."""

    def __init__(self, context: int | None) -> None:
        super().__init__(lambda prompt: {"a": 1.0}, context=context)
        self.info.lacks["tokens"] = "give --tokenizer"  # type: ignore[index]

    def prompt_ids(self, prompt: Any) -> tuple[int, ...]:
        raise AssertionError("there is no tokenizer")


def planned(engine: FakeEngine) -> Needs:
    return truncation.plan(evidence(8, problems={f"p{i}": make_problem(i) for i in range(12)}), engine)


def test_longer_draws_fit_into_the_context() -> None:
    """Prompts have 10 or 11 characters."""
    law = lambda prompt: {"a": 1.0}  # noqa: E731
    assert {spec.max_new_tokens for spec in planned(FakeEngine(law, context=8192)).draws} == {128}
    assert {spec.max_new_tokens for spec in planned(FakeEngine(law, context=100)).draws} == {90, 89}
    assert planned(FakeEngine(law, context=40)) == Needs(notes=(truncation.NO_ROOM,))


def test_a_server_with_a_large_context_is_asked_for_longer_draws() -> None:
    assert {spec.max_new_tokens for spec in planned(Server(8192)).draws} == {128}
    assert {spec.max_new_tokens for spec in planned(Server(None)).draws} == {128}
    (note,) = planned(Server(64)).notes
    assert note == "no longer draws: give --tokenizer, so whether the context has room for them is unknown"


def test_the_advised_cap_lets_95_percent_of_all_draws_end_not_of_the_cut_ones() -> None:
    """A quarter is cut: four in five of them must end, and 32 of 40 do so by 50 tokens."""
    found = finding(4, longer=[(50, "pass")] * 32 + [(120, "pass")] * 8)
    assert "--max-new-tokens 64 would let 95% of the draws end" in found.advice
