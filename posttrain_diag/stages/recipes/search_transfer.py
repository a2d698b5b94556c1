"""Search, then transfer: the best of many draws, or the answer of most, distilled into the bare policy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from posttrain_diag.engines.contract import Prompt, ScoreRequest
from posttrain_diag.errors import UsageError
from posttrain_diag.rollouts.token_cap import longest_prompt
from posttrain_diag.stages.data.own import balanced, nothing_passed
from posttrain_diag.stages.data.rows import TokenRow, taught_ids, text_row
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.supervised import fit_rows
from posttrain_diag.tasks import judges_code, verify
from posttrain_diag.tasks.verifiers.json_value import keys_only
from posttrain_diag.types import Problem, Rollout

LONGER = 4
"""The search may draw this many times as many tokens as the bare policy."""
MAJORITY = 1 / 3
"""Share of a problem's draws that must agree on an answer, which must also be more than agree on any other."""
FOIL = "-918273645.5"
"""Stands for the gold answer where an answer is read from a text, so that nothing of the gold enters a vote."""
_CUTS = re.compile(r"</think>\s*|\n+")
"""Where a long response may begin instead: after its thinking, and at the beginning of each line."""

Right = Callable[[str], bool]


@dataclass(frozen=True)
class Selected:
    """What the search found for one problem."""

    draws: tuple[Rollout, ...]
    right: Right
    """Tells whether a text is right by the search's own standard; asked of shortened responses."""


def run(session: Session) -> None:
    """Search with `own_rollouts` draws per problem, keep what it picks, train the bare policy on it.

    Problems with draws that the token cap cut off are drawn again with a cap of LONGER times as much: the same draws,
    which now may end. What is then picked and does not fit the bare cap is shortened: from a line on, or to the answer
    alone (System 2 distillation). `best-of-n` picks the policy's likeliest passing draw; `majority` asks no verifier
    and keeps draws with the answer that most of them give.

    Raises:
        UsageError: the search found nothing.

    References:
        Wang et al. 2023, arXiv:2203.11171; Huang et al. 2022, arXiv:2210.11610; Yu et al. 2024, arXiv:2407.06023.
    """
    fit_rows(session, "search-transfer", session.rows_once("searched", lambda: _rows(session)), own=True)


def _rows(session: Session) -> list[TokenRow]:
    config, problems = session.config, session.inputs.train
    drawn = session.own_draws(problems, config.own_rollouts)
    cut_off = [p for p in problems if any(draw.verdict == "truncated" for draw in drawn[p.id])]
    if cut_off and (cap := _long_cap(session, cut_off)) > session.params.max_new_tokens:
        drawn |= session.own_draws(cut_off, config.own_rollouts, cap=cap)
    searched = _likeliest(session, drawn) if config.search == "best-of-n" else _majority(session, drawn)
    found = {key: rows for key, picked in searched.items() if (rows := _fitting(session, key, picked))}
    if not found and config.search == "best-of-n":
        raise nothing_passed(session, "search-transfer", config.own_rollouts * len(problems), len(problems))
    if not found:
        raise UsageError(
            f"search-transfer: on none of {len(problems)} problems does a third of the draws agree on an answer that "
            "can be read off them; use search best-of-n, which asks the verifier (`contains` and code tests "
            "read no answer)"
        )
    session.state.extra["search-transfer"] = {
        "problems": len(problems),
        "drawn_longer": len(cut_off),
        "picked": len(found),
        "picked_right": sum(any(draw.passed for draw in searched[key].draws) for key in found),
        "shortened": sum(
            rows[0].response_ids != taught_ids(session.policy.engine, searched[key].draws[0])
            for key, rows in found.items()
        ),
    }
    return balanced(found)


def _long_cap(session: Session, problems: Sequence[Problem]) -> int:
    """The search's token cap: LONGER times the bare policy's, as far as the context allows."""
    engine, cap = session.policy.engine, LONGER * session.params.max_new_tokens
    if engine.info.context_length is None:
        return cap
    return min(cap, engine.info.context_length - longest_prompt(engine, problems))


