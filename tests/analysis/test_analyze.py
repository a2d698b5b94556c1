"""The spine: verdicts on written-down laws, resuming, topping up, re-judging, files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
from fake_engine import FakeEngine, Killed, make_problems

from posttrain_diag.analysis.analyze import Analysis, analyze, load_engine
from posttrain_diag.analysis.report_data import stored_report
from posttrain_diag.errors import StoreError, UsageError
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.store import RunDir

Run = Callable[..., Analysis]
N = 24


def word(i: int, alphabet: str = "abcdefghij") -> str:
    """A fixed word of 6 letters for problem i, different for each."""
    return "".join(alphabet[(i * 7 + j * j + i // 10) % 10] for j in range(6))


def number(prompt: str) -> int:
    return int(prompt[1:-1])


def law_of(p: float, wrong: Callable[[int], str] = lambda i: "z" + word(i + 1)) -> Callable[[str], Mapping[str, float]]:
    """Right with probability p, else one wrong word."""
    return lambda prompt: {word(number(prompt)): p, wrong(number(prompt)): 1 - p}


def test_the_zoo_is_measured_in_the_precision_of_its_true_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr("posttrain_diag.engines.open.open_engine", lambda config, model: asked.append(config.dtype))
    for settings in ({"model": "zoo:base"}, {"model": "zoo:base", "dtype": "bfloat16"}, {"model": "elsewhere"}):
        load_engine(make_config(tasks="builtin:zoo/S", out="runs/any", **settings))
    assert asked == ["float32", "bfloat16", None]


@pytest.mark.parametrize(
    ("p", "verdict"), [(0.12, "reshaping"), (0.0, "support"), (0.99, "saturated")], ids=["reshaping", "support", "done"]
)
def test_verdict_follows_p(run_analysis: Run, p: float, verdict: str) -> None:
    found = run_analysis(law_of(p), make_problems(N, word)).diagnosis
    assert (found.bottleneck, found.instrument.status) == (verdict, "ok")
    assert found.confidence > 0.8


def test_brackets_missing_is_format(run_analysis: Run) -> None:
    problems = make_problems(N, lambda i: f"[{word(i)}]")
    law = lambda prompt: {word(number(prompt)): 0.97, f"[{word(number(prompt))}]": 0.03}  # noqa: E731
    assert run_analysis(law, problems).diagnosis.bottleneck == "format"


def test_prefix_reachable_is_guided(run_analysis: Run) -> None:
    """Never right alone, but right after the first half of the trace: the first letters are what is missing."""

    def long(i: int) -> str:
        return word(i) + word(i + 7)[::-1]

    def law(prompt: str) -> Mapping[str, float]:
        return {long(number(prompt)): 1e-7, "z" + long(number(prompt) + 1): 1 - 1e-7}

    found = run_analysis(law, make_problems(N, long))
    assert found.diagnosis.bottleneck == "guided"
    assert found.plan.proposals and all(p.role == "expansion" for p in found.plan.proposals)
    assert "grpo" in found.plan.rejected


def test_counts_identity_and_files(run_analysis: Run, tmp_path: Path) -> None:
    analysis = run_analysis(law_of(0.3), make_problems(N, word), rollouts=16)
    table = pd.read_parquet(tmp_path / "run" / "problems.parquet")
    assert (table["drawn"] == 16).all()
    assert (table["c"] + table["failed"] + table["truncated"] + table["errored"] == table["drawn"]).all()
    assert {"id", "n", "c", "p_mean", "p_low", "p_high", "class", "min_token_prob", "demo_logprob_nats"} <= {*table}
    for name in ("config.yaml", "events.jsonl", "diagnosis.json", "plan.yaml", "report.html", "measurements.json"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    assert list((tmp_path / "run" / "figures").glob("*.svg"))
    assert json.loads((tmp_path / "run" / "diagnosis.json").read_text()) == json.loads(json.dumps(analysis.json))


def test_interrupted_run_resumes_without_loss_or_repeat(run_analysis: Run, tmp_path: Path) -> None:
    problems = make_problems(N, word)
    with pytest.raises(Killed):
        run_analysis(law_of(0.3), problems, engine=FakeEngine(law_of(0.3), die_after=137), rollouts=16)
    second = FakeEngine(law_of(0.3))
    resumed = run_analysis(law_of(0.3), problems, engine=second, rollouts=16)
    whole = run_analysis(law_of(0.3), problems, rollouts=16, out=tmp_path / "whole")
    main = resumed.evidence.arm("main")
    assert len(main) == N * 16 and not main.duplicated(["problem_id", "sample_idx"]).any()
    extra = len(resumed.evidence.rollouts) - len(main)
    assert second.drawn == N * 16 - 137 + extra
    columns = ["problem_id", "arm", "sample_idx", "text", "verdict"]
    pd.testing.assert_frame_equal(resumed.evidence.rollouts[columns], whole.evidence.rollouts[columns])


def test_more_rollouts_top_up(run_analysis: Run) -> None:
    problems = make_problems(N, word)
    first = run_analysis(law_of(0.3), problems, rollouts=8).evidence.arm("main")
    engine = FakeEngine(law_of(0.3))
    second = run_analysis(law_of(0.3), problems, engine=engine, rollouts=24).evidence.arm("main")
    assert len(second) == N * 24
    kept = second[second["sample_idx"] < 8].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, first.reset_index(drop=True))
    assert run_analysis(law_of(0.3), problems, engine=(third := FakeEngine(law_of(0.3))), rollouts=24)
    assert third.drawn == 0 and third.scored == 0


def test_corrected_golds_are_judged_again_without_drawing(run_analysis: Run) -> None:
    wrong = make_problems(N, lambda i: "nothing")
    right = make_problems(N, word)
    assert run_analysis(law_of(0.99), wrong).diagnosis.bottleneck != "saturated"
    engine = FakeEngine(law_of(0.99))
    assert run_analysis(law_of(0.99), right, engine=engine).diagnosis.bottleneck == "saturated"
    assert engine.drawn == 0


def test_another_sampling_law_is_refused(run_analysis: Run) -> None:
    run_analysis(law_of(0.3), make_problems(N, word), rollouts=4)
    with pytest.raises(StoreError, match="temperature"):
        run_analysis(law_of(0.3), make_problems(N, word), rollouts=4, temperature=0.5)


def test_foreign_directory_is_not_touched(run_analysis: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match="not empty"):
        run_analysis(law_of(0.3), make_problems(N, word))
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_second_writer_is_refused(run_analysis: Run, tmp_path: Path) -> None:
    run_analysis(law_of(0.3), make_problems(N, word), rollouts=4)
    holder = RunDir(tmp_path / "run")
    holder.lock()
    with pytest.raises(StoreError, match="another process"):
        run_analysis(law_of(0.3), make_problems(N, word), rollouts=8)
    holder.unlock()


def test_damaged_store_is_one_clear_error(run_analysis: Run, tmp_path: Path) -> None:
    run_analysis(law_of(0.3), make_problems(N, word), rollouts=4)
    (tmp_path / "run" / "rollouts.sqlite").write_bytes(b"not a database" * 100)
    for name in ("rollouts.sqlite-wal", "rollouts.sqlite-shm"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    with pytest.raises(StoreError, match="not a rollout store"):
        run_analysis(law_of(0.3), make_problems(N, word), rollouts=4)


def test_report_renders_again_without_model_or_tasks(run_analysis: Run, tmp_path: Path) -> None:
    run_analysis(law_of(0.3), make_problems(N, word), rollouts=8)
    (tmp_path / "tasks.jsonl").unlink()
    data = stored_report(RunDir(tmp_path / "run"))
    assert data.diagnosis["bottleneck"] == "reshaping"
    assert len(data.transcripts) >= N * 8


def test_demos_of_other_ids_are_refused(run_analysis: Run, tmp_path: Path) -> None:
    from posttrain_diag.tasks import write_tasks

    other = [p for p in make_problems(40, word) if int(p.id[1:]) >= N]
    write_tasks(other, tmp_path / "demos.jsonl")
    with pytest.raises(UsageError, match="none of its 16 problem ids"):
        run_analysis(law_of(0.3), make_problems(N, word), demos=str(tmp_path / "demos.jsonl"))


def test_store_survives_a_real_kill(run_analysis: Run, tmp_path: Path) -> None:
    """Rows written by a process that never closes the database are there for the next one."""
    with pytest.raises(Killed):
        run_analysis(law_of(0.3), make_problems(N, word), engine=FakeEngine(law_of(0.3), die_after=50))
    with sqlite3.connect(tmp_path / "run" / "rollouts.sqlite") as db:
        assert db.execute("SELECT count(*) FROM rollouts").fetchone() == (50,)


def test_a_repeated_analysis_draws_nothing(tmp_path: Path) -> None:
    """What the second round of probes drew is not seen by their first round when the command is given again."""
    config = make_config(model="zoo:base", tasks="builtin:zoo/G", out=tmp_path / "run", effort="quick", limit=20)
    first, again = (analyze(config).json["samples"]["tokens_by_arm"] for _ in range(2))
    assert first == again
    assert set(first) >= {"main", "prefix"}
