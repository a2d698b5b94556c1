"""What a run has to give away: problems with their classes, draws problem by problem, prompts as they were measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd

from posttrain_diag.engines.contract import Prompt
from posttrain_diag.engines.model.prompts import plain_text
from posttrain_diag.errors import StoreError, UsageError
from posttrain_diag.evidence import MAIN
from posttrain_diag.settings.analysis import load_config
from posttrain_diag.store import RunDir, Span, Store
from posttrain_diag.tasks import load_tasks
from posttrain_diag.tasks.problems.split import split_tasks
from posttrain_diag.types import Problem

Form = Literal["auto", "text", "conversational"]
ExportSplit = Literal["all", "train"]
CHUNK = 50_000
"""How many draws are read at a time."""


@dataclass(frozen=True)
class Rendered:
    """A prompt in the form in which a trainer takes it."""

    prompt: str | list[dict[str, Any]]
    prefix: str
    """A beginning of the response that the prompt already gives; it belongs to every completion."""

    def completion(self, text: str) -> str | list[dict[str, str]]:
        """A response in the same format as the prompt: text, or a list of messages."""
        if isinstance(self.prompt, str):
            return text
        return [{"role": "assistant", "content": self.prefix + text}]


@dataclass(frozen=True)
class Source:
    """A run directory that rows are exported from."""

    run: RunDir
    problems: Mapping[str, Problem]
    """The problems whose prompt is known and that the split holds, in the order of the tasks file."""
    table: pd.DataFrame
    """The contents of problems.parquet, indexed by problem id."""
    conversational: bool
    """Whether prompts are lists of messages, to which a trainer applies the model's chat template."""
    template: str | None
    system: str | None
    counted: bool
    """Whether only counts were imported."""

    @cached_property
    def facts(self) -> Mapping[str, Mapping[str, Any]]:
        """The rows of problems.parquet by id."""
        return cast("dict[str, dict[str, Any]]", self.table.to_dict("index"))

    def rendered(self, problem: Problem) -> Rendered:
        """A problem's prompt as the model was measured under it, before the chat template is applied."""
        if not self.conversational:
            return Rendered(plain_text(Prompt(problem.prompt, problem.messages), self.template, self.system), "")
        given = problem.messages or ({"role": "user", "content": problem.prompt or ""},)
        messages: list[dict[str, Any]] = [dict(m) for m in given]
        prefix = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
        if self.system is not None and (not messages or messages[0]["role"] != "system"):
            messages.insert(0, {"role": "system", "content": self.system})
        return Rendered(messages, prefix)

    def need_draws(self, what: str) -> None:
        """Refuse a run that has no texts.

        Raises:
            UsageError: the run holds counts alone.
        """
        if self.counted:
            raise UsageError(
                f"{self.run.path}: holds counts alone, and {what} needs the texts that were drawn: run `diag analyze "
                "MODEL --tasks FILE`; --to prompts works where the counts were imported with --tasks"
            )

    def draws(self) -> Iterator[tuple[Problem, pd.DataFrame]]:
        """Every problem with its draws under the plain prompt (the columns of `Store.rows`), by sample index."""
        store, model_sha = self.run.store(), self._model_sha()
        try:
            spans = self._spans(store, model_sha)
            sizes = {key: int(self.facts[key]["drawn"]) for key in spans}
            for part in _parts([*spans], sizes):
                rows = store.rows(model_sha, [spans[key] for key in part])
                by_id = dict(iter(rows[rows["arm"] == MAIN].groupby("problem_id", sort=False)))
                for key in part:
                    yield self.problems[key], by_id[key]
        finally:
            store.close()

    def all_draws(self) -> Iterator[pd.DataFrame]:
        """All stored draws of the model under every arm, a piece at a time, with the columns of `Store.rows`."""
        store, model_sha = self.run.store(), self._model_sha()
        try:
            spans = store.spans(model_sha)
            drawn = self.table["drawn"].mean()
            step = max(1, int(CHUNK / max(drawn, 1)))
            for first in range(0, len(spans), step):
                yield store.rows(model_sha, spans[first : first + step])
        finally:
            store.close()

    def problem_table(self) -> pd.DataFrame:
        """The per-problem table with prompts and golds."""
        table = self.table.reset_index(names="id")
        known = [self.problems.get(key) for key in table["id"]]
        table.insert(1, "prompt", [None if problem is None else problem.prompt_text for problem in known])
        table.insert(2, "answer", [None if problem is None else problem.answer for problem in known])
        return table

    def _model_sha(self) -> str:
        return str(self.run.read_json("run.json")["model_sha"])

    def _spans(self, store: Store, model_sha: str) -> dict[str, Span]:
        """The draws of the main arm of each problem; of several prompts under one id, those of the one last analysed.

        Raises:
            StoreError: problems.parquet speaks of draws that the store does not hold.
        """
        first = store.rows(model_sha, [replace(span, stop=1) for span in store.spans(model_sha)])
        main = first[first["arm"] == MAIN]
        found: dict[str, list[Span]] = {}
        for key, prompt_sha, sampling_sha in zip(
            main["problem_id"], main["prompt_sha"], main["sampling_sha"], strict=True
        ):
            found.setdefault(str(key), []).append(Span(str(prompt_sha), str(sampling_sha)))
        out: dict[str, Span] = {}
        for key in self.problems:
            wanted = int(self.facts[key]["drawn"])
            fitting = found.get(key, [])
            if len(fitting) > 1:
                fitting = [span for span in fitting if _size(store, model_sha, span) == wanted]
            if wanted and not fitting:
                raise StoreError(
                    f"{self.run.path}: the store does not hold the {wanted} draws of problem {key!r} that "
                    "problems.parquet counts; rerun the same `diag analyze`"
                )
            if fitting:
                out[key] = fitting[0]
        return out


