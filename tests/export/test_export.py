"""`diag export`: what each class gives, in files that `datasets` and TRL read."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_engine import FakeEngine, make_problems
from typer.testing import CliRunner

from posttrain_diag.analysis import analyze as analyze_module
from posttrain_diag.analysis.analyze import analyze
from posttrain_diag.analysis.counts import analyze_counts
from posttrain_diag.cli.app import app
from posttrain_diag.errors import StoreError, UsageError
from posttrain_diag.evidence import Settings
from posttrain_diag.export import export
from posttrain_diag.importers import read_counts
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.store import RunDir
from posttrain_diag.tasks import load_tasks, write_tasks
from posttrain_diag.tasks.problems.split import split_tasks
from posttrain_diag.types import SamplingParams

N = 24
KINDS = ("mastered", "reshaping", "format", "support")


def word(i: int) -> str:
    return "".join("abcdefghij"[(i * 7 + j * j + i // 10) % 10] for j in range(6))


def law(prompt: str) -> Mapping[str, float]:
    """Problem i is mastered, solved sometimes, right without its brackets, or never solved, by i mod 4."""
    i = int(prompt[1:-1])
    right, bare, rare = f"[{word(i)}]", word(i), f"[z{word(i + 1)}]"
    return {
        "mastered": {right: 0.98, rare: 0.02},
        "reshaping": {right: 0.3, rare: 0.2, f"[y{word(i + 1)}]": 0.5},
        "format": {bare: 0.9, right: 0.1},
        "support": {f"x{word(i + 3)}": 1.0},
    }[KINDS[i % 4]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    problems = make_problems(N, lambda i: f"[{word(i)}]")
    vars(problems[3])["demos"] = ("[wrong]", problems[3].answer)  # one demonstration of two passes
    vars(problems[7])["demos"] = ("[wrong]",)
    write_tasks(problems, folder / "tasks.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analyze_module, "load_engine", lambda _: FakeEngine(law))
        config = make_config(
            model="fake", tasks=str(folder / "tasks.jsonl"), out=folder / "run", rollouts=48, allocation="uniform",
            rollout_budget=16, template="Q: {prompt}",
        )  # fmt: skip
        analyze(config)
    found = pd.read_parquet(folder / "run" / "problems.parquet").set_index("id")["class"]
    assert [found[f"p{i}"] in (KINDS[i % 4], "guided") for i in range(N)] == [True] * N
    return folder / "run"


def rows_of(run: Path, to: str, **options: Any) -> list[dict[str, Any]]:
    found = export(run, to, out=run / "export" / f"{to}.jsonl", **options)
    return [json.loads(line) for line in found.paths[0].read_text().splitlines()]


def test_sft_rows_follow_the_class(run: Path) -> None:
    rows = rows_of(run, "sft")
    by_set = {name: [row for row in rows if row["set"] == name] for name in {row["set"] for row in rows}}
    assert {*by_set} == {"replay", "rl-band", "repair-format", "needs-demonstration"}
    answers = {f"p{i}": f"[{word(i)}]" for i in range(N)}
    assert all(row["completion"] == answers[row["problem_id"]] for row in rows)  # nothing wrong is taught
    assert Counter(row["source"] for row in by_set["needs-demonstration"]) == {"demonstration": 5}
    assert "p7" not in {row["problem_id"] for row in rows}
    for name in ("replay", "rl-band", "repair-format"):
        assert {row["source"] for row in by_set[name]} <= {"own draw", "demonstration"} and len(by_set[name]) == 6
    assert {row["source"] for row in by_set["rl-band"]} == {"own draw"}
    assert all(row["prompt"].startswith("Q: q") and "draws pass" in row["why"] for row in rows)
    left = export(run, "sft").left_out
    assert left == {"needs-demonstration: no demonstration passes its verifier": 1}


def test_a_problem_in_the_band_that_no_draw_solved_gives_no_row(run: Path, tmp_path: Path) -> None:
    """Few draws: the class comes from the other problems, and there is nothing of its own to train on."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    with closing(sqlite3.connect(copy / "rollouts.sqlite")) as store, store:
        assert (
            store.execute("UPDATE rollouts SET verdict = 'fail' WHERE problem_id = 'p1' AND verdict = 'pass'").rowcount
            > 0
        )
    found = export(copy, "sft", out=tmp_path / "sft.jsonl")
    assert "p1" not in {json.loads(line)["problem_id"] for line in found.paths[0].read_text().splitlines()}
    assert found.left_out["rl-band: no passing draw"] == 1


