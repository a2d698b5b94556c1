"""Training rows out of a diagnosis: what each problem's class says it needs, in the columns that TRL reads.

    class                set                   sft row                        pair    prompt
    mastered             replay                own passing draws              -       yes
    reshaping            rl-band               own passing draws              yes     yes
    format               repair-format         own passing draws, else demos  yes     yes
    guided, support      needs-demonstration   demonstrations                 -       yes
    unresolved           undecided             own passing draws, else demos  yes     yes

Every row says where it comes from and why it is there.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from posttrain_diag.errors import VerifierError
from posttrain_diag.export.source import Source
from posttrain_diag.tasks import verify
from posttrain_diag.tasks.verifiers.spec import needs_code
from posttrain_diag.types import Problem
from posttrain_diag.wording.vocabulary import CLASSES

ExportRow = dict[str, Any]

SETS: dict[str, str] = {
    "mastered": "replay",
    "reshaping": "rl-band",
    "format": "repair-format",
    "guided": "needs-demonstration",
    "support": "needs-demonstration",
    "unresolved": "undecided",
}
"""For each class what its problems are good for."""
OWN_ONLY = frozenset({"mastered", "reshaping"})
"""Classes whose SFT rows are own draws alone: what the model can say itself is learned without a foreign style."""
_FORM = CLASSES["format"].reason
WHY_PROMPT = {
    "replay": "mastered: nothing to gain by reward, something to keep",
    "rl-band": "solved sometimes: groups hold passes and failures, so reward has something to select",
    "repair-format": f"{_FORM}: repair that first, or reward the format",
    "needs-demonstration": "out of effective support: reward alone finds nothing to select",
    "undecided": "its class is not resolved: more draws would tell",
}
PAIRED = ("reshaping", "format", "unresolved")
"""Classes whose own draws make pairs; problems of the others hardly pass, or hardly fail."""


@dataclass
class Left:
    """Counts the problems that gave no row, by the reason why."""

    reasons: Counter[str] = field(default_factory=Counter[str])

    def out(self, reason: str) -> None:
        """Count one more problem that gave no row for this reason."""
        self.reasons[reason] += 1


@dataclass(frozen=True)
class Standing:
    """What the run says of one problem: its class and the evidence for it."""

    cls: str
    text: str
    """The evidence for the class in a few words."""

    @staticmethod
    def of(source: Source, key: str) -> Standing:
        """Read a problem's standing from the run's problems.parquet."""
        row = source.facts[key]
        text = f"{row['c']} of {row['n']} draws pass"
        if pd.notna(row["p_mean"]):
            text += f" (p {row['p_mean']:.3f} [{row['p_low']:.3f}, {row['p_high']:.3f}])"
        return Standing(str(row["class"]), text)

    @property
    def set(self) -> str:
        """The name of the set that the problem's rows belong to."""
        return SETS[self.cls]

    def columns(self, key: str, source: str, why: str) -> ExportRow:
        """The columns that every row has beside its training columns: where it comes from and why it is there."""
        return {"problem_id": key, "class": self.cls, "set": self.set, "source": source, "why": f"{self.text}; {why}"}


def sft_rows(source: Source, per_problem: int, left: Left) -> Iterator[ExportRow]:
    """Prompt-completion rows: the model's own passing draws, and demonstrations where there are none to learn from.

    Args:
        source: the run.
        per_problem: most different completions per problem.
        left: is told of the problems without a row.
    """
    source.need_draws("--to sft")
    for problem, draws in source.draws():
        standing, rendered = Standing.of(source, problem.id), source.rendered(problem)
        own = [] if standing.set == "needs-demonstration" else _distinct(draws, "pass")[:per_problem]
        demos = [] if own or standing.cls in OWN_ONLY else _demos(source, problem)[:per_problem]
        if not own and not demos:
            left.out(_without(standing, problem))
            continue
        origin, why = ("own draw", _why_own(standing)) if own else ("demonstration", _why_demo(standing))
        for text in own or demos:
            yield {
                "prompt": rendered.prompt,
                "completion": rendered.completion(text),
                **standing.columns(problem.id, origin, why),
            }


def _distinct(draws: pd.DataFrame, verdict: str) -> list[str]:
    """The different texts with a verdict, in the order drawn."""
    return list(dict.fromkeys(draws.loc[draws["verdict"] == verdict, "text"].tolist()))


def _demos(source: Source, problem: Problem) -> list[str]:
    """Demonstrations that pass: all where the analysis saw all pass, else those that the verifier passes now.

    Verifiers that run code are not run again; what the analysis saw fail beside others is left out with them.
    """
    texts = list(dict.fromkeys(problem.demos))
    if source.facts[problem.id].get("gold_passes") is True:
        return texts
    if needs_code(problem.verifier):
        return []
    try:
        return [text for text in texts if verify(text, problem).strict]
    except VerifierError:
        return []


