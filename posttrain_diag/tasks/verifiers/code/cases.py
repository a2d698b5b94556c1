"""The tests of a code task as a program that follows the completion's own, and what they need of it.

test                   Python source: asserts, or (with an entry point) a function `check(candidate)`
inputs, outputs        with an entry point: arguments and what the function returns for them
inputs, outputs        without: what a program reads from its input and what it must print
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import symtable
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain_diag.tasks.verifiers.code.program import BUILTINS, Program
from posttrain_diag.tasks.verifiers.code.syntax import tree_of

_CALLS = r"""
def _plain(value):
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value

def _close(got, wanted):
    if isinstance(got, bool) or isinstance(wanted, bool):
        return got is wanted
    if isinstance(got, (int, float)) and isinstance(wanted, (int, float)):
        return got == wanted or abs(got - wanted) <= 1e-6 * max(1.0, abs(wanted))
    if isinstance(got, list) and isinstance(wanted, list):
        return len(got) == len(wanted) and all(map(_close, got, wanted))
    return got == wanted

def _run_cases(function, cases):
    for given, wanted in cases:
        got = _plain(function(*given))
        single = isinstance(wanted, list) and len(wanted) == 1
        if not (_close(got, _plain(wanted)) or (single and _close(got, _plain(wanted[0])))):
            raise AssertionError(f"{given!r:.80}: got {got!r:.80}, expected {wanted!r:.80}")

import json as _json
_run_cases({function}, _json.loads({cases}))
"""
_PROGRAMS = r"""
def _same(got, wanted):
    got, wanted = got.split(), wanted.split()
    return len(got) == len(wanted) and all(map(_same_word, got, wanted))

def _same_word(got, wanted):
    if got == wanted:
        return True
    if "." not in got + wanted:
        return False
    try:
        return abs(float(got) - float(wanted)) <= 1e-6 * max(1.0, abs(float(wanted)))
    except ValueError:
        return False

def _run_programs(source, cases):
    import io, sys
    code = compile(source, "completion.py", "exec")
    for given, wanted in cases:
        sys.stdin = io.TextIOWrapper(io.BytesIO(given.encode()), encoding="utf-8")
        sys.stdout = out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        try:
            exec(code, {"__name__": "__main__"})
        except SystemExit:
            pass
        got = out.buffer.getvalue().decode("utf-8", "replace")
        if not _same(got, wanted):
            raise AssertionError(f"{given!r:.80}: printed {got!r:.80}, expected {wanted!r:.80}")

import json as _json
_run_programs({source}, _json.loads({cases}))
"""

_RUN_CASE = """
import unittest as _unittest
_result = _unittest.TestResult()
_unittest.defaultTestLoader.loadTestsFromTestCase({name}).run(_result)
if not _result.wasSuccessful() or not _result.testsRun:
    raise AssertionError((_result.failures + _result.errors + [("", "no tests")])[0][1][-200:])
"""
_DYNAMIC = frozenset({"globals", "locals", "eval", "exec", "vars"})
"""Matches tests that look names up, which cannot be asked which ones they need: all code of the completion is run."""
_LIBRARY = (
    *("collections", "typing", "itertools", "functools", "heapq", "bisect", "math", "re", "string", "random", "copy"),
    *("operator", "statistics", "datetime", "decimal", "fractions", "json", "sys", "io"),
)
_OWN_IMPORT = re.compile(r"^from (?:solution|main|your_module|my_module|module|answer) import [^\n]*$", re.MULTILINE)
"""Matches how tests in a file of their own name the code under test."""


@dataclass(frozen=True)
class Tests:
    """The tests that a completion's code must pass."""

    __test__ = False  # pytest takes it for one of its own
    source: str | None
    """The tests as Python; None where there are cases instead."""
    entry_point: str | None
    """The function that is called: a name, or a path to a method such as "Solution().solve"."""
    cases: tuple[tuple[Any, Any], ...] = ()
    """The cases as (input, output) or (arguments, result); JSON-compatible."""
    needs: tuple[str, ...] = ()
    """Names that the tests read and do not define, the function that is called first."""
    own: frozenset[str] = frozenset()
    """Functions that the tests define."""
    shadowed: tuple[str, ...] = ()
    """Names of built-in functions that they call: a task may ask for a function called `sum`."""
    calls: str = ""
    """Source that runs them where they only define functions or classes."""

    @property
    def is_program(self) -> bool:
        """Whether a whole program is run, with input and output."""
        return self.source is None and self.entry_point is None

    def after(self, program: Program) -> str:
        """A completion's program with its tests behind it."""
        bound = program.binds
        if self.source is None:
            # Sites with such tasks import the standard library for their programs.
            source = "".join(map(_import_of, sorted(program.missing))) + program.text
            if self.is_program:
                return _PROGRAMS.replace("{cases}", repr(json.dumps(self.cases))).replace("{source}", repr(source))
            function = _function(self.entry_point or "", bound)
            return source + _CALLS.replace("{cases}", repr(json.dumps(self.cases))).replace("{function}", function)
        missing = [name for name in self.needs if name not in bound and name in sys.stdlib_module_names]
        tests = "".join(f"import {name}\n" for name in missing) + self.source + "\n" + self.calls
        if self.own & bound:
            # A helper of the completion has the name of a function of the tests: each keeps its own.
            tests = f"exec(compile({tests!r}, 'tests.py', 'exec'), dict(globals()))\n"
        return f"{program.text}\n{tests}"


