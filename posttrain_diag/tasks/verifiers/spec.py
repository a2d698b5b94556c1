"""Verifiers as data: how to tell a right completion from a wrong one, and what is compared.

    {"type": "exact"}                                     the whole completion is the answer
    {"type": "regex", "pattern": "#### (.*)"}             the first group of the last match is the answer
    {"type": "numeric"}                                   the last number is the answer
    {"type": "choice", "options": ["red", "blue"]}        the chosen letter is the answer
    {"type": "contains"}                                  the answer occurs in the completion
    {"type": "python", "function": "rewards.py:score"}    a Python callable decides           (callables.py)
    {"type": "python", "test": "...", "entry_point": "f"} the completion's code passes tests   (code_tests.py)

Every text type also takes `which` (first | last | any match), `strip` (true | false | characters) and `compare`
(compare.py); an option with nothing to act on (`which` of `exact`) is accepted and changes nothing. Every type has two
readings: strict is what the task demands, lenient forgives surface format (text.py); strict implies lenient.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers import callables, code_tests, compare
from posttrain_diag.tasks.verifiers.choice import choice
from posttrain_diag.tasks.verifiers.guard import LIMIT_S, PatternTimeout, time_limit
from posttrain_diag.tasks.verifiers.numbers import Number, iter_numbers, lone_number, same_number
from posttrain_diag.tasks.verifiers.options import COMMON_KEYS, Options
from posttrain_diag.tasks.verifiers.text import fold, marked_answer, peel, readings, same_leniently
from posttrain_diag.types import Judgement, Problem

Verifier = Callable[[str, Problem], Judgement]

MAX_CHARS = 200_000
"""Longer completions are searched in the part that counts only: the end, or the start for `which: first`."""


def exact(spec: Mapping[str, Any]) -> Verifier:
    """The whole completion is the answer: "18" passes, "The answer is 18." passes leniently."""
    options = Options.of(spec, compare="exact")

    def judge(completion: str, problem: Problem) -> Judgement:
        answer, found = options.stripped(gold(problem)), options.stripped(completion)
        strict = options.same(found, answer)
        first = options.which == "first"
        lenient = strict or _any_same(readings(_window(completion, first=first), first=first), answer, options)
        return Judgement(strict, lenient, found)

    return judge


def regex(spec: Mapping[str, Any]) -> Verifier:
    """The first group of the last match is the answer; without a group, the whole match."""
    options = Options.of(spec, compare="exact")
    pattern = _pattern(spec)

    def judge(completion: str, problem: Problem) -> Judgement:
        answer, first = options.stripped(gold(problem)), options.which == "first"
        text = _window(completion, first=first)
        try:
            with time_limit():
                found = [options.stripped(m) for m in _extract(pattern, text)]
        except PatternTimeout:
            error = f"the pattern {pattern.pattern!r} took more than {LIMIT_S:g} s on one completion: simplify it"
            return Judgement(False, False, None, error=error)
        chosen = options.chosen(found)
        hit = next((f for f in chosen if options.same(f, answer)), None)
        extracted = hit if hit is not None else (chosen[-1] if chosen else None)
        lenient = hit is not None or _any_same([*chosen, *readings(text, first=first)], answer, options)
        return Judgement(hit is not None, lenient, extracted)

    return judge


def numeric(spec: Mapping[str, Any]) -> Verifier:
    """The last number is the answer: "so 16 - 3 = 13." passes for 13; leniently "The answer is 13 (of 16)." too."""
    options = Options.of(spec, compare="numeric")

    def judge(completion: str, problem: Problem) -> Judgement:
        answer, first = gold(problem), options.which == "first"
        target = lone_number(options.stripped(answer))
        if target is None:
            return Judgement(False, False, None, error=f"the answer {answer!r} is not a number")
        text = _window(completion, first=first)
        chosen = options.chosen(list(iter_numbers(text)))
        if options.compare == "numeric":
            hit = next((n for n in chosen if same_number(n, target)), None)
        else:
            hit = next((n for n in chosen if options.same(n.text, options.stripped(answer))), None)
        if hit is not None:
            return Judgement(True, True, _plain_number(hit))
        marked = marked_answer(text, first=first)
        stated = next(iter_numbers(fold(marked)), None) if marked is not None else None
        others = [n for n in (*chosen, stated, lone_number(peel(text).core)) if n is not None]
        near = next((n for n in others if same_number(n, target, lenient=True)), None)
        extracted = near or (others[0] if others else None)
        return Judgement(False, near is not None, None if extracted is None else _plain_number(extracted))

    return judge


def contains(spec: Mapping[str, Any]) -> Verifier:
    """The answer occurs in the completion; leniently whatever its case, white space and surrounding brackets."""
    options = Options.of(spec, compare="exact")

    def judge(completion: str, problem: Problem) -> Judgement:
        answer = options.stripped(gold(problem))
        if options.compare == "numeric":
            target = lone_number(answer)
            strict = target is not None and any(same_number(n, target) for n in iter_numbers(completion))
        elif options.compare == "casefold":
            strict = answer.casefold() in completion.casefold()
        elif options.compare == "latex":
            strict = compare.plain_latex(answer) in compare.plain_latex(_window(completion, first=False))
        else:
            strict = answer in completion
        lenient = strict or peel(answer).core in fold(completion)
        return Judgement(strict, lenient, answer if strict or lenient else None)

    return judge


def python(spec: Mapping[str, Any]) -> Verifier:
    """A Python callable decides, or the completion's code is run against tests in a sandbox."""
    if "function" in spec and "test" in spec:
        raise VerifierError(
            "a python verifier has both 'function' and 'test': give 'function' (a callable that judges) or 'test' "
            "(code that the completion must pass)"
        )
    if "function" in spec:
        return callables.verifier(spec)
    if "test" in spec:
        return code_tests.verifier(spec)
    raise VerifierError(
        f"a python verifier needs 'function' (\"path.py:name\" or \"package.module:name\") or 'test' (code); "
        f"got the keys {sorted(set(spec) - {'type'})}"
    )


