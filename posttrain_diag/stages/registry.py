"""Which stage runs what: name -> entry, default length and learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from posttrain_diag.errors import UsageError

if TYPE_CHECKING:
    from posttrain_diag.stages.session import Session

Rate = Literal["supervised", "own", "rl", "preference"]

RATES: Mapping[Rate, tuple[float, float]] = {
    "supervised": (1e-5, 0.53),
    "own": (1e-5, 0.39),
    "rl": (1e-6, 0.6),
    "preference": (5e-7, 0.73),
}
"""Peak learning rate at a billion weights, and the power with which it falls with size: what is usual there, joined to
what was measured to work on the zoo's 1.6e5 weights (1e-3, 3e-4, 2e-4 and 3e-4). Rows in the policy's own words take
less of it than foreign ones, and at a third of the rate less is forgotten."""
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
    rate: Rate = "supervised"
    replay: float = 0.0
    """Share of retained tasks in a batch where there are some and the user says nothing."""
    trains: bool = True
    """False: weights are combined, no trainer runs and LoRA means nothing."""

    def runner(self) -> Callable[[Session], None]:
        """The stage's function."""
        return getattr(import_module(f"posttrain_diag.stages.{self.module}"), self.function)


STAGES: Mapping[str, StageEntry] = {
    "sft": StageEntry("sft"),
    "sft-model-aware": StageEntry("sft_model_aware", rate="own", replay=OWN_REPLAY),
    "filter": StageEntry("filter"),
    "rft": StageEntry("rft", rate="own", replay=OWN_REPLAY),
    "search-transfer": StageEntry("search_transfer", rate="own", replay=OWN_REPLAY),
    "grpo": StageEntry("grpo", steps=100, rate="rl", replay=RL_REPLAY),
    "rloo": StageEntry("grpo", "run_rloo", steps=100, rate="rl", replay=RL_REPLAY),
    "guided-rl": StageEntry("guided_rl", steps=150, rate="rl", replay=RL_REPLAY),
    "process-rl": StageEntry("process_rl", steps=60, rate="rl", replay=RL_REPLAY),
    "interleaved": StageEntry("interleaved", steps=150, rate="rl", replay=RL_REPLAY),
    "distill-offline": StageEntry("distill_offline"),
    "distill-onpolicy": StageEntry("distill_onpolicy", steps=60),
    "preference": StageEntry("preference", steps=100, rate="preference"),
    "online-preference": StageEntry("online_preference", steps=100, rate="preference"),
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


def learning_rate(entry: StageEntry, n_parameters: int, *, lora: bool) -> float:
    """The default peak learning rate of a stage for a model of this size."""
    at_billion, power = RATES[entry.rate]
    value = at_billion * max(1.0, (1e9 / n_parameters) ** power)
    return value * LORA_FACTOR if lora and n_parameters > 1e7 else value
