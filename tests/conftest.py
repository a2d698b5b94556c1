"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from fake_engine import FakeEngine, Law

from posttrain_diag.analysis import analyze as analyze_module
from posttrain_diag.analysis.analyze import Analysis, analyze
from posttrain_diag.settings.analysis import make_config
from posttrain_diag.tasks import write_tasks
from posttrain_diag.types import Problem

hypothesis.settings.register_profile("default", derandomize=True, deadline=None)
hypothesis.settings.load_profile("default")


@pytest.fixture
def run_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Analysis]:
    """Analyse a written-down law on problems, through real tasks files, store and run directory."""

    def run(
        law: Law,
        problems: list[Problem],
        *,
        engine: FakeEngine | None = None,
        teachers: Sequence[FakeEngine] = (),
        **settings: Any,
    ) -> Analysis:
        tasks = tmp_path / "tasks.jsonl"
        write_tasks(problems, tasks)
        settings.setdefault("allocation", "uniform")
        made = engine or FakeEngine(law)
        engines = {"fake": made, **{teacher.info.model: teacher for teacher in teachers}}
        monkeypatch.setattr(analyze_module, "load_engine", lambda config: engines[config.model])
        settings.setdefault("teacher", tuple(teacher.info.model for teacher in teachers))
        out = settings.pop("out", tmp_path / "run")
        return analyze(make_config(model="fake", tasks=str(tasks), out=out, **settings))

    return run