def test_pairs_prefer_the_likeliest_wrong_answer(run: Path) -> None:
    rows = rows_of(run, "pairs", per_problem=3)
    one = [row for row in rows if row["problem_id"] == "p1"]
    assert [(row["chosen"], row["rejected"][:2]) for row in one] == [(f"[{word(1)}]", "[y"), (f"[{word(1)}]", "[z")]
    assert {row["set"] for row in rows} == {"rl-band", "repair-format"}
    assert all(row["chosen"] != row["rejected"] for row in rows)
    mended = [row for row in rows if row["set"] == "repair-format"]
    assert mended and all(row["chosen"] == f"[{row['rejected']}]" for row in mended)
    assert Counter(row["problem_id"] for row in rows_of(run, "pairs", per_problem=1)).most_common(1)[0][1] == 1
    assert export(run, "pairs").left_out["replay: hardly fails"] == 6


def test_prompts_hold_every_problem_once(run: Path) -> None:
    rows = rows_of(run, "prompts")
    assert [row["problem_id"] for row in rows] == [f"p{i}" for i in range(N)]
    assert Counter(row["set"] for row in rows) == {
        "replay": 6, "rl-band": 6, "repair-format": 6, "needs-demonstration": 6
    }  # fmt: skip
    band = rows_of(run, "prompts", sets=("rl-band",))
    assert {row["class"] for row in band} == {"reshaping"} and all(0.05 < row["pass_rate"] < 0.8 for row in band)
    assert band[0]["reward_model"]["ground_truth"] == band[0]["answer"] == f"[{word(1)}]"
    assert json.loads(band[0]["extra_info"]["verifier"]) == {"type": "exact"}


