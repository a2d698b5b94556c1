"""Completions whose verdict is known: what a sound verifier must pass, and what it must fail.

They are how an instrument is checked before anything is measured with it.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from dataclasses import replace

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks.problems.altered import altered_code, altered_json, altered_literal
from posttrain_diag.tasks.verifiers.any_of import ways
from posttrain_diag.tasks.verifiers.choice import gold_letter, prompt_options
from posttrain_diag.tasks.verifiers.compare import COMPARES, SYNONYMS
from posttrain_diag.tasks.verifiers.numbers import iter_numbers, lone_number, same_number
from posttrain_diag.tasks.verifiers.reading.demand import demanded_form, demanded_tag
from posttrain_diag.tasks.verifiers.spec import compares_with_answer, judges_code, verify
from posttrain_diag.tasks.verifiers.text import fold, same_leniently
from posttrain_diag.types import Problem

_WRAPPINGS = ("{}", "#### {}", "\\boxed{{{}}}", "The answer is {}", "Answer: {}", "<answer>{}</answer>", "|{}", "= {}")
_KEY = re.compile(r"""(?:["'`]|\bkeys?\s+["'`]?)([A-Za-z_]\w{0,30})\b""")
_GROUP = re.compile(r"(?<!\\)\((?!\?)")
_ESCAPES = re.compile(r"\\s[*+?]?|\\n|\\([^A-Za-z0-9])|(?<!\\)[\^$]")


def reference_completions(problem: Problem) -> tuple[str, ...]:
    """Texts that a sound verifier must pass.

    The demonstrations where there are any; else a completion made from the answer in a form that the verifier reads.
    Empty when neither exists (a test without a solution, a pattern that no known form fits): then nothing can be said.
    """
    if problem.demos:
        return problem.demos
    if problem.answer is None:
        return ()
    if problem.verifier.get("type") == "any":
        return next((found for way in ways(problem) if (found := reference_completions(way))), ())
    if problem.verifier.get("type") == "math":
        return (f"\\boxed{{{problem.answer}}}",)
    if not compares_with_answer(problem.verifier):
        return (problem.answer,)
    if problem.verifier.get("type") != "regex":
        return (_in_demanded_form(problem, problem.answer),)
    forms = [*_WRAPPINGS, *_forms_of_pattern(str(problem.verifier.get("pattern", "")))]
    for form in forms:
        completion = form.format(problem.answer)
        if verify(completion, problem).strict:
            return (completion,)
    return ()


def _in_demanded_form(problem: Problem, answer: str) -> str:
    """The answer in the form that the prompt asks for; bare where it asks for none, or none that is known passes."""
    demanded = demanded_form(problem.prompt_text)
    if demanded in (None, "bare"):
        return answer
    tag = demanded_tag(problem.prompt_text)
    forms = [*_WRAPPINGS, *([f"<{tag}>{{}}</{tag}>"] if tag else [])]
    texts = [answer, *(form.format(answer) for form in forms), *_as_json(problem, answer)]
    return next((text for text in texts if verify(text, problem).strict), answer)


def _as_json(problem: Problem, answer: str) -> list[str]:
    """JSON objects that give the answer, under the names that the prompt puts in quotes, and under `answer`."""
    names = dict.fromkeys((*_KEY.findall(problem.prompt_text), "answer"))
    return [json.dumps({name: answer}, ensure_ascii=False) for name in names]


def corrupted_completions(problem: Problem, others: Sequence[Problem]) -> tuple[str, ...]:
    """Texts that a sound verifier must fail, the same at every call.

    They are: another problem's reference with a different answer; nothing at all; the prompt, unless the answer stands
    in it; the problem's own reference with the answer altered.

    Args:
        problem: the problem whose verifier is put to the test.
        others: problems to borrow from; the first with a different answer is used.
    """
    found: list[str] = []
    for other in others:
        if other.id != problem.id and all(_differs(way, other) for way in ways(problem)):
            found += reference_completions(other)[:1]
            break
    found.append("")
    if not _gives_away(problem):
        found.append(problem.prompt_text)
    altered = altered_answer(problem)
    if altered is not None:
        found += in_reference(problem, altered)
    elif problem.demos and judges_code(problem.verifier):
        found.append(re.sub(r"\breturn\b[^\n]*", "return NotImplemented", problem.demos[0]))
        found += altered_code(problem)
    own = set(reference_completions(problem))
    return tuple(text for text in dict.fromkeys(found) if text not in own)


def accepts(problem: Problem, answer: str) -> bool:
    """Whether a text is one of the accepted answers, compared as answers and not as completions."""
    return any(way.answer is not None and not _differs(way, replace(way, answer=answer)) for way in ways(problem))


def in_reference(problem: Problem, answer: str) -> list[str]:
    """The problem's reference with another answer in the place of its own; nothing where its own stands nowhere."""
    if problem.demos:
        return _altered_demo(problem, answer)
    return list(reference_completions(replace(ways(problem)[0], answer=answer))[:1])


def altered_answer(problem: Problem) -> str | None:
    """A wrong answer of the same kind: the next number, the next option, one character changed; None without answer."""
    problem = ways(problem)[0]
    answer = problem.answer
    if answer is None or not answer.strip():
        return None
    kind = problem.verifier.get("type")
    if kind == "choice":
        return _next_option(problem)
    if kind in ("literal", "json"):
        changed = altered_literal(answer) if kind == "literal" else altered_json(answer)
        if changed is not None:
            return changed
    number = lone_number(answer)
    if kind == "math" and number is None:
        from posttrain_diag.tasks.verifiers.math.respell import near_misses

        misses = near_misses(answer, problem.prompt_text)
        return misses[0][1] if misses else f"{answer} + 1"
    if number is not None and number.value is not None:
        value = number.value + 1
        return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    for i in range(len(answer) - 1, -1, -1):
        if answer[i].isalnum():
            changed = answer[:i] + _other_character(answer[i]) + answer[i + 1 :]
            return changed if not same_leniently(changed, answer) else answer + "x"
    return answer + "x"


def _differs(problem: Problem, other: Problem) -> bool:
    """Whether the other problem's reference is wrong here. Tests differ when their code does."""
    if problem.answer is not None and other.answer is not None:
        kind = str(problem.verifier.get("type"))
        if kind == "json":
            return altered_json(other.answer) is None or json.loads(other.answer) != json.loads(problem.answer)
        if kind == "math":
            from posttrain_diag.tasks.verifiers.math.verifier import same_answer

            return same_answer(problem.answer, other.answer, problem.prompt_text).same is False
        how = kind if kind == "literal" else str(problem.verifier.get("compare"))
        compared = COMPARES.get(SYNONYMS.get(how, how))
        same = compared is not None and compared(other.answer, problem.answer)
        return not same and not same_leniently(other.answer, problem.answer)
    return problem.verifier != other.verifier


def _gives_away(problem: Problem) -> bool:
    """Whether the prompt already holds the answer, as text or as a number."""
    if problem.answer is None:
        return False
    number = lone_number(problem.answer)
    if number is not None:
        return any(same_number(found, number, lenient=True) for found in iter_numbers(problem.prompt_text))
    return fold(problem.answer) in fold(problem.prompt_text)


def _altered_demo(problem: Problem, altered: str) -> list[str]:
    """The first demonstration with every occurrence of the answer altered; nothing where it does not occur."""
    demo, answer = problem.demos[0], problem.answer or ""
    number = lone_number(answer)
    if number is not None:
        parts: list[str] = []
        end = 0
        for found in iter_numbers(demo):
            if same_number(found, number):
                parts += [demo[end : found.start], altered]
                end = found.end
        return ["".join([*parts, demo[end:]])] if parts else []
    if len(answer) == 1:
        changed = re.sub(rf"(?<!\w){re.escape(answer)}(?!\w)", lambda _: altered, demo)
    else:
        changed = demo.replace(answer, altered)
    return [changed] if changed != demo else []


def _next_option(problem: Problem) -> str | None:
    options = problem.verifier.get("options")
    letters = (
        list(map(str, options))
        if isinstance(options, dict)
        else list(string.ascii_uppercase[: len(options)])
        if isinstance(options, list)
        else list(prompt_options(problem.prompt_text)) or list(string.ascii_uppercase[:4])
    )
    try:
        right = gold_letter(problem, {} if options is None else dict.fromkeys(letters, ""))
    except VerifierError:
        return None
    at = letters.index(right) if right in letters else -1
    return letters[(at + 1) % len(letters)]


def _other_character(char: str) -> str:
    if char.isdigit():
        return str((int(char) + 1) % 10) if char.isascii() else "0"
    if not char.isascii():
        return "x"
    letters = string.ascii_uppercase if char.isupper() else string.ascii_lowercase
    return letters[(letters.index(char) + 1) % 26]


def _forms_of_pattern(pattern: str) -> list[str]:
    """Completions a pattern suggests: its plain text around the first group."""
    match = _GROUP.search(pattern)
    if match is None:
        return []
    depth, end = 1, match.end()
    while end < len(pattern) and depth:
        depth += {"(": 1, ")": -1}.get(pattern[end], 0) if pattern[end - 1] != "\\" else 0
        end += 1
    before, after = _plain_text(pattern[: match.start()]), _plain_text(pattern[end:])
    return [before + "{}" + after, before + "{}", before + "{}."]


def _plain_text(pattern: str) -> str:
    """Text that a piece of pattern without classes matches, as a format string."""
    text = _ESCAPES.sub(lambda m: m[1] or (" " if m[0].endswith("+") else ""), pattern)
    return re.sub(r"\(\?:([^|()]*)\|?[^()]*\)", r"\1", text).replace("{", "{{").replace("}", "}}")
