"""`diag import counts`: from a table of passes to a whole run, honest about what counts cannot show."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from posttrain_probes import BUILTIN, boundary
from posttrain_probes.synthetic import make_evidence

from posttrain_diag.analysis.counts import analyze_counts
from posttrain_diag.cli.import_command import parse_ks
from posttrain_diag.diagnose import diagnose
from posttrain_diag.errors import StatsError, StoreError, UsageError
from posttrain_diag.evidence import Settings
from posttrain_diag.importers import read_counts
from posttrain_diag.tasks import load_tasks
from posttrain_diag.types import Measurement, SamplingParams

SETTINGS = Settings(SamplingParams(), ks=(16, 100, 4000))
RUNNER = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers"):
            raise AssertionError("imported " + name)

sys.meta_path.insert(0, NoTorch())
from posttrain_diag.cli.app import main
main()
"""


def counts_file(folder: Path, rows: Sequence[tuple[int, int]], name: str = "counts.csv") -> str:
    lines = [f"p{i},{n},{c}" for i, (n, c) in enumerate(rows)]
    (folder / name).write_text("\n".join(["problem_id,n,c", *lines]) + "\n")
    return str(folder / name)


def run(folder: Path, rows: Sequence[tuple[int, int]], **options: Any) -> dict[str, Any]:
    table = read_counts(counts_file(folder, rows))
    return dict(analyze_counts(table, folder / "run", SETTINGS, **options).json)


