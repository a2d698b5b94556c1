"""Other models on the same problems: a teacher, a sibling or an earlier checkpoint, each opened in turn.

They draw from the main arm alone, under the policy's sampling law, and only where the policy may not have mastered a
problem. Their draws lie in the run's store under their own model_sha, so that nothing is drawn twice. A sibling that
was analysed already is read from its run (sibling_runs.py) and not drawn from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from posttrain_diag.engines.contract import Engine
from posttrain_diag.errors import UsageError
from posttrain_diag.evidence import MAIN, DrawSpec, Evidence, tally
from posttrain_diag.rollouts.collect import Collector
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.rollouts.sibling_runs import SiblingRun, cap_note
from posttrain_diag.rollouts.stored import current_tallies, spans_of
from posttrain_diag.settings.analysis import RESOLVED
from posttrain_diag.store import RunDir


def check_others(model: str, teachers: Sequence[str], siblings: Sequence[str] = ()) -> None:
    """Refuse names of other models that can be seen to be wrong before anything is loaded.

    Args:
        model: the policy.
        teachers: as `--teacher` names them.
        siblings: as `--sibling` names them: models, or runs of them.

    Raises:
        UsageError: one is the model itself, is given twice, or is a zoo model that there is not.
    """
    from posttrain_diag.zoo import resolve_model

    names = (*teachers, *siblings)
    for index, name in enumerate(names):
        if name == model or name in names[:index]:
            raise _same(name, model if name == model else name, sibling=index >= len(teachers))
        if name.startswith("zoo:"):
            resolve_model(name)


def with_others(
    evidence: Evidence,
    teachers: Sequence[str],
    siblings: Mapping[str, SiblingRun | None],
    load: Callable[[str], Engine],
    run: RunDir,
    progress: Progress,
) -> Evidence:
    """The evidence with the exact tallies of other models; what is not stored of them yet is drawn first.

    Args:
        evidence: the evidence on the policy, whose engine is closed by now.
        teachers: names of models to compare with.
        siblings: other checkpoints by name; with their run where they were analysed already, else they are drawn from.
        load: opens the engine of one of them, with the policy's engine settings.
        run: where the draws are stored.
        progress: shown while drawing.

    Raises:
        UsageError: two of all these names stand for one model.
        DiagError: a model cannot be loaded or drawn from; what was drawn before stays.
    """
    asked = open_problems(evidence)
    if not asked:
        return replace(evidence, teachers=dict.fromkeys((*teachers, *siblings), tally(pd.DataFrame())))
    assert evidence.model is not None
    names = {evidence.model.model_sha: evidence.model.model}
    tallies: dict[str, pd.DataFrame] = {}
    notes: list[str] = []
    for name, known in {**dict.fromkeys(teachers), **siblings}.items():
        if known is not None:
            if known.model_sha in names:
                raise _same(name, names[known.model_sha], sibling=True)
            names[known.model_sha] = name
            notes += [note] if (note := cap_note(known, evidence.settings.sampling)) else []
            tallies[name] = known.tallies[known.tallies["problem_id"].isin(asked)]
            continue
        progress.phase("load", name)
        engine = load(name)
        try:
            if (sha := engine.info.model_sha) in names:
                raise _same(name, names[sha], sibling=name in siblings)
            names[sha] = name
            tallies[name] = _drawn(evidence, engine, name, asked, run, progress)
            told = [f"{name}: {notice}" for notice in (*engine.info.warnings, *engine.info.notices)]
            for notice in told:
                progress.note(notice)
            notes += told
        finally:
            engine.close()
        run.event("teacher", model=name, model_sha=sha, problems=len(asked))
    return replace(evidence, teachers=tallies, notes=(*evidence.notes, *notes))


def open_problems(evidence: Evidence) -> list[str]:
    """Ids of the problems that the policy has not surely mastered, in the order of the tasks file."""
    if len(evidence.measured) == 0:
        return list(evidence.ids)
    posterior_P3 = evidence.law.class_posterior(evidence.settings.eps, evidence.settings.mastery)
    mastered = set(evidence.measured.index[posterior_P3[:, 2] >= RESOLVED])
    return [key for key in evidence.ids if key not in mastered]


def _drawn(
    evidence: Evidence, engine: Engine, name: str, asked: Sequence[str], run: RunDir, progress: Progress
) -> pd.DataFrame:
    """Make the missing draws of one model; returns its tallies over all that is stored of these problems."""
    store, n = run.store(), evidence.settings.teacher_rollouts
    try:
        collector = Collector(engine, store, evidence.problems, evidence.settings.sampling)
        owed = collector.owed(DrawSpec(key, MAIN, n) for key in asked)
        progress.phase("sample", f"{name} on the {len(asked)} problems not surely mastered")
        missing = sum(len(item.missing) for item in owed)
        progress.plan(n * len(asked), n * len(asked) - missing, collector.params.max_new_tokens)
        collector.draw(owed, progress)
        return current_tallies(store, engine.info.model_sha, spans_of(owed), evidence.problems)
    finally:
        store.close()


def _same(name: str, other: str, *, sibling: bool = False) -> UsageError:
    flag = "--sibling" if sibling else "--teacher"
    return UsageError(
        f"{flag} {name}: is the same model as {other}; give another model to compare with: a teacher, a sibling or "
        "an earlier checkpoint"
    )
