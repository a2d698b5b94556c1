"""RL and SFT in one: draws teach where some pass, demonstrations where none did.

The loss of each step is GRPO's on its draws plus cross-entropy on the demonstrations of the problems whose groups
were all zero at the step before. As problems begin to be solved their demonstrations fall out, so supervision ends by
itself.

References: LUFFY (arXiv:2504.14945), ReLIFT (arXiv:2506.07527).
"""

from __future__ import annotations

import random
from posttrain_diag.stages.reinforced import Groups, RLPlan, fit_rl
from posttrain_diag.stages.rows import TokenRow, check_lengths, demo_rows
from posttrain_diag.stages.session import Session
from posttrain_diag.stages.trl import Part

UNSOLVED = "unsolved"


def run(session: Session) -> None:
    """Group-relative policy optimization with demonstrations of what no draw solved."""
    demos = Demonstrations(session)
    fit_rl(session, "interleaved", RLPlan("grpo", after_step=demos.note, companion=demos.rows))


class Demonstrations:
    """Demonstrations of the problems that the last step did not solve once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        rows = session.rows_once("demos", lambda: demo_rows(session.policy.engine, session.inputs.train))
        check_lengths(rows, session.policy.engine.info.context_length)
        self.rows_of: dict[str, list[TokenRow]] = {}
        for row in rows:
            self.rows_of.setdefault(row.problem_id, []).append(row)

    def note(self, groups: Groups) -> None:
        """Remember which problems had no passing draw, over all processes."""
        failed = [key for key, draws in groups.items() if not any(draw.passed for draw in draws)]
        with_demos = [key for key in failed if key in self.rows_of]
        self.session.state.extra[UNSOLVED] = {"problems": with_demos, "share": len(with_demos) / len(groups)}

    def rows(self) -> Part:
        """One demonstration of each, weighted as the share of the last step's problems that they are."""
        session = self.session
        noted = session.state.extra.get(UNSOLVED, {"problems": [], "share": 0.0})
        rng = random.Random(f"demos|{session.config.seed}|{session.state.steps}")
        return Part([rng.choice(self.rows_of[key]) for key in noted["problems"]], noted["share"])
