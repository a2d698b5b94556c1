"""The policy's draws for a trainer that samples, and the replayed rows beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from posttrain_diag.engines.contract import Draw, Prompt
from posttrain_diag.engines.model.stops import cut_at_stop
from posttrain_diag.rollouts.judge import Asked
from posttrain_diag.rollouts.live import LIVE, sample_judged
from posttrain_diag.stages.data.rows import replayed
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.trl import LossPart
from posttrain_diag.types import Rollout


class Rollouts:
    """What a trainer that samples asks of us: draws, prompts and replayed rows. `trainer` is set once it is built."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.trainer: Any = None
        self.replay = session.replay_rows() if session.replay_share else []
        self.replay_weight = session.replay_share / (1 - session.replay_share)
        """Of the replayed rows' mean cross-entropy per token: one of them counts as much as a row that is taught."""
        self._batch = (-1, 0)
        self._bare_ids: dict[str, tuple[int, ...]] = {}
        self._drawn: dict[tuple[str, tuple[int, ...]], Rollout] = {}
        """(problem id, drawn tokens) -> rollout, of the draws that were made and not yet rewarded."""

    @property
    def step(self) -> int:
        """How many optimizer steps this phase has made so far."""
        return int(self.trainer.state.global_step)

    @property
    def pad_id(self) -> int:
        """Id of the token that fills shorter rows of a batch."""
        pad_id = self.session.policy.tokenizer.pad_token_id
        return 0 if pad_id is None else pad_id

    def hint(self, problem_id: str) -> tuple[int, ...]:
        """Response tokens that are given with a problem's prompt at this step; none in this class."""
        del problem_id
        return ()

    def prompt_ids(self, problem_id: str) -> tuple[int, ...]:
        """Token ids of a problem's prompt at this step, the hint included."""
        if problem_id not in self._bare_ids:  # asked for every draw, and rendering is slow
            problem = self.session.problems[problem_id]
            bare = Prompt(problem.prompt, problem.messages)
            self._bare_ids[problem_id] = self.session.policy.engine.prompt_ids(bare)
        return self._bare_ids[problem_id] + self.hint(problem_id)

    def sample(self, asked: Sequence[str]) -> list[list[int]]:
        """One draw for each entry of `asked`; draws depend on seed, step, process and problem alone."""
        session = self.session
        session.policy.sync()
        self._drawn = {}
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
            self._drawn |= {(key, draw.token_ids): draw for key, draws in found.items() for draw in draws}
        return [drawn[key].pop(0) for key in asked]

    def judged(self, problem_id: str, token_ids: tuple[int, ...]) -> Rollout:
        """The rollout whose reward a trainer asks for, as it was judged when it was drawn.

        Only what vLLM drew within the trainer is judged here, for nobody has seen it before.

        Args:
            problem_id: id of the problem.
            token_ids: drawn tokens; without a stop token at their end, or a stop text, the draw was cut off.
        """
        if (known := self._drawn.get((problem_id, token_ids))) is not None:
            return known
        session, engine = self.session, self.session.policy.engine
        stops = engine.stops(session.params)
        text = engine.decode([token for token in token_ids if token not in stops.ids])
        before_stop = cut_at_stop(text, stops.texts)
        ended = before_stop is not None or (bool(token_ids) and token_ids[-1] in stops.ids)
        draw = Draw(
            key="",
            sample_idx=0,
            seed=0,
            text=text if before_stop is None else before_stop,
            token_ids=token_ids,
            token_logprobs=None,
            finish_reason="stop" if ended else "length",
            stop_text=before_stop is not None,
        )
        asked = Asked(problem_id, "", "", LIVE, self.hint(problem_id), self.prompt_ids(problem_id))
        return session.judge.rollout(engine, asked, draw)

    @property
    def micro_batch(self) -> int:
        """Number of the micro-batch that `parts` was last asked for, counted within its step and over all processes."""
        per_process = int(self.trainer.args.gradient_accumulation_steps)
        return self.session.processes.process_index * per_process + self._batch[1]

    def parts(self) -> list[LossPart]:
        """The replayed rows that join the loss of the next micro-batch: as many as make their wanted share of all."""
        self._batch = (self.step, self._batch[1] + 1 if self._batch[0] == self.step else 0)
        if not self.replay:
            return []
        share, micro = self.session.replay_share, self.trainer.args.per_device_train_batch_size
        seed_text = f"{self.session.config.seed}|{self.step}|{self.micro_batch}"
        return [LossPart(replayed(self.replay, share, micro, seed_text=seed_text), self.replay_weight)]
