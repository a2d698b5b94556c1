r"""The layouts of tasks files, with a row of each. The first whose columns are there is taken (`LAYOUTS`, in order).

    native      {"id": "S-17", "prompt": "S:abcde=", "answer": "bcdea", "verifier": {"type": "exact"},
                 "demos": ["X|bcdea"], "pairs": [{"chosen": "bcdea", "rejected": "edcba"}], "tags": ["S"]}
    verl        {"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "..."}],
                 "reward_model": {"style": "rule", "ground_truth": "72"}, "extra_info": {"split": "train", "index": 0}}
    math        {"problem": "What is $1+1$?", "solution": "... $\\boxed{2}$.", "answer": "2"}
    gsm8k       {"question": "How many ...?", "answer": "16 - 3 = 13\n#### 13"}
    boolq       {"question": "is it red", "passage": "...", "answer": true}
    answers     {"question": "Who ...?", "answers": ["Ann", "Ann Lee"]}
    verifiers   {"question": "How many ...?", "answer": "13", "info": {}}
    alpaca      {"instruction": "Add.", "input": "2, 2", "output": "The answer is 4."}
    sharegpt    {"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}
    messages    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}],
                 "answer": "4"}
    prompt      {"prompt": "Two plus two?", "completion": "4", "answer": "4"}

Programming tasks are in code.py, multiple choice in choices.py, preference data in pairs.py. Every layout also takes
the columns `verifier`, `tags`, `aliases` (further accepted answers) and an id (`IDS`). Several accepted answers may
stand wherever one may: any of them passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from posttrain_diag.tasks.problems import code, golds
from posttrain_diag.tasks.problems.cells import Reader
from posttrain_diag.tasks.problems.choices import CHOICES, CONTEXTS, with_context
from posttrain_diag.tasks.problems.drafts import Draft, Layout, gold, layout, optional, tags
from posttrain_diag.tasks.problems.named import IFEVAL
from posttrain_diag.tasks.problems.pairs import PAIRS
from posttrain_diag.tasks.problems.rows import is_missing
from posttrain_diag.types import Message

FROM_DEMO = "the answer was taken from the end of the demonstration"
YES_NO = "answers true and false are read as yes and no"


def _boxed_pattern(depth: int = 6) -> str:
    inner = r"[^{}]*+"
    for _ in range(depth):
        inner = rf"(?:[^{{}}]++|\{{{inner}\}})*+"
    return rf"\\f?boxed\s*\{{({inner})\}}"


BOXED: Mapping[str, Any] = {"type": "regex", "pattern": _boxed_pattern(), "compare": "latex"}
r"""The verifier of the last \boxed{...}, compared up to spelling: for answers that cannot be read as mathematics."""
MATH: Mapping[str, Any] = {"type": "math"}


def _native(row: Reader) -> Draft:
    prompt, messages = _prompt_or_messages(row)
    demos = row.texts("demos")
    completion = row.completion("completion", required=False)
    return Draft(prompt, messages, demos=demos or optional(completion), pairs=row.pairs("pairs"), **gold(row, "answer"))


def _verl(row: Reader) -> Draft:
    prompt, messages = row.prompt()
    reward = row.mapping("reward_model", required=True) or {}
    source = row.text("data_source", required=False)
    truth, style = reward.get("ground_truth"), reward.get("style", "rule")
    named = optional(source)
    try:
        test = code.code_tests_in(truth)
    except code.TestsError as error:
        row.bad_gold("reward_model.ground_truth", str(error))
        return Draft(prompt, messages, str(truth), tags=named)
    if test is not None:
        return Draft(prompt, messages, None, {"type": "code", "test": test}, tags=named)
    inner = Reader(reward, {})
    answer = gold(inner, "ground_truth")
    for _, problem in inner.problems:
        row.bad_gold("reward_model.ground_truth", problem)
    if answer["answer"] is None and style != "rule":
        row.bad_gold("reward_model.style", f"expected 'rule' with a ground_truth, got {style!r} without one")
    elif (source or "").lower() in code.SOURCES or row.get("ability") == "code":
        row.bad_gold("reward_model.ground_truth", f"expected tests of code for {source!r}, got {str(truth)[:60]!r}")
    worked = (row.mapping("extra_info") or {}).get("answer")
    demos = optional(worked) if isinstance(worked, str) and golds.hashed(worked) == answer["answer"] else ()
    return Draft(prompt, messages, demos=demos, tags=named, **answer)


def _math(row: Reader) -> Draft:
    from posttrain_diag.tasks.verifiers.math.verifier import is_gold

    solution = row.text("solution", required=row.get("answer") is None)
    answer = gold(row, "answer")
    if answer["answer"] is None and solution is not None:
        found = golds.boxed(solution)
        if found is None:
            row.bad_gold("solution", "expected a final \\boxed{answer} (or a column `answer`), got neither")
        else:
            answer["answer"] = found.answer
            row.remark(found.remark)
    labels = tags(row, "subject", "type", "level")
    problem = row.text("problem")
    verifier = MATH if is_gold(answer["answer"] or "", problem or "") else BOXED
    return Draft(problem, None, verifier=verifier, demos=optional(solution), tags=labels, **answer)


def _problem(row: Reader) -> Draft:
    question, messages = row.prompt("problem")
    return _worked(row, question, messages)


def _gsm8k(row: Reader) -> Draft:
    question, worked = row.text("question"), row.text("answer")
    final = golds.hashed(worked or "")
    if worked is not None and final is None:
        row.bad("answer", "expected a worked answer that ends in '#### number', got none")
    return Draft(with_context(row, question), None, final, {"type": "numeric"}, optional(worked))


def _boolq(row: Reader) -> Draft:
    question = row.text("question")
    given = row.get("answer" if row.get("answer") is not None else "label")
    truth = {"true": "yes", "1": "yes", "yes": "yes", "false": "no", "0": "no", "no": "no"}.get(str(given).lower())
    if truth is None:
        row.bad_gold("answer", f"expected true or false, got {given!r}")
    if question is not None:
        ended = question if question.rstrip().endswith("?") else f"{question.rstrip()}?"
        question = f"{ended} Answer yes or no."
    return Draft(with_context(row, question), None, truth)


def _question(row: Reader) -> Draft:
    prompt, messages = row.prompt("question")
    return _worked(row, with_context(row, prompt), messages)


def _worked(row: Reader, prompt: str | None, messages: tuple[Message, ...] | None) -> Draft:
    """A prompt with its answer, which may be worked out as in GSM8K, or a plain true or false."""
    value = row.get("answer")
    labels = tags(row, "subject", "type", "level")
    if isinstance(value, str) and (final := golds.hashed(value)) is not None:
        return Draft(prompt, messages, final, None, (value,), tags=labels)
    if isinstance(value, bool) and re.search(r"\btrue\b", prompt or "", re.IGNORECASE) is None:
        row.remark(YES_NO)
        return Draft(prompt, messages, "yes" if value else "no", tags=labels)
    solution = row.text("solution", required=False)
    return Draft(prompt, messages, demos=optional(solution), tags=labels, **gold(row, "answer"))


def _answers(question: str, answers: str) -> Callable[[Reader], Draft]:
    def read(row: Reader) -> Draft:
        prompt, messages = row.prompt(question)
        found = gold(row, answers, required=True, listed=True)
        return Draft(with_context(row, prompt) if messages is None else None, messages, **found)

    return read


def _alpaca(row: Reader) -> Draft:
    instruction = row.text("instruction")
    more = row.text("input", required=False) or row.text("context", required=False)
    prompt = instruction if more is None or instruction is None else f"{instruction}\n\n{more}"
    output = row.text("output" if row.get("output") is not None else "response", required=False)
    return _demonstrated(row, prompt, None, output)


def _sharegpt(row: Reader) -> Draft:
    return _demonstrated(row, None, *row.conversation("conversations"))


def _messages(row: Reader) -> Draft:
    return _demonstrated(row, None, *row.conversation("messages"))


def _prompt(row: Reader) -> Draft:
    prompt, messages = row.prompt()
    return _demonstrated(row, prompt, messages, row.completion("completion", required=False))


def _response(question: str, response: str) -> Callable[[Reader], Draft]:
    def read(row: Reader) -> Draft:
        prompt, messages = row.prompt(question)
        return _demonstrated(row, prompt, messages, row.completion(response, required=False))

    return read


def _input(row: Reader) -> Draft:
    prompt, messages = row.prompt("input")
    return Draft(prompt, messages, **gold(row, "target"))


def _demonstrated(row: Reader, prompt: str | None, messages: tuple[Message, ...] | None, demo: str | None) -> Draft:
    """A prompt with a demonstration and perhaps an answer; else the answer is what the demonstration marks as one."""
    answer = gold(row, "answer")
    if answer["answer"] is None and demo is not None and row.get("verifier") is None and not row.judged:
        found = golds.final_answer(demo)
        if found is not None:
            answer["answer"] = found.answer
            row.remark(FROM_DEMO)
            row.remark(found.remark)
    return Draft(prompt, messages, demos=optional(demo), **answer)


_NATIVE_USES = "prompt messages completion demos pairs source"
_CONTEXT = " ".join(CONTEXTS)
_LABELS = "subject type level"
LAYOUTS: dict[str, Layout] = {
    "native": layout("verifier prompt", _NATIVE_USES, _native),
    "native (chat)": layout("verifier messages", _NATIVE_USES, _native),
    "native (demos)": layout("prompt demos", _NATIVE_USES, _native),
    "native (pairs)": layout("prompt pairs", _NATIVE_USES, _native),
    "ifeval": layout("prompt instruction_id_list", "", _prompt, refused=IFEVAL),
    **code.CODE,
    "verl": layout("prompt reward_model", "data_source", _verl),
    **PAIRS,
    **CHOICES,
    "math": layout("problem solution", _LABELS, _math, "math: answers are compared as mathematics"),
    "problem": layout("problem answer", f"solution {_LABELS}", _problem),
    "gsm8k": layout(
        "question answer", _CONTEXT, _gsm8k, "gsm8k: the number after #### is compared with the last number"
    ),
    "boolq": layout("question passage answer", "", _boolq, "boolq: yes or no is asked for"),
    "boolq (super_glue)": layout("question passage label", "", _boolq, "boolq: yes or no is asked for"),
    "answers": layout("question answers", _CONTEXT, _answers("question", "answers")),
    "answers (golden)": layout("question golden_answers", _CONTEXT, _answers("question", "golden_answers")),
    "answers (possible)": layout("question possible_answers", _CONTEXT, _answers("question", "possible_answers")),
    "verifiers": layout("question answer", f"info solution {_CONTEXT} {_LABELS}", _question),
    "alpaca": layout("instruction output", "input", _alpaca),
    "dolly": layout("instruction response", "context", _alpaca),
    "sharegpt": layout("conversations", "", _sharegpt),
    "messages": layout("messages", "", _messages),
    "query": layout("query response", "", _response("query", "response")),
    "response": layout("prompt response", "", _response("prompt", "response")),
    "answers (prompt)": layout("prompt answers", "", _answers("prompt", "answers")),
    "input": layout("input target", "", _input),
    "prompt": layout("prompt", "completion", _prompt),
}
"""All layouts in the order of detection: a layout stands before those whose columns it includes."""

FIELDS = frozenset().union(*(each.uses for each in LAYOUTS.values())) | {"id"}
"""The fields that a mapping may name."""


def detect(columns: frozenset[str], answers: list[Any]) -> str | None:
    """The first layout whose columns are all there; None when no layout fits.

    Args:
        columns: the columns that the file has (after renaming).
        answers: the cells of the column `answer`: GSM8K is told from other questions by its ####, BoolQ by its truth.
    """
    for name, each in LAYOUTS.items():
        if not each.needs <= columns:
            continue
        if name == "gsm8k" and not any(isinstance(a, str) and golds.hashed(a) for a in answers):
            continue
        if name == "boolq" and not all(is_missing(a) or str(a).lower() in ("true", "false") for a in answers):
            continue
        return name
    return None


def _prompt_or_messages(row: Reader) -> tuple[str | None, tuple[Message, ...] | None]:
    if row.get("prompt") is None and row.get("messages") is not None:
        return None, row.messages("messages")
    return row.prompt()