TYPES: dict[str, Callable[[Mapping[str, Any]], Verifier]] = {
    "exact": exact,
    "regex": regex,
    "numeric": numeric,
    "choice": choice,
    "contains": contains,
    "python": python,
}
OWN_KEYS: dict[str, frozenset[str]] = {
    "exact": frozenset(),
    "regex": frozenset({"pattern"}),
    "numeric": frozenset(),
    "choice": frozenset({"options"}),
    "contains": frozenset(),
    "python": callables.KEYS | code_tests.KEYS,
}


def verify(completion: str, problem: Problem) -> Judgement:
    """Judge one completion of one problem.

    Raises:
        VerifierError: the problem's verifier is not usable (never because of what the completion says).
    """
    return _compiled(_canonical(problem.verifier))(completion, problem)


def compile_verifier(spec: Mapping[str, Any]) -> Verifier:
    """The function behind a verifier given as data.

    Raises:
        VerifierError: the type is unknown, an option is missing or not accepted, or a callable cannot be loaded.
    """
    return _compiled(_canonical(spec))


def check_verifier(problem: Problem) -> None:
    """Whether a problem's verifier is known, complete, and fits the problem's answer.

    Raises:
        VerifierError: it does not; the message says what was got and what is accepted.
    """
    _compiled(_canonical(problem.verifier))
    kind = problem.verifier["type"]
    if kind == "python":
        return
    answer = gold(problem)
    if kind == "numeric" and lone_number(Options.of(problem.verifier, compare="numeric").stripped(answer)) is None:
        raise VerifierError(
            f"a numeric verifier needs an answer that is one number, got {_short(answer)}: correct the answer or use "
            'the verifier {"type": "exact"}'
        )
    if kind == "choice":
        choice(problem.verifier)("", problem)


def needs_code(spec: Mapping[str, Any]) -> bool:
    """Whether judging runs code that came with the task."""
    return spec.get("type") == "python"


def verifier_sha(problem: Problem) -> str:
    """What a stored verdict rests on: hash of type, options and answer (and of the file a callable lives in)."""
    spec = dict(problem.verifier)
    if isinstance(spec.get("function"), str):
        spec["function"] = callables.fingerprint(spec["function"])
    text = json.dumps([spec, problem.answer], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def gold(problem: Problem) -> str:
    """The answer a text verifier compares with.

    Raises:
        VerifierError: the problem has none.
    """
    if problem.answer is None or not problem.answer.strip():
        raise VerifierError(
            f"problem {problem.id!r} has no answer and its verifier {problem.verifier.get('type')!r} compares with "
            "one: add an answer, or use a python verifier"
        )
    return problem.answer


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


def _pattern(spec: Mapping[str, Any]) -> re.Pattern[str]:
    source = spec.get("pattern")
    if not isinstance(source, str) or not source:
        raise VerifierError(
            f"a regex verifier needs 'pattern', a regular expression; got {source!r}. Example: "
            '{"type": "regex", "pattern": "#### (.*)"}'
        )
    try:
        return re.compile(source)
    except re.error as error:
        raise VerifierError(f"the pattern {source!r} is not a regular expression: {error}") from error


def _extract(pattern: re.Pattern[str], text: str) -> list[str]:
    """What each match captured. Empty matches (a pattern that also fits at the very end) count only if all are."""
    matches = list(pattern.finditer(text))
    captured = [(m, next((g for g in m.groups() if g is not None), "" if pattern.groups else m[0])) for m in matches]
    full = [group for match, group in captured if match[0] or group]
    return full or [group for _, group in captured]


def _plain_number(number: Number) -> str:
    """One spelling per whole number, so that equal answers can be counted: "1,319.0" is "1319"."""
    if number.value is None or number.percent or number.value.denominator != 1 or abs(number.value) > 10**18:
        return number.text
    return str(number.value.numerator)


def _any_same(found: Iterable[str], answer: str, options: Options) -> bool:
    return any(options.same(options.stripped(text), answer) or same_leniently(text, answer) for text in found)


def _window(completion: str, *, first: bool) -> str:
    return completion[:MAX_CHARS] if first else completion[-MAX_CHARS:]


def _short(text: str | Sequence[str]) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else shown[:77] + "..."