def diag(*args: str) -> subprocess.CompletedProcess[str]:
    """The command in a process in which torch cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", RUNNER, *args], capture_output=True, text=True, timeout=240, check=False
    )


def varied(n: int, seed: int = 0) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    p = np.where(rng.random(60) < 0.3, 0.0, rng.beta(0.6, 1.2, 60))
    return [(n, int(c)) for c in rng.binomial(n, p)]


def test_the_whole_command_without_torch(tmp_path: Path) -> None:
    file = counts_file(tmp_path, varied(64))
    out = tmp_path / "run"
    done = diag("import", "counts", file, "--out", str(out), "--k", "1,16,400", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data == json.loads((out / "diagnosis.json").read_text()) and not data["failures"]
    names = {"run.json", "problems.parquet", "diagnosis.json", "plan.yaml", "measurements.json"}
    assert names <= {path.name for path in out.iterdir()} and any((out / "figures").iterdir())
    page = (out / "report.html").read_text()
    assert "The instrument was not checked" in page
    (out / "report.html").unlink()
    again = diag("report", str(out))
    assert again.returncode == 0, again.stderr
    assert "The instrument was not checked" in (out / "report.html").read_text()
    assert not (out / "rollouts.sqlite").exists(), "re-rendering must not make an empty store"


def test_counts_say_what_the_same_rollouts_say(tmp_path: Path) -> None:
    """The statistics of the counts are those of rollouts with these counts, number for number."""
    rows = varied(16)
    evidence = make_evidence(rows, settings=SETTINGS)
    measured = [m for probe in BUILTIN if isinstance(m := boundary(probe, evidence), Measurement)]
    full = diagnose(evidence, measured)
    data = run(tmp_path, rows)
    names = [
        *(f"pass@{k}" for k in (1, 2, 4, 8, 16, 32, 64, 100, 256, 1024, 4000)),
        *(f"mixed_groups@{size}" for size in (4, 8, 16, 32, 64)),
        "coverage",
        "expected_successes",
        "certified_zero_share",
    ]
    for name in names:
        own, other = data["estimates"][name], full.estimates[name]
        assert (own["value"], own["low"], own["high"]) == (other.value, other.low, other.high), name
        assert own["label"] == other.label
    table = pd.read_parquet(tmp_path / "run" / "problems.parquet").set_index("id")
    other = full.per_problem.set_index("id")
    for column in ("p_mean", "p_low", "p_high", "posterior_mastered", "certified_zero"):
        assert (table[column] == other[column]).all(), column


def test_labels_and_bounds(tmp_path: Path) -> None:
    estimates = run(tmp_path, varied(32))["estimates"]
    assert [estimates[f"pass@{k}"]["label"] for k in (16, 100, 4000)] == ["measured", "estimated", "model-dependent"]
    assert "without it: 0." in estimates["pass@4000"]["reason"]
    assert all(estimates[f"mixed_groups@{size}"]["value"] is not None for size in (4, 8, 16, 32, 64))


def test_never_solved_is_no_verdict_of_support(tmp_path: Path) -> None:
    """All zeros: a missing ability, one that a prefix unlocks and a broken verifier look alike."""
    data = run(tmp_path, [(2048, 0)] * 50)
    assert data["bottleneck"] == "undetermined"
    alternatives = {a["bottleneck"]: a["probability"] for a in data["alternatives"]}
    assert {"support", "guided", "instrument"} <= alternatives.keys() and alternatives["support"] < 0.6
    assert data["estimates"]["certified_zero_share"]["value"] == 1.0
    assert data["plan"] == []
    assert any("guided-reachable, or judged by a broken verifier" in reason for reason in data["reasons"])
    assert data["shares"]["guided"]["label"] == data["shares"]["format"]["label"] == "undefined"


@pytest.mark.parametrize(("rows", "verdict"), [([(64, 20)] * 40, "reshaping"), ([(64, 64)] * 40, "saturated")])
def test_verdicts_that_counts_can_carry(tmp_path: Path, rows: list[tuple[int, int]], verdict: str) -> None:
    data = run(tmp_path, rows)
    assert data["bottleneck"] == verdict and data["confidence"] <= 0.9


def test_instrument_is_never_called_ok(tmp_path: Path) -> None:
    data = run(tmp_path, varied(64))
    assert data["instrument"]["status"] == "suspect"
    assert [(f["kind"], f["severity"]) for f in data["instrument"]["findings"]] == [("not_checked", "note")]
    assert any("only counts were imported" in reason for reason in data["reasons"])
    for name in ("gold_pass_rate", "lenient_pass@1", "reach", "demo_nll_per_token", "truncated_rate"):
        assert data["estimates"][name]["label"] == "undefined" and "not measured" in data["estimates"][name]["reason"]
    assert data["sampling"] == dict.fromkeys(("temperature", "top_p", "top_k", "min_p", "max_new_tokens")) | {"seed": 0}
    assert data["plan"][0]["cost"] == {"tokens": None, "flops": None, "time_s": None}
    assert any("diag analyze" in need for need in data["plan"][0]["needs"])


def test_sampling_that_breaks_the_counts_is_refused(tmp_path: Path) -> None:
    rows = [(i % 7 + 1, 1) for i in range(30)] + [(8, 0)] * 10
    with pytest.raises(StatsError, match="stopped at the first pass"):
        run(tmp_path, rows)
    bits = "\n".join(f"p{i},5,1,00001" for i in range(30))
    (tmp_path / "bits.csv").write_text(f"task_id,n,c,bits\n{bits}\n")
    done = diag("import", "counts", str(tmp_path / "bits.csv"), "--out", str(tmp_path / "never"))
    assert done.returncode == 2 and "stopped at the first pass" in done.stderr and "Traceback" not in done.stderr
    topped_up = [f"p{i},{i % 7 + 1},1,{'0' * (i % 7)}1" for i in range(30)] + ["q,9,2,010000010", "r,9,0,000000000"]
    (tmp_path / "topped.csv").write_text("\n".join(["task_id,n,c,bits", *topped_up]))
    with pytest.raises(StatsError, match="stopped at the first pass"):
        analyze_counts(read_counts(str(tmp_path / "topped.csv")), tmp_path / "never", SETTINGS)
    with pytest.raises(StatsError, match="greedy"):
        run(tmp_path, varied(8), temperature=0.0)
    assert not (tmp_path / "never").exists() and not (tmp_path / "run").exists()


def test_suspicious_sampling_is_a_finding(tmp_path: Path) -> None:
    copies = run(tmp_path, [(8, 8)] * 15 + [(8, 0)] * 15)
    assert ("duplicate_draws", "suspect") in {(f["kind"], f["severity"]) for f in copies["instrument"]["findings"]}
    (tmp_path / "b").mkdir()
    unequal = run(tmp_path / "b", [(8, 3), (16, 5), (32, 9)] * 5)
    assert ("unequal_n", "note") in {(f["kind"], f["severity"]) for f in unequal["instrument"]["findings"]}


def test_recorded_truncation_and_errors_are_findings(tmp_path: Path) -> None:
    rows = "\n".join(f"p{i},20,{i % 12},4,1" for i in range(20))
    (tmp_path / "x.csv").write_text(f"id,n,c,truncated,errored\n{rows}\n")
    data = analyze_counts(read_counts(str(tmp_path / "x.csv")), tmp_path / "run", SETTINGS).json
    kinds = {f["kind"]: f for f in data["instrument"]["findings"]}
    assert kinds["truncation"]["share"]["value"] == 0.2 and kinds["verifier_error"]["share"]["value"] == 0.05
    assert data["samples"] == {
        "rollouts": 400, "rollouts_all_arms": 400, "tokens": None, "truncated": 80, "errored": 20,
    }  # fmt: skip
    table = pd.read_parquet(tmp_path / "run" / "problems.parquet")
    assert (table["drawn"] == table["c"] + table["failed"] + table["truncated"] + table["errored"]).all()


def test_tasks_bring_prompts(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    lines = [json.dumps({"id": f"p{i}", "prompt": f"How much is {i} + {i}?", "answer": str(2 * i)}) for i in range(3)]
    tasks.write_text("\n".join(lines) + "\n")
    file = counts_file(tmp_path, [(16, 8)] * 5)
    out = tmp_path / "run"
    done = diag("import", "counts", file, "--out", str(out), "--tasks", str(tasks), "--quiet")
    assert done.returncode == 0, done.stderr
    assert "How much is 2 + 2?" in (out / "report.html").read_text()
    assert "3 of 5 problems are in" in json.loads((out / "diagnosis.json").read_text())["notes"][-1]
    assert diag("report", str(out)).returncode == 0
    assert "How much is 2 + 2?" in (out / "report.html").read_text()
    tasks.write_text(json.dumps({"id": "other", "prompt": "?", "answer": "1"}) + "\n")
    with pytest.raises(UsageError, match="none of its 1 problem ids"):
        run(tmp_path, [(4, 2)] * 3, tasks=load_tasks(str(tasks)))


def test_a_run_keeps_its_counts(tmp_path: Path) -> None:
    first = run(tmp_path, varied(16))
    assert run(tmp_path, varied(16))["estimates"] == first["estimates"]
    with pytest.raises(StoreError, match="choose another --out"):
        run(tmp_path, varied(16, seed=1))


@pytest.mark.parametrize("rows", [[(1, 0)], [(1, 1)], [(64, 3)], [(0, 0), (5, 2)], [(10**6, 3), (10, 0)]])
def test_tiny_and_odd_counts_get_an_answer(tmp_path: Path, rows: list[tuple[int, int]]) -> None:
    data = run(tmp_path, rows)
    assert not data["failures"], data["failures"]
    assert (tmp_path / "run" / "report.html").exists()


def test_bad_file_is_one_message_with_rows(tmp_path: Path) -> None:
    file = counts_file(tmp_path, [(4, 5), (4, 1), (4, 9)])
    done = diag("import", "counts", file, "--out", str(tmp_path / "run"))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "line 2, c: c = 5 exceeds n = 4" in done.stderr and "line 4, c: c = 9" in done.stderr


def test_asked_k() -> None:
    assert parse_ks("16, 1,400,16") == (1, 16, 400)
    for text in ("0", "-1", "x", "1.5"):
        with pytest.raises(UsageError, match="whole numbers from 1 on"):
            parse_ks(text)
