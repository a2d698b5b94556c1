"""Python values out of text: literals, and the same value whatever its spelling.

Two values are the same as Python's == says, with two exceptions: a bool is no number (True is not 1), and a list is no
tuple at any depth. So 1.0 is 1, the order of a set or a dict does not matter, and NaN is NaN.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, cast

MAX_CHARS = 20_000
MAX_ITEMS = 100_000
"""Most items of a sequence that an expression such as `[0] * 5` may make."""
MAX_DEPTH = 100
"""Most literals inside of one another."""
MAX_SPAN, MAX_TRIES = 5_000, 500
"""Most characters of one bracket, and most literals of one text: this bounds the work on hostile text."""
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "‚": "'"})
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?j?(?![\w.]*\w)")
_WORD = re.compile(r"(?:True|False|None|nan|inf|-inf)\b")
_CALL = re.compile(r"(?:set|frozenset|dict|list|tuple)\(")
GLUED = re.compile(r"[\w'\"(\[{\]}]|\.[^\W\d]")
"""Matches what goes on right behind a literal, so that it is none: `[]x`, `'a'.upper()`."""
_PREFIX = re.compile(r"(?:[rRbBuU]{1,2})(?=['\"])")
_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "set": set,
    "frozenset": frozenset,
    "list": list,
    "tuple": tuple,
    "dict": dict,
}
_CLOSING = {"(": ")", "[": "]", "{": "}"}


class NotALiteral(ValueError):
    """Raised for a text that is no Python literal. Internal: readers try the next text."""


def value_of(text: str) -> Any:
    """The value of a literal; also of `[0] * 5`, `'a' + 'b'`, `set([1])`, and with typographic quotes.

    Raises:
        NotALiteral: the text is no literal.
    """
    text = text.strip()
    if not text or len(text) > MAX_CHARS:
        raise NotALiteral(text[:40])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for spelled in dict.fromkeys((text, text.translate(_QUOTES))):
            try:
                return _evaluated(ast.parse(spelled, mode="eval").body)
            except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError, OverflowError):
                continue
    raise NotALiteral(text[:40])


def is_value(text: str) -> bool:
    """Whether a text is a literal."""
    try:
        value_of(text)
    except NotALiteral:
        return False
    return True


def same_value(a: Any, b: Any) -> bool:
    """Whether two values are the same by the rule of this module."""
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool) and a == b
    if isinstance(a, (int, float, complex)) and isinstance(b, (int, float, complex)):
        return a == b or (repr(a) == repr(b) == "nan")
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        first, second = cast("list[Any]", a), cast("list[Any]", b)
        return len(first) == len(second) and all(map(same_value, first, second))
    if isinstance(a, dict):
        left, right = cast("dict[Any, Any]", a), cast("dict[Any, Any]", b)
        return _same_items(list(left.items()), list(right.items()))
    if isinstance(a, (set, frozenset)):
        return _same_items(list(cast("set[Any]", a)), list(cast("set[Any]", b)))
    return a == b


def _same_items(a: list[Any], b: list[Any]) -> bool:
    """Whether two collections hold the same values in any order; keys that are == but of other types differ."""
    if len(a) != len(b):
        return False
    if len(a) > 200:
        return sorted(map(repr, a)) == sorted(map(repr, b))
    left = list(b)
    for item in a:
        at = next((i for i, other in enumerate(left) if same_value(item, other)), None)
        if at is None:
            return False
        del left[at]
    return True


def literal_at(text: str, start: int) -> tuple[str, int] | None:
    """The longest literal that begins at a place of a text, and its end; None where none begins there."""
    prefix = _PREFIX.match(text, start)
    opening = text[prefix.end() if prefix else start : (prefix.end() if prefix else start) + 1]
    call = _CALL.match(text, start)
    if opening in ("'", '"', "“", "‘"):
        end = _string_end(text, prefix.end() if prefix else start)
    elif opening in _CLOSING and opening:
        end = bracketed(text, start)
    elif call is not None:
        end = bracketed(text, call.end() - 1)
    else:
        match = _WORD.match(text, start) or _NUMBER.match(text, start)
        end = match.end() if match else None
    if end is None:
        return None
    return text[start:end], end


def literals_in(text: str) -> Iterator[tuple[str, int, int]]:
    """The bracketed and quoted literals, numbers and constants of a text, as (literal, start, end), left to right."""
    i, tries = 0, 0
    while i < len(text) and tries < MAX_TRIES:
        char = text[i]
        if char in "([" and i > 0 and (text[i - 1].isalnum() or text[i - 1] in "_)]"):
            # Arguments of a call, or an index: no value of their own.
            tries += 1
            i = bracketed(text, i) or i + 1
            continue
        starts = char in "([{'\"“‘" or (i == 0 or not (text[i - 1].isalnum() or text[i - 1] in "_.)]'"))
        if not starts or char.isspace():
            i += 1
            continue
        found = literal_at(text, i)
        tries += 1
        if found is None or (char in "'‘" and i > 0 and text[i - 1].isalnum()):
            i += 1
            continue
        if not is_value(found[0]):
            i += 1
            continue
        if GLUED.match(text, found[1]) is None:
            yield found[0], i, found[1]
        i = found[1]


def arguments_of(text: str) -> tuple[list[Any], dict[str, Any]]:
    """The (positional, named) arguments of a call whose parentheses were left out.

    Raises:
        NotALiteral: they are no literals.
    """
    if len(text) > MAX_CHARS:
        raise NotALiteral(text[:40])
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise NotALiteral(text[:40])
        named = {keyword.arg: _evaluated(keyword.value) for keyword in call.keywords if keyword.arg is not None}
        if len(named) < len(call.keywords):
            raise NotALiteral(text[:40])
        return [_evaluated(argument) for argument in call.args], named
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError, OverflowError) as error:
        raise NotALiteral(text[:40]) from error


def _evaluated(node: ast.expr, depth: int = 0) -> Any:
    """The value of an expression of literals."""
    if depth > MAX_DEPTH:
        raise NotALiteral("too deep")

    def inner(part: ast.expr) -> Any:
        return _evaluated(part, depth + 1)

    match node:
        case ast.Constant(value=value) if value is not ...:
            return value
        case ast.List(elts=items):
            return [inner(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(inner(item) for item in items)
        case ast.Set(elts=items):
            return {inner(item) for item in items}
        case ast.Dict(keys=keys, values=values):
            return {inner(_given(k)): inner(v) for k, v in zip(keys, values, strict=True)}
        case ast.Name(id="nan" | "inf" as name):
            return float(name)
        case ast.UnaryOp(op=op, operand=operand):
            return _negated(op, inner(operand))
        case ast.BinOp(left=left, op=op, right=right):
            return _combined(op, inner(left), inner(right))
        case ast.Call(func=ast.Name(id=name), args=[] | [_] as arguments, keywords=[]):
            return _constructed(name, [inner(argument) for argument in arguments])
        case _:
            raise NotALiteral(ast.dump(node)[:40])


def _constructed(name: str, arguments: list[Any]) -> Any:
    """The value of a call such as `set()`, `set([1])`, `float('nan')`."""
    if name == "float" and arguments and isinstance(arguments[0], str):
        return float(arguments[0])
    if name in _CONSTRUCTORS:
        return _CONSTRUCTORS[name](*arguments)
    raise NotALiteral(name)


def _given(key: ast.expr | None) -> ast.expr:
    if key is None:
        raise NotALiteral("**")
    return key


def _negated(op: ast.unaryop, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float, complex)):
        raise NotALiteral(repr(value)[:40])
    if isinstance(op, ast.USub):
        return -value
    if isinstance(op, ast.UAdd):
        return value
    raise NotALiteral("operator")


def _combined(op: ast.operator, a: Any, b: Any) -> Any:
    """Sums of numbers and of sequences, and repeated sequences."""
    sequences = (str, bytes, list, tuple)
    numbers = isinstance(a, (int, float, complex)) and isinstance(b, (int, float, complex))
    if isinstance(op, ast.Add) and ((isinstance(a, sequences) and type(cast("Any", a)) is type(b)) or numbers):
        return cast("Any", a) + cast("Any", b)
    if isinstance(op, ast.Sub) and numbers:
        return cast("Any", a) - cast("Any", b)
    if isinstance(op, ast.Mult):
        for sequence, times in ((a, b), (b, a)):
            if isinstance(sequence, sequences) and isinstance(times, int):
                if len(sequence) * times <= MAX_ITEMS:
                    return sequence * times
                raise NotALiteral("too long")
    raise NotALiteral("operator")


def _string_end(text: str, start: int) -> int | None:
    quote = text[start]
    closing = {"“": "”", "‘": "’"}.get(quote, quote)
    if text.startswith(quote * 3, start):
        end = text.find(quote * 3, start + 3)
        return None if end < 0 else end + 3
    i = start + 1
    while i < len(text):
        if text[i] == "\\":
            i += 2
        elif text[i] == closing:
            return i + 1
        elif text[i] == "\n":
            return None
        else:
            i += 1
    return None


def bracketed(text: str, start: int, span: int = MAX_SPAN) -> int | None:
    """The end of the bracket that opens at a place of a text; None where it is not closed within `span` characters.

    Brackets inside of strings do not count.
    """
    stack = [_CLOSING[text[start]]]
    i, limit = start + 1, min(len(text), start + span)
    while i < limit:
        char = text[i]
        if char in "'\"":
            end = _string_end(text, i)
            if end is None:
                return None
            i = end
            continue
        if char in _CLOSING:
            stack.append(_CLOSING[char])
        elif char == stack[-1]:
            stack.pop()
            if not stack:
                return i + 1
        elif char in ")]}":
            return None
        i += 1
    return None
