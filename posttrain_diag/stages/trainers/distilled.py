"""Teachers' next-token laws as targets: the trainer run behind distill-onpolicy and distill-offline's logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from posttrain_diag.stages.data.rollouts import Rollouts
from posttrain_diag.stages.data.rows import in_turn, prompt_dataset
from posttrain_diag.stages.policy.policy import load_frozen
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.supervised import count
from posttrain_diag.stages.trainers.trl import Companion, Hooks, arguments, build, distillation_trainer

FORWARD_KL, REVERSE_KL = 0.0, 1.0
"""Values of TRL's beta that stand for KL(teacher || student) and KL(student || teacher)."""


def fit_teachers(
    session: Session,
    phase: str,
    rollouts: Rollouts,
    keys: Sequence[str],
    teacher_of: Callable[[str], int],
    *,
    beta: float,
    vllm: Mapping[str, Any] = MappingProxyType({}),
    count_draws: Callable[[int, int], None] = lambda _rows, _tokens: None,
) -> None:
    """Move the policy towards its teachers' next-token laws on responses.

    Args:
        session: the stage in progress.
        phase: name of the phase.
        rollouts: gives the prompt and the response of a key.
        keys: what is trained on, in a new order each time round.
        teacher_of: index of a key's teacher among the session's.
        beta: FORWARD_KL or REVERSE_KL; the KL is a mean over response tokens.
        vllm: what `vllm_arguments` returned, to let TRL draw the responses by vLLM; empty: `rollouts` gives them.
        count_draws: told the responses and tokens of each step.
    """
    config = session.config

    def make(folder: Path) -> Any:
        from trl.trainer.distillation_config import DistillationConfig

        common = arguments(
            config,
            folder,
            steps=session.steps,
            learning_rate=session.learning_rate,
            device=session.policy.device,
            n_parameters=session.policy.n_parameters,
        )
        teachers = [load_frozen(name, config).model for name in session.inputs.teachers]
        order = in_turn(keys, session.steps * config.batch_size, seed=config.seed)
        trainer = build(
            distillation_trainer(),
            _hooks(rollouts, teacher_of, count_draws, by_vllm=bool(vllm)),
            model=session.policy.model,
            teacher_model=teachers[0],
            args=DistillationConfig(
                **common,
                beta=beta,
                temperature=config.temperature,
                max_completion_length=session.params.max_new_tokens,
                shuffle_dataset=False,
                **vllm,
            ),
            processing_class=session.policy.tokenizer,
            train_dataset=prompt_dataset(order),
        )
        trainer.add_teachers(teachers[1:])
        rollouts.trainer = trainer
        return trainer

    session.phase(phase, make)


def _hooks(
    rollouts: Rollouts, teacher_of: Callable[[str], int], count_draws: Callable[[int, int], None], *, by_vllm: bool
) -> Hooks:
    session = rollouts.session
    companion = Companion(rollouts.parts, rollouts.pad_id) if rollouts.replay else None
    return Hooks(
        count_tokens=lambda tokens: count(session, tokens),
        prompt_ids=rollouts.prompt_ids,
        sample=None if by_vllm else rollouts.sample,
        companion=companion,
        teacher_of=teacher_of,
        count_draws=count_draws,
    )