def tests_from_source(source: str, entry_point: str | None) -> Tests:
    """Read tests that are Python source."""
    first = () if entry_point is None else (entry_point.partition("(")[0].partition(".")[0],)
    source = _OWN_IMPORT.sub("", source)
    tree = tree_of(source)
    if tree is None:
        return Tests(source, entry_point, needs=first, calls=f"check({entry_point})\n" if entry_point else "")
    read, bound = _names(source)
    called = tuple(_called(tree))
    free = [name for name in called if name in read - bound and name not in BUILTINS]
    rest = sorted(read - bound - BUILTINS - set(free))
    shadowed = tuple(name for name in called if name in BUILTINS)
    own = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}
    needs = () if read & _DYNAMIC and not first else tuple(dict.fromkeys((*first, *free, *rest)))
    shadowed = () if read & _DYNAMIC else shadowed
    return Tests(source, entry_point, (), needs, frozenset(own), shadowed, _calls(tree, entry_point, read))


def _calls(tree: ast.Module, entry_point: str | None, read: set[str]) -> str:
    """Source that runs what the tests define and do not call: check(f), functions test_*, classes of test cases."""
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    lines = [f"check({entry_point})"] if entry_point is not None and "check" in functions else []
    lines += [
        f"{name}()"
        for name, function in functions.items()
        if name.startswith("test") and name not in read and not function.args.args
    ]
    cases = [n.name for n in tree.body if isinstance(n, ast.ClassDef) and n.name not in read and _is_test_case(n)]
    return "\n".join([*lines, *(_RUN_CASE.replace("{name}", name) for name in cases)]) + "\n"


def _is_test_case(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).endswith("TestCase") for base in node.bases)


def tests_from_cases(inputs: Sequence[Any], outputs: Sequence[Any], entry_point: str | None) -> Tests:
    """Make tests from inputs and outputs.

    Raises:
        ValueError: they do not fit together, or are no arguments.
    """
    if len(inputs) != len(outputs) or not inputs:
        raise ValueError(f"as many 'outputs' as 'inputs' and at least one; got {len(inputs)} and {len(outputs)}")
    if entry_point is None:
        return Tests(None, None, tuple((_text(i), _text(o)) for i, o in zip(inputs, outputs, strict=True)))
    cases = tuple((_arguments(i), _value(o)) for i, o in zip(inputs, outputs, strict=True))
    return Tests(None, entry_point, cases, (entry_point.partition("(")[0].partition(".")[0],))


def _import_of(name: str) -> str:
    """The line that imports a name of the standard library; empty where none of the usual modules has it."""
    if name in _LIBRARY:
        return f"import {name}\n"
    if name.startswith("_"):
        return ""
    module = next((each for each in _LIBRARY if hasattr(importlib.import_module(each), name)), None)
    return "" if module is None else f"from {module} import {name}\n"


def _function(entry_point: str, bound: frozenset[str]) -> str:
    """How the function is reached: by its name, or as the method of a class `Solution`."""
    name = entry_point.partition("(")[0].partition(".")[0]
    return entry_point if name in bound or "Solution" not in bound else f"Solution().{entry_point}"


def _names(source: str) -> tuple[set[str], set[str]]:
    """The names that a module reads from its top level, and those that it gives a value there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            table = symtable.symtable(source, "tests", "exec")
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return set(), set()
    read: set[str] = set()
    bound = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    tables = [table]
    while tables:
        each = tables.pop()
        tables += each.get_children()
        read |= {s.get_name() for s in each.get_symbols() if s.is_referenced() and (each is table or s.is_global())}
    return read, bound


def _called(tree: ast.Module) -> Iterator[str]:
    """Names of the functions that are called, those of asserts first, outer calls before inner ones."""
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    for root in (*asserts, tree):
        for node in ast.walk(root):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield node.func.id


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _arguments(value: Any) -> list[Any]:
    """The arguments of a call: a list, or a text with one JSON value per line."""
    if isinstance(value, list):
        return list(value)
    if isinstance(value, str):
        try:
            return [json.loads(line) for line in value.split("\n") if line.strip()]
        except json.JSONDecodeError as error:
            raise ValueError(f"arguments as a list, or as one JSON value per line; got {value[:60]!r}") from error
    return [value]


def _value(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value
