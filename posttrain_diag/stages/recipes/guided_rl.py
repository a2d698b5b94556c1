"""RL on hinted problems: the beginning of a demonstration is given, and taken back as draws succeed.

    tokens of the demonstration that are given = (level + the problem's own offset) x its length

The level is one number for all problems: it falls the faster the more groups succeed, and so meets hard problems
where some draws pass. The offset keeps problems apart that are harder or easier than the rest. Whatever happens, no
hint is given in the last fifth of the steps: the policy that comes out has been trained on bare prompts.

References: reverse curriculum RL (arXiv:2402.05808); adaptive prefix guidance as measured on the zoo (docs/stages.md).
"""

from __future__ import annotations

import random

from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.reinforced import Groups, RLPlan, fit_rl

FASTEST = 0.25
"""Where every group succeeds, hints are gone after this share of the steps."""
FORCED = (0.5, 0.8)
"""Shares of the steps between which hints are taken back even where nothing succeeds."""
SUCCESS = 0.5
"""A group succeeds when at least this share of its draws passes."""
OFFSET_STEP = 0.1
"""A problem's offset grows by this after a group without a pass, and shrinks by it after one with passes alone."""
MOST_OFFSET = 0.3
SPREAD = (0.8, 1.0)
"""A hint's length is drawn from this part of what the problem may get, so that neighbouring states are visited too."""

LEVEL = "hint_level"
OFFSETS = "hint_offsets"


def run(session: Session) -> None:
    """Train by group-relative policy optimization on draws that begin with a part of a demonstration."""
    hints = Hints(session)
    zero_steps = session.config.zero_steps
    fit_rl(session, "guided-rl", RLPlan("grpo", hint=hints.of, after_step=hints.adapt, zero_steps=zero_steps))


class Hints:
    """How much of each demonstration is given. All that changes lies in `session.state.extra`, hence in checkpoints."""

    def __init__(self, session: Session) -> None:
        self.session = session
        engine = session.policy.engine
        self.demo_ids = {p.id: engine.response_ids(p.demos[0]) for p in session.inputs.train if p.demos}

    @property
    def level(self) -> float:
        """Share of a demonstration that every problem gets, before its own offset is added."""
        return float(self.session.state.extra.get(LEVEL, self.session.config.hint_share))

    @property
    def offsets(self) -> dict[str, float]:
        """Share of a demonstration that single problems get on top of the level, by their id; may be negative."""
        return self.session.state.extra.setdefault(OFFSETS, {})

    def share(self, problem_id: str, step: int) -> float:
        """Share of the problem's demonstration that may be given at this step."""
        first, last = FORCED
        ceiling = min(1.0, max(0.0, (last - step / self.session.steps) / (last - first)))
        wanted = self.level + self.offsets.get(problem_id, 0.0)
        return min(max(wanted, 0.0), self.session.config.hint_share * ceiling)

    def of(self, problem_id: str, step: int) -> tuple[int, ...]:
        """The hint of a problem at a step, as response tokens; the same on every process.

        It leaves something to draw and does not pass by itself.
        """
        demo = self.demo_ids.get(problem_id, ())
        drawn = random.Random(f"hint|{self.session.config.seed}|{step}|{problem_id}").uniform(*SPREAD)
        most = min(len(demo), self.session.params.max_new_tokens) - 1
        length = min(round(self.share(problem_id, step) * drawn * len(demo)), most)
        while length > 0 and self._passes(problem_id, demo[:length]):
            length -= 1
        return demo[: max(length, 0)]

    def _passes(self, problem_id: str, ids: tuple[int, ...]) -> bool:
        session = self.session
        return session.judge(problem_id, session.policy.engine.decode(ids)).strict

    def adapt(self, groups: Groups) -> None:
        """Give shorter hints where draws succeed, and longer ones where none does."""
        rates = {
            key: sum(draw.passed for draw in draws) / len(draws)
            for key, draws in groups.items()
            if key in self.demo_ids
        }
        if not rates:
            return
        succeeding = sum(rate >= SUCCESS for rate in rates.values()) / len(rates)
        fall = self.session.config.hint_share / max(1.0, FASTEST * self.session.steps)
        self.session.state.extra[LEVEL] = max(0.0, self.level - fall * succeeding)
        offsets = self.offsets
        for key, rate in rates.items():
            if rate in (0.0, 1.0):
                moved = offsets.get(key, 0.0) + (OFFSET_STEP if rate == 0 else -OFFSET_STEP)
                offsets[key] = min(MOST_OFFSET, max(-MOST_OFFSET, moved))
