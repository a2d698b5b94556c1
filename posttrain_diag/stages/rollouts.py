"""The policy's draws for a trainer that samples, and the replayed rows beside them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from posttrain_diag.engines.base import Prompt
from posttrain_diag.stages.draws import sample_judged
from posttrain_diag.stages.rows import TokenRow
from posttrain_diag.stages.session import Session


class Rollouts:
    """What a trainer that samples asks back; `trainer` is set once it is built."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.trainer: Any = None
        self.replay = session.replay_rows() if session.config.replay else []
        self._replayed = (-1, 0)

    @property
    def step(self) -> int:
        """Optimizer steps of this phase so far."""
        return int(self.trainer.state.global_step)

    @property
    def pad_id(self) -> int:
        """Token for padding."""
        pad_id = self.session.policy.tokenizer.pad_token_id
        return 0 if pad_id is None else pad_id

    def hint(self, problem_id: str) -> tuple[int, ...]:
        """Response tokens given with the prompt at this step; here none."""
        del problem_id
        return ()

    def prompt_ids(self, problem_id: str) -> tuple[int, ...]:
        """Token ids of a problem's prompt now, the hint included."""
        problem = self.session.problems[problem_id]
        return self.session.policy.engine.prompt_ids(Prompt(problem.prompt, problem.messages, self.hint(problem_id)))

    def sample(self, asked: Sequence[str]) -> list[list[int]]:
        """One draw for each entry of `asked`; draws depend on seed, step, process and problem alone."""
        session = self.session
        session.policy.sync()
        times = Counter(asked)
        process = session.processes.process_index
        drawn: dict[str, list[list[int]]] = {}
        for n in sorted(set(times.values())):
            problems = [session.problems[key] for key in times if times[key] == n]
            found = sample_judged(
                session.policy.engine,
                session.judge,
                problems,
                n,
                session.params,
                seed_text=f"rl|{session.state.steps}|{self.step}|{process}",
                hints={problem.id: self.hint(problem.id) for problem in problems},
            )
            drawn |= {key: [list(draw.token_ids) for draw in draws] for key, draws in found.items()}
        return [drawn[key].pop(0) for key in asked]

    def replayed(self) -> list[TokenRow]:
        """Rows for the next micro-batch: so many that the user's share of all its rows is replayed; may be none."""
        if not self.replay:
            return []
        config, step = self.session.config, self.step
        self._replayed = (step, self._replayed[1] + 1 if self._replayed[0] == step else 0)
        share, micro = config.replay, self.trainer.args.per_device_train_batch_size
        wanted = max(1, round(micro * share / (1 - share)))
        place = (config.seed, *self._replayed, self.session.processes.process_index)
        rng = random.Random("|".join(map(str, place)))
        return rng.sample(self.replay, min(wanted, len(self.replay)))
