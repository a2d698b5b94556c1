"""Instrument checks on what the verifier rejects: its own failures, and right answers in another spelling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from posttrain_diag.evidence import Evidence
from posttrain_diag.tasks import compares_with_answer, judges_code
from posttrain_diag.tasks.verifiers.final import Answer, answer, finals, gives, same_answer, stated
from posttrain_diag.types import Finding, Problem
from posttrain_probes.estimates import share_estimate

READ_DRAWS = 6000
"""Draws that are read again at most, the first ones of each problem."""
MIN_LENIENT = 3
"""Lenient passes of a problem from which they count."""
LOST_BELOW = 0.25
"""Share of a problem's draws: where the lenient reading passes more, the format probe may speak."""
LOST_SUSPECT, LOST_BROKEN = 0.2, 0.5
"""Share of the problems that pass only leniently from which the verifier is suspect, or broken."""
NULL_OTHERS = 4
"""Other problems whose answers say how often a failed draw hits an answer by coincidence."""
AFFIX_SHARE = 0.8
MIN_REJECTED = 8
"""Fewer right answers that were rejected are no pattern."""
REJECTED_SUSPECT = 0.1
"""Share of the right answers that is rejected, from which on the numbers are bent."""
REJECTED_BROKEN = 0.3
CHANCE = 1e-3
"""Coincidence must be less probable than this."""


def verifier_errors(evidence: Evidence) -> Finding | None:
    """Draws on which the verifier itself failed."""
    table = evidence.main
    errored, drawn = int(table["errored"].sum()), int(table["drawn"].sum())
    if errored == 0:
        return None
    share = share_estimate(errored, drawn, level=evidence.settings.level)
    rows = evidence.arm("main")
    messages = rows.loc[rows["verdict"] == "error", "error"].dropna()
    example = str(messages.iloc[0]) if len(messages) else "no message"
    return Finding(
        "verifier_error",
        "broken" if errored / drawn > 0.1 else "suspect",
        share,
        tuple(map(str, table.index[table["errored"] > 0])),
        f"The verifier failed on {errored} of {drawn} draws (first: {example[:200]}); these count as neither pass nor "
        "fail. Mend the verifier and rerun the same command: stored draws are judged again without new sampling.",
    )


@dataclass
class _Tally:
    """Draws read again, over all problems."""

    right: float = 0.0
    """Draws that pass, at least leniently."""
    rejected: float = 0.0
    """Draws that fail both readings and give the right answer."""
    coincidence: float = 0.0
    """As many of the failed draws give another problem's answer."""
    problems: tuple[str, ...] = ()
    example: str = ""


def rejected_answers(evidence: Evidence) -> Finding | None:
    """Failed draws that give the right answer: the gold's, a demonstration's, or that of a draw which passed.

    What the lenient reading passes is not counted: that is the model's format, and the format probe's business. The
    readings here are more forgiving still, so as many hits as on other problems' answers are taken off.
    """
    tally = _read_again(evidence)
    excess = tally.rejected - tally.coincidence
    if excess < MIN_REJECTED or len(tally.problems) < min(3, len(evidence.measured)):
        return None
    if tally.coincidence and float(stats.poisson.sf(tally.rejected - 1, tally.coincidence)) > CHANCE:
        return None
    right = tally.right + excess
    if excess < REJECTED_SUSPECT * right:
        return None
    return Finding(
        "verifier_inconsistent",
        "broken" if excess >= REJECTED_BROKEN * right else "suspect",
        share_estimate(round(excess), round(right), level=evidence.settings.level),
        tally.problems,
        f"The verifier rejects about {round(excess)} of {round(right)} right answers, on {len(tally.problems)} "
        f"problems, even leniently: {tally.example}. Compare by value (numeric, or a regex that allows for surrounding "
        "text), drop units from the golds, and rerun the same command: stored draws are judged again.",
    )


def passed_only_leniently(evidence: Evidence) -> Finding | None:
    """Problems that never pass as demanded while the lenient reading passes a part of their draws.

    Where it passes most of the failures the format probe speaks; here right answers are drawn sometimes and lost, and
    without this the problems would look as if they were out of reach.
    """
    table = evidence.measured
    lost = (table["c"] == 0) & (table["lenient"] >= MIN_LENIENT) & (table["lenient"] < LOST_BELOW * table["n"])
    if lost.sum() < LOST_SUSPECT * max(1, len(table)):
        return None
    passes, draws = int(table.loc[lost, "lenient"].sum()), int(table.loc[lost, "n"].sum())
    return Finding(
        "verifier_inconsistent",
        "broken" if lost.sum() >= LOST_BROKEN * len(table) else "suspect",
        share_estimate(int(lost.sum()), len(table), level=evidence.settings.level),
        tuple(map(str, table.index[lost])),
        f"{int(lost.sum())} of {len(table)} problems never pass as the verifier demands, while its lenient reading "
        f"passes {passes} of their {draws} draws: right answers are drawn and lost to their surroundings. Let the "
        "verifier take the final answer out of the completion, or ask for the bare answer in the prompt.",
    )


