from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from fake_engine import STOP, FakeEngine
from posttrain_reports import render_html

from posttrain_diag.analysis.analyze import Analysis
from posttrain_diag.analysis.report_data import stored_report
from posttrain_diag.analysis.token_texts import token_texts
from posttrain_diag.store import RunDir
from posttrain_diag.types import Problem

LAW = {"a b": 0.5, "a c": 0.5}


def problem(name: str) -> Problem:
    return Problem(name, prompt=f"{name}?", messages=None, answer="a b", verifier={"type": "exact"})


def payload(page: str) -> dict[str, dict[str, list[dict[str, object]]]]:
    return json.loads(page.split('<script type="application/json" id="data">')[1].split("</script>", maxsplit=1)[0])


def test_pieces_join_to_the_text_without_the_model(run_analysis: Callable[..., Analysis], tmp_path: Path) -> None:
    run_analysis(lambda _: LAW, [problem("p"), problem("q")], rollouts=8)
    report = stored_report(RunDir(tmp_path / "run"))
    rolls = payload(render_html(report))["transcripts"]["0"]
    assert rolls
    for one in rolls:
        pieces = one["pieces"]
        assert isinstance(pieces, list)
        texts, logprobs = zip(*pieces, strict=True)
        assert "".join(texts[:-1]) == one["text"]
        assert texts[-1] == "<end>", "the stop token is named"
        assert one["piecesLeft"] == 0
        assert abs(sum(logprobs) - float(str(one["logprob"]))) < 1e-2


def test_tokens_are_left_out_where_they_are_not_known(run_analysis: Callable[..., Analysis], tmp_path: Path) -> None:
    run_analysis(lambda _: LAW, [problem("p")], rollouts=4)
    (tmp_path / "run" / "vocabulary.json").unlink()
    rolls = payload(render_html(stored_report(RunDir(tmp_path / "run"))))["transcripts"]["0"]
    assert rolls
    assert all("pieces" not in one for one in rolls)


class Sentencepiece(FakeEngine):
    """Drops the leading space of what it decodes, as Llama's tokenizer does."""

    def decode(self, token_ids: Sequence[int]) -> str:
        return super().decode(token_ids).removeprefix(" ")


def test_a_leading_space_survives() -> None:
    engine = Sentencepiece(lambda _: LAW)
    assert token_texts(engine, np.array([ord("a"), ord(" "), STOP]).tolist()) == {
        ord("a"): "a",
        ord(" "): " ",
        STOP: "<end>",
    }
