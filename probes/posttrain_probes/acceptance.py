"""Instrument checks on what the verifier accepts: corrupted references, other answers, answers of other problems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from posttrain_diag.evidence import Evidence
from posttrain_diag.tasks import compares_with_answer, corrupted_completions, verify
from posttrain_diag.tasks.reread import fairly_right
from posttrain_diag.tasks.verifiers.final import answer, mentions, same_answer
from posttrain_diag.types import Finding, Problem, Severity
from posttrain_probes.estimates import share_estimate

CORRUPTED_PROBLEMS = 200
"""Most problems whose corrupted references are judged."""
CODE_PROBLEMS = 20
"""Most problems whose corrupted references are judged where a verifier runs code."""
CODE_OTHERS = 4
"""Draws of other problems that a code verifier is asked to judge, per problem."""
GUESS_FLOOR = 0.05
"""Guessing is reported from this chance level on."""
GUESS_P = 0.01
"""A permutation p-value above this means that the passes are no better than chance."""
GUESS_MIN_PROBLEMS = 8
LUCK_PASSES = 10
"""Below GUESS_FLOOR, at least so many draws made for other problems must pass before luck is spoken of."""
KNOWN_SHARE = 0.5
"""Passes are luck when less than this share of them is left after the chance correction."""
OTHER_ANSWERS_SUSPECT, OTHER_ANSWERS_BROKEN = 0.1, 0.4
"""Share of the passing draws whose answer is not the gold one."""
OTHER_ANSWERS_MIN = 8


def accepts_corrupted(evidence: Evidence) -> Finding | None:
    """Corrupted references that the verifier lets pass."""
    problems = list(evidence.problems.values())
    code = [problem for problem in problems if not compares_with_answer(problem.verifier)]
    text = [problem for problem in problems if compares_with_answer(problem.verifier)]
    wrong: list[str] = []
    judged = 0
    for problem in (*_evenly(text, CORRUPTED_PROBLEMS), *_evenly(code, CODE_PROBLEMS)):
        texts = corrupted_completions(problem, problems[:200])
        judged += bool(texts)
        if any(verify(text, problem).strict for text in texts):
            wrong.append(problem.id)
    if not wrong:
        return None
    share = share_estimate(len(wrong), judged, level=evidence.settings.level)
    return Finding(
        "verifier_error",
        "broken" if len(wrong) > 0.1 * judged else "suspect" if len(wrong) > 0.02 * judged else "note",
        share,
        tuple(wrong),
        f"The verifier passes corrupted references on {len(wrong)} of {judged} problems (another problem's answer, an "
        "empty completion or the prompt itself). Make it stricter before believing any pass rate.",
    )


def _evenly(problems: Sequence[Problem], most: int) -> Sequence[Problem]:
    return problems[:: max(1, -(-len(problems) // most))]


def accepts_other_answers(evidence: Evidence) -> Finding | None:
    """Passing draws in which the gold answer stands nowhere as an answer: "17" where "7" is contained."""
    rows = evidence.arm("main")
    rows = rows[rows["verdict"] == "pass"]
    rows = rows[[_comparable(evidence.problems[str(key)]) for key in rows["problem_id"]]]
    if len(rows) < OTHER_ANSWERS_MIN:
        return None
    counts = rows.groupby(["problem_id", "text"], sort=False).size()
    other = [
        (str(key), str(text), int(n))
        for (key, text), n in zip(counts.index, counts, strict=True)
        if not _gives_gold(str(text), evidence.problems[str(key)])
    ]
    number, total = sum(n for *_, n in other), len(rows)
    if number < max(OTHER_ANSWERS_MIN, OTHER_ANSWERS_SUSPECT * total):
        return None
    key, text, _ = other[0]
    gold = evidence.problems[key].answer
    return Finding(
        "verifier_error",
        "broken" if number >= OTHER_ANSWERS_BROKEN * total else "suspect",
        share_estimate(number, total, level=evidence.settings.level),
        tuple(dict.fromkeys(key for key, *_ in other)),
        f"{number} of {total} passing draws do not give the gold answer: on {key!r} {text[-80:]!r} passes for {gold!r}."
        " The verifier accepts too much; compare the answer as a whole (exact, numeric or a regex with a group).",
    )


def _comparable(problem: Problem) -> bool:
    """Whether passing must mean that the gold answer stands in the completion."""
    spec = problem.verifier
    plain = spec.get("compare", "exact") in ("exact", "casefold", "numeric")
    return spec.get("type") in ("contains", "exact", "regex", "numeric") and plain and bool(problem.answer)


def _gives_gold(text: str, problem: Problem) -> bool:
    gold = problem.answer or ""
    if mentions(text, gold) or same_answer(answer(text.strip()), answer(gold)) or text in problem.demos:
        return True
    fair = fairly_right(problem, text)
    return fair is not None and fair.lenient


def guessable(evidence: Evidence) -> Finding | None:
    """Passes that are wholly or mostly luck.

    Whether there is any knowledge is tested by giving each problem the answers drawn for others. How much of the passes
    is luck is estimated within the problems (`stats.luck`).
    """
    floor = evidence.chance
    if floor is None or floor.floor.value is None:
        return None
    if (guessed := _guessed_in_substance(evidence)) is not None:
        return guessed
    chance, p_value, chosen = floor.floor.value, floor.p_value, evidence.chance_ids
    luck = luck_share(evidence)
    if chance < GUESS_FLOOR and (luck is None or luck <= 1 - KNOWN_SHARE):
        return None
    at_chance = chance >= GUESS_FLOOR and p_value > GUESS_P
    if at_chance:
        # few problems allow few permutations: then a large p is no evidence of guessing
        severity: Severity = "broken" if len(chosen) >= GUESS_MIN_PROBLEMS else "suspect"
        says = (
            f" and the model is not measurably better than that (permutation p = {p_value:.2g}): luck explains its "
            "passes, and pass@k grows by luck too. Use tasks with more possible answers, or judge the reasoning, "
            "before reading pass@k."
        )
    elif luck is not None and luck > 1 - KNOWN_SHARE and _passes_decide(evidence):
        severity = "suspect"
        says = (
            f". Wrong answers hit often enough to explain {luck:.0%} of the passes on problems that are not mastered: "
            "most of them are luck. Read the chance-corrected numbers, and use tasks with more possible answers, or "
            "judge the reasoning, before training on these rewards."
        )
    else:
        severity = "note"
        explains = "" if luck is None else f" ({luck:.0%} of the passes on problems that are not mastered)"
        says = (
            f"; the model is better than chance (permutation p = {p_value:.2g}), but what luck adds{explains} inflates "
            "pass@k at large k: read the chance-corrected numbers."
        )
    told = (
        f"Draws made for other problems pass {chance:.0%} of the time"
        if chance >= 0.01
        else (f"Draws made for other problems pass {chance:.2%} of the time")
    )
    return Finding("guessable", severity, floor.floor, () if severity == "note" else tuple(chosen), told + says)


def _guessed_in_substance(evidence: Evidence) -> Finding | None:
    """Right answers that fail for their form, and are no more frequent than draws of other problems are right."""
    floor = evidence.chance_in_substance
    if floor is None or floor.floor.value is None or floor.floor.value < GUESS_FLOOR or floor.p_value <= GUESS_P:
        return None
    chosen = tuple(evidence.chance_ids)
    return Finding(
        "guessable",
        "broken" if len(chosen) >= GUESS_MIN_PROBLEMS else "suspect",
        floor.floor,
        chosen,
        f"Most right answers fail for their form, and in substance draws made for other problems are right "
        f"{floor.floor.value:.0%} of the time: the model is not measurably better than that (permutation p = "
        f"{floor.p_value:.2g}), so a repair of the form would train it to guess in form. Use tasks with more possible "
        "answers, or judge the reasoning.",
    )


def _passes_decide(evidence: Evidence) -> bool:
    """Whether at least half of the problems that are not mastered pass at all: only then does luck decide a verdict."""
    luck = evidence.luck
    return luck is not None and bool((evidence.measured.loc[list(luck.ids), "c"] > 0).mean() >= 0.5)


def luck_share(evidence: Evidence) -> float | None:
    """Share of the passes on problems not mastered that answers to other problems explain; None where too few tell."""
    luck = evidence.luck
    if luck is None or luck.share_by_set.value is None or len(luck.ids) < GUESS_MIN_PROBLEMS:
        return None
    table = evidence.measured.loc[list(luck.ids)]
    if int(table["c"].sum()) < LUCK_PASSES or luck.rate * float(table["n"].sum()) < LUCK_PASSES:
        return None
    return luck.share_by_set.value


def accepts_others_by_code(evidence: Evidence) -> Finding | None:
    """Draws of other problems that a callable lets pass here.

    Only some draws are tried, because a callable's rewards may cost a process or a call each. Tests of code are left to
    the corrupted references: another problem's code does not pass them.
    """
    rows = evidence.arm("main")
    rows = rows[rows["verdict"].isin(["pass", "fail"])]
    keys = [str(key) for key in rows["problem_id"].unique() if "function" in evidence.problems[str(key)].verifier]
    keys = list(keys[:: max(1, -(-len(keys) // CODE_PROBLEMS))])
    if len({evidence.problems[key].prompt_text for key in keys}) < GUESS_MIN_PROBLEMS:
        return None
    own = rows[rows["problem_id"].isin(keys)]
    passed = judged = 0
    for at, key in enumerate(keys):
        for step in range(1, CODE_OTHERS + 1):
            text = _draw_of(own, keys[(at + step) % len(keys)], step)
            found = verify(text, evidence.problems[key])
            judged += found.error is None
            passed += found.strict
    c, n = int((own["verdict"] == "pass").sum()), len(own)
    if judged < CODE_PROBLEMS or passed < max(GUESS_FLOOR * judged, LUCK_PASSES / 2):
        return None
    table = np.array([[c, n - c], [passed, judged - passed]])
    better = float(stats.fisher_exact(table, alternative="greater").pvalue) <= GUESS_P
    p, chance = c / n, passed / judged
    known = max(0.0, (p - chance) / (1 - chance)) / p if p > 0 and chance < 1 else 0.0
    return Finding(
        "guessable",
        "broken" if not better else "suspect" if known < KNOWN_SHARE else "note",
        share_estimate(passed, judged, level=evidence.settings.level),
        tuple(keys),
        f"The callable passes {passed} of {judged} draws that were made for other problems, and {p:.0%} of a problem's "
        "own: it does not look at the problem enough. Compare with the answer before believing any pass rate.",
    )


def _draw_of(rows: pd.DataFrame, key: str, step: int) -> str:
    texts = rows.loc[rows["problem_id"] == key, "text"]
    return str(texts.iloc[(step * 7) % len(texts)])