def _without(standing: Standing, problem: Problem) -> str:
    if standing.cls in OWN_ONLY:
        return f"{standing.set}: no passing draw"
    if standing.set == "needs-demonstration" or not problem.demos:
        return f"{standing.set}: " + (
            "no demonstration passes its verifier" if problem.demos else "no passing draw and no demonstration"
        )
    return f"{standing.set}: no passing draw and no demonstration that passes its verifier"


def _why_own(standing: Standing) -> str:
    return {
        "replay": "mastered: replay keeps what a stage may forget",
        "rl-band": "solved sometimes: training on verified own draws makes it reliable",
        "repair-format": f"{_FORM}: this draw has the format",
        "undecided": "its class is not resolved; this draw is verified",
    }[standing.set]


def _why_demo(standing: Standing) -> str:
    return {
        "needs-demonstration": "out of effective support: only a demonstration shows the way",
        "repair-format": f"{_FORM}, and no draw had it: the demonstration has the format",
        "undecided": "its class is not resolved, and no draw passed",
    }[standing.set]


def pair_rows(source: Source, per_problem: int, left: Left) -> Iterator[ExportRow]:
    """Preference rows: a passing and a failing draw of one problem, the likeliest wrong answers first.

    Draws cut at the token cap are no rejected responses: a trainer would learn to be short.

    Args:
        source: the run.
        per_problem: most pairs per problem; no two are alike.
        left: is told of the problems without a pair.
    """
    source.need_draws("--to pairs")
    for problem, draws in source.draws():
        standing = Standing.of(source, problem.id)
        if standing.cls not in PAIRED:
            left.out(f"{standing.set}: {'hardly fails' if standing.cls == 'mastered' else 'hardly passes'}")
            continue
        chosen, rejected = _likeliest(draws, "pass", by_answer=False), _likeliest(draws, "fail", by_answer=True)
        if not chosen or not rejected:
            left.out(f"{standing.set}: no {'passing' if not chosen else 'failing'} draw")
            continue
        rendered = source.rendered(problem)
        for turn in range(min(per_problem, math.lcm(len(chosen), len(rejected)))):  # beyond, pairs would repeat
            (good, _), (bad, times) = chosen[turn % len(chosen)], rejected[turn % len(rejected)]
            yield {
                "prompt": rendered.prompt,
                "chosen": rendered.completion(good),
                "rejected": rendered.completion(bad),
                **standing.columns(problem.id, "own draws", f"the rejected answer was drawn {times} times"),
            }


def _likeliest(draws: pd.DataFrame, verdict: str, *, by_answer: bool) -> list[tuple[str, int]]:
    """The different texts with a verdict and how often each was drawn, the most frequent first.

    Args:
        draws: the draws of one problem.
        verdict: the verdict of the draws that count.
        by_answer: one text for each extracted answer (draws without one count by their text), with the times of the
            answer: the text drawn most often, then the one the model finds likeliest.
    """
    rows = draws[draws["verdict"] == verdict]
    drawn: Counter[str] = Counter()
    texts: dict[str, dict[str, tuple[int, float]]] = {}
    for text, extracted, logprob in zip(rows["text"], rows["extracted"], rows["logprob"], strict=True):
        answer = str(extracted if by_answer and not pd.isna(extracted) else text)
        drawn[answer] += 1
        times, best = texts.setdefault(answer, {}).get(text, (0, -math.inf))
        texts[answer][text] = times + 1, best if pd.isna(logprob) else max(best, float(logprob))
    return [(max(texts[a], key=lambda text, a=a: texts[a][text]), times) for a, times in drawn.most_common()]


def prompt_rows(source: Source, per_problem: int, left: Left) -> Iterator[ExportRow]:
    """One row per problem for trainers that draw for themselves: prompt, gold and verifier, pass rate, set.

    `prompt` and every other column reach a TRL reward function; `data_source`, `reward_model` and `extra_info` are
    the columns that verl reads beside it.

    Args:
        source: the run.
        per_problem: has no meaning here; a prompt is there once.
        left: is told of the problems without a row.
    """
    del per_problem, left
    for index, (key, problem) in enumerate(source.problems.items()):
        standing, row = Standing.of(source, key), source.facts[key]
        verifier = json.dumps(dict(problem.verifier), sort_keys=True, default=str)
        yield {
            "prompt": source.rendered(problem).prompt,
            "answer": problem.answer,
            "pass_rate": float(row["c"] / row["n"]) if row["n"] else None,
            "p_mean": None if pd.isna(row["p_mean"]) else float(row["p_mean"]),
            "n": int(row["n"]),
            **standing.columns(key, problem.source, WHY_PROMPT[standing.set]),
            "verifier": verifier,
            "data_source": "posttrain-diag",
            "ability": problem.tags[0] if problem.tags else "",
            "reward_model": {"style": "rule", "ground_truth": problem.answer},
            "extra_info": {"index": index, "problem_id": key, "verifier": verifier},
        }
