"""RL and SFT in one: draws teach where some pass, demonstrations where none did.

The loss of each step is GRPO's on its draws plus cross-entropy on demonstrations of those of its problems that no draw
solved, weighted by their share. As problems begin to be solved their demonstrations fall out, so supervision ends by
itself.

References: LUFFY (arXiv:2504.14945), ReLIFT (arXiv:2506.07527).
"""

from __future__ import annotations

import random

from posttrain_diag.stages.reinforced import Groups, RLPlan, fit_rl
from posttrain_diag.stages.rows import TokenRow, check_lengths, demo_rows
from posttrain_diag.stages.session import Session
from posttrain_diag.stages.trl import Part


def run(session: Session) -> None:
    """Group-relative policy optimization with demonstrations of what no draw solved."""
    demos = Demonstrations(session)
    fit_rl(session, "interleaved", RLPlan("grpo", after_step=demos.note, companion=lambda: demos.part))


class Demonstrations:
    """Demonstrations of the problems that a step did not solve once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        rows = session.rows_once("demos", lambda: demo_rows(session.policy.engine, session.inputs.train))
        check_lengths(rows, session.policy.engine.info.context_length)
        self.rows_of: dict[str, list[TokenRow]] = {}
        for row in rows:
            self.rows_of.setdefault(row.problem_id, []).append(row)
        self.part = Part((), 0.0)
        """Of this step; its weight is the share of the problems that it stands for."""

    def note(self, groups: Groups) -> None:
        """Choose a demonstration of each problem that no draw solved at this step, over all processes."""
        unsolved = [key for key, draws in groups.items() if not any(draw.passed for draw in draws)]
        rng = random.Random(f"demos|{self.session.config.seed}|{self.session.state.steps}")
        rows = [rng.choice(self.rows_of[key]) for key in sorted(unsolved) if key in self.rows_of]
        self.part = Part(rows, len(rows) / len(groups))
