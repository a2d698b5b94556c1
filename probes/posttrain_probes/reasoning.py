"""Instrument check on passing draws: is the right answer reached by wrong arithmetic?"""

from __future__ import annotations

import re
from collections.abc import Iterable

from posttrain_diag.evidence import Evidence
from posttrain_diag.tasks.verifiers.equations import Equation, equations
from posttrain_diag.types import Finding, Problem
from posttrain_probes.estimates import share_estimate

READ_DRAWS = 5000
"""Most passing draws that are read, the first ones of each problem."""
MIN_DRAWS = 20
"""Fewest passing draws with an equation from which anything is concluded."""
MIN_SHARE = 0.1
"""Passing draws must show their work at least this often."""
SUSPECT_SHARE, BROKEN_SHARE = 0.2, 0.5
"""Share of the passing draws with equations in which one is false."""
OWN_WORLD = 0.05
"""From this share of false equations in demonstrations or prompts on, the tasks have an arithmetic of their own."""
_OTHER_ARITHMETIC = re.compile(
    r"\bmod(?:ulo|ular)?\b|\bcarr(?:y|ies|yless)\b|\bbase[ -]?\d|\bbinary\b|\bclock\b|\bxor\b|\bhexadecimal\b",
    re.IGNORECASE,
)


def false_equations(evidence: Evidence) -> Finding | None:
    """Passing draws whose written-out arithmetic is false: the answer came another way, or by luck."""
    rows = evidence.arm("main")
    rows = rows[rows["verdict"] == "pass"]
    if len(rows) < MIN_DRAWS:
        return None
    passing = rows[rows["sample_idx"] < max(4, READ_DRAWS // rows["problem_id"].nunique())]
    counts = passing.groupby(["problem_id", "text"], sort=False).size()
    shown = false = 0
    named: dict[str, None] = {}
    example = ""
    for (key, text), n in zip(counts.index, counts, strict=True):
        found = list(equations(str(text)))
        shown += int(n) * bool(found)
        wrong = next((equation for equation in found if not equation.holds), None)
        if wrong is not None:
            false += int(n)
            named[str(key)] = None
            example = example or f"{wrong.text!r} on {str(key)!r}"
    if shown < max(MIN_DRAWS, MIN_SHARE * len(passing)) or false < SUSPECT_SHARE * shown or len(named) < 3:
        return None
    if _own_arithmetic(evidence):
        return None
    return Finding(
        "wrong_reasoning",
        "broken" if false >= BROKEN_SHARE * shown else "suspect",
        share_estimate(false, shown, level=evidence.settings.level),
        tuple(named),
        f"{false} of {shown} passing draws with worked steps hold a false equation ({example}): the answer is right "
        "and the reasoning is not. Answers may be guessed, copied or remembered; check the steps before training on "
        "these rewards.",
    )


def _own_arithmetic(evidence: Evidence) -> bool:
    """Whether references, or prompts with their golds, hold such equations too."""
    problems = evidence.problems.values()
    if sum(_OTHER_ARITHMETIC.search(p.prompt_text) is not None for p in problems) > OWN_WORLD * len(problems):
        return True
    demos = (text for p in problems for text in evidence.references.get(p.id, p.demos))
    return _false_share(demos) > OWN_WORLD or _false_share(_with_gold(p) for p in problems) > OWN_WORLD


def _with_gold(problem: Problem) -> str:
    """The prompt continued by its gold: "3 + 4 =" and "7" make an equation."""
    prompt = problem.prompt_text.rstrip()
    return f"{prompt} {problem.answer or ''}" if prompt.endswith("=") else prompt


def _false_share(texts: Iterable[str]) -> float:
    found: list[Equation] = [equation for text in texts for equation in equations(text)]
    return sum(not equation.holds for equation in found) / max(1, len(found))
