r"""The layouts of tasks files, with a row of each. The first whose columns are there is taken (`LAYOUTS`, in order).

    native      {"id": "S-17", "prompt": "S:abcde=", "answer": "bcdea", "verifier": {"type": "exact"},
                 "demos": ["X|bcdea"], "pairs": [{"chosen": "bcdea", "rejected": "edcba"}], "tags": ["S"]}
    humaneval   {"task_id": "HumanEval/0", "prompt": "def f(x):\n", "entry_point": "f",
                 "canonical_solution": "    return x\n",
                 "test": "def check(candidate):\n    assert candidate(1) == 1\n"}
    mbpp        {"task_id": 1, "text": "Write a function ...", "code": "def f(x): ...",
                 "test_list": ["assert f(1) == 2"]}
    verl        {"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "..."}],
                 "reward_model": {"style": "rule", "ground_truth": "72"}, "extra_info": {"split": "train", "index": 0}}
    unpaired    {"prompt": "Two plus two?", "completion": "4", "label": true, "answer": "4"}
    preference  {"prompt": "Two plus two?", "chosen": "4", "rejected": "5", "answer": "4"}
    cruxeval    {"code": "def f(x):\n    return x", "input": "1", "output": "1", "id": "sample_0"}
    math        {"problem": "What is $1+1$?", "solution": "... $\\boxed{2}$.", "answer": "2"}
    gsm8k       {"question": "How many ...?", "answer": "16 - 3 = 13\n#### 13"}
    verifiers   {"question": "How many ...?", "answer": "13", "info": {}}
    messages    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}],
                 "answer": "4"}
    prompt      {"prompt": "Two plus two?", "completion": "4", "answer": "4"}

Every layout also takes the columns `verifier`, `tags` and an id (`IDS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from posttrain_diag.tasks.problems.cells import Reader
from posttrain_diag.tasks.verifiers.text import last_boxed
from posttrain_diag.types import Message, Pair

IDS = ("id", "task_id", "unique_id", "problem_id", "example_id", "uid", "name")
"""Columns that name a row, first one first."""
COMMON = frozenset({"verifier", "tags", "answer"})


def _boxed_pattern(depth: int = 6) -> str:
    inner = r"[^{}]*+"
    for _ in range(depth):
        inner = rf"(?:[^{{}}]++|\{{{inner}\}})*+"
    return rf"\\f?boxed\s*\{{({inner})\}}"


BOXED: Mapping[str, Any] = {"type": "regex", "pattern": _boxed_pattern(), "compare": "latex"}
"""The last \\boxed{...}, compared up to spelling: for answers that cannot be read as mathematics."""
MATH: Mapping[str, Any] = {"type": "math"}


@dataclass(frozen=True)
class Draft:
    """What a layout read from a row; `verifier` is None where the file has to decide."""

    prompt: str | None
    messages: tuple[Message, ...] | None
    answer: str | None = None
    verifier: Mapping[str, Any] | None = None
    demos: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One way to lay out tasks in columns."""

    needs: frozenset[str]
    """Columns that must be there."""
    uses: frozenset[str]
    """Columns that are read when they are there."""
    read: Callable[[Reader], Draft]
    note: str = ""
    """What a reader of the results must know about the choices made here."""


def _native(row: Reader) -> Draft:
    prompt, messages = _prompt_or_messages(row)
    demos = row.texts("demos")
    completion = row.completion("completion", required=False)
    return Draft(
        prompt,
        messages,
        row.answer("answer"),
        None,
        demos or ((completion,) if completion else ()),
        row.pairs("pairs"),
    )


def _humaneval(row: Reader) -> Draft:
    prompt, test, entry_point = row.text("prompt"), row.text("test"), row.text("entry_point")
    verifier = {"type": "code", "test": test, "entry_point": entry_point}
    return Draft(prompt, None, None, verifier, _optional(row.text("canonical_solution", required=False)))


def _mbpp(row: Reader) -> Draft:
    text = row.text("text" if row.get("text") is not None else "prompt")
    tests = row.texts("test_list")
    if not tests:
        row.bad("test_list", "expected at least one test, got none")
    before = [row.text("test_setup_code", required=False) or "", *row.texts("test_imports")]
    more = row.text("test", required=False)
    parts = [*(code for code in before if code), *tests, *([more] if more else [])]
    verifier = {"type": "code", "test": "\n".join(parts)}
    prompt = f"{text}\nYour code should pass these tests:\n\n" + "\n".join(tests) + "\n"
    return Draft(prompt, None, None, verifier, _optional(row.text("code", required=False)))


def _verl(row: Reader) -> Draft:
    prompt, messages = row.prompt()
    reward = row.mapping("reward_model", required=True) or {}
    inner = Reader(reward, {})
    answer = inner.answer("ground_truth")
    for _, problem in inner.problems:
        row.bad("reward_model.ground_truth", problem)
    style = reward.get("style", "rule")
    if style != "rule" and answer is None:
        row.bad("reward_model.style", f"expected 'rule' with a ground_truth, got {style!r} without one")
    return Draft(prompt, messages, answer, tags=_optional(row.text("data_source", required=False)))


def _unpaired(row: Reader) -> Draft:
    prompt, messages = row.prompt()
    completion = row.completion("completion") or ""
    label = row.get("label")
    label = {"true": True, "false": False, "1": True, "0": False}.get(str(label).lower())
    if label is None:
        row.bad("label", f"expected true or false, got {row.get('label')!r}")
    # A rejected completion waits in `pairs` until the rows of one prompt are merged.
    pairs = () if label else (Pair("", completion),)
    return Draft(prompt, messages, row.answer("answer"), None, (completion,) if label else (), pairs)


