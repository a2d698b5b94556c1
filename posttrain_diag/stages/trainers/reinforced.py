"""RL on verified draws: the trainer run behind grpo, rloo, guided-rl, process-rl and interleaved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from posttrain_diag.errors import UsageError
from posttrain_diag.stages.data.rollouts import Rollouts
from posttrain_diag.stages.data.rows import in_turn, prompt_dataset
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.supervised import count
from posttrain_diag.stages.trainers.trl import Companion, Hooks, LossPart, arguments, build, grpo_trainer, rloo_trainer
from posttrain_diag.stages.trainers.vllm import vllm_arguments
from posttrain_diag.types import Rollout

Algorithm = Literal["grpo", "rloo"]
Groups = Mapping[str, Sequence[Rollout]]
"""The draws of one step by problem, from all processes."""
REPLAY_FACTOR = 5.0
"""A replayed row counts this many times as much beside RL as beside supervised rows: verdicts make noisy gradients,
which take the weights further from the start than a clean one does."""


@dataclass
class RLPlan:
    """What makes one RL stage differ from another."""

    algorithm: Algorithm = "grpo"
    hint: Callable[[str, int], tuple[int, ...]] | None = None
    """Called with (problem id, step): response tokens given at this step, the same for all draws of the problem."""
    reward: Callable[[Sequence[Rollout], int], list[float]] | None = None
    """Called with (draws, step): their rewards; None: 1 for a pass, else 0."""
    after_step: Callable[[Groups], None] | None = None
    """Called with the draws of every step."""
    credit: Callable[[], list[list[float]]] | None = None
    """The advantage of each token of the draws that were rewarded last; None: the group-relative reward for all of
    them."""
    companion: Callable[[], LossPart] | None = None
    """Rows whose cross-entropy joins the loss of this step over all processes, replay aside; asked for once the
    draws of the step are judged, the same at every call within it."""
    zero_steps: int | None = None
    """Stop after so many steps in a row without a passing draw; None: never, since there is another signal to learn
    from."""


@dataclass
class _Step:
    """The hints of one step."""

    number: int = -1
    hints: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])


def count_draws(session: Session, draws: Sequence[Rollout]) -> list[Rollout]:
    """Put the draws of this process on the bill and note whether one passed; returns the draws of all processes."""
    everywhere = list(draws)
    if session.processes.num_processes > 1:
        from accelerate.utils import gather_object

        everywhere = gather_object(everywhere)
    if any(draw.passed for draw in everywhere):
        session.state.zero_steps = 0
    session.state.rollouts += len(everywhere)
    session.state.generated_tokens += sum(len(draw.token_ids) for draw in everywhere)
    return everywhere


def fit_rl(session: Session, phase: str, plan: RLPlan, *, steps: int | None = None) -> None:
    """Run one RL phase on the training problems.

    Args:
        session: the stage in progress.
        phase: name of the phase.
        plan: hints, rewards and companions of this kind of RL.
        steps: optimizer steps of this phase; None: all of the stage's.

    Raises:
        UsageError: the batch does not hold whole groups.
    """
    runner = _Runner(session, plan)
    session.most_zero_steps = plan.zero_steps
    config = session.config
    if config.batch_size % config.group_size:
        raise UsageError(f"batch_size {config.batch_size} is not a multiple of group_size {config.group_size}")

    steps = steps or session.steps
    # one epoch holds all steps: a trainer that is resumed in a later epoch would see the problems in another order
    order = in_turn(list(session.problems), steps * config.batch_size // config.group_size, seed=config.seed)

    def make(folder: Path) -> Any:
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.rloo_config import RLOOConfig

        common = arguments(
            config,
            folder,
            steps=steps,
            learning_rate=session.learning_rate,
            device=session.policy.device,
            n_parameters=session.policy.n_parameters,
        )
        settings = GRPOConfig if plan.algorithm == "grpo" else RLOOConfig
        trainer = build(
            grpo_trainer() if plan.algorithm == "grpo" else rloo_trainer(),
            runner.hooks(),
            model=session.policy.model,
            reward_funcs=runner.rewards,
            args=settings(
                **common,
                num_generations=config.group_size,
                max_completion_length=session.params.max_new_tokens,
                temperature=config.temperature,
                beta=config.kl,
                shuffle_dataset=False,
                **vllm_arguments(session, hinted=plan.hint is not None),
            ),
            processing_class=session.policy.tokenizer,
            train_dataset=prompt_dataset(order),
        )
        runner.trainer = trainer
        return trainer

    session.phase(phase, make)


class _Runner(Rollouts):
    """Draws, judges and rewards on behalf of a trainer."""

    def __init__(self, session: Session, plan: RLPlan) -> None:
        super().__init__(session)
        self.replay_weight *= REPLAY_FACTOR
        self.plan = plan
        self.hints = _Step()

    def hooks(self) -> Hooks:
        """The hooks through which the trainer asks for draws and rows."""
        session, plan = self.session, self.plan
        companion = None
        if self.replay or plan.companion is not None:
            companion = Companion(self.parts, self.pad_id)
        return Hooks(
            count_tokens=lambda tokens: count(session, tokens),
            prompt_ids=self.prompt_ids,
            sample=None if session.config.use_vllm else self.sample,
            companion=companion,
            credit=plan.credit,
        )

    def hint(self, problem_id: str) -> tuple[int, ...]:
        """The plan's hint for a problem, made at the first draw of a step."""
        if self.plan.hint is None:
            return ()
        if self.hints.number != self.step:
            self.hints = _Step(self.step)
        given = self.hints.hints
        if problem_id not in given:
            given[problem_id] = self.plan.hint(problem_id, self.hints.number)
        return given[problem_id]

    def rewards(self, prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        """The reward of each draw; also keeps the bill and tells the plan of the step."""
        session, step = self.session, self.step
        draws = [self.judged(key, tuple(ids)) for key, ids in zip(prompts, completion_ids, strict=True)]
        if self.plan.zero_steps is not None:
            session.state.zero_steps += 1  # unless a draw passes, one of the plan's included
        rewards = [float(d.passed) for d in draws] if self.plan.reward is None else self.plan.reward(draws, step)
        everywhere = count_draws(session, draws)
        if self.plan.after_step is not None:
            groups: dict[str, list[Rollout]] = {}
            for draw in everywhere:
                groups.setdefault(draw.problem_id, []).append(draw)
            self.plan.after_step(groups)
        return rewards

    def parts(self) -> list[LossPart]:
        """The replayed rows, and this process's share of the plan's rows.

        All micro-batches of a step together see each of the plan's rows once.
        """
        parts = super().parts()
        if self.plan.companion is None or not (of_step := self.plan.companion()).rows:
            return parts
        batches = self.session.processes.num_processes * int(self.trainer.args.gradient_accumulation_steps)
        rows, index = of_step.rows, self.micro_batch % batches
        # where there are fewer rows than micro-batches some are repeated, so that each batch adds the same weight
        return [*parts, LossPart(rows[index::batches] or [rows[index % len(rows)]], of_step.weight)]
