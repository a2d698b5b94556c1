"""Cross-entropy on rows: the last step of every stage that ends in supervised training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posttrain_diag.errors import UsageError
from posttrain_diag.stages.data.rows import TokenRow, check_lengths, row_dataset
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.trl import Hooks, arguments, build, sft_trainer


def fit_rows(
    session: Session,
    phase: str,
    rows: Sequence[TokenRow],
    *,
    steps: int | None = None,
    loss: str = "nll",
    replay: bool = True,
    own: bool = False,
    trainer: Any = None,
    **more: Any,
) -> None:
    """Train on rows, with replayed ones mixed in (`Session.with_replay`).

    Args:
        session: the stage in progress.
        phase: name of the phase.
        rows: what is to become likelier.
        steps: optimizer steps of this phase; None: all of the stage's.
        loss: "nll", or "dft" for the probability-weighted one (arXiv:2508.05629).
        replay: False: the rows hold what is to be replayed already.
        own: the rows are the model's own passes.
        trainer: another trainer class than SFTTrainer with hooks.
        **more: further arguments of the trainer.

    Raises:
        UsageError: no rows, or rows longer than the context.
    """
    if not rows:
        raise UsageError(f"{phase}: there is nothing to train on")
    trained = session.with_replay(rows, own=own) if replay else list(rows)
    check_lengths(trained, session.policy.engine.info.context_length)

    def make(folder: Path) -> Any:
        from trl.trainer.sft_config import SFTConfig

        common = arguments(
            session.config,
            folder,
            steps=steps or session.steps,
            learning_rate=session.learning_rate,
            device=session.policy.device,
            n_parameters=session.policy.n_parameters,
        )
        return build(
            trainer or sft_trainer(),
            Hooks(count_tokens=lambda tokens: count(session, tokens)),
            model=session.policy.model,
            args=SFTConfig(**common, max_length=None, loss_type=loss),
            processing_class=session.policy.tokenizer,
            train_dataset=row_dataset(trained),
            **more,
        )

    session.phase(phase, make)


def count(session: Session, tokens: int) -> None:
    """Put trained tokens on the bill; every process is taken to have trained on as many as this one."""
    session.state.trained_tokens += tokens * session.processes.num_processes