def _preference(row: Reader) -> Draft:
    pair = Pair(row.completion("chosen") or "", row.completion("rejected") or "")
    if row.get("prompt") is not None:
        prompt, messages = row.prompt()
    else:
        turns = row.messages("chosen")
        prompt, messages = None, None if turns is None else turns[:-1]
        if not messages:
            row.bad("prompt", "expected a prompt, or messages in `chosen` that begin with one")
    return Draft(prompt, messages, row.answer("answer"), None, (), (pair,))


def _cruxeval(row: Reader) -> Draft:
    code, given = row.text("code"), row.text("input", required=False) or ""
    output = row.answer("output", required=True)
    return Draft(f"{code}\n\nassert f({given}) ==", None, output, {"type": "literal"})


def _math(row: Reader) -> Draft:
    solution = row.text("solution")
    answer = row.answer("answer")
    if answer is None and solution is not None:
        answer = last_boxed(solution)
        if answer is None:
            row.bad("solution", "expected a final \\boxed{answer} (or a column `answer`), got neither")
    tags = tuple(str(row.get(k)) for k in ("subject", "type", "level") if row.get(k) is not None)
    from posttrain_diag.tasks.verifiers.math.verifier import is_gold

    problem = row.text("problem")
    verifier = MATH if is_gold(answer or "", problem or "") else BOXED
    return Draft(problem, None, answer, verifier, _optional(solution), tags=tags)


def _gsm8k(row: Reader) -> Draft:
    question, worked = row.text("question"), row.text("answer")
    _, mark, final = (worked or "").rpartition("####")
    if worked is not None and not (mark and final.strip()):
        row.bad("answer", "expected a worked answer that ends in '#### number', got none")
    return Draft(question, None, final.strip() or None, {"type": "numeric"}, _optional(worked))


def _verifiers(row: Reader) -> Draft:
    prompt, messages = row.prompt("question")
    return Draft(prompt, messages, row.answer("answer"))


def _messages(row: Reader) -> Draft:
    turns = row.messages("messages") or ()
    demo = turns[-1]["content"] if turns and turns[-1]["role"] == "assistant" else None
    prompt = turns[:-1] if demo is not None else turns
    if turns and not prompt:
        row.bad("messages", "expected a user's message before the assistant's, got none")
    return Draft(None, prompt, row.answer("answer"), None, _optional(demo))


def _prompt(row: Reader) -> Draft:
    prompt, messages = row.prompt()
    return Draft(prompt, messages, row.answer("answer"), None, _optional(row.completion("completion", required=False)))


def _layout(needs: str, uses: str, read: Callable[[Reader], Draft], note: str = "") -> Layout:
    columns = frozenset(needs.split())
    return Layout(columns, columns | frozenset(uses.split()) | COMMON, read, note)


_NATIVE_USES = "prompt messages completion demos pairs source"
LAYOUTS: dict[str, Layout] = {
    "native": _layout("verifier prompt", _NATIVE_USES, _native),
    "native (chat)": _layout("verifier messages", _NATIVE_USES, _native),
    "native (demos)": _layout("prompt demos", _NATIVE_USES, _native),
    "native (pairs)": _layout("prompt pairs", _NATIVE_USES, _native),
    "humaneval": _layout("prompt entry_point test", "canonical_solution", _humaneval),
    "mbpp": _layout("text code test_list", "test test_setup_code test_imports", _mbpp),
    "mbpp (sanitized)": _layout("prompt code test_list", "test test_setup_code test_imports", _mbpp),
    "verl": _layout("prompt reward_model", "data_source", _verl),
    "unpaired": _layout("prompt completion label", "", _unpaired),
    "preference": _layout("chosen rejected", "prompt", _preference),
    "cruxeval": _layout("code input output", "", _cruxeval, "cruxeval: the task is to predict the output"),
    "math": _layout("problem solution", "subject type level", _math, "math: answers are compared as mathematics"),
    "gsm8k": _layout("question answer", "", _gsm8k, "gsm8k: the number after #### is compared with the last number"),
    "verifiers": _layout("question answer", "info", _verifiers),
    "messages": _layout("messages", "", _messages),
    "prompt": _layout("prompt", "completion", _prompt),
}
"""Detection order matters: a layout stands before those whose columns it includes."""

FIELDS = frozenset().union(*(layout.uses for layout in LAYOUTS.values())) | {"id"}
"""Fields a mapping may name."""


def detect(columns: frozenset[str], answers: list[Any]) -> str | None:
    """The first layout whose columns are all there; None when no layout fits.

    Args:
        columns: the columns that the file has (after renaming).
        answers: the cells of the column `answer`: GSM8K is told from other questions by its ####.
    """
    for name, layout in LAYOUTS.items():
        if not layout.needs <= columns:
            continue
        if name == "gsm8k" and not any(isinstance(a, str) and "####" in a for a in answers):
            continue
        return name
    return None


def _prompt_or_messages(row: Reader) -> tuple[str | None, tuple[Message, ...] | None]:
    if row.get("prompt") is None and row.get("messages") is not None:
        return None, row.messages("messages")
    return row.prompt()


def _optional(text: str | None) -> tuple[str, ...]:
    return () if text is None else (text,)
