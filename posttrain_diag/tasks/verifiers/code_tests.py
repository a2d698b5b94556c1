"""The `python` verifier with tests: does the code in the completion pass them (HumanEval, MBPP)?

    {"type": "python", "test": "def check(candidate): ...", "entry_point": "f"}   prompt + completion, then check(f)
    {"type": "python", "test": "assert f(1) == 2"}                               completion, then the tests

    setup      code before the completion; default: the prompt when there is an `entry_point`, else nothing
    timeout_s  seconds for one run, default 10

Strict runs the completion as it is. Lenient also takes the code out of a markdown fence, a completion that repeats the
whole function, and one that goes on talking after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.verifiers.sandbox import run_program
from posttrain_diag.types import Judgement, Problem

KEYS = frozenset({"test", "entry_point", "setup", "timeout_s"})
TIMEOUT_S = 10.0
MAX_CHARS = 100_000

_FENCE = re.compile(r"```[ \t]*(?:python|py|python3)?[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_CONTINUATION_END = re.compile(r"\n(?=[^\s#)\]}])")


def verifier(spec: Mapping[str, Any]) -> Callable[[str, Problem], Judgement]:
    """A verifier that runs the completion's code against tests in the sandbox.

    Raises:
        VerifierError: a key has the wrong type.
    """
    for key in ("test", "entry_point", "setup"):
        if spec.get(key) is not None and not isinstance(spec[key], str):
            raise VerifierError(f"a python verifier's {key!r} is a text, got {type(spec[key]).__name__}")
    entry_point = spec.get("entry_point")
    if entry_point is not None and not entry_point.isidentifier():
        raise VerifierError(f"a python verifier's 'entry_point' is a function name, got {entry_point!r}")
    timeout_s = spec.get("timeout_s", TIMEOUT_S)
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s <= 600:
        raise VerifierError(f"a python verifier's 'timeout_s' is seconds in (0, 600], got {timeout_s!r}")
    tests = spec["test"] + (f"\n\ncheck({entry_point})\n" if entry_point else "\n")

    def judge(completion: str, problem: Problem) -> Judgement:
        if len(completion) > MAX_CHARS:
            return Judgement(False, False, None)
        setup = spec.get("setup")
        if setup is None:
            setup = problem.prompt_text if entry_point else ""
        strict = run_program(f"{setup}{completion}\n{tests}", timeout_s=timeout_s)
        if strict.error is not None:
            return Judgement(False, False, None, error=strict.error)
        if strict.passed:
            return Judgement(True, True, completion)
        for code in _lenient_codes(completion, entry_point, continues=entry_point is not None):
            run = run_program(f"{setup}{code}\n{tests}", timeout_s=timeout_s)
            if run.passed:
                return Judgement(False, True, code)
        return Judgement(False, False, completion)

    return judge


def _lenient_codes(completion: str, entry_point: str | None, *, continues: bool) -> list[str]:
    """Other texts that may be the code the completion meant, most likely first; at most two."""
    found: list[str] = []
    fences = _FENCE.findall(completion)
    code = max(fences, key=len) if fences else None
    whole = code if code is not None else completion
    defines = entry_point is not None and re.search(rf"^\s*(?:async\s+)?def\s+{entry_point}\b", whole, re.MULTILINE)
    if continues and defines:
        found.append("\n\n" + whole)
    elif code is not None:
        found.append(code)
    if continues and not defines:
        ended = _CONTINUATION_END.split("\n" + whole, maxsplit=1)[0].removeprefix("\n")
        # A first line that lost its indentation still starts the function's body.
        found += [ended] if ended.strip() else []
        if whole[:1] not in (" ", "\t", "\n") and not whole.startswith(("def ", "class ", "import ", "from ")):
            found.append("    " + whole.replace("\n", "\n    ") if "\n    " not in whole else "    " + whole)
    unique = [code for code in dict.fromkeys(found) if code != completion and code.strip()]
    return unique[:2]
