"""What lies below a folder: analyses, comparisons and autopilot runs, finished or not, read from their JSON files.

RUN/run.json, diagnosis.json              an analysis
FOLDER/comparison.json                    a comparison
FOLDER/state.json, result.json            an autopilot run; its rounds hold analyses and comparisons of their own
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from posttrain_diag.errors import UsageError
from posttrain_diag.wording.vocabulary import played_role

EntryKind = Literal["analysis", "comparison", "autopilot"]
RunState = Literal["finished", "unfinished", "damaged"]

MARKS: dict[str, EntryKind] = {"state.json": "autopilot", "comparison.json": "comparison", "run.json": "analysis"}
"""Files that make a folder a run, with the kind of run; the first one that is there counts."""
RESULTS: dict[EntryKind, str] = {
    "analysis": "diagnosis.json",
    "comparison": "comparison.json",
    "autopilot": "result.json",
}
PAGES = ("report.html", "comparison.html")
PASSED_BY = frozenset({"figures", "rollouts.parquet", "checkpoint", "adapter", "phases", "watch", "tasks", "export"})
"""Names of folders inside runs that are not searched, because they hold no runs."""
MOST_BYTES = 32_000_000
"""JSON files larger than this many bytes are not read."""
DEEPEST = 12
"""How many levels below the folder are searched."""


@dataclass(frozen=True)
class RunEntry:
    """One run, as an index shows it; what is unknown is None."""

    kind: EntryKind
    path: Path
    """Path of the run, relative to the folder that was searched."""
    state: RunState
    changed: float
    """Time at which its last result was written, seconds since 1970."""
    page: str | None
    """File name of its report inside the folder."""
    model: str | None = None
    tasks: str | None = None
    verdict: str | None = None
    """For an analysis its bottleneck, for a comparison the role, for an autopilot run why it ended or the phase it is
    in."""
    confidence: float | None = None
    pass_1: Mapping[str, Any] | None = None
    """pass@1 as an estimate; for a comparison its change."""
    instrument: str | None = None
    note: str = ""
    """What is missing or damaged, or what was done, in words."""


@dataclass
class RunIndex:
    """Finds the runs below a folder; files that have not changed are not read again."""

    root: Path
    _known: dict[Path, tuple[tuple[tuple[str, int, int], ...], RunEntry]] = field(
        default_factory=dict[Path, tuple[tuple[tuple[str, int, int], ...], RunEntry]]
    )

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise UsageError(f"{self.root}: no such folder; give the folder that holds your runs, e.g. diag view runs")

    def entries(self) -> list[RunEntry]:
        """All runs, the last changed first; symbolic links are not followed."""
        known: dict[Path, tuple[tuple[tuple[str, int, int], ...], RunEntry]] = {}
        for folder, files in _run_folders(self.root):
            path = folder.relative_to(self.root)
            stamp = tuple(sorted((name, info.st_mtime_ns, info.st_size) for name, info in files.items()))
            before = self._known.get(path)
            known[path] = before if before and before[0] == stamp else (stamp, read_entry(folder, path, files))
        self._known = known
        return sorted((entry for _, entry in known.values()), key=lambda entry: (-entry.changed, str(entry.path)))


def _run_folders(root: Path) -> list[tuple[Path, dict[str, os.stat_result]]]:
    """Folders that are runs, with the regular files in them."""
    found: list[tuple[Path, dict[str, os.stat_result]]] = []
    for at, folders, names in os.walk(root, followlinks=False):
        here = Path(at)
        deep = len(here.relative_to(root).parts)
        folders[:] = [] if deep >= DEEPEST else [d for d in folders if d not in PASSED_BY and not d.startswith(".")]
        if MARKS.keys() & set(names):
            files = _regular_files(here, names)
            if MARKS.keys() & files.keys():
                found.append((here, files))
    return found


def _regular_files(folder: Path, names: list[str]) -> dict[str, os.stat_result]:
    """Sizes and times of the regular files among these names; what vanishes meanwhile is left out."""
    out: dict[str, os.stat_result] = {}
    for name in names:
        try:
            info = (folder / name).lstat()
        except OSError:
            continue
        if stat.S_ISREG(info.st_mode):
            out[name] = info
    return out


def read_entry(folder: Path, path: Path, files: Mapping[str, os.stat_result]) -> RunEntry:
    """Read one run for the index; a file that cannot be read makes the run damaged, and is named.

    Args:
        folder: the folder of the run.
        path: the same, relative to the folder that is searched.
        files: the regular files in it.
    """
    kind: EntryKind = next(kind for name, kind in MARKS.items() if name in files)
    page = next((name for name in PAGES if name in files), None)
    dated = files.get(RESULTS[kind]) or max(files.values(), key=lambda info: info.st_mtime)
    try:
        return READERS[kind](folder, RunEntry(kind, path, "finished", dated.st_mtime, page), files)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        odd = isinstance(error, LookupError | TypeError | AttributeError)
        note = f"damaged or of another version: {type(error).__name__} {error}" if odd else f"damaged: {error}"
        return RunEntry(kind, path, "damaged", dated.st_mtime, page, note=note)


def _analysis(folder: Path, entry: RunEntry, files: Mapping[str, os.stat_result]) -> RunEntry:
    named = _read(folder / "run.json", files)
    if "diagnosis.json" not in files:
        stored = [name for name in ("rollouts.sqlite", "tasks.jsonl", "model.json") if name in files]
        if (folder / "rollouts.parquet").is_dir():
            stored.append("rollouts.parquet")
        note = f"no verdict yet; there is {', '.join(stored) or 'nothing but its settings'}"
        return _with(entry, state="unfinished", model=named.get("model"), tasks=named.get("tasks"), note=note)
    data = _read(folder / "diagnosis.json", files)
    return _with(
        entry,
        model=data["model"].get("model") or data["model"].get("name"),
        tasks=data["tasks"]["source"],
        verdict=data["bottleneck"],
        confidence=data["confidence"],
        pass_1=data["estimates"].get("pass@1"),
        instrument=data["instrument"]["status"],
        note="" if entry.page else f"no report.html: diag report {folder.name}",
    )


def _comparison(folder: Path, entry: RunEntry, files: Mapping[str, os.stat_result]) -> RunEntry:
    data = _read(folder / "comparison.json", files)
    names = [str(data[side]["model"]) for side in ("before", "after")]
    return _with(
        entry,
        model=" -> ".join(names),
        tasks=f"{data['problems']['n']} problems",
        verdict=played_role(data["role"], support_lost=bool(data.get("support_lost"))),
        pass_1=data["pass@k"]["1"]["change"],
        note=data["reason"],
    )


def _autopilot(folder: Path, entry: RunEntry, files: Mapping[str, os.stat_result]) -> RunEntry:
    if "result.json" in files:
        data = _read(folder / "result.json", files)
        after = data["after"]["pass@1"] or data["before"]["pass@1"]
        kept = ", ".join(map(str, data["kept"])) or "nothing"
        return _with(
            entry,
            model=data["model"],
            tasks=data["tasks"]["source"],
            verdict=data["end"],
            pass_1=after,
            note=f"kept {kept}: {data['reason']}",
        )
    state = _read(folder / "state.json", files)
    rounds = [str(one["stage"]) for one in state["rounds"]]
    note = f"in phase {state['phase']}; rounds: {', '.join(rounds) or 'none yet'}"
    start = folder / "rounds" / "00-start" / "run.json"
    named = json.loads(start.read_text(encoding="utf-8")) if start.is_file() else {}
    return _with(entry, state="unfinished", model=named.get("model"), tasks=named.get("tasks"), note=note)


Reader = Callable[[Path, RunEntry, Mapping[str, os.stat_result]], RunEntry]
READERS: dict[EntryKind, Reader] = {"analysis": _analysis, "comparison": _comparison, "autopilot": _autopilot}


def _read(path: Path, files: Mapping[str, os.stat_result]) -> dict[str, Any]:
    """Read a JSON object from a file of the run.

    Raises:
        ValueError: the file is too large or holds something else.
    """
    if files[path.name].st_size > MOST_BYTES:
        raise ValueError(f"{path.name} has {files[path.name].st_size:,} bytes")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} holds no object")
    return data


def _with(entry: RunEntry, **found: Any) -> RunEntry:
    """The entry with what was found, once every value has the type it must have.

    Raises:
        TypeError: a value has another type.
    """
    values: dict[str, Any] = {**entry.__dict__, **found}
    for name in ("model", "tasks", "verdict", "instrument"):
        if values[name] is not None and not isinstance(values[name], str):
            raise TypeError(f"{name} is no text")
    if values["confidence"] is not None and not isinstance(values["confidence"], int | float):
        raise TypeError("confidence is no number")
    if values["pass_1"] is not None and not isinstance(values["pass_1"], Mapping):
        raise TypeError("pass@1 is no estimate")
    return RunEntry(**values)
