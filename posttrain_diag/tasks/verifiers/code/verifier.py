r"""The `code` verifier: does the completion's code pass its tests (HumanEval, MBPP, programs with input and output)?

    {"type": "code", "test": "assert f(1) == 2"}                                    MBPP
    {"type": "code", "test": "def check(candidate): ...", "entry_point": "f"}       HumanEval: then check(f)
    {"type": "code", "inputs": [[1, 2]], "outputs": [3], "entry_point": "add"}      calls and their results
    {"type": "code", "inputs": ["1 2\n"], "outputs": ["3\n"]}                       programs: input and output

    setup      code before the completion's; default: the code that the prompt holds
    timeout_s  seconds for one run, default 10

Substance is the last complete definition in whatever wrapping (fences, prose, several blocks). Strict is the same,
unless the prompt demands a form: only code, no markdown, or a code block. Where no block defines the function that the
tests call, nothing is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.code.blocks import blocks
from posttrain_diag.tasks.verifiers.code.cases import Tests, tests_from_cases, tests_from_source
from posttrain_diag.tasks.verifiers.code.demand import demand_of, keeps
from posttrain_diag.tasks.verifiers.code.solution import solution
from posttrain_diag.tasks.verifiers.code.syntax import parses
from posttrain_diag.tasks.verifiers.reading.run_on import before_next_turn
from posttrain_diag.tasks.verifiers.reading.thoughts import without_thoughts
from posttrain_diag.tasks.verifiers.sandbox import run_program
from posttrain_diag.types import Judgement, Problem

KEYS = frozenset({"test", "inputs", "outputs", "entry_point", "setup", "timeout_s"})
TIMEOUT_S = 10.0
MAX_CHARS = 50_000
"""Final parts longer than this hold no answer; thinking may be longer."""
_ENTRY_POINT = re.compile(r"[^\W\d]\w*(?:\(\))?(?:\.[^\W\d]\w*)*")


def verifier(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """Make a verifier that runs the completion's code against tests in the sandbox.

    Raises:
        VerifierError: a key is missing or has the wrong type.
    """
    tests = _tests(spec)
    timeout_s = spec.get("timeout_s", TIMEOUT_S)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= 600:
        raise VerifierError(f"a code verifier's 'timeout_s' is seconds in (0, 600], got {timeout_s!r}")

    def judge(completion: str, problem: Problem) -> Judgement:
        text, prompt = final_code(completion), _asked(problem)
        if len(text) > MAX_CHARS:
            return Judgement(False, False, None)
        setup = spec.get("setup")
        given = prompt_code(prompt) if setup is None else setup
        found = solution(text, given, tests)
        if found is None:
            return Judgement(False, False, None)
        run = run_program(tests.after(found), timeout_s=timeout_s)
        if run.error is not None:
            return Judgement(False, False, None, error=run.error)
        strict = run.passed and keeps(demand_of(prompt), text, given)
        return Judgement(strict, run.passed, found.text)

    return judge


def prompt_code(prompt: str) -> str:
    """The code that a prompt holds: all of it, or what stands in its fences, or what follows its prose."""
    if parses(prompt):
        return prompt
    found = blocks(prompt)
    fenced = [block.text for block in found if block.python]
    return "\n".join(fenced) if fenced else prompt


def final_code(completion: str) -> str:
    """What follows the thinking, up to the end of the turn; empty while a thought is open.

    A next question is not looked for: a line such as `user: str` is code.
    """
    return before_next_turn(without_thoughts(completion).text)


def _asked(problem: Problem) -> str:
    if problem.prompt is not None:
        return problem.prompt
    return "\n".join(m["content"] or "" for m in problem.messages or () if m["role"] != "assistant")


def _tests(spec: Mapping[str, Any]) -> Tests:
    for key in ("test", "entry_point", "setup"):
        if spec.get(key) is not None and not isinstance(spec[key], str):
            raise VerifierError(f"a code verifier's {key!r} is a text, got {type(spec[key]).__name__}")
    entry_point: str | None = spec.get("entry_point")
    if entry_point is not None and _ENTRY_POINT.fullmatch(entry_point) is None:
        raise VerifierError(
            f"a code verifier's 'entry_point' is a function name or Class().method, got {entry_point!r}"
        )
    source: str | None = spec.get("test")
    given, wanted = spec.get("inputs"), spec.get("outputs")
    if source is not None and given is None and wanted is None:
        return tests_from_source(source, entry_point)
    if source is None and isinstance(given, list) and isinstance(wanted, list):
        try:
            return tests_from_cases(cast("list[Any]", given), cast("list[Any]", wanted), entry_point)
        except ValueError as error:
            raise VerifierError(f"a code verifier needs {error}") from error
    raise VerifierError(
        "a code verifier needs 'test' (Python source) or the lists 'inputs' and 'outputs'; got the keys "
        f"{sorted(set(spec) - {'type'})}"
    )