@pytest.mark.parametrize("form", ["text", "conversational"])
@pytest.mark.parametrize("to", ["sft", "pairs", "prompts"])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_files_load_and_are_what_trl_takes(run: Path, tmp_path: Path, to: str, form: Any, suffix: str) -> None:
    datasets = pytest.importorskip("datasets")
    trl = pytest.importorskip("trl.data_utils")
    found = export(run, to, out=tmp_path / f"{to}.{suffix}", form=form)
    loaded = datasets.load_dataset(
        "json" if suffix == "jsonl" else suffix, data_files=str(found.paths[0]), split="train",
        cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    assert len(loaded) == found.rows == sum(found.sets.values())
    row = loaded[0]
    assert trl.is_conversational(row) == (form == "conversational") == found.conversational
    expected = {"sft": {"prompt", "completion"}, "pairs": {"prompt", "chosen", "rejected"}, "prompts": {"prompt"}}[to]
    assert expected <= {*row}
    for key in expected:
        if form == "text":
            assert isinstance(row[key], str)
        else:
            assert row[key][-1]["role"] == ("user" if key == "prompt" else "assistant")


def test_prompts_are_those_the_model_was_measured_under(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    tasks = list(load_tasks(str(copy / "tasks.jsonl")).problems)
    vars(tasks[1]).update(
        prompt=None, messages=({"role": "user", "content": "q1:"}, {"role": "assistant", "content": "It is "})
    )
    write_tasks(tasks, copy / "tasks.jsonl")
    diagnosis = json.loads((copy / "diagnosis.json").read_text())
    diagnosis["model"]["renderings"] = ["chat", "plain"]
    (copy / "diagnosis.json").write_text(json.dumps(diagnosis))
    config = (copy / "config.yaml").read_text().replace("system_prompt: null", "system_prompt: Be brief.")
    (copy / "config.yaml").write_text(config)
    rows = {row["problem_id"]: row for row in rows_of(copy, "sft")}
    system = {"role": "system", "content": "Be brief."}
    assert rows["p1"]["prompt"] == [system, {"role": "user", "content": "q1:"}]
    assert rows["p1"]["completion"] == [{"role": "assistant", "content": f"It is [{word(1)}]"}]
    assert rows["p0"]["prompt"] == [system, {"role": "user", "content": "q0:"}]
    diagnosis["model"]["renderings"] = ["plain"]
    (copy / "diagnosis.json").write_text(json.dumps(diagnosis))
    assert {row["problem_id"]: row for row in rows_of(copy, "sft")}["p0"]["prompt"] == "Be brief.\n\nQ: q0:"


def test_the_training_split_is_that_of_diag_train(run: Path) -> None:
    problems = load_tasks(str(run / "tasks.jsonl")).problems
    train, _ = split_tasks(problems, seed=0)
    assert [row["problem_id"] for row in rows_of(run, "prompts", split="train")] == [problem.id for problem in train]
    assert "measure nothing any more" in export(run, "prompts").notes[0]
    assert not any("measure nothing" in note for note in export(run, "prompts", split="train").notes)


def test_tables_hold_all_draws_and_problems(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posttrain_diag.export.source.CHUNK", 100)  # several pieces
    found = export(run, "parquet", out=tmp_path / "tables")
    rollouts = pd.read_parquet(tmp_path / "tables" / "rollouts.parquet")
    store = RunDir(run).store()
    kept = store.frame("fake-model")
    store.close()
    assert len(rollouts) == found.rows == len(kept)
    key = ["problem_id", "arm", "sample_idx", "prompt_sha"]
    assert rollouts.sort_values(key)["text"].tolist() == kept.sort_values(key)["text"].tolist()
    problems = pd.read_csv(tmp_path / "tables" / "problems.csv")
    assert len(problems) == N and problems["answer"].notna().all() and "class" in problems
    assert not list((tmp_path / "tables").glob(".*"))


def test_draws_of_an_earlier_prompt_are_not_exported(run: Path, tmp_path: Path) -> None:
    """Under one id the store may hold draws of a prompt that was corrected since."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    store = RunDir(copy).store()
    store._db.execute(
        "INSERT INTO rollouts SELECT * FROM (SELECT model_sha, 'earlier', sampling_sha, sample_idx, problem_id, arm, "
        "verifier_sha, 'pass', strict, lenient, n_tokens, seed, finish_reason, engine, logprob, policy_logprob, "
        "proposal_logprob, score, extracted, error, response_prefix, 'stale', token_ids, token_logprobs FROM rollouts "
        "WHERE problem_id='p1' AND arm='main' AND sample_idx<9)"
    )
    store._db.commit()
    store.close()
    assert "stale" not in {row["completion"] for row in rows_of(copy, "sft")}
    table = pd.read_parquet(copy / "problems.parquet")
    table.loc[table["id"] == "p1", "drawn"] = 7
    table.to_parquet(copy / "problems.parquet")
    with pytest.raises(StoreError, match="does not hold the 7 draws of problem 'p1'"):
        export(copy, "sft")


def test_counts_alone(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("problem_id,n,c\n" + "".join(f"p{i},32,{i}\n" for i in range(12)))
    settings = Settings(SamplingParams())
    write_tasks(make_problems(12, word), tmp_path / "tasks.jsonl")
    tasks = load_tasks(str(tmp_path / "tasks.jsonl"))
    table = read_counts(str(tmp_path / "c.csv"))
    analyze_counts(table, tmp_path / "known", settings, tasks=tasks)
    shutil.copytree(tmp_path / "known", tmp_path / "bare")
    (tmp_path / "bare" / "tasks.jsonl").unlink()
    for to in ("sft", "pairs", "parquet"):
        with pytest.raises(UsageError, match="holds counts alone"):
            export(tmp_path / "known", to)
    assert len(rows_of(tmp_path / "known", "prompts")) == 12
    with pytest.raises(UsageError, match="no prompts, so there is nothing to export"):
        export(tmp_path / "bare", "prompts")


def test_bad_arguments(run: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"to": "yaml"}, "--to yaml: accepted are sft, pairs, prompts, parquet"),
        ({"to": "sft", "sets": ("rl",)}, "--set rl: accepted"),
        ({"to": "sft", "form": "chatml"}, "--format chatml"),
        ({"to": "sft", "split": "test"}, "--split test"),
        ({"to": "sft", "per_problem": 0}, "at least 1"),
        ({"to": "sft", "out": tmp_path / "x.csv"}, "ends with .jsonl or .parquet"),
        ({"to": "sft", "sets": ("undecided",)}, "gives no row: none of the asked sets"),
        ({"to": "parquet", "out": run / "run.json"}, "is a file"),
    ]
    for options, message in cases:
        with pytest.raises(UsageError, match=message):
            export(run, options.pop("to"), **options)


def test_command(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    args = ["export", str(run), "--to", "sft", "--out", str(out), "--set", "rl-band", "--per-problem", "1"]
    shown = CliRunner().invoke(app, args, catch_exceptions=False)
    assert shown.exit_code == 0 and "rl-band              6 rows" in shown.output and "6 rows" in shown.output
    told = json.loads(CliRunner().invoke(app, [*args, "--json"], catch_exceptions=False).stdout)
    assert (told["schema"], told["rows"], told["sets"]) == (1, 6, {"rl-band": 6})
