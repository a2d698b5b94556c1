"""Draws cut at the token cap: would they have ended, would they have been right, and which cap lets them end?

Truncated problems are drawn again with a longer cap (arm "longer"). Of those draws the ones that run past the old cap
are what the cut draws would have become.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from posttrain_diag.engines.contract import Engine, Prompt
from posttrain_diag.engines.room import room
from posttrain_diag.evidence import DrawSpec, Evidence, Needs
from posttrain_diag.types import Finding, Severity
from posttrain_diag.wording.numbers import count
from posttrain_probes.estimates import share_estimate

LONGER_ARM = "longer"
LONGER_FACTOR = 4
"""Truncated draws are repeated with this many times the cap (as far as the context allows)."""
LONGER_PROBLEMS = 32
LONGER_DRAWS = 4
TRUNCATED_NOTE = 0.05
TRUNCATED_GATE = 0.2
"""From this share of truncated draws on, a verdict needs evidence that the cap does not matter."""
ENOUGH = 16
"""Longer draws past the cap, at least, whose silence is such evidence."""
ENDING = 0.95
"""The cap that is advised lets this share of all draws end."""
STEP = 32
"""It is rounded up to a multiple of this."""
NO_ROOM = "no longer draws: the token cap already fills the model's context"


def plan(evidence: Evidence, engine: Engine) -> Needs:
    """Repeat some truncated problems with a longer cap."""
    table = evidence.main
    if int(table["truncated"].sum()) < TRUNCATED_NOTE * max(1, int(table["drawn"].sum())):
        return Needs()
    worst = table[table["truncated"] > 0].index.tolist()
    step = max(1, len(worst) // LONGER_PROBLEMS)
    cap = evidence.settings.sampling.max_new_tokens
    draws: list[DrawSpec] = []
    for key in map(str, worst[::step][:LONGER_PROBLEMS]):
        problem = evidence.problems[key]
        left = room(engine, [Prompt(problem.prompt, problem.messages)])
        longer = LONGER_FACTOR * cap if left is None else min(LONGER_FACTOR * cap, left)
        if longer > cap:
            draws.append(DrawSpec(key, LONGER_ARM, LONGER_DRAWS, max_new_tokens=longer))
    if draws:
        return Needs(draws=tuple(draws))
    unknown = engine.info.lacks.get("tokens")
    if unknown is None:
        return Needs(notes=(NO_ROOM,))
    return Needs(notes=(f"no longer draws: {unknown}, so whether the context has room for them is unknown",))


@dataclass(frozen=True)
class Longer:
    """The longer draws that ran past the old cap."""

    drawn: int
    """Longer draws of any length that were judged."""
    past: int
    passed: int
    right: int
    """Right in substance, passed ones included."""
    ended: int
    lengths: tuple[int, ...]
    """Tokens of those that ended, ascending."""
    most: int
    """Tokens of the longest draw past the cap, ended or cut again."""

    @staticmethod
    def of(evidence: Evidence) -> Longer:
        """Read the arm of longer draws."""
        rows = evidence.arm(LONGER_ARM)
        rows = rows[rows["verdict"] != "error"]
        past = rows[(rows["n_tokens"] > evidence.settings.sampling.max_new_tokens) | (rows["verdict"] == "truncated")]
        ended = past[past["verdict"] != "truncated"]
        return Longer(
            drawn=len(rows),
            past=len(past),
            passed=int((ended["verdict"] == "pass").sum()),
            right=int(((ended["verdict"] == "pass") | ended["lenient"].astype(bool)).sum()),
            ended=len(ended),
            lengths=tuple(sorted(int(n) for n in ended["n_tokens"])),
            most=int(past["n_tokens"].max()) if len(past) else 0,
        )

    def ending_cap(self, truncated: float) -> int | None:
        """The cap that lets `ENDING` of all draws end; None where too few end at any length that was tried.

        Args:
            truncated: share of the main arm's draws that its cap cut; the others end under any longer one.
        """
        wanted = 1 - (1 - ENDING) / truncated  # share of the cut draws that must end
        at = math.ceil(wanted * self.past) - 1
        return None if at >= self.ended else math.ceil(self.lengths[max(at, 0)] / STEP) * STEP


def truncation_finding(evidence: Evidence, *, uniform: bool, needed: int | None) -> Finding | None:
    """Draws cut at the token cap, and whether that can have changed the verdict.

    Args:
        evidence: of the run.
        uniform: the policy hardly knows the references better than chance.
        needed: tokens of the longest scored reference; None where none was scored.
    """
    table = evidence.main
    drawn, truncated = int(table["drawn"].sum()), int(table["truncated"].sum())
    if drawn == 0 or truncated < TRUNCATED_NOTE * drawn:
        return None
    share = share_estimate(truncated, drawn, level=evidence.settings.level)
    problems = tuple(map(str, table.index[table["truncated"] > 0]))
    cap = evidence.settings.sampling.max_new_tokens
    head = f"{count(truncated)} of {count(drawn)} draws were cut at {count(cap)} tokens"
    if uniform:
        advice = (
            f"{head}, but the policy is close to uniform on the references, so no longer window would change the "
            "verdict; the cut draws count as not passed."
        )
        return Finding("truncation", "note", share, problems, advice)
    longer = Longer.of(evidence)
    severity = _severity(longer, truncated / drawn, int(table["lenient" if "lenient" in table else "c"].sum()) / drawn)
    said = [f"{head}.", *_tried(longer, evidence), *_advice(longer, truncated / drawn, cap, severity)]
    if needed is not None and needed > cap:
        said.insert(2, f"References need up to {count(needed)} tokens.")
    return Finding("truncation", severity, share, problems, " ".join(said))


def _severity(longer: Longer, truncated: float, right: float) -> Severity:
    """How far the cap may have changed the verdict.

    Args:
        longer: the draws past the cap.
        truncated: share of the main arm's draws that were cut.
        right: share of the main arm's draws that are right in substance.
    """
    unknown: Severity = "broken" if truncated >= TRUNCATED_GATE else "note"
    if longer.past == 0:
        return unknown
    hidden = truncated * longer.right / longer.past
    hidden_of_right = hidden / (hidden + right) if hidden else 0.0
    still_open = truncated * (1 - longer.ended / longer.past)
    worst = max(hidden_of_right, still_open)
    if truncated >= TRUNCATED_GATE and (worst >= TRUNCATED_GATE or longer.past < ENOUGH):
        return "broken"
    return "suspect" if worst >= TRUNCATED_NOTE else "note"


def _tried(longer: Longer, evidence: Evidence) -> list[str]:
    """What the longer draws showed."""
    if longer.past:
        right = f", {count(longer.right - longer.passed)} more were right in substance" * (longer.right > longer.passed)
        return [
            f"Of {count(longer.past)} draws that were repeated and ran on, for up to {count(longer.most)} tokens, "
            f"{count(longer.ended)} ended and {count(longer.passed)} passed{right}."
        ]
    if longer.drawn:
        return [f"None of {count(longer.drawn)} repeated draws ran past the cap."]
    if NO_ROOM in evidence.notes:
        return ["The context leaves no room for longer draws."]
    return ["No longer draws tell whether that matters."]


def _advice(longer: Longer, truncated: float, cap: int, severity: Severity) -> list[str]:
    """What to do about it: the cap that lets the draws end and what it would give, or nothing."""
    rerun = "and rerun into a new --out"
    if longer.past == 0:
        return [f"Raise --max-new-tokens (or shorten the prompt) {rerun}."]
    ending = longer.ending_cap(truncated)
    gain = 100 * truncated * longer.passed / longer.past
    if ending is not None and ending > cap:
        sets = f"--max-new-tokens {ending} would let {100 * ENDING:.0f}% of the draws end"
        if longer.right == 0:
            hides = "The cap hides no right answers"
            return [f"{hides}: {sets}." if severity == "note" else f"{sets}: set it {rerun}."]
        gives = f" and add about {gain:.0f} points to pass@1" if gain >= 1 else ""
        return [f"{sets}{gives}." if severity == "note" else f"{sets}{gives}: set it {rerun}."]
    ends = 100 * (1 - truncated * (1 - longer.ended / longer.past))
    what = f"Even {count(longer.most)} tokens would let only {ends:.0f}% of the draws end"
    if severity == "note":
        return [f"{what}." if longer.right else f"The cap hides no right answers. {what}."]
    gives = f"; they would add about {gain:.0f} points to pass@1" if gain >= 1 else ""
    return [
        f"{what}{gives}: look whether those go in circles or miss the stop token, or raise --max-new-tokens {rerun}."
    ]
