"""Built-in trainers: every stage of the catalogue, on TRL, accelerate and PEFT.

catalogue   one record per stage           record      what a record holds
inputs      what a stage gets              prepare     from a request or a run's plan to those
run         measure, train, keep the best, measure again
recipes/    one file per stage             trainers/   the trainer runs that several stages share
session/    phases, resume, bill, looks    policy/     weights that are trained and sampled from
data/       rows and draws to train on

The names below are loaded when they are first used, so that the catalogue stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from posttrain_diag.settings.stage import StageConfig, make_stage_config
    from posttrain_diag.stages.catalogue import STAGES
    from posttrain_diag.stages.inputs import StageInputs
    from posttrain_diag.stages.run import (
        Measured,
        StageResult,
        check_stage,
        planned_steps,
        read_measured,
        read_result,
        tokens_so_far,
        train_stage,
    )

__all__ = [
    "STAGES",
    "Measured",
    "StageConfig",
    "StageInputs",
    "StageResult",
    "check_stage",
    "make_stage_config",
    "planned_steps",
    "read_measured",
    "read_result",
    "tokens_so_far",
    "train_stage",
]
_OWNERS = {
    "STAGES": "posttrain_diag.stages.catalogue",
    "StageConfig": "posttrain_diag.settings.stage",
    "StageInputs": "posttrain_diag.stages.inputs",
    "make_stage_config": "posttrain_diag.settings.stage",
    "split_tasks": "posttrain_diag.stages.inputs",
    "take_watched": "posttrain_diag.stages.inputs",
}


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module(_OWNERS.get(name, "posttrain_diag.stages.run")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
