"""The program that a completion means: a whole function, or the rest of the one that the prompt begins."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from posttrain_diag.tasks.verifiers.code.blocks import Stretch, blocks
from posttrain_diag.tasks.verifiers.code.cases import Tests
from posttrain_diag.tasks.verifiers.code.pieces import Piece, pieces
from posttrain_diag.tasks.verifiers.code.program import Program, ReadStretch, chosen, program, source_of
from posttrain_diag.tasks.verifiers.code.syntax import parses

MAX_BODIES = 6
"""Most stretches of one completion that are tried as the rest of a function."""
_READS_INPUT = re.compile(r"\binput\s*\(|\bstdin\b|\bopen\s*\(\s*0\b")
_DEFINITION = re.compile(r"[ \t]*(?:async def|def|class|import|from)\b|[ \t]*(?:@|```|~~~)")
_ENDS = re.compile(r"\b(?:return|yield|raise)\b")
_NEXT_DEFINITION = re.compile(r"^(?:async def|def|class|@|if __name__)\b|^@", re.MULTILINE)


@dataclass(frozen=True)
class _Prompt:
    """The code that a prompt gives."""

    source: ReadStretch | None
    stub: str | None
    """The code, where it ends with the beginning of the function that is asked for."""


@dataclass(frozen=True)
class _Continued:
    """A function that a prompt begins, with a completion behind it."""

    pieces: tuple[Piece, ...]
    chars: int
    """Length of the function without white space."""


def solution(text: str, prompt_code: str, tests: Tests) -> Program | None:
    """The program that a completion means; None where nothing defines what the tests call.

    Args:
        text: the final part of the completion.
        prompt_code: code that the prompt gives: helpers, and maybe the beginning of the function.
        tests: what will be run behind it.
    """
    found = blocks(text)
    sources = [source_of(block) for block in found]
    prompt = ReadStretch(pieces(prompt_code), 0) if prompt_code.strip() else None
    if tests.is_program:
        return _program(found, sources, prompt)
    entry = _entry(sources, tests)
    if entry is None:
        return _everything(sources) if not tests.needs and not tests.shadowed else None
    given = _Prompt(prompt, _stub(prompt_code, entry))
    readers = [
        lambda: _whole(sources, entry, tests, prompt),
        lambda: _continuation(text, found, sources, entry, tests, given),
    ]
    if _begins_as_body(text):
        readers.reverse()
    return next((read for reader in readers if (read := reader()) is not None), None)


def _entry(sources: Sequence[ReadStretch], tests: Tests) -> str | None:
    """The function that the tests call: one whose name is free there, else a built-in name that the code defines."""
    if tests.needs:
        first = tests.needs[0]
        solves = any(source.defines("Solution") for source in sources)
        if tests.source is None and solves and not any(source.defines(first) for source in sources):
            return "Solution"
        return first
    return next((name for name in tests.shadowed if any(source.defines(name) for source in sources)), None)


def _whole(sources: Sequence[ReadStretch], entry: str, tests: Tests, prompt: ReadStretch | None) -> Program | None:
    """The last complete definition of the function with what it needs."""
    main = chosen(sources, entry)
    if main is None:
        return None
    return program(sources, main, (entry, *tests.needs), prompt)


def _continuation(
    text: str, found: Sequence[Stretch], sources: Sequence[ReadStretch], entry: str, tests: Tests, prompt: _Prompt
) -> Program | None:
    """The function that the prompt begins and the completion ends."""
    if prompt.stub is None:
        return None
    for body in islice(_bodies(text, found), MAX_BODIES):
        read = (_first_definition(pieces(prompt.stub + form), entry) for form in _forms(prompt.stub, body))
        # Where white space was lost, the form that makes the most of the body is the one that was meant.
        own = max((each for each in read if each is not None), key=lambda each: each.chars, default=None)
        if own is not None:
            everything = [*sources, ReadStretch(own.pieces, 2)]
            return program(everything, len(sources), (entry, *tests.needs), prompt.source)
    return None


def _first_definition(found: Sequence[Piece], entry: str) -> _Continued | None:
    """The pieces without later versions of the function; None where it is not complete."""
    first = next((i for i, piece in enumerate(found) if entry in piece.complete), None)
    if first is None:
        return None
    kept = tuple(piece for i, piece in enumerate(found) if i <= first or entry not in piece.binds)
    return _Continued(kept, len("".join(found[first].text.split())))


def _bodies(text: str, found: Sequence[Stretch]) -> Iterator[str]:
    """What may be the rest of a function, likeliest first."""
    if _begins_as_body(text):
        yield text
    fenced = [block.text for block in found if block.python]
    yield from fenced
    if not fenced:
        yield text
    for block in found:
        if not block.fenced:
            # Indented lines after a line of prose.
            lines = block.text.split("\n")
            start = next((i for i, line in enumerate(lines) if line[:1] in (" ", "\t") and line.strip()), 0)
            if start:
                yield textwrap.dedent("\n".join(lines[start:]))


def _forms(stub: str, body: str) -> Iterator[str]:
    """The body as it is, and indented as it may have been before white space was lost."""
    unit = _indentation(stub)
    gap = "" if stub.endswith("\n") or body.startswith(("\n", "\r")) else "\n"
    if body[:1] in (" ", "\t", "\n", "\r") or gap == "":
        yield gap + body
    if body.strip():
        yield gap + unit + body.lstrip()
        flat = textwrap.dedent(body).lstrip("\n")
        end = _NEXT_DEFINITION.search(flat)
        # What follows a `return` is a function of its own; before it, one inside of this.
        ends = end is not None and _ENDS.search(flat[: end.start()]) is not None
        cut = end.start() if end is not None and ends else len(flat)
        yield gap + textwrap.indent(flat[:cut], unit) + flat[cut:]


def _indentation(stub: str) -> str:
    last = next((line for line in reversed(stub.split("\n")) if line.strip()), "")
    space = last[: len(last) - len(last.lstrip())]
    return space or "    "


def _stub(prompt_code: str, entry: str) -> str | None:
    """The code of a prompt that ends with the beginning of the function; None where it does not."""
    starts = list(re.finditer(rf"^(?:async )?def {re.escape(entry)}\b", prompt_code, re.MULTILINE))
    if not starts:
        return None
    for text in (prompt_code, prompt_code[starts[-1].start() :]):
        ended = text.rstrip() + "\n" if text.rstrip().endswith(('"""', "'''", ":")) else text
        if parses(ended) or parses(ended + "\n    pass"):
            return ended
    return None


def _begins_as_body(text: str) -> bool:
    """Whether a completion goes on inside of a function."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    return first[:1] in (" ", "\t") and _DEFINITION.match(first) is None


def _program(found: Sequence[Stretch], sources: Sequence[ReadStretch], prompt: ReadStretch | None) -> Program | None:
    """The last block that is a program of its own, with what it needs from the others."""
    ranked = [i for i, source in enumerate(sources) if source.pieces]
    if not ranked:
        return None
    rank = max(sources[i].rank for i in ranked)
    best = [i for i in ranked if sources[i].rank == rank and sources[i].meant] or ranked
    reading = [i for i in best if _READS_INPUT.search(found[i].text)]
    printing = [i for i in best if "print" in found[i].text or "write" in found[i].text]
    main = (reading or printing or best)[-1]
    return program(sources, main, (), prompt, whole=True)


def _everything(sources: Sequence[ReadStretch]) -> Program | None:
    """All code of the completion, where the tests do not say what they call."""
    found = [piece for source in sources if source.rank == 2 for piece in source.pieces if not piece.is_idle]
    if not found:
        return None
    return Program("\n".join(piece.text for piece in found), frozenset().union(*(piece.binds for piece in found)))
