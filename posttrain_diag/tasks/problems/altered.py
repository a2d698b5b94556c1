"""Wrong answers that look like right ones, for answers that are values or code."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any, cast

from posttrain_diag.tasks.verifiers.code.cases import tests_from_source
from posttrain_diag.tasks.verifiers.code.syntax import tree_of
from posttrain_diag.tasks.verifiers.code.verifier import prompt_code
from posttrain_diag.tasks.verifiers.python_values import NotALiteral, value_of
from posttrain_diag.types import Problem


def altered_literal(answer: str) -> str | None:
    """Another Python value of the same type; None where the answer is no literal."""
    try:
        return repr(altered_value(value_of(answer)))
    except NotALiteral:
        return None


def altered_json(answer: str) -> str | None:
    """Another JSON value of the same shape, with one leaf altered; None where the answer is no JSON."""
    try:
        return json.dumps(altered_value(json.loads(answer)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def altered_value(value: Any) -> Any:
    """Another value of the same type, made by altering the first leaf that can be altered."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float, complex)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, bytes):
        return value + b"x"
    if isinstance(value, dict):
        fields = dict(cast("dict[Any, Any]", value))
        first = next(iter(fields), None)
        return {"x": 1} if first is None else {**fields, first: altered_value(fields[first])}
    if isinstance(value, (list, tuple)):
        items = list(cast("list[Any]", value))
        altered = [altered_value(items[0]), *items[1:]] if items else [1]
        return altered if isinstance(value, list) else tuple(altered)
    if isinstance(value, (set, frozenset)):
        return type(cast("set[Any]", value))([*cast("set[Any]", value), "x"])
    return 0 if value is None else value


def altered_code(problem: Problem) -> Iterator[str]:
    """Programs that are the problem's first demonstration with a fault: a wrapped result, another name.

    Nothing where the demonstration and its tests do not say which function is asked for.
    """
    test, entry_point = problem.verifier.get("test"), problem.verifier.get("entry_point")
    if not problem.demos or not isinstance(test, str):
        return
    needs = tests_from_source(test, entry_point).needs
    given = problem.verifier.get("setup")
    before = prompt_code(problem.prompt_text) if given is None else str(given)
    for text in (problem.demos[0], before + problem.demos[0]):
        tree = tree_of(text)
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef)] if tree is not None else []
        function = next((node for node in reversed(found) if needs and node.name == needs[0]), None)
        if tree is None or function is None:
            continue
        wrapped = _Wrapped()
        wrapped.generic_visit(function)
        if wrapped.count:
            yield ast.unparse(ast.fix_missing_locations(tree))
        function.name += "_"
        yield ast.unparse(tree)
        return


class _Wrapped(ast.NodeTransformer):
    """Turns `return x` into `return (x, None)`, except in functions inside of the function."""

    count = 0

    def visit_Return(self, node: ast.Return) -> ast.Return:
        """Put the returned value into a pair."""
        self.count += 1
        return ast.Return(ast.Tuple([node.value or ast.Constant(None), ast.Constant(None)], ast.Load()))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Leave an inner function, which keeps its results, as it is."""
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        """Leave a lambda, which keeps its result, as it is."""
        return node
