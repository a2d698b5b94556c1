"""Every post-training stage family of the survey (arXiv:2604.07941) as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Need = Literal["demos", "pairs", "teacher", "verifier", "siblings", "own_rollouts", "retained_tasks"]


@dataclass(frozen=True)
class StageCard:
    """One stage family."""

    name: str
    title: str
    provenance: str
    interface: str
    role: str
    prescribe_when: str
    known_failure: str
    needs: tuple[Need, ...]
    built_on: str
    """The trainer that runs it, and what is composed around it."""


CATALOGUE: tuple[StageCard, ...] = (
    StageCard(
        "sft",
        "SFT on demonstrations",
        "off-policy",
        "token targets",
        "expansion or reshaping",
        "demonstrations lie outside support, or a format or domain must be imported",
        "rollout mismatch, narrow style, forgetting, pass@k collapse when over-trained",
        ("demos",),
        "TRL's SFTTrainer",
    ),
    StageCard(
        "sft-model-aware",
        "Model-aware SFT (self-rewritten demos, probability-weighted or KL-anchored loss)",
        "off-policy",
        "token targets",
        "expansion or reshaping with less attrition",
        "demonstrations are far from the policy's own style",
        "young; few results at scale",
        ("demos", "verifier"),
        "TRL's SFTTrainer on rewritten demonstrations",
    ),
    StageCard(
        "preference",
        "Offline preference (DPO with an SFT term; IPO, KTO, ORPO, SimPO)",
        "off-policy",
        "preferences",
        "reshaping",
        "ranking among reachable outputs is poor; pairs but no verifier",
        "likelihood displacement when `chosen` is off-support",
        ("pairs",),
        "TRL's DPOTrainer with loss_type=['sigmoid', 'sft']",
    ),
    StageCard(
        "distill-offline",
        "Off-policy distillation (teacher text or logits)",
        "off-policy",
        "teacher targets",
        "consolidation; expansion if the teacher knows more",
        "compress or hand off; the teacher solves what the student never does",
        "imitation of surface",
        ("teacher",),
        "TRL's SFTTrainer on the teacher's texts, or its DistillationTrainer (beta=0) on them with the teacher's laws",
    ),
    StageCard(
        "grpo",
        "RL with a verifier (GRPO)",
        "on-policy",
        "rewards",
        "reshaping",
        "mixed reward groups exist",
        "zero-signal groups, diversity loss",
        ("verifier",),
        "TRL's GRPOTrainer",
    ),
    StageCard(
        "rloo",
        "RL with a verifier (RLOO)",
        "on-policy",
        "rewards",
        "reshaping",
        "as grpo: the choice of algorithm is second-order",
        "zero-signal groups, diversity loss",
        ("verifier",),
        "TRL's RLOOTrainer",
    ),
    StageCard(
        "online-preference",
        "Online preference (pairs mined from own rollouts, then re-mined)",
        "on-policy",
        "preferences",
        "reshaping",
        "the verifier is noisy or only ranks",
        "limited to what the policy generates",
        ("verifier", "own_rollouts"),
        "TRL's DPOTrainer on pairs mined from the rollouts of the run",
    ),
    StageCard(
        "process-rl",
        "Process- or verifier-guided RL (step rewards)",
        "on-policy",
        "rewards of continued prefixes",
        "fine reshaping",
        "long horizon, local errors: tokens available but the sequence unlikely",
        "only visited states are improved",
        ("verifier",),
        "TRL's GRPOTrainer with the advantage of each token from continued prefixes",
    ),
    StageCard(
        "rft",
        "Self-improvement on verified own rollouts (rejection sampling, STaR, ReST)",
        "mixed",
        "filtered token targets",
        "reshaping",
        "right candidates exist, selection is poor",
        "depends on the loop; nothing to learn where nothing passes",
        ("verifier", "own_rollouts"),
        "TRL's SFTTrainer on the passing rollouts of the run",
    ),
    StageCard(
        "distill-onpolicy",
        "On-policy distillation (the teacher scores the student's rollouts)",
        "on-policy",
        "teacher targets",
        "reshaping, consolidation",
        "a compatible teacher can act on the student's states",
        "fails without shared top tokens; off-policy cold start first",
        ("teacher",),
        "TRL's DistillationTrainer",
    ),
    StageCard(
        "guided-rl",
        "Guided RL (demonstration prefixes as hints, annealed)",
        "on-policy with guidance",
        "rewards",
        "selective expansion",
        "blind rollouts never succeed, prefixed ones do",
        "dependence on guidance; forgets like SFT without replay or KL",
        ("demos", "verifier"),
        "TRL's GRPOTrainer with demonstration prefixes in the prompts",
    ),
    StageCard(
        "interleaved",
        "Interleaved SFT and RL",
        "mixed",
        "token targets and rewards",
        "expansion and reshaping",
        "many all-zero groups beside mixed ones; the SFT-to-RL hand-off is brittle",
        "gradient interference",
        ("demos", "verifier"),
        "TRL's GRPOTrainer with cross-entropy on demonstrations beside",
    ),
    StageCard(
        "filter",
        "Offline verifier filter (demonstrations curated by the verifier)",
        "off-policy",
        "filtered token targets",
        "depends on the demonstrations",
        "demonstrations are of mixed quality",
        "keeps what was easy",
        ("demos", "verifier"),
        "TRL's SFTTrainer on the demonstrations that pass",
    ),
    StageCard(
        "replay",
        "Replay of retained tasks or own samples (an option of every stage)",
        "not applicable",
        "token targets",
        "consolidation (retention)",
        "a stage forgets; specialists are to be united",
        "fights a change of style",
        ("retained_tasks",),
        "TRL's SFTTrainer on a mixed data set",
    ),
    StageCard(
        "merge",
        "Weight merging and interpolation with an earlier checkpoint",
        "not applicable",
        "weights",
        "consolidation",
        "specialists to unite; forgetting; pass@k lost by SFT",
        "attrition; specialists that disagree do not average",
        ("siblings",),
        "a weighted average of the checkpoints' weights",
    ),
    StageCard(
        "search-transfer",
        "Search, then transfer (best-of-n, majority vote, long thinking distilled into the bare policy)",
        "mixed",
        "filtered token targets",
        "expansion, then consolidation",
        "the scaffold works and the bare policy does not",
        "robustness is lost without the search",
        ("verifier", "own_rollouts"),
        "TRL's SFTTrainer on the selected rollouts",
    ),
)


def stage_card(name: str) -> StageCard:
    """The card of one stage; KeyError for a name the catalogue does not have."""
    return {card.name: card for card in CATALOGUE}[name]
