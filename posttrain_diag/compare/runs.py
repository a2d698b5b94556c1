"""Two run directories as two sides: what each measured, which problems they share, and what sets them apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from posttrain_diag.compare.types import Check, ComparedRun
from posttrain_diag.errors import StoreError, UsageError, did_you_mean
from posttrain_diag.stats import Counts
from posttrain_diag.store import RunDir
from posttrain_diag.tasks import load_tasks, verifier_sha
from posttrain_diag.types import Problem
from posttrain_diag.zoo import resolve_model

SHOWN = 5
"""Most problems that a message names."""
CUT_SHARE = 0.01
"""From this share of truncated draws on, pass rates under different token caps are not the same quantity."""
SAMPLING = ("temperature", "top_p", "top_k", "min_p")


@dataclass(frozen=True)
class Side:
    """What one of the two run directories says."""

    path: Path
    diagnosis: Mapping[str, Any]
    table: pd.DataFrame
    """The contents of problems.parquet, indexed by problem id."""
    problems: Mapping[str, Problem]
    """The problems whose prompt is known, by id."""

    @property
    def counted(self) -> bool:
        """Whether only counts were imported."""
        return self.diagnosis["samples"]["tokens"] is None

    @property
    def model(self) -> str:
        """The model as the user named it."""
        card = self.diagnosis["model"]
        return str(card.get("model") or card.get("name"))

    def summary(self) -> ComparedRun:
        """The facts about this run that a comparison states."""
        table = self.table
        told = {name: int(table[name].sum()) if name in table else None for name in ("truncated", "errored")}
        return ComparedRun(
            path=str(self.path),
            model=self.model,
            problems=int((table["n"] > 0).sum()),
            rollouts=int(table["drawn"].sum()),
            counted=self.counted,
            **told,
        )

    def counts(self) -> Counts:
        """Rollouts and passes of the problems, in the order of `table`."""
        return Counts(self.table["n"].to_numpy(np.int64), self.table["c"].to_numpy(np.int64), ids_of(self.table))

    def only(self, ids: list[str]) -> Side:
        """The same run on some of its problems, in this order."""
        return Side(self.path, self.diagnosis, self.table.loc[ids], self.problems)


def ids_of(table: pd.DataFrame) -> list[str]:
    """The ids a table is indexed by."""
    return cast("list[str]", table.index.tolist())


def read_side(path: Path) -> Side:
    """Read what an analysis or an import of counts left; needs no model.

    Raises:
        StoreError: no run directory, or its analysis did not end.
    """
    run = RunDir(path)
    diagnosis = run.read_json("diagnosis.json")
    table = run.read_problems()
    tasks = path / "tasks.jsonl"
    problems = load_tasks(str(tasks), allow_code=True).problems if tasks.exists() else ()
    table["id"] = table["id"].astype(str)
    return Side(path, diagnosis, table.set_index("id"), {problem.id: problem for problem in problems})


def matched(before: Side, after: Side, trained: frozenset[str] = frozenset()) -> tuple[Side, Side, list[Check]]:
    """Restrict both runs to the problems they share, and tell what was left out.

    A problem is shared when both runs hold its id with at least one rollout that counts, and, where both know them,
    the same prompt and the same verifier.

    Args:
        before: the first run.
        after: the second run.
        trained: ids the stage between them was trained on or chosen by; they measure nothing.

    Raises:
        UsageError: fewer than two problems are shared.
    """
    checks: list[Check] = []
    common = ids_of(before.table[before.table.index.isin(after.table.index)])
    for here, there in ((before, after), (after, before)):
        lacking = ids_of(here.table[~here.table.index.isin(there.table.index)])
        checks += _left_out("problems", "warning", lacking, f"are in {here.path} alone")
    prompts, verifiers = _differing(before, after, common)
    checks += _left_out("prompts", "warning", prompts, "have other prompts in the two runs under the same id")
    checks += _left_out("verifier", "warning", verifiers, "have another gold or verifier in the two runs")
    empty = {key for side in (before, after) for key in ids_of(side.table[side.table["n"] == 0])}
    silent = [key for key in common if key in empty]
    checks += _left_out("problems", "warning", silent, "have no rollout that counts in one of the runs")
    apart = {*prompts, *verifiers, *silent}
    common = [key for key in common if key not in apart]
    seen = [key for key in common if key in trained]
    if seen and len(common) - len(seen) >= 2:
        checks += _left_out("training", "note", seen, "were trained on, or chose the checkpoint")
        common = [key for key in common if key not in trained]
    elif seen:
        text = (
            "nearly all problems were trained on, or chose the checkpoint: they show memory, not a gain on new problems"
        )
        checks.append(Check("training", "error", text, tuple(seen)))
    if len(common) < 2:
        why = "; ".join(check.message for check in checks) or "they share no problem id"
        raise UsageError(
            f"{before.path} and {after.path} share {len(common)} problems that can be compared, at least 2 are needed "
            f"({why}): analyse both models on the same tasks file"
        )
    return before.only(common), after.only(common), checks


def _left_out(kind: str, severity: Any, ids: list[str], what: str) -> Iterator[Check]:
    """A check that names problems which are left out; nothing when there are none."""
    if ids:
        named = ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")
        yield Check(kind, severity, f"{len(ids)} problems {what} and are left out ({named})", tuple(ids))


def _differing(before: Side, after: Side, common: list[str]) -> tuple[list[str], list[str]]:
    """Ids with another prompt, and ids with the same prompt and another verifier or gold."""
    prompts: list[str] = []
    verifiers: list[str] = []
    for key in common:
        one, other = before.problems.get(key), after.problems.get(key)
        if one is None or other is None:
            continue
        if (one.prompt, one.messages) != (other.prompt, other.messages):
            prompts.append(key)
        elif verifier_sha(one) != verifier_sha(other):
            verifiers.append(key)
    return prompts, verifiers


def settings_checks(before: Side, after: Side) -> list[Check]:
    """Checks of what differs between the two measurements, beyond the model."""
    return [
        *_knowledge(before, after),
        *_template(before, after),
        *_sampling(before, after),
        *_instruments(before, after),
        *_same_draws(before, after),
    ]


def _knowledge(before: Side, after: Side) -> Iterator[Check]:
    counted = [str(side.path) for side in (before, after) if side.counted]
    if counted:
        text = f"{' and '.join(counted)} hold counts alone: prompts, templates and verifiers could not be compared"
        yield Check("counts", "note", text)


def _template(before: Side, after: Side) -> Iterator[Check]:
    if before.counted or after.counted:
        return
    one, other = (side.diagnosis["model"].get("chat_template_sha") for side in (before, after))
    if one != other:
        yield Check(
            "template",
            "error",
            f"the prompt templates (or system prompts) differ ({_sha(one)} before, {_sha(other)} after): what changed "
            "may be the prompt; analyse both models with the same --template, --chat-template and --system-prompt",
        )
    one, other = (side.diagnosis["model"].get("engine") for side in (before, after))
    if one != other:
        yield Check("engine", "warning", f"the runs used different engines ({one} before, {other} after)")


def _sha(value: Any) -> str:
    return "none" if value is None else str(value)[:8]


def _sampling(before: Side, after: Side) -> Iterator[Check]:
    one, other = before.diagnosis["sampling"], after.diagnosis["sampling"]
    unknown: list[str] = []
    for name in SAMPLING:
        if one.get(name) is None or other.get(name) is None:
            unknown.append(name)
        elif one[name] != other[name]:
            text = f"{name} is {one[name]:g} before and {other[name]:g} after: success probabilities are not comparable"
            yield Check("sampling", "error", text)
    if not before.counted and not after.counted and one.get("stop", []) != other.get("stop", []):
        told = " and ".join(", ".join(map(repr, law.get("stop", []))) or "none" for law in (one, other))
        yield Check("sampling", "error", f"the stop texts are {told}: success probabilities are not comparable")
    if unknown:
        yield Check("sampling", "note", f"{', '.join(unknown)} not recorded in at least one run")
    caps = (one.get("max_new_tokens"), other.get("max_new_tokens"))
    if None not in caps and caps[0] != caps[1]:
        cut = max(float(side.table["truncated"].sum() / max(side.table["drawn"].sum(), 1)) for side in (before, after))
        severity: Any = "error" if cut >= CUT_SHARE else "warning"
        text = f"the token cap is {caps[0]} before and {caps[1]} after; up to {cut:.1%} of the draws were cut at it"
        yield Check("cap", severity, text)
    mine, theirs = (side.diagnosis["settings"]["rollout_budget"] for side in (before, after))
    if mine != theirs:
        yield Check("budget", "note", f"the rollout budget is {mine} before and {theirs} after")


def _instruments(before: Side, after: Side) -> Iterator[Check]:
    for side in (before, after):
        instrument = side.diagnosis["instrument"]
        if instrument["status"] == "ok" or (side.counted and instrument["status"] == "suspect"):
            continue
        kinds = sorted({f["kind"] for f in instrument["findings"] if f["severity"] == instrument["status"]})
        severity: Any = "error" if instrument["status"] == "broken" else "warning"
        text = f"the instrument of {side.path} is {instrument['status']} ({', '.join(kinds)})"
        yield Check("instrument", severity, text)


def _same_draws(before: Side, after: Side) -> Iterator[Check]:
    one, other = (side.diagnosis["model"].get("model_sha") for side in (before, after))
    if one is None or one != other:
        return
    if before.diagnosis["sampling"].get("seed") == after.diagnosis["sampling"].get("seed"):
        text = "the same model with the same seed: the runs hold the same draws, so they agree more than chance allows"
        yield Check("draws", "warning", f"{text}; give another --seed for a control")
    else:
        yield Check("draws", "note", "the same model on both sides: a control, all that is seen is noise")


@dataclass(frozen=True)
class StageFolder:
    """The folder of the stage that led from one run to the other."""

    name: str
    result: Mapping[str, Any]
    trained: frozenset[str] | None
    """Ids of the problems trained on or watched; None where the stage did not write them down."""
    led_here: bool = True
    """Whether the later run analysed the checkpoint of this stage."""


def find_stage(before: Side, after: Side, name: str | None) -> StageFolder | None:
    """Find the stage between two runs.

    It is the finished stage of the first run's model whose checkpoint the second run analysed, else the last one of
    that name. It lies among the stages of the first run; one of `diag run` or `diag train --model` lies around its
    checkpoint.

    Raises:
        UsageError: `name` is neither a stage of the first run nor one of its plan.
    """
    found = [_read_stage(path) for path in sorted((before.path / "stages").glob("[0-9][0-9]-*/result.json"))]
    target = Path(after.model).expanduser().resolve()
    around = target.parent / "result.json"
    inside = {folder.resolve() for folder, _ in found}
    outside = target.name == "checkpoint" and around.exists() and target.parent not in inside
    if outside and _started_from(target.parent, before.model):
        found.append(_read_stage(around))
    for folder, stage in found:
        checkpoints = {(folder / "checkpoint").resolve(), Path(str(stage.result["checkpoint"])).resolve()}
        if target in checkpoints and name in (None, stage.name):
            return stage
    if name is None:
        return None
    named = [stage for _, stage in found if stage.name == name]
    planned = [proposal["stage"] for proposal in before.diagnosis["plan"]]
    if not named and name not in planned:
        known = sorted({*planned, *(stage.name for _, stage in found)})
        raise UsageError(
            f"--stage {name}: {before.path} has neither run nor planned it{did_you_mean(name, known)}; known there: "
            f"{', '.join(known) or 'none'}"
        )
    return replace(named[-1], led_here=False) if named else None


def _started_from(folder: Path, model: str) -> bool:
    """Whether the stage in a folder began with this model, as a run names it."""
    known: dict[str, Any] = json.loads((folder / "stage.json").read_text(encoding="utf-8"))
    place = resolve_model(model) if model.startswith("zoo:") else Path(model).expanduser()
    return known["model"] == model or Path(str(known["model"])).resolve() == place.resolve()


def _read_stage(path: Path) -> tuple[Path, StageFolder]:
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        listed = path.parent / "problems.json"
        split = json.loads(listed.read_text(encoding="utf-8")) if listed.exists() else None
    except json.JSONDecodeError as error:
        raise StoreError(f"{path.parent}: damaged ({error}); move the folder away and train the stage again") from error
    trained = None if split is None else frozenset([*split["train"], *split["watched"]])
    return path.parent, StageFolder(str(result["stage"]), result, trained)
