"""What a documentation page shows in a terminal, run and compared.

A fenced block of the language `console` is a session: `$ ` begins a command, `> ` goes on with it, everything else is
what it prints. A fenced block with title="NAME" is a file; it is written before the next session. All of a page runs in
one empty folder, from top to bottom, as on a reader's machine; `# exit 2` after a command states another exit code than 0.

Output is compared as words: white space, line breaks and the lines of boxes do not count. `...` stands for anything.
Numbers with a decimal point or a thousands comma may differ by a tenth, or by 3 points of percent or .05, for draws
and weights are not the same on every processor; all other numbers and words are exact.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w-]*)(?P<options>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S
)
TITLE = re.compile(r'title="([^"]+)"')
EXIT = re.compile(r"#\s*exit (\d+)\s*$")
NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+)%?")
BOX = str.maketrans(dict.fromkeys("│╭╮╰╯─", " "))
COMMAND_TIMEOUT_S = 300


@dataclass(frozen=True)
class Command:
    """One command of a page, what it shows, and the exit code it states."""

    text: str
    output: str
    exit_code: int


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title when it is a file, its text without the indent of the fence."""

    language: str
    title: str | None
    body: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    for match in FENCE.finditer(page):
        title = TITLE.search(match["options"])
        body = re.sub(rf"^{match['indent']}", "", match["body"], flags=re.M)
        found.append(Block(match["language"], title and title[1], body))
    return found


def commands(body: str) -> list[Command]:
    """The commands of a session.

    Raises:
        ValueError: output before the first command.
    """
    found: list[list[list[str]]] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append([[line[2:]], []])
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1][0].append(line[2:])
        elif found:
            found[-1][1].append(line)
        else:
            raise ValueError(f"a session begins with a command, got {line!r}")
    return [_command("\n".join(text), "\n".join(output)) for text, output in found]


def run_page(page: str, folder: Path) -> int:
    """Run a page in an empty folder.

    Returns:
        Commands that were run.

    Raises:
        AssertionError: a command ends with another code or prints something else than the page shows.
    """
    environment = _environment(folder / ".bin")
    ran = 0
    for block in blocks(page):
        if block.title is not None:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
        elif block.language == "console":
            for command in commands(block.body):
                _run(command, folder, environment)
                ran += 1
    return ran


def differs(shown: str, printed: str) -> str:
    """Where what a page shows and what was printed part ways; empty when they agree."""
    expected, got = _words(shown), _words(printed)
    pattern, numbers = _pattern(expected)
    match = re.fullmatch(pattern, got, re.S)
    if match is None:
        return "the words differ"
    for wanted, found in zip(numbers, match.groups(), strict=True):
        if not _close(wanted, found):
            return f"the page says {wanted}, the command {found}"
    return ""


def _command(text: str, output: str) -> Command:
    code = EXIT.search(text)
    return Command(text, output.strip(), int(code[1]) if code else 0)


def _run(command: Command, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-c", command.text], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=COMMAND_TIMEOUT_S, check=False,
    )  # fmt: skip
    said = f"$ {command.text}\n{done.stdout}"
    assert done.returncode == command.exit_code, f"exit code {done.returncode}, not {command.exit_code}\n{said}"
    if command.output:
        difference = differs(command.output, done.stdout)
        assert not difference, f"{difference}\n--- the page\n{command.output}\n--- the command\n{said}"


def _environment(bin_folder: Path) -> dict[str, str]:
    """`diag` and `python` are this interpreter's; 100 columns, no colours, one thread, no network."""
    bin_folder.mkdir()
    for name, module in (("diag", " -m posttrain_diag"), ("python", "")):
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{module} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    settings = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **settings, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}


def _words(text: str) -> str:
    return " ".join(text.translate(BOX).split())


def _pattern(expected: str) -> tuple[str, list[str]]:
    numbers: list[str] = []
    parts: list[str] = []
    for piece in re.split(rf"( ?\.\.\. ?|{NUMBER.pattern})", expected):
        if piece.strip() == "...":
            parts.append(".*?")
        elif NUMBER.fullmatch(piece):
            numbers.append(piece)
            parts.append(r"([+-]?[\d,]+(?:\.\d+)?" + ("%)" if piece.endswith("%") else ")"))
        else:
            parts.append(re.escape(piece))
    return "".join(parts), numbers


def _close(wanted: str, found: str) -> bool:
    a, b = (float(text.replace(",", "").rstrip("%")) for text in (wanted, found))
    return abs(a - b) <= max(0.1 * abs(a), 3.0 if wanted.endswith("%") else 0.05)
