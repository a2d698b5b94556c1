"""The top-level statements of a stretch of code, and for each what it binds, what it needs and what it changes.

A stretch that is no Python as a whole (prose around bare code, a cut end) is read statement by statement: what parses
is kept.
"""

from __future__ import annotations

import ast
import re
import symtable
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from posttrain_diag.tasks.verifiers.code.syntax import error_of, tree_of

MAX_PARSED = 300_000
"""Most characters that are parsed in parts of one stretch: this bounds the work on hostile text."""
MAX_STATEMENTS = 1500
"""A stretch with more top-level statements is data, no answer."""
_GOES_ON = ("never closed", "unterminated triple", "unexpected EOF", "expected an indented block")
_DEFINES = re.compile(r"(?:async def|def|class)\b|@")
_TAIL = re.compile(r"(?:else|elif|except|finally)\b|[)\]}]")
_PROMPT = re.compile(r"^(?:>>>|\.\.\.)(?: |$)", re.MULTILINE)
_DYNAMIC = frozenset({"exec", "eval", "globals", "vars", "__builtins__", "setattr"})
_SETTINGS = frozenset(
    {"setrecursionlimit", "seed", "filterwarnings", "simplefilter", "stack_size", "setcontext", "seterr", "setlocale"}
    | {"set_int_max_str_digits"}
)
"""Calls on a module that change how code runs; they are kept though they bind nothing."""


@dataclass(frozen=True)
class Piece:
    """One top-level statement (or several that share a line)."""

    text: str
    binds: frozenset[str]
    """Names it gives a value at the top level; "*" for a star import."""
    complete: frozenset[str]
    """Those of the names whose definition says something: no stub of `pass`, `...` or a docstring alone."""
    needs: frozenset[str]
    """Names it reads from the top level, in whatever function."""
    changes: frozenset[str]
    """Names whose value it changes: `memo[0] = 1`, `f.calls = 0`, `table.append(2)`, `n += 1`."""
    is_import: bool = False
    is_setting: bool = False
    """Whether it changes how code runs (`sys.setrecursionlimit`)."""
    is_idle: bool = False
    """Whether it does nothing: a docstring, `pass`, or a word of prose that happens to be Python."""
    dynamic: bool = False
    """Whether it reaches names that cannot be seen: `exec`, `globals()`."""


def pieces(text: str) -> tuple[Piece, ...]:
    """The statements of a stretch of code, in order; what is no Python is left out."""
    if _PROMPT.search(text) is not None and re.search(r"^(?:def|class) ", text, re.MULTILINE) is None:
        text = "\n".join(line[4:] for line in text.split("\n") if _PROMPT.match(line))
    tree = tree_of(text)
    if tree is not None:
        return tuple(_of_tree(text, tree))
    return tuple(piece for part, part_tree in _Salvage(text).parts() for piece in _of_tree(part, part_tree))


