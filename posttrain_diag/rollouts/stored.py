"""What a store holds of a plan: counts and rows under today's verifiers, and whole rollouts for trainers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from posttrain_diag.engines.contract import Engine
from posttrain_diag.evidence import MAIN, PILOT, Evidence, add_tallies
from posttrain_diag.rollouts.collect import Owed
from posttrain_diag.rollouts.judge import Judge
from posttrain_diag.store import Span, Store
from posttrain_diag.store.base import NO_END
from posttrain_diag.tasks import verifier_sha
from posttrain_diag.types import Problem, Rollout

SAMPLE_ROWS = 200_000
"""Most rollouts read into memory (one of every problem and arm in any case); up to this many, probes see every draw."""


def spans_of(owed: Iterable[Owed], *, exact: bool = False) -> list[Span]:
    """The stored draws that a plan is about.

    Older draws of the directory (another cap, another prompt) stay on disk and are not evidence.

    Args:
        owed: the plan.
        exact: only the draws planned; else all stored draws of the same prompts too.
    """
    found: dict[tuple[str, str], Span] = {}
    for item in owed:
        key = (item.prompt_sha, item.sampling_sha)
        found.setdefault(key, Span(*key, stop=item.spec.n if exact else NO_END))
    return list(found.values())


def spans_by_plan(owed: Iterable[Owed]) -> list[Span]:
    """All stored draws of the main arm and the pilot, and of the probes' prompts as many as the plan asks for by now.

    Probes are asked twice, the second time after their first draws were looked at. Draws of the second time that an
    earlier run left must not be seen the first time, or a repeated analysis would ask for others.

    Args:
        owed: the plan; the same prompt may be in it twice.
    """
    found: dict[tuple[str, str], Span] = {}
    for item in owed:
        key = (item.prompt_sha, item.sampling_sha)
        stop = NO_END if item.spec.arm in {MAIN, PILOT} else item.spec.n
        before = found.get(key)
        found[key] = Span(*key, stop=stop if before is None else max(stop, before.stop))
    return list(found.values())


def current_tallies(
    store: Store, model_sha: str, spans: Sequence[Span], problems: Mapping[str, Problem]
) -> pd.DataFrame:
    """Exact counts per problem and arm, after judging again what another verifier or gold judged.

    Args:
        store: where the rollouts are.
        model_sha: the model that drew them.
        spans: which of its draws to count.
        problems: problems by id, for judging again.
    """
    shas = {problem.id: verifier_sha(problem) for problem in problems.values()}
    counts = store.tallies(model_sha, spans)
    if (counts["verifier_sha"] != counts["problem_id"].map(shas)).any():
        store.rejudge(model_sha, spans, shas, Judge(problems.values()).verdict)
        counts = store.tallies(model_sha, spans)
    return add_tallies(counts)


def current_evidence(base: Evidence, store: Store, owed: Sequence[Owed]) -> Evidence:
    """`base` with what the store holds of a plan: exact counts, and rows as far as they fit in memory.

    The rows are the first K draws by sample index of every problem and arm, K as large as SAMPLE_ROWS allows: the
    choice looks at no outcome, so it biases nothing. Draws from a tilt are kept whole, for their weights belong
    together.
    """
    assert base.model is not None
    model_sha, spans = base.model.model_sha, spans_by_plan(owed)
    tallies = current_tallies(store, model_sha, spans, base.problems)
    first = first_draws(tallies)
    tilted = {(item.prompt_sha, item.sampling_sha) for item in owed if item.spec.tilt is not None}
    shown = [
        span if (span.prompt_sha, span.sampling_sha) in tilted else replace(span, stop=min(span.stop, first))
        for span in spans
    ]
    return replace(base, tallies=tallies, rollouts=store.rows(model_sha, shown))


def first_rollouts(store: Store, model_sha: str, problem_ids: Collection[str], most: int) -> pd.DataFrame:
    """The first draws of some problems in every arm.

    Args:
        store: where the rollouts are.
        model_sha: the model that drew them.
        problem_ids: ids of the problems.
        most: about how many rows are returned at most; one of every problem and arm is returned in any case.
    """
    spans = store.spans(model_sha, problem_ids)
    first = first_draws(add_tallies(store.tallies(model_sha, spans)), most)
    return store.rows(model_sha, [replace(span, stop=first) for span in spans])


def first_draws(tallies: pd.DataFrame, most: int = SAMPLE_ROWS) -> int:
    """The largest K for which the first K draws of every problem and arm are at most `most` rows; at least 1."""
    drawn = np.sort(tallies[["c", "failed", "truncated", "errored"]].sum(axis=1).to_numpy(np.int64))
    if drawn.sum() <= most:
        return NO_END
    ks = np.arange(1, int(drawn[-1]) + 1)
    below = np.searchsorted(drawn, ks)  # cells with fewer than K draws give all of theirs
    rows = np.concatenate([[0], np.cumsum(drawn)])[below] + ks * (len(drawn) - below)
    return max(1, int(np.searchsorted(rows, most, side="right")))


def stored_rollouts(
    store: Store, engine: Engine, owed: Sequence[Owed], problems: Mapping[str, Problem]
) -> list[list[Rollout]]:
    """The draws that a plan asked for, with the token ids of their prompts.

    They are judged as they were when they were drawn; what another verifier or gold judged is judged again first.

    Args:
        store: where the rollouts are.
        engine: the engine with the model that drew them.
        owed: the plan; its draws have been made.
        problems: problems by id, for judging again.

    Returns:
        The rollouts of each prompt, in the order of their index.
    """
    spans, sha = spans_of(owed, exact=True), engine.info.model_sha
    current_tallies(store, sha, spans, problems)
    tokens = {(row.prompt_sha, row.sampling_sha, row.sample_idx): row for row in store.token_rows(sha, spans)}
    prompt_ids = {item.prompt_sha: engine.prompt_ids(item.prompt) for item in owed}
    found: dict[tuple[str, str], list[Rollout]] = {(item.prompt_sha, item.sampling_sha): [] for item in owed}
    for row in store.rows(sha, spans).to_dict("records"):
        drawn = tokens[row["prompt_sha"], row["sampling_sha"], row["sample_idx"]]
        logprobs = None if drawn.logprobs_T is None else tuple(drawn.logprobs_T.tolist())
        found[row["prompt_sha"], row["sampling_sha"]].append(
            Rollout(
                token_ids=tuple(drawn.ids_T.tolist()),
                token_logprobs=logprobs,
                engine=engine.info.engine,
                model_sha=sha,
                token_count=row.pop("n_tokens"),
                prompt_ids=prompt_ids[row["prompt_sha"]],
                **{str(name): _known(value) for name, value in row.items() if name != "logprob"},
            )
        )
    return [found[item.prompt_sha, item.sampling_sha] for item in owed]


def _known(value: Any) -> Any:
    """The value of a cell of a data frame; None where it is missing."""
    return None if isinstance(value, float) and np.isnan(value) else value
