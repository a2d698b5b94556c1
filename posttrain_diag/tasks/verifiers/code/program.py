"""From the pieces of a completion to the one program it means.

The answer is the last complete definition of the function that the tests call. With it goes what it needs, from the
same block first, then from the blocks before and after it, then from the code in the prompt; usage examples, tests of
the model's own and other versions stay out.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from posttrain_diag.tasks.verifiers.code.blocks import Stretch
from posttrain_diag.tasks.verifiers.code.pieces import Piece, pieces

BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
_NOT_MEANT = re.compile(
    r"\b(?:wrong|incorrect|buggy|broken|mistaken?|do not|don't|never|avoid|fails?|(?:will not|won't|doesn't) work)\b",
    re.IGNORECASE,
)
_MEANT = re.compile(
    r"\b(?:fix(?:e[sd]|ing)?|correct(?:ed|ion)?|right|instead|final|better|updated|improved|now|solution|works)\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")


@dataclass(frozen=True)
class Program:
    """Code to be run with the tests."""

    text: str
    binds: frozenset[str]
    """Names that it defines."""
    missing: frozenset[str] = frozenset()
    """Names that it reads and does not define."""


@dataclass(frozen=True)
class ReadStretch:
    """A block of a completion that was read into pieces."""

    pieces: tuple[Piece, ...]
    rank: int
    """How much it looks like an answer: 2 bare or in a Python fence, 1 in backticks within prose, 0 anything else."""
    meant: bool = True
    """False for a block that the text calls wrong."""

    def defines(self, name: str) -> bool:
        """Whether it holds a complete definition of the name; to import it from somewhere is none."""
        return any(name in piece.complete and not piece.is_import for piece in self.pieces)

    def imports(self, name: str) -> bool:
        """Whether it imports the name."""
        return any(name in piece.binds and piece.is_import for piece in self.pieces)


def source_of(block: Stretch) -> ReadStretch:
    """Read a block of a completion into its pieces."""
    rank = 1 if block.inline else 2 if block.python or not block.fenced else 0
    sentence = _SENTENCE.split(block.intro)[-1]
    meant = _NOT_MEANT.search(sentence) is None or _MEANT.search(sentence) is not None
    return ReadStretch(pieces(block.text), rank, meant)


def chosen(sources: Sequence[ReadStretch], entry: str) -> int | None:
    """The index of the source whose definition of the function is the answer; None where there is none."""
    defining = [i for i, source in enumerate(sources) if source.defines(entry)]
    defining = defining or [i for i, source in enumerate(sources) if source.imports(entry)]
    if not defining:
        return None
    rank = max(sources[i].rank for i in defining)
    best = [i for i in defining if sources[i].rank == rank]
    return next((i for i in reversed(best) if sources[i].meant), best[-1])


def program(
    sources: Sequence[ReadStretch],
    main: int,
    roots: Iterable[str],
    prompt: ReadStretch | None = None,
    *,
    whole: bool = False,
) -> Program:
    """The code that the chosen source needs to run, in order.

    Args:
        sources: all blocks of the completion.
        main: index of the one with the answer.
        roots: names that the tests need; those that nothing defines are left to the tests.
        prompt: code that the prompt gives.
        whole: keep every statement of the chosen source: it is a program, not a function.
    """
    closure = _Closure(sources, main, prompt)
    text = closure.text(roots, whole=whole)
    return Program(text, closure.binds(), closure.missing - frozenset(roots))


class _Closure:
    """Collects the pieces that a set of names needs."""

    def __init__(self, sources: Sequence[ReadStretch], main: int, prompt: ReadStretch | None) -> None:
        self.sources = [*([prompt] if prompt else []), *sources]
        self.main = main + (prompt is not None)
        self.kept: set[tuple[int, int]] = set()
        self.missing: frozenset[str] = frozenset()
        """Names that are read and that nothing defines."""

    def text(self, roots: Iterable[str], *, whole: bool) -> str:
        """The program that gives the roots their values."""
        known: dict[str, int] = {}
        queue = list(roots)
        main = self.sources[self.main].pieces
        if any(piece.dynamic for piece in main):
            queue += [name for piece in main for name in piece.binds - {"*"}]
        for k, piece in enumerate(main):
            if piece.is_setting or (whole and not piece.is_idle):
                queue += self._keep(self.main, k)
        while queue:
            name = queue.pop()
            if name in known:
                continue
            home = self._home(name)
            if home is None:
                known[name] = -1
                continue
            known[name] = home
            for k, piece in enumerate(self.sources[home].pieces):
                if name in piece.binds or name in piece.changes:
                    queue += self._keep(home, k)
        self.missing = frozenset(name for name, home in known.items() if home < 0) - BUILTINS
        if self.missing:
            self._keep_star_imports()
        return "\n".join(self._ordered())

    def binds(self) -> frozenset[str]:
        """Names that the program defines."""
        return frozenset().union(*(self.sources[i].pieces[k].binds for i, k in self.kept))

    def _keep(self, i: int, k: int) -> frozenset[str]:
        if (i, k) in self.kept:
            return frozenset()
        self.kept.add((i, k))
        return self.sources[i].pieces[k].needs

    def _keep_star_imports(self) -> None:
        for i, source in enumerate(self.sources):
            for k, piece in enumerate(source.pieces):
                if "*" in piece.binds:
                    self._keep(i, k)

    def _home(self, name: str) -> int | None:
        """The source that a name is taken from."""
        own = self.sources[self.main]
        after = range(self.main + 1, len(self.sources))
        before = range(self.main - 1, -1, -1)
        if own.defines(name):
            # A block further down that corrects a helper counts; one that defines the answer anew was not chosen.
            corrected = [i for i in after if self._corrects(i, name)]
            return corrected[-1] if corrected else self.main
        if any(name in piece.binds for piece in own.pieces):
            return self.main
        binding = [i for i in (*before, *after) if any(name in piece.binds for piece in self.sources[i].pieces)]
        complete = [i for i in binding if self.sources[i].defines(name)]
        return next(iter([*complete, *binding]), None)

    def _corrects(self, i: int, name: str) -> bool:
        """Whether a later block defines a function of the chosen one anew, and is no version of the whole."""
        source, own = self.sources[i], self.sources[self.main]
        if source.rank < own.rank or not source.meant:
            return False
        defined = {n for piece in source.pieces for n in piece.complete if not piece.is_import}
        functions = any(name in piece.complete and _is_definition(piece) for piece in source.pieces)
        return functions and defined <= {n for piece in own.pieces for n in piece.binds}

    def _ordered(self) -> Iterator[str]:
        """The kept pieces: imports first, then each block in its order."""
        order = sorted(self.kept)
        for imports in (True, False):
            for i, k in order:
                piece = self.sources[i].pieces[k]
                if piece.is_import is imports:
                    yield piece.text


def _is_definition(piece: Piece) -> bool:
    return re.match(r"\s*(?:@|def |async def |class )", piece.text) is not None
