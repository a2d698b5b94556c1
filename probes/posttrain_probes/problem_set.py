"""Instrument checks on the problems: repeated, contradictory, all of one answer, or with the answer in the prompt."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from posttrain_diag.evidence import Evidence
from posttrain_diag.tasks import compares_with_answer, verify
from posttrain_diag.tasks.verifiers.final import answer, same_answer
from posttrain_diag.tasks.verifiers.text import fold
from posttrain_diag.types import Finding, Problem
from posttrain_probes.estimates import share_estimate

CONFLICT_BROKEN = 0.05
"""Share of problems with a contradicted gold: at least half of them cannot be right, as with golds that fail."""
REPEATED_SUSPECT = 0.2
"""Share of problems that repeat an earlier prompt, from which on it is more than a note."""
MIN_PROBLEMS = 8
ONE_ANSWER_SUSPECT, ONE_ANSWER_BROKEN = 0.75, 0.9
"""Share of the problems that the most common gold solves."""
LEAK_PROBLEMS = 200
LEAK_SHARE = 0.2
"""The prompt must pass as a completion on this share of the problems more than it does with other problems' answers."""
COPY_SUSPECT, COPY_BROKEN = 0.2, 0.5
"""Share of the passing draws that copy their prompt."""
COPIED_CHARS = 40
"""A draw copies when it holds the last so many characters of its prompt."""
_SHORT_PROMPT = 12
_MARKUP = re.compile(
    r"<\|(?:im_start|im_end|begin_of_text|start_header_id|eot_id|user|assistant|system)\|>|\[/?INST\]|<<SYS>>"
    r"|<start_of_turn>|^\s*(?:<s>|<bos>|<\|startoftext\|>)",
)


def repeated_problems(evidence: Evidence) -> Finding | None:
    """Prompts that stand in the tasks under several ids: there are fewer independent problems than it looks."""
    groups = [ids for ids in _by_prompt(evidence).values() if len(ids) > 1]
    repeats, total = sum(len(ids) - 1 for ids in groups), len(evidence.problems)
    if not repeats:
        return None
    named = tuple(key for ids in groups for key in ids)
    return Finding(
        "duplicate_problems",
        "suspect" if repeats >= REPEATED_SUSPECT * total else "note",
        share_estimate(repeats, total, level=evidence.settings.level),
        named,
        f"{repeats} of {total} problems repeat the prompt of an earlier one: the verdict counts {total - repeats} "
        "different problems. Check the column that the prompt comes from, and drop the copies.",
    )


def contradicted_golds(evidence: Evidence) -> Finding | None:
    """Prompts that occur with different golds, which no model can pass all."""
    named: list[str] = []
    for ids in _by_prompt(evidence).values():
        problems = [evidence.problems[key] for key in ids]
        golds = [answer(p.answer) for p in problems if p.answer and compares_with_answer(p.verifier)]
        if any(not same_answer(golds[0], gold) for gold in golds[1:]):
            named += ids
    if not named:
        return None
    total = len(evidence.problems)
    return Finding(
        "gold_fails",
        "broken" if len(named) >= CONFLICT_BROKEN * total else "suspect",
        share_estimate(len(named), total, level=evidence.settings.level),
        tuple(named),
        f"{len(named)} of {total} problems share their prompt with another problem and have different golds: no model "
        "can pass all of them. Check the columns that prompt and answer come from, or merge the golds.",
    )