class _Salvage:
    """Finds the parts of a text that parse."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.left = MAX_PARSED

    def parts(self) -> Iterator[tuple[str, ast.Module]]:
        """The parts with their trees, in order."""
        chunks = _chunks(self.text)
        i = 0
        while i < len(chunks) and self.left > 0:
            part, tree, i = self._longest(chunks, i)
            if tree is not None:
                yield part, tree

    def _parse(self, text: str) -> ast.Module | None:
        self.left -= len(text) + 100
        return tree_of(text) if self.left > 0 else None

    def _begins_statement(self, line: str) -> bool:
        return _DEFINES.match(line) is not None or self._parse(line + "\n    pass") is not None

    def _longest(self, chunks: Sequence[str], i: int) -> tuple[str, ast.Module | None, int]:
        """The part that begins with chunk i, its tree or None, and the next chunk."""
        text, end = chunks[i], i + 1
        tree = self._parse(text)
        while tree is None and end < len(chunks) and self.left > 0 and _unfinished(text):
            text, end = text + "\n" + chunks[end], end + 1
            tree = self._parse(text)
        if tree is not None:
            return text, tree, end
        text = chunks[i]
        if not self._begins_statement(text.split("\n", 1)[0]):
            # A line of prose before indented code.
            text = textwrap.dedent("\n".join(text.split("\n")[1:]))
            tree = self._parse(text) if text.strip() else None
            return text, tree, i + 1
        # A definition before text that is indented like it.
        lines = text.split("\n")
        for cut in range(len(lines) - 1, max(1, len(lines) - 12), -1):
            tree = self._parse("\n".join(lines[:cut])) if lines[cut].strip() else None
            if tree is not None:
                return "\n".join(lines[:cut]), tree, i + 1
        return text, None, i + 1


def _unfinished(text: str) -> bool:
    error = error_of(text)
    return error is not None and any(words in (error.msg or "") for words in _GOES_ON)


def _chunks(text: str) -> list[str]:
    """A text cut before every line that begins at its left edge, but for lines that only go on with a statement."""
    chunks: list[list[str]] = []
    decorated = False
    for line in text.split("\n"):
        begins = bool(line[:1].strip()) and _TAIL.match(line) is None and line[0] != "#" and not decorated
        if begins or not chunks:
            chunks.append([])
        chunks[-1].append(line)
        decorated = line.startswith("@") or (decorated and not line.strip())
    return ["\n".join(lines) for lines in chunks]


def _of_tree(text: str, tree: ast.Module) -> Iterator[Piece]:
    lines = text.split("\n")
    group: list[ast.stmt] = []
    if len(tree.body) > MAX_STATEMENTS:
        return
    for node in tree.body:
        if group and _first_line(node) <= (group[-1].end_lineno or 0):
            group.append(node)
            continue
        if group:
            yield from _piece(lines, group)
        group = [node]
    if group:
        yield from _piece(lines, group)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _piece(lines: Sequence[str], nodes: Sequence[ast.stmt]) -> Iterator[Piece]:
    text = "\n".join(lines[_first_line(nodes[0]) - 1 : nodes[-1].end_lineno])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            table = symtable.symtable(text, "piece", "exec")
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return  # `return` outside of a function, and the like
    binds = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    needs = {s.get_name() for s in table.get_symbols() if s.is_referenced()}
    for child in _children(table):
        symbols = child.get_symbols()
        needs |= {s.get_name() for s in symbols if s.is_global() and (s.is_referenced() or s.is_declared_global())}
        binds |= {s.get_name() for s in symbols if s.is_declared_global() and s.is_assigned()}
    imports = all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in nodes)
    if any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in nodes):
        binds.add("*")
    changes: set[str] = set()
    complete = set(binds)
    for node in nodes:
        changes |= set(_changed(node))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and _is_stub(node):
            complete.discard(node.name)
    yield Piece(
        text,
        binds=frozenset(binds),
        complete=frozenset(complete),
        needs=frozenset(needs),
        changes=frozenset(changes),
        is_import=imports,
        is_setting=any(isinstance(n, ast.Expr) and _called(n.value) in _SETTINGS for n in nodes),
        is_idle=all(_does_nothing(n) for n in nodes),
        dynamic=bool(needs & _DYNAMIC),
    )


def _children(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _children(child)


def _is_stub(node: ast.stmt) -> bool:
    """Whether a definition does nothing yet."""
    if isinstance(node, ast.ClassDef):
        functions = [n for n in node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        return bool(functions) and all(_is_stub(n) for n in functions)
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    return all(_does_nothing(n) for n in node.body)


def _does_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Pass) or (isinstance(node, ast.AnnAssign) and node.value is None):
        return True
    if isinstance(node, ast.Expr):
        acts = (ast.Call, ast.Yield, ast.YieldFrom, ast.Await, ast.NamedExpr)
        return not any(isinstance(inner, acts) for inner in ast.walk(node.value))
    if not isinstance(node, ast.Raise) or node.exc is None:
        return False
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def _changed(statement: ast.stmt) -> Iterator[str]:
    """Names whose value a statement changes without binding them anew, outside of functions."""
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete)):
            for target in node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]:
                if isinstance(node, ast.AugAssign) or not isinstance(target, ast.Name):
                    yield from _base(target)
        elif isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
                yield from _base(node.value.func)
        else:
            stack += [n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.expr)]


def _base(node: ast.expr) -> Iterator[str]:
    """The name that `a.b[0].c` begins with; the names of a tuple of such targets."""
    for target in node.elts if isinstance(node, (ast.Tuple, ast.List)) else [node]:
        inner = target
        while isinstance(inner, (ast.Attribute, ast.Subscript, ast.Starred, ast.Call)):
            inner = inner.func if isinstance(inner, ast.Call) else inner.value
        if isinstance(inner, ast.Name):
            yield inner.id


def _called(node: ast.expr) -> str | None:
    if isinstance(node, ast.Call):
        return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
    return None