def _read_again(evidence: Evidence) -> _Tally:
    rows = evidence.arm("main")
    rows = rows[rows["verdict"].isin(["pass", "fail"])]
    by_problem = {str(key): group for key, group in rows.groupby("problem_id", sort=False)}
    keys = [key for key in by_problem if not judges_code(evidence.problems[key].verifier)]  # code is no final answer
    tally = _Tally()
    if not keys:
        return tally
    first = max(8, READ_DRAWS // len(keys))
    affix = _affix([evidence.problems[key].answer or "" for key in keys])
    answers = {key: _wanted(evidence.problems[key], affix) for key in keys}
    for at, key in enumerate(keys):
        others = [answers[keys[(at + 1 + step * len(keys) // (NULL_OTHERS + 1)) % len(keys)]] for step in range(4)]
        others = [wanted for wanted in others if not _overlap(wanted, answers[key])]
        _add(tally, evidence.problems[key], by_problem[key].iloc[:first], answers[key], others)
    return tally


def _affix(golds: Sequence[str]) -> tuple[str, str]:
    """The word that nearly all golds begin with, and the one they end with: wording rather than answer; else empty."""
    ends: list[str] = []
    for at in (0, -1):
        words = Counter(gold.split()[at] for gold in golds if len(gold.split()) > 1)
        word, number = words.most_common(1)[0] if words else ("", 0)
        ends.append(word if number >= max(MIN_REJECTED, AFFIX_SHARE * len(golds)) else "")
    return ends[0], ends[1]


def _wanted(problem: Problem, affix: tuple[str, str]) -> tuple[Answer, ...]:
    """Right answers that are known beforehand: the gold with and without what all golds share, else the demos'."""
    if problem.answer is not None:
        gold = problem.answer.strip()
        core = gold.removeprefix(affix[0]).removesuffix(affix[1]).strip() if len(gold.split()) > 1 else gold
        return tuple(answer(text) for text in dict.fromkeys((gold, core)) if text)
    return tuple(dict.fromkeys(reading for demo in problem.demos for reading in stated(demo)))


def _overlap(a: Sequence[Answer], b: Sequence[Answer]) -> bool:
    return any(same_answer(x, y) for x in a for y in b)


def _add(
    tally: _Tally,
    problem: Problem,
    rows: pd.DataFrame,
    wanted: tuple[Answer, ...],
    others: Sequence[tuple[Answer, ...]],
) -> None:
    """Read the draws of one problem again."""
    fine = (rows["verdict"] == "pass") | rows["lenient"]
    tally.right += int(fine.sum())
    failed = rows.loc[~fine, "text"].value_counts()
    if len(failed) == 0:
        return
    passed: list[str] = rows.loc[rows["verdict"] == "pass", "text"].unique()[:8].tolist()
    given: dict[Answer, str] = {}
    for text in passed:  # a callable may judge more than the marked answer
        said = stated(text) if compares_with_answer(problem.verifier) else (answer(text.strip()),)
        given |= dict.fromkeys(said, text)
    rejected, hits = 0, 0.0
    for text, count in failed.items():
        found = finals(str(text))
        gold = any(gives(found, each) for each in wanted)
        twin = None if gold else _twin(stated(str(text)), given)
        if gold or twin is not None:
            rejected += int(count)
            if not tally.example:
                tally.example = _example(problem, str(text), twin)
        hits += int(count) * sum(any(gives(found, each) for each in other) for other in others) / max(1, len(others))
    if rejected:
        tally.rejected += rejected
        tally.problems = (*tally.problems, problem.id)
    tally.coincidence += hits


def _twin(said: Sequence[Answer], given: dict[Answer, str]) -> str | None:
    """The passing draw that says the same."""
    return next((text for reading, text in given.items() for mine in said if same_answer(mine, reading)), None)


def _example(problem: Problem, text: str, twin: str | None) -> str:
    short: Callable[[str], str] = lambda full: repr(full if len(full) <= 80 else "..." + full[-77:])  # noqa: E731
    if twin is not None:
        return f"on {problem.id!r} {short(twin)} passes and {short(text)} fails"
    right = problem.answer if problem.answer is not None else problem.demos[0]
    return f"on {problem.id!r} {short(text)} fails where the answer is {short(right)}"
