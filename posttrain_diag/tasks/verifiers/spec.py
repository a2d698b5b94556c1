"""Verifiers as data: how to tell a right completion from a wrong one, and what is compared.

    {"type": "exact"}                                     the final part is the answer                  (exact.py)
    {"type": "regex", "pattern": "#### (.*)"}             the first group of the last match is the answer
    {"type": "contains"}                                  the answer occurs in the final part
    {"type": "numeric"}                                   the number it answers with is the answer    (numeric.py)
    {"type": "words"}                                     the word or name it answers with is            (words.py)
    {"type": "yesno"}                                     it says yes, or no                             (yesno.py)
    {"type": "choice", "options": ["red", "blue"]}        the option it chooses is the answer           (choice.py)
    {"type": "math"}                                      it has the same value as mathematics            (math/)
    {"type": "list"}                                      its items are those of the answer              (lists.py)
    {"type": "any", "of": [{"type": "words", "answer": "four"}, ...]}    one of several passes         (any_of.py)
    {"type": "python", "function": "rewards.py:score"}    a Python callable decides                  (callables.py)
    {"type": "code", "test": "...", "entry_point": "f"}   the completion's code passes tests     (code/verifier.py)
    {"type": "literal"}                                   the Python value it gives is the answer     (literal.py)
    {"type": "json", "schema": {...}}                     the JSON value it gives is the answer    (json_value.py)

All of them judge the final part of a completion: what follows its thinking, up to a next question (reading/). Every
text type also takes `which` (first | last | any match), `strip` (true | false | characters) and `compare` (compare.py);
an option with nothing to act on (`which` of `exact`) is accepted and changes nothing. Every type has two readings:
lenient is the substance, strict the form that the task demands as well; strict implies lenient.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers import any_of, callables, json_value, literal, numeric
from posttrain_diag.tasks.verifiers.choice import choice
from posttrain_diag.tasks.verifiers.code import verifier as code
from posttrain_diag.tasks.verifiers.exact import contains, exact, regex
from posttrain_diag.tasks.verifiers.lists import list_
from posttrain_diag.tasks.verifiers.options import COMMON_KEYS, Verifier, gold
from posttrain_diag.tasks.verifiers.words import words
from posttrain_diag.tasks.verifiers.yesno import yesno
from posttrain_diag.types import Judgement, Problem

RULES = 3
"""Version of the rules; raised when the types read answers otherwise than before, so that stored draws are judged anew.
"""


def math(spec: Mapping[str, Any]) -> Verifier:
    """Make a verifier that compares the answer as mathematics; its reader is loaded with the first one."""
    from posttrain_diag.tasks.verifiers.math.verifier import math as verifier

    return verifier(spec)


def python(spec: Mapping[str, Any]) -> Verifier:
    """Make a verifier in which a Python callable decides, or the completion's code is run against tests in a sandbox.

    Raises:
        VerifierError: both `function` and `test` are given, or neither is.
    """
    if "function" in spec and "test" in spec:
        raise VerifierError(
            "a python verifier has both 'function' and 'test': give 'function' (a callable that judges) or 'test' "
            "(code that the completion must pass)"
        )
    if "function" in spec:
        return callables.verifier(spec)
    if "test" in spec:
        return code.verifier(spec)
    raise VerifierError(
        f"a python verifier needs 'function' (\"path.py:name\" or \"package.module:name\") or 'test' (code); "
        f"got the keys {sorted(set(spec) - {'type'})}"
    )


def any_(spec: Mapping[str, Any]) -> Verifier:
    """Make a verifier that passes a completion which one of several verifiers passes."""
    return any_of.verifier(spec, compile_verifier)


TYPES: dict[str, Callable[[Mapping[str, Any]], Verifier]] = {
    "exact": exact,
    "regex": regex,
    "numeric": numeric.numeric,
    "words": words,
    "yesno": yesno,
    "choice": choice,
    "list": list_,
    "contains": contains,
    "math": math,
    "python": python,
    "code": code.verifier,
    "literal": literal.verifier,
    "json": json_value.verifier,
    "any": any_,
}
OWN_KEYS: dict[str, frozenset[str]] = {
    "exact": frozenset(),
    "regex": frozenset({"pattern"}),
    "numeric": frozenset(),
    "words": frozenset(),
    "yesno": frozenset(),
    "list": frozenset(),
    "choice": frozenset({"options"}),
    "contains": frozenset(),
    "math": frozenset(),
    "python": callables.KEYS | code.KEYS,
    "code": code.KEYS,
    "literal": literal.KEYS,
    "json": json_value.KEYS,
    "any": any_of.KEYS,
}


def verify(completion: str, problem: Problem) -> Judgement:
    """Judge one completion of one problem.

    Raises:
        VerifierError: the problem's verifier is not usable (never because of what the completion says).
    """
    return _compiled(_canonical(problem.verifier))(completion, problem)


def compile_verifier(spec: Mapping[str, Any]) -> Verifier:
    """Make the function behind a verifier given as data.

    Raises:
        VerifierError: the type is unknown, an option is missing or not accepted, or a callable cannot be loaded.
    """
    return _compiled(_canonical(spec))


def check_verifier(problem: Problem) -> None:
    """Make sure that a problem's verifier is known, complete, and fits the problem's answer.

    Raises:
        VerifierError: it does not; the message says what was got and what is accepted.
    """
    _compiled(_canonical(problem.verifier))
    kind = problem.verifier["type"]
    if kind == "any":
        for way in any_of.ways(problem):
            check_verifier(way)
        return
    if kind == "python":
        callables.check(problem.verifier)
    if not compares_with_answer(problem.verifier):
        return
    if kind == "json":
        json_value.check_answer(problem)
        return
    answer = gold(problem)
    if kind == "math":
        from posttrain_diag.tasks.verifiers.math.verifier import check_gold

        check_gold(answer, problem.prompt_text)
    if kind == "numeric":
        numeric.check_gold(problem, problem.verifier)
    if kind in ("choice", "yesno", "list"):
        _compiled(_canonical(problem.verifier))("", problem)  # reads the gold, and says what is wrong with it


def needs_code(spec: Mapping[str, Any]) -> bool:
    """Whether judging runs code that came with the task."""
    if spec.get("type") == "any":
        return any(needs_code(entry) for entry in any_of.entries(spec))
    return spec.get("type") in ("python", "code") or (spec.get("type") == "literal" and "code" in spec)


def judges_code(spec: Mapping[str, Any]) -> bool:
    """Whether the completion is code that is run against tests. `python` with `test` is the older spelling."""
    if spec.get("type") == "any":
        return any(judges_code(entry) for entry in any_of.entries(spec))
    return spec.get("type") == "code" or (spec.get("type") == "python" and "test" in spec)


def compares_with_answer(spec: Mapping[str, Any]) -> bool:
    """Whether a verdict rests on the problem's answer alone, which it does not where code decides."""
    return not needs_code(spec)


