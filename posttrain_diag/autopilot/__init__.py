"""The autopilot: analyse, choose a stage, train, analyse again, keep or roll back, until nothing is left to gain.

config     what was asked for                     problems   what is trained on, what is measured on
loop       the phases                             state      where a run stands, on disk
run        one run in progress                    journal    every decision, its reason and numbers
next_round what comes next                        choose     what speaks for and against it
judge      kept or rolled back                    result     result.json
bill       tokens spent, left, set aside          steps      analyse, train, compare: what tests replace
commands   the steps as a person types them
"""

from posttrain_diag.autopilot.loop import autopilot
from posttrain_diag.autopilot.run import first_cost
from posttrain_diag.autopilot.steps import Steps
from posttrain_diag.settings.autopilot import AutopilotConfig, make_autopilot_config

__all__ = ["AutopilotConfig", "Steps", "autopilot", "first_cost", "make_autopilot_config"]
