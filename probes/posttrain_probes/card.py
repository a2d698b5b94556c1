"""What a probe is: a card (question, method, chance level, cost, references) and three functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from posttrain_diag.types import Measurement, ProbeFailure

if TYPE_CHECKING:
    from posttrain_diag.engines.contract import Capability, Engine
    from posttrain_diag.evidence import Evidence, Needs


@dataclass(frozen=True)
class ProbeCard:
    """What a reader must know before believing a probe."""

    name: str
    question: str
    method: str
    chance_level: str
    cost: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """One measurement, as a card and three functions.

    `plan` looks at the main arm and says what else must be drawn or scored (it may use the engine's tokenizer,
    never its weights); `measure` turns stored evidence into a `Measurement` without the model; `validate` runs
    `measure` on constructed evidence whose answer is known and raises AssertionError when it is wrong.
    """

    card: ProbeCard
    measure: Callable[[Evidence], Measurement]
    validate: Callable[[], None]
    plan: Callable[[Evidence, Engine], Needs] | None = None
    requires: tuple[Capability, ...] = ()
    """What `plan` and its draws and scores need of an engine; without it the probe measures what there is."""

    def needs(self, evidence: Evidence, engine: Engine) -> Needs:
        """What must be drawn or scored beyond the main arm; with a note where the engine cannot serve the probe."""
        from posttrain_diag.evidence import Needs

        if self.plan is None:
            return Needs()
        info = engine.info
        missing = list(dict.fromkeys(info.lacks[name] for name in self.requires if name in info.lacks))
        if missing:
            return Needs(notes=(f"{self.card.name}: the {info.engine} engine cannot serve it ({'; '.join(missing)})",))
        return self.plan(evidence, engine)


def boundary(probe: Probe, evidence: Evidence) -> Measurement | ProbeFailure:
    """Run one probe; an exception of its own becomes a `ProbeFailure`, so that the other probes go on.

    This is the only catch-all of the package: probes may come from other people's packages, and a failed probe must be
    visible in the report rather than end an analysis whose rollouts are paid for.
    """
    import os

    try:
        return probe.measure(evidence)
    except Exception as error:
        if os.environ.get("DIAG_DEBUG") == "1":
            raise
        return ProbeFailure(probe.card.name, f"{type(error).__name__}: {error}")
