"""Does a change of the code that claims to change no results change none?

`python -m benchmarks unchanged record --checkout DIR --out FOLDER` runs a fixed set of commands with the code of a checkout;
`python -m benchmarks unchanged compare FOLDER_A FOLDER_B` says for each whether it printed and made the same, value for value and bit
for bit, and fails where one did not. `record --over FOLDER_A` runs them in a copy of another recording: do runs that other code
made open, go on without a draw and render to the same report?
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.unchanged.commands import COMMANDS, FIRST, Command
from benchmarks.unchanged.differences import MISSING, Difference, differences
from benchmarks.unchanged.reading import OF_TWO_COMMANDS, VARYING, Places, files_of, printed, read
from benchmarks.unchanged.recording import record, slug

BY_NAME_ONLY = "it compares two recordings"
PARTS = ("record", "compare")
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Recording:
    """A recording that is there."""

    folder: Path
    about: dict[str, Any]

    @staticmethod
    def of(folder: Path) -> Recording:
        """Read it."""
        path = folder / "record.json"
        if not path.exists():
            raise SystemExit(f"{folder}: no finished recording (no record.json); `record --out {folder}` makes one")
        return Recording(folder, json.loads(path.read_text(encoding="utf-8")))

    @property
    def places(self) -> Places:
        """Where it was made."""
        return Places(self.about["work"], self.about["checkout"], self.about["prefix"])

    def said(self, command: Command) -> dict[str, Any]:
        """The command line, its exit code and what it printed."""
        entry = self.about["commands"][command.name]
        paths = {name: self.folder / "printed" / f"{slug(command.name)}.{name}" for name in ("stdout", "stderr")}
        streams = {name: printed(path, self.places) for name, path in paths.items()}
        return {"command": entry["command"], "exit code": entry["exit_code"], **streams}

    def files(self, command: Command) -> dict[str, Path]:
        """What the command made, by path."""
        return files_of(self.folder / "work", command.makes)


@dataclass(frozen=True)
class Compared:
    """One command in two recordings."""

    name: str
    files: int
    differences: tuple[Difference, ...]


def compare(a: Recording, b: Recording) -> Iterator[Compared]:
    """Every command that both recordings hold; all of them where neither was told to hold only some."""
    partial = a.about["only"] or b.about["only"]
    for command in (FIRST, *COMMANDS):
        held = [command.name in side.about["commands"] for side in (a, b)]
        if all(held):
            files, found = _of_files(a, b, command)
            yield Compared(command.name, files, (*differences(a.said(command), b.said(command)), *found))
        elif not partial:
            one, other = ("recorded" if here else MISSING for here in held)
            yield Compared(command.name, 0, (Difference("", one, other),))


def _of_files(a: Recording, b: Recording, command: Command) -> tuple[int, list[Difference]]:
    """Number of files that a command made, and where they differ; what is equal byte for byte is not read."""
    ignored = OF_TWO_COMMANDS if a.about["over"] or b.about["over"] else set[str]()
    one, other = a.files(command), b.files(command)
    names = [name for name in {**one, **other} if Path(name).name not in ignored]
    found: list[Difference] = []
    for name in names:
        if name not in one or name not in other:
            found.append(Difference(name, *("a file" if name in side else MISSING for side in (one, other))))
        elif one[name].read_bytes() != other[name].read_bytes():
            found += differences(read(one[name], a.places), read(other[name], b.places), name)
    return len(names), found


def about(side: Recording) -> str:
    """Which code a recording is of."""
    commit, changed = side.about["commit"], side.about["changed_files"]
    state = f"{commit[:7]}{f' with {changed} changed files' if changed else ''}" if commit else "no commit"
    over = f", over {Path(side.about['over']).name}" if side.about["over"] else ""
    return f"{side.folder.name} ({state}{over}, {side.about['wall_s']:.0f} s)"


def page(a: Recording, b: Recording, found: list[Compared], most: int) -> list[str]:
    """The results as Markdown."""
    unequal = sum(bool(one.differences) for one in found)
    files = sum(one.files for one in found)
    lines = [
        f"{about(a)} against {about(b)}: "
        + (
            f"{unequal} of {len(found)} commands differ."
            if unequal
            else f"all {len(found)} commands agree, {files} files."
        ),
        "",
        "| command | files | differences |",
        "|---|---|---|",
        *(f"| {one.name} | {one.files} | {len(one.differences) or '-'} |" for one in found),
    ]
    for one in found:
        if one.differences:
            lines += ["", f"## {one.name}", ""]
            lines += [f"- `{place.path}`: `{place.a}` / `{place.b}`" for place in one.differences[:most]]
            lines += [f"- and {len(one.differences) - most} more"] if len(one.differences) > most else []
    left = ", ".join(f"`{key}` ({why})" for key, why in VARYING.items())
    return [*lines, "", f"Not compared: moments, directories, seconds, and the values of {left}."]


def run_compare(options: argparse.Namespace) -> int:
    """Compare two recordings; 1 where they differ."""
    a, b = Recording.of(options.a), Recording.of(options.b)
    found = list(compare(a, b))
    kept = ("commit", "changed_files", "wall_s", "cpu_s")
    data = {
        "recordings": [{key: side.about.get(key) for key in kept} for side in (a, b)],
        "commands": {
            one.name: {
                "files": one.files,
                "differences": len(one.differences),
                "first": [asdict(place) for place in one.differences[: options.most]],
            }
            for one in found
        },
    }
    lines = page(a, b, found, options.most)
    if options.results:
        machine.write("unchanged", "Does a change that claims to change no results change none?", data, lines)
    if options.json:
        print(json.dumps({**machine.head(machine.command_line("python -m benchmarks unchanged")), **data}, indent=1))
    else:
        print("\n".join(lines))
    return int(any(one.differences for one in found))


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    recorded = parts.add_parser("record", help="run the commands with the code of a checkout")
    recorded.add_argument("--checkout", type=Path, default=ROOT, help="default: this one")
    recorded.add_argument("--out", type=Path, required=True, help="new folder of the recording")
    recorded.add_argument("--over", type=Path, help="run them in a copy of this recording: its runs are opened")
    recorded.add_argument("--jobs", type=int, default=2, help="commands at a time")
    recorded.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these and what they read")
    compared = parts.add_parser("compare", help="say where two recordings differ")
    compared.add_argument("a", type=Path)
    compared.add_argument("b", type=Path)
    compared.add_argument("--most", type=int, default=10, help="differences shown per command")
    compared.add_argument("--json", action="store_true", help="print JSON")
    compared.add_argument("--results", action="store_true", help="write results.md and results.json beside this file")
    options = parser.parse_args()
    if options.part == "compare":
        return run_compare(options)
    return 0 if record(options.checkout, options.out, options.over, options.jobs, options.only) else 1


if __name__ == "__main__":
    sys.exit(main())
