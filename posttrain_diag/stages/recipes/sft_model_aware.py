"""SFT that keeps the policy's own style: demonstrations in its own words, or weighted by their probability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from posttrain_diag.engines.contract import Engine
from posttrain_diag.stages.data.own import balanced, own_rows, passing
from posttrain_diag.stages.data.rows import TokenRow, demo_rows, taught_ids, text_row
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.supervised import fit_rows
from posttrain_diag.types import Problem, Rollout

SHARES = (0.25, 0.5, 0.75)
"""Shares of a demonstration's tokens that are given, the smallest first; the rest is the policy's own."""
REWRITE = (
    "Here is a correct solution:\n\n{demo}\n\nRewrite it in your own words. Give the solution alone, with the same "
    "final answer in the same format."
)


def run(session: Session) -> None:
    """Train on demonstrations as the policy itself would write them.

    With `demo_style: rewritten` each problem gets the first of these that there is: own passing draws; passing
    rewritings of the demonstration (models with a chat template); passing continuations of its beginning, as short
    a one as needed; the demonstration itself. `details` counts the problems by what they got.
    `probability-weighted` trains on the demonstrations as they are with each token's loss scaled by its
    probability, `as-given` is plain SFT.

    References:
        Yang et al. 2024, arXiv:2402.13669 (self-distillation); Wu et al. 2025, arXiv:2508.05629 (DFT).
    """
    if session.config.demo_style == "rewritten":
        fit_rows(session, "sft-model-aware", session.rows_once("rewritten", lambda: _rewritten(session)))
        return
    rows = session.rows_once("demos", lambda: demo_rows(session.policy.engine, session.inputs.train))
    fit_rows(
        session, "sft-model-aware", rows, loss="dft" if session.config.demo_style == "probability-weighted" else "nll"
    )


@dataclass
class _Found:
    """The rows found so far by problem, and the kind of source that each problem's rows come from."""

    rows: dict[str, list[TokenRow]]
    kinds: dict[str, str]

    def take(self, kind: str, rows: Mapping[str, list[TokenRow]]) -> None:
        """Add rows of problems that had none, all of the same kind."""
        self.rows |= rows
        self.kinds |= dict.fromkeys(rows, kind)

    def open(self, problems: Sequence[Problem]) -> list[Problem]:
        """The problems that have no row yet."""
        return [problem for problem in problems if problem.id not in self.rows]


def _rewritten(session: Session) -> list[TokenRow]:
    config, engine = session.config, session.policy.engine
    problems = [problem for problem in session.inputs.train if problem.demos]
    found = _Found({}, {})
    drawn = session.own_draws(problems, config.own_rollouts)
    found.take("own draws", own_rows(session.policy.engine, drawn, config.keep_per_problem))
    if engine.info.renderings[:1] == ("chat",):
        found.take("rewritten", _by_instruction(session, found.open(problems)))
    for share in SHARES:
        found.take(f"continued from {share:.2f}", _continued(session, found.open(problems), share))
    found.take("demonstration", {p.id: [text_row(engine, p, demo) for demo in p.demos] for p in found.open(problems)})
    session.state.extra["sft-model-aware"] = dict(Counter(found.kinds.values()))
    return balanced(found.rows)


def _by_instruction(session: Session, problems: Sequence[Problem]) -> dict[str, list[TokenRow]]:
    """Passing answers to the request to rewrite the demonstration, as responses to the problem's own prompt."""
    if not problems:
        return {}
    asked = [_asked(problem) for problem in problems]
    drawn = session.own_draws(asked, session.config.own_rollouts, arm="rewrite")
    bare = {problem.id: text_row(session.policy.engine, problem, "").prompt_ids for problem in problems}
    rows = own_rows(session.policy.engine, drawn, session.config.keep_per_problem)
    return {key: [replace(row, prompt_ids=bare[key]) for row in own] for key, own in rows.items()}


def _asked(problem: Problem) -> Problem:
    turns = problem.messages or ({"role": "user", "content": problem.prompt or ""},)
    request = f"{turns[-1]['content']}\n\n{REWRITE.format(demo=problem.demos[0])}"
    return replace(problem, prompt=None, messages=(*turns[:-1], {**turns[-1], "content": request}))


def _continued(session: Session, problems: Sequence[Problem], share: float) -> dict[str, list[TokenRow]]:
    """Passing responses that begin with a share of the first demonstration's tokens."""
    from posttrain_probes.prefix_ladder import arm_name  # the same draws serve the diagnosis

    hints: dict[str, tuple[int, ...]] = {}
    for problem in problems:
        own = session.policy.engine.response_ids(problem.demos[0])
        size = min(len(own) - 1, round(share * len(own)))
        if 0 < size < session.params.max_new_tokens:
            hints[problem.id] = own[:size]
    if not hints:
        return {}
    asked = [problem for problem in problems if problem.id in hints]
    drawn = session.own_draws(asked, session.config.own_rollouts, arm=arm_name("true", share), hints=hints)
    kept = {key: passing(draws, session.config.keep_per_problem) for key, draws in drawn.items()}
    return {key: [_whole(session.policy.engine, draw, hints[key]) for draw in own] for key, own in kept.items() if own}


def _whole(engine: Engine, draw: Rollout, hint: tuple[int, ...]) -> TokenRow:
    """A row whose response is the given hint with what was drawn after it."""
    bare = draw.prompt_ids[: len(draw.prompt_ids) - len(hint)]
    return TokenRow(draw.problem_id, bare, (*hint, *taught_ids(engine, draw)))
