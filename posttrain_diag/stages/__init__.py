"""Built-in trainers: every stage of the catalogue, on TRL, accelerate and PEFT.

inputs      what a stage gets              config      what a user may set
registry    name -> stage                  run         measure, train, keep the best, measure again
session     phases, resume, bill           watch       pass@1, pass@k, retention, KL while training
policy      weights that are trained and sampled from           trl   everything that touches TRL
sharding    weights in pieces, and whole again                  ledger   draws that go on the bill
supervised, reinforced, ...                the trainer runs that several stages share
sft, grpo, ...                             one file per stage
"""

from posttrain_diag.settings.stage import StageConfig, load_stage_config, make_stage_config
from posttrain_diag.stages.inputs import StageInputs
from posttrain_diag.stages.registry import STAGES
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
    "load_stage_config",
    "make_stage_config",
    "planned_steps",
    "read_measured",
    "read_result",
    "tokens_so_far",
    "train_stage",
]
