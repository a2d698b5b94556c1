"""Which stage runs what: name -> entry, default length and learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from posttrain_diag.errors import UsageError

if TYPE_CHECKING:
    from posttrain_diag.stages.session.session import Session

Rate = Literal["supervised", "teacher", "own", "rl", "preference"]

RATES: Mapping[Rate, tuple[float, float]] = {
    "supervised": (1e-5, 0.606),
    "teacher": (1e-5, 0.53),
    "own": (1e-5, 0.39),
    "rl": (1e-6, 0.6),
    "preference": (5e-7, 0.73),
}
"""Peak learning rate at a billion weights, and the power with which it falls with size: what is usual there, joined to
what was measured to work on the zoo's 1.6e5 weights (2e-3, 1e-3, 3e-4, 2e-4 and 3e-4). Rows in the policy's own words
take less of it than foreign ones, and at a third of the rate less is forgotten."""
NEW_REPLAY = 0.5
"""Foreign rows take the weights far: measured on the zoo, half a batch replayed keeps .99 of the rest at equal pass@1,
with .3 some is lost."""
EPOCHS, MOST_STEPS = 13.0, 400
"""Of stages that are given responses."""
RL_REPLAY = 0.5
"""RL forgets like SFT where it moves as far: measured on the zoo, half the rows replayed keep .97-.99 of the rest."""
OWN_REPLAY = 0.3
"""Replay does not fight rows in the policy's own style: measured on the zoo, retention .89 -> 1.0 at equal pass@1."""
LORA_FACTOR = 10.0
"""Adapters take a higher rate (arXiv:2106.09685 and common practice)."""


@dataclass(frozen=True)
class StageEntry:
    """How a stage is run."""

    module: str
    function: str = "run"
    steps: int = 120
    """Optimizer steps; with `epochs`, at least so many."""
    epochs: float | None = None
    """Passes over the training problems, up to MOST_STEPS steps: what is new takes more of them than a user's set of a
    few hundred fills (measured on the zoo: a skill that is never drawn needs 2,000 problems and 300 to 400 steps)."""
    rate: Rate = "supervised"
    replay: float = 0.0
    """Share of retained tasks in a batch where there are some and the user says nothing."""
    trains: bool = True
    """False: weights are combined, no trainer runs and LoRA means nothing."""
    samples: bool = False
    """Its trainer draws as it trains, by vLLM where that is asked for."""

    def runner(self) -> Callable[[Session], None]:
        """The stage's function."""
        return getattr(import_module(f"posttrain_diag.stages.recipes.{self.module}"), self.function)


STAGES: Mapping[str, StageEntry] = {
    "sft": StageEntry("sft", epochs=EPOCHS, replay=NEW_REPLAY),
    "sft-model-aware": StageEntry("sft_model_aware", rate="own", replay=OWN_REPLAY),
    "filter": StageEntry("filter", epochs=EPOCHS, replay=NEW_REPLAY),
    "rft": StageEntry("rft", rate="own", replay=OWN_REPLAY),
    "search-transfer": StageEntry("search_transfer", rate="own", replay=OWN_REPLAY),
    "grpo": StageEntry("grpo", steps=100, rate="rl", replay=RL_REPLAY, samples=True),
    "rloo": StageEntry("grpo", "run_rloo", steps=100, rate="rl", replay=RL_REPLAY, samples=True),
    "guided-rl": StageEntry("guided_rl", steps=150, rate="rl", replay=RL_REPLAY, samples=True),
    "process-rl": StageEntry("process_rl", steps=60, rate="rl", replay=RL_REPLAY, samples=True),
    "interleaved": StageEntry("interleaved", steps=150, epochs=EPOCHS, rate="rl", replay=RL_REPLAY, samples=True),
    "distill-offline": StageEntry("distill_offline", epochs=EPOCHS, replay=NEW_REPLAY),
    "distill-onpolicy": StageEntry("distill_onpolicy", steps=60, rate="teacher", replay=NEW_REPLAY, samples=True),
    "preference": StageEntry("preference", steps=100, rate="preference", replay=OWN_REPLAY),
    "online-preference": StageEntry("online_preference", steps=100, rate="preference", replay=OWN_REPLAY),
    "merge": StageEntry("merge", trains=False),
    "replay": StageEntry("replay", rate="own"),
}
"""Every stage that `diag train` runs."""


def stage_entry(name: str) -> StageEntry:
    """The entry of a stage.

    Raises:
        UsageError: there is no such stage.
    """
    if name not in STAGES:
        raise UsageError(f"there is no stage {name!r}; stages: {', '.join(STAGES)} (`diag stages` describes them)")
    return STAGES[name]


def default_steps(entry: StageEntry, n_problems: int, batch_size: int, replay: float) -> int:
    """Optimizer steps of a stage where the user says nothing.

    Args:
        entry: of the stage.
        n_problems: training problems.
        batch_size: sequences per step.
        replay: share of them that is replayed.
    """
    if entry.epochs is None:
        return entry.steps
    full = math.ceil(entry.epochs * n_problems / (batch_size * (1 - replay)))
    return max(entry.steps, min(full, MOST_STEPS))


def learning_rate(entry: StageEntry, n_parameters: int, *, lora: bool) -> float:
    """The default peak learning rate of a stage for a model of this size."""
    at_billion, power = RATES[entry.rate]
    value = at_billion * max(1.0, (1e9 / n_parameters) ** power)
    return value * LORA_FACTOR if lora and n_parameters > 1e7 else value
