"""The state machine of a run, as state.json holds it.

    analyze ──► choose ◄──► (pilot)
                ▲ │ └──► finish ──► done
                │ └──► train ──► analyze ──► compare ──► decide ──┐
                └─────────────────────────────────────────────────┘

A phase reads what earlier ones left on disk, does one thing, and names the next; the file is replaced between phases.
A phase that was cut off is begun again, and its own work (an analysis, a stage) goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from posttrain_diag.errors import StoreError
from posttrain_diag.store import write_atomic

RunPhase = Literal["analyze", "choose", "pilot", "train", "compare", "decide", "finish", "done"]
RoundOutcome = Literal["kept", "rolled back", "failed"]
End = Literal["target", "saturated", "instrument", "undetermined", "budget", "stages", "no gain"]
"""Why a run ended: the target was reached; nothing is left to gain; the measurement is broken; the evidence does not
decide; the token budget, or the number of stages, is used up; no stage is expected to gain anything."""

SCHEMA = 1


@dataclass(frozen=True)
class Round:
    """One round of a run: a stage that was begun, and what became of it."""

    number: int
    """Number of the round, from 1 on; 0 stands for the model that the run started with."""
    stage: str
    start: int
    """Number of the round whose checkpoint it starts from."""
    settings: Mapping[str, Any]
    """Stage settings beyond the user's: the budget that is left, more replay on a second try."""
    why: str
    """Why this stage was chosen."""
    retry_of: int | None = None
    """The round that was rolled back for retention alone and is tried again with more replay."""
    outcome: RoundOutcome | None = None
    """What became of the round; None while it runs."""
    reason: str = ""
    """Why it was kept or not."""
    cause: str = ""
    """The reason for which it was rolled back: "gain", "retention" or "weights"; empty when kept."""

    @property
    def folder(self) -> str:
        """Name of the round's folder under rounds/."""
        return f"{self.number:02d}-{self.stage}"


@dataclass(frozen=True)
class AutopilotState:
    """Where a run stands: its phase, its rounds and its current checkpoint."""

    phase: RunPhase = "analyze"
    rounds: tuple[Round, ...] = ()
    current: int = 0
    """The round whose checkpoint is the best so far; 0: the model that the run started with."""
    rollouts: int | None = None
    """Rollouts per problem in the analysis of the current checkpoint, where an undetermined verdict asked for more."""
    topups: int = 0
    """How often an undetermined verdict asked for more."""
    piloted: bool = False
    """Whether the plan of the current checkpoint rests on pilots."""
    pilot_tokens: int | None = None
    """Tokens that each pilot of the current checkpoint may take; None: no limit."""
    end: End | None = None
    reason: str = ""
    """Why the run ended, in a sentence."""
    shas: Mapping[str, str] = field(default_factory=dict[str, str])
    """Hashes of the problems, by the name of their set."""

    @property
    def open_round(self) -> Round | None:
        """The round whose stage runs or is judged now; None where there is none."""
        return self.rounds[-1] if self.rounds and self.rounds[-1].outcome is None else None

    def at(self, phase: RunPhase) -> AutopilotState:
        """The same state before another phase."""
        return replace(self, phase=phase)

    def begin(self, opened: Round) -> AutopilotState:
        """The state with a new round, before its stage."""
        return replace(self, phase="train", rounds=(*self.rounds, opened))

    def close(self, outcome: RoundOutcome, reason: str, cause: str = "") -> AutopilotState:
        """The state with the open round decided; where it was kept, its checkpoint is the current one."""
        closed = replace(self.rounds[-1], outcome=outcome, reason=reason, cause=cause)
        state = replace(self, phase="choose", rounds=(*self.rounds[:-1], closed))
        if outcome != "kept":
            return state
        return replace(state, current=closed.number, rollouts=None, topups=0, piloted=False, pilot_tokens=None)

    def ended(self, end: End, reason: str) -> AutopilotState:
        """The state with a reason to stop."""
        return replace(self, phase="finish", end=end, reason=reason)

    def save(self, path: Path) -> None:
        """Write the state to state.json, which is replaced as a whole."""
        write_atomic(path, json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n")


def load_state(path: Path) -> AutopilotState:
    """Read the state from state.json.

    Raises:
        StoreError: it is damaged, or was written by another version.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("schema") != SCHEMA:
            raise StoreError(f"{path}: was written by another version of posttrain-diag; choose another --out")
        rounds = tuple(Round(**row) for row in data.pop("rounds"))
        return AutopilotState(rounds=rounds, **data)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: damaged ({error}); choose another --out") from error