def _likeliest(session: Session, drawn: Mapping[str, Sequence[Rollout]]) -> dict[str, Selected]:
    """For each problem the passing draw with the highest log-probability under the policy: the least foreign one."""
    passed = {key: {d.token_ids: d for d in draws if d.passed} for key, draws in drawn.items()}
    flat = [draw for own in passed.values() for draw in own.values()]
    problems = session.problems
    requests = [
        ScoreRequest(
            str(i),
            Prompt(problems[d.problem_id].prompt, problems[d.problem_id].messages),
            completion_ids=d.token_ids,
            append_stop=False,
        )
        for i, d in enumerate(flat)
    ]
    logprobs = {int(score.key): float(score.logprob_T.sum()) for score in session.policy.engine.score(requests)}
    best: dict[str, int] = {}
    for i, draw in enumerate(flat):
        now = best.get(draw.problem_id)
        if now is None or logprobs[i] > logprobs[now]:
            best[draw.problem_id] = i

    def right(problem_id: str) -> Right:
        return lambda text: session.judge(problem_id, text).strict

    return {key: Selected((flat[i],), right(key)) for key, i in best.items()}


def _majority(session: Session, drawn: Mapping[str, Sequence[Rollout]]) -> dict[str, Selected]:
    """For each problem the draws with the answer that most finished draws give, if enough of them agree."""
    out: dict[str, Selected] = {}
    for key, draws in drawn.items():
        problem = session.problems[key]
        answers = [answer_of(problem, d.text) if d.verdict in ("pass", "fail") else None for d in draws]
        votes = Counter(answer for answer in answers if answer is not None).most_common(2)
        if not votes or votes[0][1] < MAJORITY * len(draws) or (len(votes) == 2 and votes[0][1] == votes[1][1]):
            continue
        won = votes[0][0]
        agreed = {d.token_ids: d for d, answer in zip(draws, answers, strict=True) if answer == won}
        kept = tuple(agreed.values())[: session.config.keep_per_problem]
        out[key] = Selected(kept, lambda text, problem=problem, won=won: answer_of(problem, text) == won)
    return out


def answer_of(problem: Problem, text: str) -> str | None:
    """The answer that a text gives, read without the gold; None where none can be read."""
    kind = problem.verifier.get("type")
    if kind == "contains" or judges_code(problem.verifier):
        return None  # these know no answer but the gold
    if kind in ("exact", "regex", "numeric"):
        problem = replace(problem, answer=FOIL)
    elif kind == "json" and problem.answer is not None:
        problem = replace(problem, answer=keys_only(problem.answer, FOIL))
    judged = verify(text, problem)
    return None if judged.error is not None or judged.extracted is None else judged.extracted.strip() or None


def _fitting(session: Session, problem_id: str, picked: Selected) -> list[TokenRow]:
    """The picked draws as rows within the bare cap; none where no shortening is right."""
    engine, cap = session.policy.engine, session.params.max_new_tokens
    problem = session.problems[problem_id]
    rows: list[TokenRow] = []
    for draw in picked.draws:
        if len(draw.token_ids) <= cap:
            rows.append(TokenRow(problem_id, draw.prompt_ids, taught_ids(engine, draw)))
            continue
        short = next((t for t in _shorter(problem, draw.text) if _fits(session, t, cap) and picked.right(t)), None)
        if short is not None:
            rows.append(text_row(engine, problem, short))
    return list(dict.fromkeys(rows))


def _fits(session: Session, text: str, cap: int) -> bool:
    engine = session.policy.engine
    return bool(text) and len(engine.response_ids(text)) < cap  # a stop token follows


def _shorter(problem: Problem, text: str) -> Iterator[str]:
    """Shortened forms of a response: its ends from each line on, the longest first, then its answer alone."""
    yield from (text[cut.end() :] for cut in _CUTS.finditer(text))
    answer = answer_of(problem, text)
    if answer is not None:
        yield answer
