"""RL on verified draws: the trainer run behind grpo, rloo, guided-rl, process-rl and interleaved."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from posttrain_diag.errors import UsageError
from posttrain_diag.stages.draws import Judged, sample_judged
from posttrain_diag.stages.rows import prompt_dataset
from posttrain_diag.stages.session import Session
from posttrain_diag.stages.supervised import count
from posttrain_diag.stages.trl import Companion, Hooks, Part, arguments, build, grpo_trainer, rloo_trainer

Algorithm = Literal["grpo", "rloo"]
Groups = Mapping[str, Sequence[Judged]]
"""The draws of one step by problem, over all processes."""
REPLAY_WEIGHT = 1.0


@dataclass
class RLPlan:
    """What makes one RL stage differ from another."""

    algorithm: Algorithm = "grpo"
    hint: Callable[[str, int], tuple[int, ...]] | None = None
    """(problem id, step) -> response tokens given at this step; the same for all draws of the problem."""
    reward: Callable[[Sequence[Judged], int], list[float]] | None = None
    """(draws, step) -> rewards; None: 1 for a pass, else 0."""
    after_step: Callable[[Groups], None] | None = None
    """Told the draws of every step."""
    credit: Callable[[], list[list[float]]] | None = None
    """Advantage of each token of the draws that were rewarded last; None: the group-relative reward for all of them."""
    companion: Callable[[], Part] | None = None
    """Rows whose cross-entropy joins the loss of this step, over all processes; replay aside."""


@dataclass
class _Step:
    """The draws being made at one step."""

    number: int = -1
    hints: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    companion: Part | None = None
    """The plan's rows, asked for before the draws of this step are judged."""
    batches: int = 0
    """Micro-batches of this process that have met their companion rows."""


def count_draws(session: Session, draws: Sequence[Judged]) -> list[Judged]:
    """Put draws of this process on the bill of all of them; returns those of all processes."""
    everywhere = list(draws)
    if session.processes.num_processes > 1:
        from accelerate.utils import gather_object

        everywhere = gather_object(everywhere)
    session.state.rollouts += len(everywhere)
    session.state.generated_tokens += sum(len(draw.token_ids) for draw in everywhere)
    return everywhere


def fit_rl(session: Session, phase: str, plan: RLPlan, *, steps: int | None = None) -> None:
    """Run one RL phase on the training problems.

    Raises:
        UsageError: the batch does not hold whole groups.
    """
    runner = _Runner(session, plan)
    config = session.config
    if config.batch_size % config.group_size:
        raise UsageError(f"batch_size {config.batch_size} is not a multiple of group_size {config.group_size}")

    def make(folder: Path) -> Any:
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.rloo_config import RLOOConfig

        common = arguments(
            config,
            folder,
            steps=steps or session.steps,
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
                use_vllm=config.use_vllm,
            ),
            processing_class=session.policy.tokenizer,
            train_dataset=prompt_dataset(list(session.problems)),
        )
        runner.trainer = trainer
        return trainer

    session.phase(phase, make)


class _Runner:
    """Draws, judges and rewards for a trainer."""

    def __init__(self, session: Session, plan: RLPlan) -> None:
        self.session = session
        self.plan = plan
        self.trainer: Any = None
        self.step = _Step()
        self.replay = session.replay_rows() if session.replay_share else []

    def hooks(self) -> Hooks:
        """What the trainer asks back."""
        session, plan = self.session, self.plan
        companion = None
        if self.replay or plan.companion is not None:
            pad_id = session.policy.tokenizer.pad_token_id
            companion = Companion(self._companion_parts, 0 if pad_id is None else pad_id)
        return Hooks(
            count_tokens=lambda tokens: count(session, tokens),
            prompt_ids=self._prompt_ids,
            sample=None if session.config.use_vllm else self._sample,
            companion=companion,
            credit=plan.credit,
        )

    def _now(self) -> _Step:
        """What holds for this step, made at its first draw."""
        number = int(self.trainer.state.global_step)
        if self.step.number != number:
            self.step = _Step(number, companion=None if self.plan.companion is None else self.plan.companion())
        return self.step

    def _hint(self, problem_id: str) -> tuple[int, ...]:
        if self.plan.hint is None:
            return ()
        step = self._now()
        if problem_id not in step.hints:
            step.hints[problem_id] = self.plan.hint(problem_id, step.number)
        return step.hints[problem_id]

    def _prompt_ids(self, problem_id: str) -> tuple[int, ...]:
        from posttrain_diag.engines.base import Prompt

        problem = self.session.problems[problem_id]
        return self.session.policy.engine.prompt_ids(Prompt(problem.prompt, problem.messages, self._hint(problem_id)))

    def _sample(self, asked: Sequence[str]) -> list[list[int]]:
        """One draw for each entry of `asked`; draws depend on seed, step, process and problem alone."""
        session = self.session
        session.policy.sync()
        times = Counter(asked)
        step, process = self._now().number, session.processes.process_index
        drawn: dict[str, list[list[int]]] = {}
        for n in sorted(set(times.values())):
            problems = [session.problems[key] for key in times if times[key] == n]
            found = sample_judged(
                session.policy.engine,
                session.judge,
                problems,
                n,
                session.params,
                seed_text=f"rl|{session.state.steps}|{step}|{process}",
                hints={problem.id: self._hint(problem.id) for problem in problems},
            )
            drawn |= {key: [list(draw.token_ids) for draw in draws] for key, draws in found.items()}
        return [drawn[key].pop(0) for key in asked]

    def rewards(self, prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        """The reward of each draw; keeps the bill and tells the plan."""
        session, step = self.session, self._now().number
        draws = [self._judged(key, tuple(ids)) for key, ids in zip(prompts, completion_ids, strict=True)]
        rewards = [float(d.passed) for d in draws] if self.plan.reward is None else self.plan.reward(draws, step)
        everywhere = count_draws(session, draws)
        own = session.state
        own.zero_steps = 0 if any(draw.passed for draw in everywhere) else own.zero_steps + 1
        if self.plan.after_step is not None:
            groups: dict[str, list[Judged]] = {}
            for draw in everywhere:
                groups.setdefault(draw.problem_id, []).append(draw)
            self.plan.after_step(groups)
        return rewards

    def _judged(self, problem_id: str, ids: tuple[int, ...]) -> Judged:
        text, verdict, lenient, score = self.session.judge.verdict(problem_id, self._hint(problem_id), ids)
        return Judged(problem_id, self._prompt_ids(problem_id), ids, None, text, verdict, lenient, score)

    def _companion_parts(self) -> list[Part]:
        """What joins the loss of the next micro-batch of this process."""
        config, step, processes = self.session.config, self._now(), self.session.processes
        of_step = int(self.trainer.args.gradient_accumulation_steps)
        batch, step.batches = processes.process_index * of_step + step.batches % of_step, step.batches + 1
        parts: list[Part] = []
        if step.companion is not None and step.companion.rows:
            rows = step.companion.rows
            # a step with fewer rows than micro-batches repeats some, so that each batch adds the same weight
            own = rows[batch :: processes.num_processes * of_step] or [rows[batch % len(rows)]]
            parts.append(Part(own, step.companion.weight))
        if self.replay:
            wanted = max(1, round(config.micro * self.session.replay_share / (1 - self.session.replay_share)))
            rng = random.Random(f"{config.seed}|{step.number}|{batch}")
            parts.append(Part(rng.sample(self.replay, min(wanted, len(self.replay))), REPLAY_WEIGHT))
        return parts
