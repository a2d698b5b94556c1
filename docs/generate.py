"""Write what the documentation takes from elsewhere: cli.md, and the cards of probes.md and stages.md.

    python docs/generate.py            write
    python docs/generate.py --check    change nothing; exit 1 and name the pages that are out of date

A card lies between `<!-- card: NAME -->` and `<!-- end of card -->`; everything around it is written by hand. Cards
come from the probes and the stage catalogue, figures of stages from benchmarks/stages, checks from probes/README.md.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer.main
from posttrain_probes import all_probes

from posttrain_diag.cli.app import app
from posttrain_diag.stages.catalogue import CATALOGUE

DOCS = Path(__file__).resolve().parent
CHECKS = re.compile(r"(<!-- checks -->\n).*?(<!-- end of checks -->)", re.DOTALL)
CARD = re.compile(r"(<!-- card: (?P<name>[\w-]+) -->\n).*?(<!-- end of card -->)", re.DOTALL)
MEASURED = {"pass@1": "pass@1 after", "Retention": "other tasks after", "Thousand tokens": "thousand tokens"}
"""Section of benchmarks/stages/results.md -> row of a stage's table."""
INTRODUCTION = """# Commands

Written by `python docs/generate.py` from the commands themselves; `diag COMMAND --help` says the same.

Errors are one line that says what is wrong and what to do, with exit code 2 (`DIAG_DEBUG=1` shows the traceback). An
interrupted command exits with 130 and goes on when it is given again.
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, in the order of `diag --help`; groups before what they hold."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield name, command
        for child_name, child in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {child_name}", child)

    yield from walk("diag", typer.main.get_command(app))


def options(command: Any) -> list[Any]:
    """The options of a command that are not those of every command."""
    hidden = {"--install-completion", "--show-completion"}
    return [p for p in command.params if p.param_type_name == "option" and not hidden & set(p.opts)]


def cli_page() -> str:
    """cli.md."""
    parts = [INTRODUCTION]
    for name, command in commands():
        children = getattr(command, "commands", {})
        parts.append(f"## {name}\n\n{_text(command.help)}\n")
        if children:
            rows = [
                f"| [`{name} {child}`](#{_slug(f'{name} {child}')}) | {_text(c.help)} |"
                for child, c in children.items()
            ]
            parts.append("| command | does |\n|---|---|\n" + "\n".join(rows) + "\n")
        else:
            parts.append(f"```text\n{name} {_usage(command)}\n```\n")
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        if arguments:
            rows = [f"| `{_metavar(p)}` | {_text(p.help)} |" for p in arguments]
            parts.append("| argument | is |\n|---|---|\n" + "\n".join(rows) + "\n")
        if options(command):
            rows = [f"| {_flags(command, p)} | {_default(p)} | {_text(p.help)} |" for p in options(command)]
            parts.append("| option | default | means |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def cards() -> dict[str, str]:
    """The card of every probe and every stage, as Markdown, by name."""
    found: dict[str, str] = {}
    for probe in all_probes():
        card = probe.card
        found[card.name] = _rows(
            ("question", card.question),
            ("method", card.method),
            ("chance level", card.chance_level),
            ("cost", card.cost),
            ("references", ", ".join(_linked(reference) for reference in card.references)),
        )
    results = (DOCS.parent / "benchmarks/stages/results.md").read_text(encoding="utf-8")
    for stage in CATALOGUE:
        card = _rows(
            ("what", stage.title),
            ("data, signal", f"{stage.provenance}, {stage.interface}"),
            ("role", stage.role),
            ("pays when", stage.prescribe_when),
            ("fails by", stage.known_failure),
            ("needs", ", ".join(stage.needs) or "nothing more"),
            ("settings of its own", ", ".join(f"`{name}`" for name in stage.own_settings) or "none"),
            ("built on", stage.built_on),
        )
        found[stage.name] = f"{card}\n\n{measured(results, stage.name)}"
    return found


def measured(results: str, stage: str) -> str:
    """What a stage did on the families where it was run, from the results of `python -m benchmarks stages`."""
    rows: dict[str, dict[str, str]] = {}
    for heading, name in (
        ("pass@1", "pass@1 after"),
        ("Retention", "other tasks after"),
        ("Thousand tokens", "thousand tokens"),
    ):
        lines = re.split(r"^## ", results, flags=re.M)
        section = next(part for part in lines if part.startswith(heading)).splitlines()
        head, *body = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in section if line.startswith("| ")
        ]
        table = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in body}
        if heading == "pass@1":
            rows["pass@1 before"] = table["*before*"]
        rows[name] = table[stage]
    ran = [family for family, cell in rows["pass@1 after"].items() if cell]
    lines = [f"| | {' | '.join(ran)} |", "|---" * (len(ran) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(row[family] or ' ' for family in ran)} |" for name, row in rows.items()]
    return "\n".join(lines)


def with_cards(page: str) -> str:
    """The page with every card written anew.

    Raises:
        KeyError: a card names neither a probe nor a stage.
    """
    known = cards()
    page = CARD.sub(lambda m: m[1] + "\n" + known[m["name"]] + "\n\n" + m[3], page)
    return CHECKS.sub(lambda m: m[1] + "\n" + checks() + "\n\n" + m[2], page)


def checks() -> str:
    """The table of the instrument's checks, from the probes' README."""
    readme = (DOCS.parent / "probes/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*\|$", readme[readme.index("| file | what it finds") :], flags=re.M)
    return "\n".join(rows)


def pages() -> dict[Path, str]:
    """Every page that is written from code -> what it should hold."""
    found = {DOCS / "cli.md": cli_page()}
    for name in ("probes.md", "stages.md"):
        found[DOCS / name] = with_cards((DOCS / name).read_text(encoding="utf-8"))
    return found


def _rows(*pairs: tuple[str, str]) -> str:
    """A table whose head is the first pair."""
    head, *rows = [f"| {name} | {_text(text)} |" for name, text in pairs]
    return "\n".join([head, "|---|---|", *rows])


def _text(text: str | None) -> str:
    """One line that Markdown tables can hold."""
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def _linked(reference: str) -> str:
    kind, _, number = reference.partition(":")
    if kind == "arXiv":
        return f"[{reference}](https://arxiv.org/abs/{number})"
    return f"[{reference}](https://{reference})" if reference.startswith("github.com") else reference


def _slug(name: str) -> str:
    return name.replace(" ", "-")


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _usage(command: Any) -> str:
    words: list[str] = []
    for p in command.params:
        if p.param_type_name == "argument":
            name = _metavar(p) + (" ..." if p.nargs == -1 else "")
            words.append(name if p.required else f"[{name}]")
    needed = [f"{p.opts[0]} {_value(command, p)}" for p in options(command) if p.required]
    return " ".join([*words, *needed, "[OPTIONS]"])


def _value(command: Any, option: Any) -> str:
    """What an option takes, as a word; empty for a switch. Read from the function's signature, which typer keeps."""
    if option.metavar:
        return str(option.metavar)
    hint = get_type_hints(inspect.unwrap(command.callback))[option.name]
    kinds = {k for k in (hint, *get_args(hint)) if k is not type(None)}
    for kind, word in ((bool, ""), (int, "N"), (float, "X"), (Path, "PATH")):
        if kind in kinds:
            return word
    return "TEXT"


def _flags(command: Any, option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    value = _value(command, option)
    return f"{names} {value}".strip() + (" (repeatable)" if option.multiple and "repeatable" not in option.help else "")


def _default(option: Any) -> str:
    if option.required:
        return "required"
    value = option.default() if callable(option.default) else option.default
    return "" if value is None or value is False or value == [] else f"`{value}`"


def main() -> None:
    """Write the pages, or name those that are out of date."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"out of date: {', '.join(path.name for path in stale)}; run python docs/generate.py")
        return
    for path in stale:
        path.write_text(pages()[path], encoding="utf-8")


if __name__ == "__main__":
    main()