def _by_prompt(evidence: Evidence) -> dict[str, list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for key, problem in evidence.problems.items():
        if problem.prompt_text.strip():
            groups[problem.prompt_text.strip()].append(key)
    return groups


def one_answer(evidence: Evidence) -> Finding | None:
    """Golds that are nearly all the same, so that a constant answer passes."""
    problems = [p for p in evidence.problems.values() if p.answer and compares_with_answer(p.verifier)]
    if len({problem.prompt_text for problem in problems}) < MIN_PROBLEMS:
        return None
    golds = Counter(answer(problem.answer or "").core for problem in problems)
    common, number = golds.most_common(1)[0]
    if number < ONE_ANSWER_SUSPECT * len(problems):
        return None
    return Finding(
        "degenerate",
        "broken" if number >= ONE_ANSWER_BROKEN * len(problems) else "suspect",
        share_estimate(number, len(problems), level=evidence.settings.level),
        tuple(p.id for p in problems if answer(p.answer or "").core == common),
        f"{number} of {len(problems)} golds are {common[:60]!r}: always answering so passes, and training would learn "
        "just that. Check the answer column, or balance the tasks.",
    )


def answer_in_prompt(evidence: Evidence) -> Finding | None:
    """Prompts that pass as their own completion, and draws that pass by copying them."""
    problems = [p for p in evidence.problems.values() if p.answer and compares_with_answer(p.verifier)]
    problems = problems[:: max(1, -(-len(problems) // LEAK_PROBLEMS))]
    if len(problems) < MIN_PROBLEMS:
        return None
    own = {p.id for p in problems if verify(_repeated(p), p).strict}
    if len(own) < LEAK_SHARE * len(problems):
        return None
    copies, passing = _copies(evidence, own)
    if copies >= max(MIN_PROBLEMS, COPY_SUSPECT * passing):
        return Finding(
            "degenerate",
            "broken" if copies >= COPY_BROKEN * passing else "suspect",
            share_estimate(copies, passing, level=evidence.settings.level),
            tuple(sorted(own)),
            f"{copies} of {passing} passing draws repeat their prompt, which holds the answer: the verifier passes "
            "copies. Compare the final answer alone (exact, or a regex with a group).",
        )
    moved = problems[1:] + problems[:1]
    others = sum(verify(_repeated(q), p).strict for p, q in zip(problems, moved, strict=True))
    leak = len(own) - others
    if leak < LEAK_SHARE * len(problems) or all(p.verifier.get("type") == "contains" for p in problems):
        return None  # a passage that holds its answer somewhere is a reading task
    return Finding(
        "degenerate",
        "suspect",
        share_estimate(leak, len(problems), level=evidence.settings.level),
        tuple(sorted(own)),
        f"The prompt itself passes the verifier on {len(own)} of {len(problems)} problems: the answer stands where the "
        "verifier looks for it, and repeating it is enough. Take the answer out of the prompts.",
    )


def _repeated(problem: Problem) -> str:
    """A prompt as a model quotes it; an exact echo of their prompt is no answer to verifiers."""
    return f"I read: {problem.prompt_text}"


def _copies(evidence: Evidence, ids: set[str]) -> tuple[int, int]:
    """How many passing draws hold the end of their prompt, and how many passing draws there are."""
    rows = evidence.arm("main")
    rows = rows[rows["verdict"] == "pass"]
    tails = {key: fold(evidence.problems[key].prompt_text)[-COPIED_CHARS:] for key in ids}
    tails = {key: tail for key, tail in tails.items() if len(tail) >= _SHORT_PROMPT}
    here = rows[rows["problem_id"].isin(tails)]
    texts = here.groupby(["problem_id", "text"], sort=False).size()
    copied = (int(n) for (key, text), n in zip(texts.index, texts, strict=True) if tails[str(key)] in fold(str(text)))
    return sum(copied), len(rows)


def markup_in_prompts(evidence: Evidence) -> Finding | None:
    """Prompts that carry chat markup already while a template is put around them."""
    model = evidence.model
    if model is None or model.chat_template_sha is None:
        return None
    marked = [p.id for p in evidence.problems.values() if any(_MARKUP.search(text) for text in _texts(p))]
    if len(marked) < REPEATED_SUSPECT * len(evidence.problems):
        return None
    return Finding(
        "template",
        "suspect",
        share_estimate(len(marked), len(evidence.problems), level=evidence.settings.level),
        tuple(marked),
        f"{len(marked)} of {len(evidence.problems)} prompts hold chat markup or a BOS token already, and a template is "
        "put around them. Take it out of the tasks, or use --no-chat-template and no --template.",
    )


def _texts(problem: Problem) -> tuple[str, ...]:
    if problem.messages is None:
        return (problem.prompt_text,)
    return tuple(str(message.get("content", "")) for message in problem.messages)