def verifier_sha(problem: Problem) -> str:
    """Hash of what a stored verdict rests on: type, options, answer and rules (and the file a callable lives in)."""
    spec = _fingerprinted(problem.verifier)
    rules = [] if "function" in spec else [RULES]
    text = json.dumps([spec, problem.answer, *rules], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprinted(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A verifier with the content of the files it names in place of their paths."""
    found = dict(spec)
    if isinstance(found.get("function"), str):
        found["function"] = callables.fingerprint(found["function"])
    if found.get("type") == "any":
        found["of"] = [_fingerprinted(entry) for entry in any_of.entries(found)]
    return found


def _canonical(spec: Mapping[str, Any]) -> str:
    return json.dumps(dict(spec), sort_keys=True, default=str)


@lru_cache(maxsize=4096)
def _compiled(canonical: str) -> Verifier:
    spec = cast("dict[str, Any]", json.loads(canonical))
    kind = spec.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise VerifierError(f"unknown verifier type {kind!r}: accepted are {', '.join(TYPES)}")
    unknown = sorted(set(spec) - {"type"} - COMMON_KEYS - OWN_KEYS[kind])
    if unknown:
        accepted = ", ".join(sorted(OWN_KEYS[kind]) + sorted(COMMON_KEYS))
        raise VerifierError(
            f"a {kind} verifier does not take {', '.join(map(repr, unknown))}: accepted are type, {accepted}"
        )
    return TYPES[kind](spec)
