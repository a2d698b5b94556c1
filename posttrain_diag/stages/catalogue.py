"""Every post-training stage as one record: what it is, what it needs, how long it runs, which settings it reads.

Stage families are those of the survey arXiv:2604.07941. A new stage is one recipe in `stages/recipes` and one record
here. The module imports nothing heavy: completion, help and the refusal of a wrong name read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from posttrain_diag.errors import UsageError, did_you_mean
from posttrain_diag.stages.record import OWN_DRAWS, PAIRS, RL, Rate, StageRecord

RATES: Mapping[Rate, tuple[float, float]] = {
    "supervised": (1e-5, 0.606),
    "teacher": (1e-5, 0.53),
    "own": (1e-5, 0.39),
    "rl": (1e-6, 0.6),
    "preference": (5e-7, 0.73),
}
"""Peak learning rate at a billion weights, and the power with which it falls with the model's size.

The rates join what is usual there to what was measured to work on the zoo's 1.6e5 weights (2e-3, 1e-3, 3e-4, 2e-4 and
3e-4). Rows in the policy's own words take less of it than foreign ones, and at a third of the rate less is forgotten.
"""
NEW_REPLAY = 0.5
"""Share of a batch that is replayed beside foreign rows, which take the weights far: measured on the zoo, half a batch
keeps .99 of the pass rate on other tasks at equal pass@1, with .3 some of it is lost."""
EPOCHS, MOST_STEPS = 13.0, 400
"""Passes over the training problems, and most optimizer steps, of stages that are given responses."""
RL_REPLAY = 0.5
"""Share of the rows that is replayed beside RL, which forgets like SFT where it moves as far: measured on the zoo, half
the rows keep .97-.99 of the pass rate on other tasks."""
OWN_REPLAY = 0.3
"""Share of a batch that is replayed beside rows in the policy's own style, which replay does not work against: measured
on the zoo, retention rises from .89 to 1.0 at equal pass@1."""
LORA_FACTOR = 10.0
"""Factor on the learning rate of adapters, which take a higher one (arXiv:2106.09685 and common practice)."""

CATALOGUE: tuple[StageRecord, ...] = (
    StageRecord(
        name="sft",
        title="SFT on demonstrations",
        provenance="off-policy",
        interface="token targets",
        role="expansion or reshaping",
        prescribe_when="demonstrations lie outside support, or a format or domain must be imported",
        known_failure="rollout mismatch, narrow style, forgetting, pass@k collapse when over-trained",
        needs=("demos",),
        built_on="TRL's SFTTrainer",
        learns_from="demos",
        recipe="sft",
        epochs=EPOCHS,
        replay=NEW_REPLAY,
    ),
    StageRecord(
        name="sft-model-aware",
        title="Model-aware SFT (self-rewritten demos, probability-weighted or KL-anchored loss)",
        provenance="off-policy",
        interface="token targets",
        role="expansion or reshaping with less attrition",
        prescribe_when="demonstrations are far from the policy's own style",
        known_failure="young; few results at scale",
        needs=("demos", "verifier"),
        built_on="TRL's SFTTrainer on rewritten demonstrations",
        learns_from="demos",
        recipe="sft_model_aware",
        rate="own",
        replay=OWN_REPLAY,
        reads=("demo_style", *OWN_DRAWS),
    ),
    StageRecord(
        name="preference",
        title="Offline preference (DPO with an SFT term; IPO, KTO, ORPO, SimPO)",
        provenance="off-policy",
        interface="preferences",
        role="reshaping",
        prescribe_when="ranking among reachable outputs is poor; pairs but no verifier",
        known_failure="likelihood displacement when `chosen` is off-support",
        needs=("pairs",),
        built_on="TRL's DPOTrainer with loss_type=['sigmoid', 'sft']",
        learns_from="own passes",
        recipe="preference",
        steps=100,
        rate="preference",
        replay=OWN_REPLAY,
        reads=PAIRS,
    ),
    StageRecord(
        name="distill-offline",
        title="Off-policy distillation (teacher text or logits)",
        provenance="off-policy",
        interface="teacher targets",
        role="consolidation; expansion if the teacher knows more",
        prescribe_when="compress or hand off; the teacher solves what the student never does",
        known_failure="imitation of surface",
        needs=("teacher",),
        built_on="TRL's SFTTrainer on the teacher's texts, or its DistillationTrainer (beta=0) on them with the "
        "teacher's laws",
        learns_from="teacher",
        recipe="distill_offline",
        epochs=EPOCHS,
        replay=NEW_REPLAY,
        reads=("target", *OWN_DRAWS),
    ),
    StageRecord(
        name="grpo",
        title="RL with a verifier (GRPO)",
        provenance="on-policy",
        interface="rewards",
        role="reshaping",
        prescribe_when="mixed reward groups exist",
        known_failure="zero-signal groups, diversity loss",
        needs=("verifier",),
        built_on="TRL's GRPOTrainer",
        learns_from="own passes",
        recipe="grpo",
        steps=100,
        rate="rl",
        replay=RL_REPLAY,
        samples=True,
        reads=(*RL, "zero_steps"),
    ),
    StageRecord(
        name="rloo",
        title="RL with a verifier (RLOO)",
        provenance="on-policy",
        interface="rewards",
        role="reshaping",
        prescribe_when="as grpo: the choice of algorithm is second-order",
        known_failure="zero-signal groups, diversity loss",
        needs=("verifier",),
        built_on="TRL's RLOOTrainer",
        learns_from="own passes",
        recipe="grpo",
        function="run_rloo",
        steps=100,
        rate="rl",
        replay=RL_REPLAY,
        samples=True,
        reads=(*RL, "zero_steps"),
    ),
    StageRecord(
        name="online-preference",
        title="Online preference (pairs mined from own rollouts, then re-mined)",
        provenance="on-policy",
        interface="preferences",
        role="reshaping",
        prescribe_when="the verifier is noisy or only ranks",
        known_failure="limited to what the policy generates",
        needs=("verifier", "own_rollouts"),
        built_on="TRL's DPOTrainer on pairs mined from the rollouts of the run",
        learns_from="own passes",
        recipe="online_preference",
        steps=100,
        rate="preference",
        replay=OWN_REPLAY,
        reads=(*PAIRS, "rounds", *OWN_DRAWS),
    ),
    StageRecord(
        name="process-rl",
        title="Process- or verifier-guided RL (step rewards)",
        provenance="on-policy",
        interface="rewards of continued prefixes",
        role="fine reshaping",
        prescribe_when="long horizon, local errors: tokens available but the sequence unlikely",
        known_failure="only visited states are improved",
        needs=("verifier",),
        built_on="TRL's GRPOTrainer with the advantage of each token from continued prefixes",
        learns_from="own passes",
        recipe="process_rl",
        steps=60,
        rate="rl",
        replay=RL_REPLAY,
        samples=True,
        reads=(*RL, "zero_steps", "process_branches"),
    ),
    StageRecord(
        name="rft",
        title="Self-improvement on verified own rollouts (rejection sampling, STaR, ReST)",
        provenance="mixed",
        interface="filtered token targets",
        role="reshaping",
        prescribe_when="right candidates exist, selection is poor",
        known_failure="depends on the loop; nothing to learn where nothing passes",
        needs=("verifier", "own_rollouts"),
        built_on="TRL's SFTTrainer on the passing rollouts of the run",
        learns_from="own passes",
        recipe="rft",
        rate="own",
        replay=OWN_REPLAY,
        reads=("rounds", *OWN_DRAWS),
    ),
    StageRecord(
        name="distill-onpolicy",
        title="On-policy distillation (the teacher scores the student's rollouts)",
        provenance="on-policy",
        interface="teacher targets",
        role="reshaping, consolidation",
        prescribe_when="a compatible teacher can act on the student's states",
        known_failure="fails without shared top tokens; off-policy cold start first",
        needs=("teacher",),
        built_on="TRL's DistillationTrainer",
        learns_from="teacher",
        recipe="distill_onpolicy",
        steps=60,
        rate="teacher",
        replay=NEW_REPLAY,
        samples=True,
    ),
    StageRecord(
        name="guided-rl",
        title="Guided RL (demonstration prefixes as hints, annealed)",
        provenance="on-policy with guidance",
        interface="rewards",
        role="selective expansion",
        prescribe_when="blind rollouts never succeed, prefixed ones do",
        known_failure="dependence on guidance; forgets like SFT without replay or KL",
        needs=("demos", "verifier"),
        built_on="TRL's GRPOTrainer with demonstration prefixes in the prompts",
        learns_from="demos",
        recipe="guided_rl",
        steps=150,
        rate="rl",
        replay=RL_REPLAY,
        samples=True,
        reads=(*RL, "zero_steps", "hint_share"),
    ),
    StageRecord(
        name="interleaved",
        title="Interleaved SFT and RL",
        provenance="mixed",
        interface="token targets and rewards",
        role="expansion and reshaping",
        prescribe_when="many all-zero groups beside mixed ones; the SFT-to-RL hand-off is brittle",
        known_failure="gradient interference",
        needs=("demos", "verifier"),
        built_on="TRL's GRPOTrainer with cross-entropy on demonstrations beside",
        learns_from="demos",
        recipe="interleaved",
        steps=150,
        epochs=EPOCHS,
        rate="rl",
        replay=RL_REPLAY,
        samples=True,
        reads=RL,
    ),
    StageRecord(
        name="filter",
        title="Offline verifier filter (demonstrations curated by the verifier)",
        provenance="off-policy",
        interface="filtered token targets",
        role="depends on the demonstrations",
        prescribe_when="demonstrations are of mixed quality",
        known_failure="keeps what was easy",
        needs=("demos", "verifier"),
        built_on="TRL's SFTTrainer on the demonstrations that pass",
        learns_from="demos",
        recipe="filter",
        epochs=EPOCHS,
        replay=NEW_REPLAY,
    ),
    StageRecord(
        name="replay",
        title="Replay of retained tasks or own samples (an option of every stage)",
        provenance="not applicable",
        interface="token targets",
        role="consolidation (retention)",
        prescribe_when="a stage forgets; specialists are to be united",
        known_failure="fights a change of style",
        needs=("retained_tasks",),
        built_on="TRL's SFTTrainer on a mixed data set",
        learns_from="retained tasks",
        recipe="replay",
        rate="own",
        reads=OWN_DRAWS,
    ),
    StageRecord(
        name="merge",
        title="Weight merging and interpolation with an earlier checkpoint",
        provenance="not applicable",
        interface="weights",
        role="consolidation",
        prescribe_when="specialists to unite; forgetting; pass@k lost by SFT",
        known_failure="attrition; specialists that disagree do not average",
        needs=("siblings",),
        built_on="a weighted average of the checkpoints' weights",
        learns_from="checkpoints",
        recipe="merge",
        trains=False,
        reads=("merge",),
    ),
    StageRecord(
        name="search-transfer",
        title="Search, then transfer (best-of-n, majority vote, long thinking distilled into the bare policy)",
        provenance="mixed",
        interface="filtered token targets",
        role="expansion, then consolidation",
        prescribe_when="the scaffold works and the bare policy does not",
        known_failure="robustness is lost without the search",
        needs=("verifier", "own_rollouts"),
        built_on="TRL's SFTTrainer on the selected rollouts",
        learns_from="own passes",
        recipe="search_transfer",
        rate="own",
        replay=OWN_REPLAY,
        reads=("search", *OWN_DRAWS),
    ),
)
"""Every stage, in the order in which lists show them."""

STAGES: Mapping[str, StageRecord] = {record.name: record for record in CATALOGUE}
"""The records of `CATALOGUE` by the name of the stage."""


def stage_record(name: str) -> StageRecord:
    """Look up the record of a stage.

    Raises:
        UsageError: there is no such stage; the message names the nearest one and all that there are.
    """
    if name not in STAGES:
        raise UsageError(
            f"there is no stage {name!r}{did_you_mean(name, STAGES)}; stages: {', '.join(STAGES)} "
            "(`diag stages` describes them)"
        )
    return STAGES[name]


def readers(setting: str) -> tuple[str, ...]:
    """The names of the stages that read a setting."""
    return tuple(record.name for record in CATALOGUE if setting in record.settings)


def refuse_unread(stage: str, given: Iterable[str]) -> None:
    """Refuse settings that a stage does not read.

    Args:
        stage: name of the stage.
        given: settings that a person gave for it; values that come from a run as defaults are not among them.

    Raises:
        UsageError: the stage does not read some of them; the message names each, and the stages that read it.
    """
    read = stage_record(stage).settings
    unread = [f"{name}; stages that do: {_listed(readers(name))}" for name in given if name not in read]
    if unread:
        raise UsageError(f"stage {stage} does not read {'; nor '.join(unread)}")


def _listed(stages: Sequence[str]) -> str:
    return "all others" if len(stages) == len(CATALOGUE) - 1 else ", ".join(stages)


def default_steps(record: StageRecord, n_problems: int, batch_size: int, replay: float) -> int:
    """Optimizer steps of a stage where the user does not set them.

    Args:
        record: the stage's record.
        n_problems: number of training problems.
        batch_size: sequences per step.
        replay: share of them that is replayed.
    """
    if record.epochs is None:
        return record.steps
    full = math.ceil(record.epochs * n_problems / (batch_size * (1 - replay)))
    return max(record.steps, min(full, MOST_STEPS))


def learning_rate(record: StageRecord, n_parameters: int, *, lora: bool) -> float:
    """The default peak learning rate of a stage for a model of this size."""
    at_billion, power = RATES[record.rate]
    value = at_billion * max(1.0, (1e9 / n_parameters) ** power)
    return value * LORA_FACTOR if lora and n_parameters > 1e7 else value
