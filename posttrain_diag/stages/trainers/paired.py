"""Preference losses on pairs of token ids: the trainer run behind preference and online-preference.

    sigmoid+sft      DPO with the cross-entropy of the chosen response (arXiv:2404.19733): the default
    sigmoid          DPO (arXiv:2305.18290): alone it lowers the likelihood of the chosen response too
    ipo              squared loss on the margin per token (arXiv:2310.12036)
    kto              each response on its own, desired or not (arXiv:2402.01306)
    simpo            margin per token, no reference (arXiv:2405.14734)
    orpo             cross-entropy of prompt and chosen response plus odds ratio, no reference (arXiv:2403.07691)

The reference is the policy as it is when the phase starts; its log-probabilities are computed once, before the first
step, so no second model is held in memory while training.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain_diag.errors import UsageError
from posttrain_diag.settings.stage import StageConfig
from posttrain_diag.stages.data.rows import (
    TokenPair,
    check_lengths,
    pair_dataset,
    replayed,
    sequence_dataset,
    unpaired_dataset,
)
from posttrain_diag.stages.policy.sharding import launched_sharded
from posttrain_diag.stages.session.session import Session
from posttrain_diag.stages.trainers.supervised import count
from posttrain_diag.stages.trainers.trl import (
    PAIR_LOSSES,
    Companion,
    Hooks,
    LossPart,
    arguments,
    build,
    dpo_trainer,
    experimental_trainer,
    kto_trainer,
)

if TYPE_CHECKING:
    from datasets import Dataset

BETA = 0.1
SIMPO_BETA = 2.0
"""SimPO's rewards are per token, so its beta is larger (arXiv:2405.14734, table 8)."""
SIMPO_MARGIN = 0.5
"""SimPO's gamma over beta: the wanted margin in nats per token."""


def fit_pairs(session: Session, phase: str, pairs: Sequence[TokenPair], *, steps: int | None = None) -> None:
    """Train on pairs with the loss that the user chose, and on the share of replayed rows beside it.

    Args:
        session: the stage in progress.
        phase: name of the phase.
        pairs: chosen and rejected responses.
        steps: optimizer steps of this phase; None: all of the stage's.

    Raises:
        UsageError: no pairs, pairs longer than the context, or too small a batch for the loss.
    """
    if not pairs:
        raise UsageError(f"{phase}: there are no pairs to train on")
    check_lengths(pairs, session.policy.engine.info.context_length)
    run = _Run(session, pairs)

    def make(folder: Path) -> Any:
        with no_bars():
            return run.trainer(folder, steps or session.steps)

    session.phase(phase, make)


class _Run:
    """The data, settings and hooks of one phase."""

    def __init__(self, session: Session, pairs: Sequence[TokenPair]) -> None:
        self.session = session
        self.pairs = pairs
        self.replay = session.replay_rows() if session.replay_share else []
        self.made: Any = None

    def trainer(self, folder: Path, steps: int) -> Any:
        """Build the trainer for the user's loss."""
        config, policy = self.session.config, self.session.policy
        if policy.tokenizer.pad_token is None:
            policy.tokenizer.pad_token = policy.tokenizer.eos_token
        counted = config if config.loss == "kto" else _in_pairs(config)
        common = arguments(
            counted,
            folder,
            steps=steps,
            learning_rate=self.session.learning_rate,
            device=policy.device,
            n_parameters=policy.n_parameters,
        )
        kind, settings, dataset = self._loss(folder, common)
        # left to itself TRL would shard the files that the policy came from, which an earlier phase has left behind
        compared = launched_sharded() is not None and config.loss not in ("simpo", "orpo")
        self.made = build(
            kind,
            self._hooks(),
            model=policy.model,
            args=settings,
            processing_class=policy.tokenizer,
            train_dataset=dataset,
            **({"ref_model": policy.reference()} if compared else {}),
        )
        if compared:
            self.made.ref_model = None  # its log-probabilities are known by now
        if policy.lora and "ref" in policy.model.peft_config:
            policy.model.delete_adapter("ref")  # TRL's copy of the adapter; likewise
        return self.made

    def _loss(self, folder: Path, common: dict[str, Any]) -> tuple[Any, Any, Dataset]:
        """Trainer class, its settings and its data set for the user's loss."""
        config = self.session.config
        beta = config.beta or (SIMPO_BETA if config.loss == "simpo" else BETA)
        known: dict[str, Any] = {**common, "beta": beta}
        match config.loss:
            case "orpo":
                kind, settings = experimental_trainer("orpo")
                return kind, settings(**known), sequence_dataset(self.pairs)
            case "simpo":
                kind, settings = experimental_trainer("simpo")
                known |= {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": SIMPO_MARGIN * beta}
                return kind, settings(**known), sequence_dataset(self.pairs)
            case "kto":
                from trl.trainer.kto_config import KTOConfig

                micro = int(common["per_device_train_batch_size"])
                if micro < 2:
                    raise UsageError("loss kto estimates its KL within a micro-batch: set micro_batch to at least 2")
                known |= {"max_length": None, "precompute_ref_log_probs": True}
                rows = unpaired_dataset(self.pairs, micro, seed=config.seed)
                return kto_trainer(), KTOConfig(**known), self._on_disk(rows, folder)
            case loss:
                from trl.trainer.dpo_config import DPOConfig

                known |= {"max_length": None, "precompute_ref_log_probs": True, "loss_type": PAIR_LOSSES[loss]}
                return dpo_trainer(), DPOConfig(**known), self._on_disk(pair_dataset(self.pairs), folder)

    def _on_disk(self, dataset: Dataset, folder: Path) -> Dataset:
        """Put the data set on disk, where TRL also passes the reference's log-probabilities between processes."""
        from datasets import load_from_disk

        path = folder / "pairs"
        if self.session.is_main:
            dataset.save_to_disk(path)
        self.session.processes.wait_for_everyone()
        found: Any = load_from_disk(path)
        return found

    def _hooks(self) -> Hooks:
        session = self.session
        companion = None
        if self.replay:
            companion = Companion(self._parts, session.policy.tokenizer.pad_token_id)
        return Hooks(count_tokens=lambda tokens: count(session, tokens), companion=companion)

    def _parts(self) -> list[LossPart]:
        config, share = self.session.config, self.session.replay_share
        seed_text = f"{config.seed}|{self.made.state.global_step}|{self.session.processes.process_index}"
        return [LossPart(replayed(self.replay, share, config.micro, seed_text=seed_text), 1.0)]


def _in_pairs(config: StageConfig) -> StageConfig:
    """The settings with the batch counted in pairs, of two sequences each."""
    halves = {"batch_size": max(1, config.batch_size // 2), "micro_batch": max(1, config.micro // 2)}
    return config.model_copy(update=halves)


@contextmanager
def no_bars() -> Generator[None]:
    """Keep the progress bars of datasets and of TRL's reference pass off the terminal."""
    from datasets import disable_progress_bars, enable_progress_bars
    from datasets.utils import are_progress_bars_disabled

    were_off, before = are_progress_bars_disabled(), os.environ.get("TQDM_DISABLE")
    disable_progress_bars()
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if not were_off:
            enable_progress_bars()
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
