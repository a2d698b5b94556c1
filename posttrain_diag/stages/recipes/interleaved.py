"""RL and SFT in one: draws teach where some pass, demonstrations where none did.

The loss of each step is GRPO's on its draws plus cross-entropy on demonstrations. Groups without a pass carry no
signal: for each of their draws one demonstration is learned from, of this problem or of another whose last group had no
pass, and the cross-entropy weighs as the share of such groups. As problems begin to be solved their demonstrations fall
out, so supervision ends by itself. Adam takes steps of one length whatever the loss weighs, so the learning rate of a
step lies between RL's and SFT's, by the same share: demonstrations of what is new teach nothing at RL's.

References: LUFFY (arXiv:2504.14945), ReLIFT (arXiv:2506.07527).
"""

from __future__ import annotations

import random

from posttrain_diag.stages.catalogue import learning_rate, stage_record
from posttrain_diag.stages.data.rows import TokenRow, check_lengths, demo_rows
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.reinforced import Groups, RLPlan, fit_rl
from posttrain_diag.stages.trainers.trl import LossPart

UNSOLVED = "unsolved"


def run(session: Session) -> None:
    """Train by group-relative policy optimization, and on demonstrations of problems that no draw solved."""
    demos = Demonstrations(session)
    # without zero_steps: demonstrations beside RL are a signal of their own
    fit_rl(session, "interleaved", RLPlan("grpo", after_step=demos.note, companion=lambda: demos.part))


class Demonstrations:
    """Demonstrations of problems that no draw solved when they were last drawn from."""

    def __init__(self, session: Session) -> None:
        self.session = session
        rows = session.rows_once("demos", lambda: demo_rows(session.policy.engine, session.inputs.train))
        check_lengths(rows, session.policy.engine.info.context_length)
        self.rows_of: dict[str, list[TokenRow]] = {}
        for row in rows:
            self.rows_of.setdefault(row.problem_id, []).append(row)
        self.part = LossPart((), 0.0)
        """Of this step."""
        size, lora = session.policy.n_parameters, session.policy.lora
        rates = [learning_rate(stage_record(name), size, lora=lora) for name in ("sft", "interleaved")]
        self.supervised = rates[0] / rates[1]
        """How much higher SFT's learning rate is than RL's."""

    @property
    def unsolved(self) -> list[str]:
        """Problems with demonstrations whose last group had no pass; kept with the stage's state."""
        return self.session.state.extra.setdefault(UNSOLVED, [])

    def note(self, groups: Groups) -> None:
        """Choose the demonstrations of this step: one for every draw that lies in a group without a pass."""
        failed = [key for key, draws in groups.items() if not any(draw.passed for draw in draws)]
        kept = [key for key in self.unsolved if key not in groups]
        self.session.state.extra[UNSOLVED] = kept + [key for key in failed if key in self.rows_of]
        rng = random.Random(f"demos|{self.session.config.seed}|{self.session.state.steps}")
        most = sum(len(groups[key]) for key in failed)
        keys = rng.sample(self.unsolved, min(most, len(self.unsolved)))
        share = len(failed) / len(groups)
        self.part = LossPart([rng.choice(self.rows_of[key]) for key in keys], share)
        self.session.rate_factor = 1 + share * (self.supervised - 1)
