"""What happens between a trainer's steps: counting, watching, stopping, and state that goes with every checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from posttrain_diag.stages.session.session import STATE, Session
from posttrain_diag.store import write_atomic


class StageCallback(TrainerCallback):
    """Ties one trainer to its session.

    Args:
        session: the stage in progress.
        before: steps of the phases before this one.
        trainer: the trainer whose steps are counted and watched.
    """

    def __init__(self, session: Session, before: int, trainer: Any) -> None:
        self.session = session
        self.before = before
        self.trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, optimizer: Any, **_: Any) -> None:
        """Scale the learning rate of this step; the scheduler sets the next step's anew.

        Args:
            args: the trainer's arguments, not used.
            state: the trainer's state, not used.
            control: the trainer's control flags, not used.
            optimizer: the optimizer whose rate is scaled.
            **_: further arguments of transformers' callback, not used.
        """
        if self.session.rate_factor != 1.0:
            for group in optimizer.param_groups:
                group["lr"] *= self.session.rate_factor

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After every optimizer step, report it, and stop the trainer where the budget is spent or a look says so.

        Args:
            args: the trainer's arguments, not used.
            state: the trainer's state, which counts the steps of this phase.
            control: the trainer's control flags; here training is stopped.
            **_: further arguments of transformers' callback, not used.
        """
        session = self.session
        own = session.state
        own.steps = self.before + state.global_step
        session.progress.steps(own.steps, session.steps, own.generated_tokens + own.trained_tokens)
        reason = self._over_budget()
        if reason is None and (own.steps % session.config.watch_every == 0 or state.global_step == state.max_steps):
            reason = self._look(own.steps)
        if reason is not None:
            own.stopped = reason
            control.should_training_stop = True

    def _over_budget(self) -> str | None:
        own, config = self.session.state, self.session.config
        most = self.session.most_zero_steps
        if most is not None and own.zero_steps >= most:
            return f"no draw passed in {own.zero_steps} steps: there is no signal to learn from"
        if config.budget_tokens is None:
            return None
        spent = own.generated_tokens + own.trained_tokens
        # every process counts the tokens that it trains on itself: the main one decides for all
        return self._agreed(
            f"the budget of {config.budget_tokens:,} tokens is spent" if spent >= config.budget_tokens else None
        )

    def _look(self, step: int) -> str | None:
        """Look at the policy; only the main process does, and all of them hear what it decided."""
        session, reason = self.session, None
        session.policy.sync()
        if session.is_main:
            look = session.watcher.look(step)
            session.say(str(look))
            config = session.config
            if config.target_pass_rate is not None and look.pass_1 >= config.target_pass_rate:
                reason = f"pass@1 on the probe reached {look.pass_1:.3f}"
            elif look.collapse and config.stop_on_collapse:
                reason = f"pass@{look.k} falls while pass@1 rises: the policy collapses onto fewer solutions"
        return self._agreed(reason)

    def _agreed(self, reason: str | None) -> str | None:
        """The reason to stop that the main process found, told to every process."""
        if self.session.processes.num_processes == 1:
            return reason
        from accelerate.utils import broadcast_object_list

        said = [reason]
        broadcast_object_list(said)
        return said[0]

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Complete a checkpoint with the stage's own state, once every process has written its part.

        Args:
            args: the trainer's arguments, which name the folder of checkpoints.
            state: the trainer's state, which numbers the checkpoint.
            control: the trainer's control flags, not used.
            **_: further arguments of transformers' callback, not used.
        """
        self.session.processes.wait_for_everyone()
        if self.session.is_main:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE
            write_atomic(path, json.dumps(asdict(self.session.state)))