def _size(store: Store, model_sha: str, span: Span) -> int:
    counts = store.tallies(model_sha, [span])
    return int(counts[["c", "failed", "truncated", "errored"]].to_numpy().sum())


def _parts(keys: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Runs of problems with at most CHUNK draws together, or a single problem with more."""
    part: list[str] = []
    size = 0
    for key in keys:
        if part and size + sizes[key] > CHUNK:
            yield part
            part, size = [], 0
        part.append(key)
        size += sizes[key]
    if part:
        yield part


def open_source(path: Path, *, form: Form = "auto", split: ExportSplit = "all") -> Source:
    """Read a run for export; needs no model.

    Args:
        path: the run directory.
        form: form of the prompts; auto: conversational where the model was addressed through a chat template.
        split: train leaves out the problems that `diag train` holds out for measuring.

    Raises:
        StoreError: no run directory, or its analysis did not end.
        UsageError: the run knows no prompts.
    """
    run = RunDir(path)
    data = run.read_json("diagnosis.json")
    table = run.read_problems()
    counted = data["samples"]["tokens"] is None
    tasks = path / "tasks.jsonl"
    if not tasks.exists():
        raise UsageError(
            f"{path}: holds counts alone and no prompts, so there is nothing to export: run `diag analyze MODEL "
            "--tasks FILE`, or import the counts with --tasks FILE for --to prompts"
        )
    problems = load_tasks(str(tasks), allow_code=True).problems
    config = load_config(run.config_path) if run.config_path.exists() else None
    if split == "train":
        if config is not None and config.train_tasks is not None:
            raise UsageError(
                f"{path}: was analysed with --train-tasks {config.train_tasks}, so all of its problems are held out "
                "for measuring; analyse the training tasks and export from that run"
            )
        problems, _ = split_tasks(problems, seed=int(data["sampling"]["seed"]))
    known = set(table["id"].astype(str))
    return Source(
        run=run,
        problems={problem.id: problem for problem in problems if problem.id in known},
        table=table.assign(id=table["id"].astype(str)).set_index("id"),
        conversational=_conversational(form, data, config, problems),
        template=None if config is None else config.template,
        system=None if config is None else config.system_prompt,
        counted=counted,
    )


def _conversational(form: Form, data: Mapping[str, Any], config: Any, problems: Sequence[Problem]) -> bool:
    """Whether prompts are messages: as the model was addressed, or, where that is not recorded, as a server is."""
    if form != "auto":
        return form == "conversational"
    renderings = data["model"].get("renderings")
    if renderings:
        return renderings[0] == "chat"
    if config is None:
        return any(problem.messages is not None for problem in problems)
    return config.template is None and config.chat_template is not False
