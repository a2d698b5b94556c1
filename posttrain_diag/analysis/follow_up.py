"""What the probes want drawn after the main arm, in the order in which it can still be spared.

First the completions to score, then the instrument's own checks, then everything else: what a broken instrument voids
is not drawn. Each part keeps to its budget (budget.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from posttrain_probes import all_probes, instrument

from posttrain_diag.analysis.budget import BROKEN_SHARE, CHECK_SHARE, PROBE_SHARE, afford, cost_of
from posttrain_diag.evidence import MAIN, DrawSpec, Evidence
from posttrain_diag.rollouts.collect import Collector, Owed
from posttrain_diag.rollouts.progress import Phase, Progress
from posttrain_diag.settings.analysis import Effort

Read = Callable[[list[Owed]], Evidence]
"""The evidence that these draws make."""


def follow_up(owed: list[Owed], collector: Collector, effort: Effort, read: Read, progress: Progress) -> Evidence:
    """Ask the probes what they need beyond the main arm, and draw and score what the budget allows of it.

    Args:
        owed: the main arm's draws, all made.
        collector: makes and stores further ones.
        effort: sets the budget.
        read: stored draws -> evidence, without scores and notes.
        progress: shown meanwhile.

    Returns:
        All evidence, with the scores and with notes on what was not drawn.
    """
    main, engine = read(owed), collector.engine
    needs = {probe.card.name: probe.needs(main, engine) for probe in all_probes()}
    collector.score(spec for need in needs.values() for spec in need.scores)
    scores = tuple(collector.store.scores(engine.info.model_sha))
    main = replace(main, scores=scores, notes=tuple(note for need in needs.values() for note in need.notes))
    checks = {name: need.draws for name, need in needs.items() if name == instrument.CARD.name}
    others = {name: need.draws for name, need in needs.items() if need.draws and name not in checks}
    if not others and not any(checks.values()):
        return main
    own, cost = main.tokens(MAIN), cost_of(main)
    spent = 0.0

    def make(asked: Mapping[str, Sequence[DrawSpec]], tokens: float) -> None:
        nonlocal main, spent, owed
        afforded = afford(asked, tokens, cost)
        notes = (*main.notes, *afforded.notes)
        spent += sum(map(cost, afforded.draws))
        if afforded.draws:
            more = collector.owed(afforded.draws)
            draw(collector, more, progress, "probe", ", ".join(name for name, specs in asked.items() if specs))
            owed = [*owed, *more]
            main = read(owed)
        main = replace(main, scores=scores, notes=notes)

    broken = is_broken(main)
    make(checks, (BROKEN_SHARE if broken else CHECK_SHARE) * own)
    if others and (broken or (spent > 0 and is_broken(main))):
        voided = f"{', '.join(others)} drew nothing: the instrument is broken, so the draws would tell nothing"
        return replace(main, notes=(*main.notes, voided))
    make(others, PROBE_SHARE[effort] * own - spent)
    return main


def is_broken(evidence: Evidence) -> bool:
    """Whether what was drawn and scored so far shows that the instrument is broken."""
    return any(finding.severity == "broken" for finding in instrument.measure(evidence).findings)


def draw(collector: Collector, owed: list[Owed], progress: Progress, phase: Phase, detail: str) -> None:
    """Make the missing draws of one phase."""
    progress.phase(phase, detail)
    total, missing = sum(item.spec.n for item in owed), sum(len(item.missing) for item in owed)
    progress.plan(total, total - missing, max((item.params.max_new_tokens for item in owed), default=0))
    collector.draw(owed, progress)
