"""Teachers: what they write on the training problems, which of them teaches what, and whether they share our tokens."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from posttrain_diag.engines.contract import Engine, Prompt
from posttrain_diag.engines.hf.engine import load_hf_engine
from posttrain_diag.errors import UsageError
from posttrain_diag.stages.data.rows import Lesson, TokenRow, content_ids, end_ids, load_lessons
from posttrain_diag.stages.session.session import Session
from posttrain_diag.tasks.problems.references import reference_completions
from posttrain_diag.types import Problem, Rollout


def lessons(session: Session, n: int, *, keep: int, same_tokens: bool) -> list[Lesson]:
    """What every teacher writes on every training problem; drawn and judged once, each teacher opened in turn.

    Args:
        session: the stage in progress.
        n: draws per problem and teacher.
        keep: how many different passing responses are kept of them.
        same_tokens: refuse a teacher that reads or writes other token ids than the student.

    Raises:
        UsageError: a teacher passes on no training problem, or has other tokens and must not.
    """

    def make() -> list[Lesson]:
        teachers = enumerate(session.inputs.teachers)
        return [
            one for i, name in teachers for one in _of_teacher(session, i, name, n, keep=keep, same_tokens=same_tokens)
        ]

    return session.made_once("lessons.jsonl", make, load_lessons)


def _of_teacher(session: Session, index: int, name: str, n: int, *, keep: int, same_tokens: bool) -> list[Lesson]:
    config, problems, student = session.config, session.inputs.train, session.policy.engine
    teacher = load_hf_engine(
        name,
        device=config.device,
        template=config.template,
        use_chat_template=config.chat_template,
        system_prompt=config.system_prompt,
        trust_remote_code=config.trust_remote_code,
    )
    try:
        gap = token_gap(student, teacher, problems)
        if gap is not None and same_tokens:
            raise UsageError(
                f"teacher {name}: {gap}; a teacher whose probabilities are the targets must share the student's "
                "tokens: give one that does, or use distill-offline with target text, which takes any teacher"
            )
        drawn = session.draws_of(teacher, problems, n)
    finally:
        teacher.close()
    found = [_lesson(student, index, drawn[problem.id], keep, gap is None) for problem in problems]
    if not any(lesson.c for lesson in found):
        raise UsageError(
            f"teacher {name} passes on none of the {len(problems)} training problems in {n} draws each: it has nothing "
            "to teach here; give a teacher that solves some of them"
        )
    return found


def _lesson(student: Engine, index: int, drawn: Sequence[Rollout], keep: int, same_tokens: bool) -> Lesson:
    passing = [draw for draw in drawn if draw.passed]
    ends = end_ids(student)
    if same_tokens:  # decode -> encode is not the identity
        responses = [(*content_ids(student, draw), *ends) for draw in passing]
    else:
        responses = [(*student.response_ids(draw.text), *ends) for draw in passing]
    kept = tuple(dict.fromkeys(responses))[:keep]
    return Lesson(drawn[0].problem_id, index, len(drawn), len(passing), kept)


def token_gap(student: Engine, teacher: Engine, problems: Iterable[Problem]) -> str | None:
    """The first difference between the tokens of two models on these problems, in words; None where there is none."""
    ours, theirs = student.info, teacher.info
    if ours.vocab_size != theirs.vocab_size:
        return f"its vocabulary has {theirs.vocab_size:,} tokens and the student's {ours.vocab_size:,}"
    ends = end_ids(student)
    if ends[0] not in theirs.stop_token_ids and ends != end_ids(teacher):
        shown = (*ours.stop_texts, *ours.stop_tokens)[0]
        return f"it does not stop at the student's stop token {shown!r} ({', '.join(f'id {i}' for i in ends)})"
    for problem in problems:
        prompt = Prompt(problem.prompt, problem.messages)
        if student.prompt_ids(prompt) != teacher.prompt_ids(prompt):
            return f"it reads other token ids in the prompt of problem {problem.id!r}"
        for text in reference_completions(problem):
            if student.response_ids(text) != teacher.response_ids(text):
                return f"it writes other token ids for the reference of problem {problem.id!r}"
    return None


def routes(found: Sequence[Lesson], *, seed: int) -> dict[str, int]:
    """Choose the teacher of each problem: the one that passes most often; equally good ones share the problems by lot.

    Returns:
        The index of the teacher by problem id; problems that no teacher solves are left out.
    """
    by_problem: dict[str, list[Lesson]] = {}
    for lesson in found:
        if lesson.c:
            by_problem.setdefault(lesson.problem_id, []).append(lesson)
    out: dict[str, int] = {}
    for key, solved in by_problem.items():
        best = max(lesson.c / lesson.n for lesson in solved)
        tied = [lesson.teacher for lesson in solved if lesson.c / lesson.n == best]
        out[key] = random.Random(f"{seed}|{key}").choice(tied)
    return out


def taught_rows(session: Session, found: Sequence[Lesson], route: Mapping[str, int]) -> list[TokenRow]:
    """Training rows from the kept responses of the teacher that each problem is routed to."""
    rows: list[TokenRow] = []
    for lesson in found:
        if route.get(lesson.problem_id) == lesson.teacher:
            problem = session.problems[lesson.problem_id]
            prompt_ids = session.policy.engine.prompt_ids(Prompt(problem.prompt, problem.messages))
            rows += [TokenRow(problem.id, prompt_ids, ids) for ids in lesson.response_ids]
    return rows
