r"""The `literal` verifier: is the Python value that a completion gives the right one (CRUXEval)?

    {"type": "literal"}                                                answer "[4, 6]": the value of a call
    {"type": "literal", "code": "def f(x): ...", "output": "[4, 6]"}   answer "[2, 3]": arguments of a call; all that
                                                                       give the output are right, so the code is run

Values are compared, not texts: `[4,6]` is `[4, 6]`, "abc" is 'abc', 1.0 is 1; True is not 1 and a tuple is no list
(python_values.py). The value is read where a completion gives it (read_literal.py).

Substance also takes a text without its quotes and `true` for True; strict wants Python's spelling.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.python_values import NotALiteral, arguments_of, is_value, same_value, value_of
from posttrain_diag.tasks.verifiers.read_literal import (
    AROUND,
    END,
    arguments_said,
    asked_call,
    value_said,
    without_echo,
)
from posttrain_diag.tasks.verifiers.reading import final_part
from posttrain_diag.tasks.verifiers.sandbox import run_program
from posttrain_diag.types import Judgement, Problem

KEYS = frozenset({"code", "output", "entry_point", "timeout_s"})
TIMEOUT_S = 10.0
MAX_CHARS = 20_000
"""Most characters of a completion that are read; of longer ones the end is."""
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def verifier(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """Make a verifier that compares Python values; with `code` and `output` it wants arguments that give the output.

    Raises:
        VerifierError: a key is missing or has the wrong type.
    """
    for key in ("code", "output", "entry_point"):
        if spec.get(key) is not None and not isinstance(spec[key], str):
            raise VerifierError(f"a literal verifier's {key!r} is a text, got {type(spec[key]).__name__}")
    timeout_s = spec.get("timeout_s", TIMEOUT_S)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= 600:
        raise VerifierError(f"a literal verifier's 'timeout_s' is seconds in (0, 600], got {timeout_s!r}")
    code, output = spec.get("code"), spec.get("output")
    if (code is None) is not (output is None):
        raise VerifierError(
            "a literal verifier that looks for arguments needs both 'code' and 'output' (Python source)"
        )
    if code is not None and output is not None:
        return _arguments_verifier(code, output, _function_name(code, spec.get("entry_point")), timeout_s)
    return _value_verifier


def _value_verifier(completion: str, problem: Problem) -> Judgement:
    gold = (problem.answer or "").strip()
    prompt = problem.prompt_text
    said = value_said(without_echo(_text(completion), prompt), asked_call(prompt))
    if said is None:
        return Judgement(False, False, None)
    if said.literal is not None:
        same = _same(said.literal, gold)
        return Judgement(same, same, said.literal)
    lenient = any(_same_plainly(plain, gold) for plain in said.plain)
    strict = lenient and not is_value(gold)
    return Judgement(strict, lenient, next(iter(said.plain), None))


def _same(found: str, gold: str) -> bool:
    try:
        wanted = value_of(gold)
    except NotALiteral:
        return _dump(found) == _dump(gold)
    try:
        return same_value(value_of(found), wanted)
    except NotALiteral:
        return False


def _dump(text: str) -> str:
    """An expression without differences of its spelling, for golds that are no literals: `deque([1])`."""
    try:
        return ast.dump(ast.parse(text.strip(), mode="eval"))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return " ".join(text.split())


def _same_plainly(plain: str, gold: str) -> bool:
    """Whether a text without quotes is the text that was asked for, or `true` the value."""
    try:
        wanted = value_of(gold)
    except NotALiteral:
        return _dump(plain) == _dump(gold)
    if isinstance(wanted, str):
        return bool(wanted.strip()) and wanted in (plain, plain.removesuffix("."), plain.rstrip(AROUND + "."))
    word = plain.strip(END).casefold()
    return word in _WORDS and same_value(_WORDS[word], wanted)


def _text(completion: str) -> str:
    return final_part(completion).text[-MAX_CHARS:]


def _is_gold(arguments: tuple[list[Any], dict[str, Any]], answer: str | None) -> bool:
    """Whether arguments are those of the answer, to the order of every dict, so that nothing has to be run."""
    try:
        return answer is not None and repr(arguments) == repr(arguments_of(answer))
    except NotALiteral:
        return False


def _arguments_verifier(code: str, output: str, name: str, timeout_s: float) -> Callable[[str, Problem], Judgement]:
    """Make a verifier of arguments: those of the answer are right, and all for which the code returns the output."""

    def judge(completion: str, problem: Problem) -> Judgement:
        said = arguments_said(_text(completion), name)
        if said is None:
            return Judgement(False, False, None)
        positional, named = arguments_of(said)
        if _is_gold((positional, named), problem.answer):
            return Judgement(True, True, said)
        run = run_program(
            _CALL.format(code=code, name=name, args=positional, named=named, output=output), timeout_s=timeout_s
        )
        if run.error is not None:
            return Judgement(False, False, None, error=run.error)
        return Judgement(run.passed, run.passed, said)

    return judge


_CALL = """{code}

_args, _named = {args!r}, {named!r}
_wanted = {output}
try:
    _got = {name}(*_args, **_named)
except TypeError:
    if len(_args) != 1 or not isinstance(_args[0], tuple):
        raise
    _got = {name}(*_args[0])
assert _got == _wanted and isinstance(_got, bool) is isinstance(_wanted, bool)
"""


def _function_name(code: str, given: str | None) -> str:
    if given is not None:
        if not given.isidentifier():
            raise VerifierError(f"a literal verifier's 'entry_point' is a function name, got {given!r}")
        return given
    names = re.findall(r"^def\s+(\w+)\s*\(", code, re.MULTILINE)
    if not names:
        raise VerifierError("a literal verifier's 'code' defines no function: give it, or name its 'entry_point'")
    return "f" if "f" in names else names[-1]
