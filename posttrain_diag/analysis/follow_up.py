"""What the probes want drawn after the main arm, in the order in which it can still be spared.

First the completions to score, then the instrument's own checks, then everything else: what a broken instrument voids
is not drawn. At last the probes are asked again, for controls that only a success makes necessary, and for more draws
where the first ones left the question open. Each part keeps to its budget (budget.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from posttrain_probes import all_probes, deep_support, instrument

from posttrain_diag.analysis.budget import BROKEN_SHARE, CHECK_SHARE, PROBE_SHARE, afford, cost_of
from posttrain_diag.evidence import MAIN, DrawSpec, Evidence
from posttrain_diag.rollouts.collect import Collector, Owed
from posttrain_diag.rollouts.progress import Phase, Progress
from posttrain_diag.settings.analysis import Effort
from posttrain_diag.wording.numbers import count

FIRST_ROUND = 0.7
"""Share of what is left for probes that they may spend before they are asked again."""
MOST_OF_ROUND = {deep_support.CARD.name: 0.25}
"""Share of a round that a probe may take: bounds on a few problems decide no class."""

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
        """Draw what is missing of the wishes, as far as the tokens go."""
        nonlocal main, spent, owed
        drawn = counted(main)
        missing = {
            name: [replace(spec, n=spec.n - drawn(spec)) for spec in specs if drawn(spec) < spec.n]
            for name, specs in asked.items()
        }
        chosen = afford(missing, tokens, cost, MOST_OF_ROUND)
        spent += sum(map(cost, chosen))
        if chosen:
            more = collector.owed(replace(spec, n=spec.n + drawn(spec)) for spec in chosen)
            draw(collector, more, progress, "probe", ", ".join(name for name, specs in missing.items() if specs))
            owed = [*owed, *more]
            main = replace(read(owed), scores=scores, notes=main.notes)

    broken = is_broken(main)
    make(checks, (BROKEN_SHARE if broken else CHECK_SHARE) * own)
    if others and (broken or (spent > 0 and is_broken(main))):
        voided = f"{', '.join(others)} drew nothing: the instrument is broken, so the draws would tell nothing"
        return replace(main, notes=(*main.notes, *left_out(main, checks), voided))
    budget = PROBE_SHARE[effort] * own
    make(others, FIRST_ROUND * (budget - spent))
    others = {probe.card.name: probe.needs(main, engine).draws for probe in all_probes() if probe.card.name in others}
    make(others, budget - spent)
    return replace(main, notes=(*main.notes, *left_out(main, {**checks, **others})))


def counted(evidence: Evidence) -> Callable[[DrawSpec], int]:
    """How many draws of a spec's prompt there are already."""
    tables = {arm: evidence.table(arm)["drawn"] for arm in evidence.arms("")}

    def drawn(spec: DrawSpec) -> int:
        return int(tables[spec.arm].loc[spec.problem_id]) if spec.arm in tables else 0

    return drawn


def left_out(evidence: Evidence, asked: Mapping[str, Sequence[DrawSpec]]) -> tuple[str, ...]:
    """A note for each probe that the budget kept from some of its draws."""
    drawn = counted(evidence)
    notes: list[str] = []
    for name, specs in asked.items():
        wanted, made = sum(spec.n for spec in specs), sum(min(spec.n, drawn(spec)) for spec in specs)
        if made < wanted:
            notes.append(
                f"{name} drew {count(made)} of the {count(wanted)} rollouts that it would take without a budget "
                "(--effort thorough allows more)"
            )
    return tuple(notes)


def is_broken(evidence: Evidence) -> bool:
    """Whether what was drawn and scored so far shows that the instrument is broken."""
    return any(finding.severity == "broken" for finding in instrument.measure(evidence).findings)


def draw(collector: Collector, owed: list[Owed], progress: Progress, phase: Phase, detail: str) -> None:
    """Make the missing draws of one phase."""
    progress.phase(phase, detail)
    total, missing = sum(item.spec.n for item in owed), sum(len(item.missing) for item in owed)
    progress.plan(total, total - missing, max((item.params.max_new_tokens for item in owed), default=0))
    collector.draw(owed, progress)
