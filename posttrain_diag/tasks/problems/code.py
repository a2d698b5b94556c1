r"""Layouts of programming tasks: the completion's code must pass tests.

    humaneval   {"task_id": "HumanEval/0", "prompt": "def f(x):\n", "entry_point": "f",
                 "canonical_solution": "    return x\n",
                 "test": "def check(candidate):\n    assert candidate(1) == 1\n"}
    mbpp        {"task_id": 1, "text": "Write a function ...", "code": "def f(x): ...",
                 "test_list": ["assert f(1) == 2"]}
    mbpp+       the same with "test": the longer tests of EvalPlus, which must pass too
    cruxeval    {"code": "def f(x):\n    return x", "input": "1", "output": "1", "id": "sample_0"}
    apps        {"question": "...", "input_output": "{\"fn_name\": \"f\", \"inputs\": [[1]], \"outputs\": [1]}",
                 "solutions": "[...]"}

verl keeps such tests in its ground truth (`code_tests_in`): asserts, or inputs and outputs of a function. Programs
that read standard input cannot be run by the code verifier and are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from posttrain_diag.tasks.problems.cells import Reader, shown
from posttrain_diag.tasks.problems.drafts import Draft, Layout, gold, layout, optional

SOURCES = frozenset({"apps", "codecontests", "codeforces", "taco", "livecodebench", "code"})
"""Names of verl's data sources whose ground truth is tests."""
_STDIN = (
    "expected asserts, or inputs and outputs with fn_name, got a program's standard input and output, which the code "
    "verifier cannot run: give --verifier path.py:function (verl's compute_score is understood)"
)
_ASSERT = re.compile(r"^\s*assert\b", re.MULTILINE)
_CALLS = """import json as _json
_call = getattr(Solution(), {name!r}) if "Solution" in globals() else globals()[{name!r}]
for _given, _wanted in _json.loads({cases!r}):
    _got = _json.loads(_json.dumps(_call(*_given)))
    assert _got == _wanted or [_got] == _wanted, (_given, _got, _wanted)
"""


class TestsError(ValueError):
    """Tests that the code verifier cannot run; the message says why. Internal: readers note it as a bad cell."""

    __test__ = False


def code_tests_in(ground_truth: Any) -> str | None:
    """The tests that a ground truth holds, as code; None where it holds an answer to compare with.

    Raises:
        TestsError: it holds tests in a form that cannot be run.
    """
    value = ground_truth
    if isinstance(value, str):
        if _ASSERT.search(value) is not None:
            return value
        try:
            value = json.loads(value) if value.lstrip()[:1] in ("{", "[") else None
        except (json.JSONDecodeError, RecursionError):
            return None
    if isinstance(value, list):
        lines = cast("list[Any]", value)
        asserts = lines and all(isinstance(line, str) and line.lstrip().startswith("assert") for line in lines)
        return "\n".join(lines) if asserts else None
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, Any]", value)
    cases = fields.get("assert_case") or fields.get("test_list")
    if isinstance(cases, list):
        return "\n".join([str(fields.get("import_prefix") or ""), *map(str, cast("list[Any]", cases))]).strip()
    if isinstance(fields.get("functional"), str):
        return fields["functional"]
    return _calls(fields) if "inputs" in fields and "outputs" in fields else None


def _calls(fields: Mapping[str, Any]) -> str:
    """Tests that call a function with inputs and compare what it returns with outputs."""
    name, inputs, outputs = fields.get("fn_name"), fields["inputs"], fields["outputs"]
    if not isinstance(name, str) or not name.isidentifier():
        raise TestsError(_STDIN)
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or not inputs:
        raise TestsError(f"expected as many outputs as inputs, got {shown(inputs)} and {shown(outputs)}")
    cases = [
        [_arguments(given), _value(wanted)]
        for given, wanted in zip(cast("list[Any]", inputs), cast("list[Any]", outputs), strict=True)
    ]
    return _CALLS.format(name=name, cases=json.dumps(cases))


def _arguments(given: Any) -> list[Any]:
    """A call's arguments: a list of them, or a text with one per line as JSON (LiveCodeBench)."""
    if isinstance(given, list):
        return cast("list[Any]", given)
    if isinstance(given, str):
        return [_value(line) for line in given.splitlines()]
    return [given]


def _value(text: Any) -> Any:
    if isinstance(text, str):
        try:
            return json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            return text
    return text


def _humaneval(row: Reader) -> Draft:
    prompt, test, entry_point = row.text("prompt"), row.text("test"), row.text("entry_point")
    verifier = {"type": "code", "test": test, "entry_point": entry_point}
    return Draft(prompt, None, None, verifier, optional(row.text("canonical_solution", required=False)))


def _mbpp(row: Reader) -> Draft:
    text = row.text("text" if row.get("text") is not None else "prompt")
    listed = row.texts("test_list")
    if not listed:
        row.bad_gold("test_list", "expected at least one test, got none")
    before = [row.text("test_setup_code", required=False) or "", *row.texts("test_imports")]
    more = row.text("test", required=False)
    tests = [*(code for code in before if code), *listed, *optional(more)]
    prompt = f"{text}\nYour code should pass these tests:\n\n" + "\n".join(listed) + "\n"
    verifier = {"type": "code", "test": "\n".join(tests)}
    return Draft(prompt, None, None, verifier, optional(row.text("code", required=False)))


def _cruxeval(row: Reader) -> Draft:
    code, given = row.text("code"), row.text("input", required=False) or ""
    output = gold(row, "output", required=True)
    return Draft(f"{code}\n\nassert f({given}) ==", None, verifier={"type": "literal"}, **output)


def _apps(row: Reader) -> Draft:
    question, starter = row.text("question"), row.text("starter_code", required=False)
    test = None
    try:
        test = code_tests_in(row.get("input_output"))
        if test is None:
            row.bad_gold("input_output", f"expected inputs, outputs and fn_name, got {shown(row.get('input_output'))}")
    except TestsError as error:
        row.bad_gold("input_output", str(error))
    solutions = row.json("solutions")
    listed = cast("list[Any]", solutions) if isinstance(solutions, list) else []
    demos = tuple(code for code in listed[:1] if isinstance(code, str) and code.strip())
    prompt = None if question is None else question if starter is None else f"{question}\n\n{starter}"
    return Draft(prompt, None, None, None if test is None else {"type": "code", "test": test}, demos)


_SETUP = "test_setup_code test_imports test"
CODE: dict[str, Layout] = {
    "humaneval": layout("prompt entry_point test", "canonical_solution", _humaneval),
    "mbpp": layout("text code test_list", _SETUP, _mbpp),
    "mbpp (sanitized)": layout("prompt code test_list", _SETUP, _mbpp),
    "apps": layout("question input_output", "solutions starter_code", _apps),
    "cruxeval": layout("code input output", "", _cruxeval, "cruxeval: the task is to predict the output"),
}
"""Layouts of programming tasks."""
