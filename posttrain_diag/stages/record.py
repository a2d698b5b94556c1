"""What is known of a stage before it runs; the records themselves are in `catalogue`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from posttrain_diag.stages.session.session import Session

Need = Literal["demos", "pairs", "teacher", "verifier", "siblings", "own_rollouts", "retained_tasks"]
LearnsFrom = Literal["own passes", "demos", "teacher", "checkpoints", "retained tasks"]
Rate = Literal["supervised", "teacher", "own", "rl", "preference"]

DEMANDS: Mapping[Need, str] = {
    "demos": "demonstrations: add a `demos` field to the tasks, or --demos FILE",
    "pairs": "preference pairs (`chosen`, `rejected`); without them the stage online-preference mines its own",
    "teacher": "a teacher model that solves these tasks: --teacher M",
    "verifier": "a verifier that may be used for training",
    "own_rollouts": "a verifier that may be used for training",
    "siblings": "another checkpoint of the same architecture: --sibling M",
    "retained_tasks": "tasks to retain: --retain FILE",
}
"""For each thing that a stage may need, the words that tell the user it is missing."""

COMMON = (
    "max_new_tokens", "temperature", "seed", "stop", "template", "chat_template", "system_prompt", "device",
    "trust_remote_code", "watch_problems", "watch_rollouts", "eval_problems", "eval_rollouts",
)  # fmt: skip
"""Settings that every stage reads."""
TRAINING = (
    "steps", "budget_tokens", "learning_rate", "batch_size", "micro_batch", "warmup_steps", "schedule", "weight_decay",
    "lora_rank", "lora_alpha", "replay", "watch_every", "target_pass_rate", "stop_on_collapse", "bf16",
    "gradient_checkpointing", "report_to",
)  # fmt: skip
"""Settings that every stage with a trainer reads."""
VLLM = ("use_vllm", "vllm_memory")
"""Settings that are read by every stage whose trainer draws."""
RL = ("kl", "group_size")
PAIRS = ("loss", "beta")
OWN_DRAWS = ("own_rollouts", "keep_per_problem")


@dataclass(frozen=True)
class StageRecord:
    """Everything that is known of one stage before it runs."""

    name: str
    title: str
    provenance: str
    """Whose responses it learns from: on-policy, off-policy or mixed."""
    interface: str
    """Kind of the signal it learns from: token targets, rewards, preferences, ..."""
    role: str
    """What it does to the policy: expansion, reshaping or consolidation."""
    prescribe_when: str
    known_failure: str
    needs: tuple[Need, ...]
    built_on: str
    """The trainer that runs it, and what is composed around it."""
    learns_from: LearnsFrom
    """Where what it teaches comes from. A stage that learns from `own passes` wins nothing where no draw passes, one
    that learns from a `teacher` only what another model solves."""
    recipe: str
    """Name of its module in `stages/recipes`."""
    function: str = "run"
    """Name of the function in that module which runs the stage."""
    steps: int = 120
    """Optimizer steps; at least so many where `epochs` is set."""
    epochs: float | None = None
    """Passes over the training problems, up to MOST_STEPS steps.

    What is new takes more steps than a few hundred problems fill: measured on the zoo, a skill that is never drawn
    needs 2,000 problems and 300 to 400 steps."""
    rate: Rate = "supervised"
    replay: float = 0.0
    """Share of retained tasks in a batch, where there are such tasks and the user sets no share."""
    trains: bool = True
    """False where weights are combined: then no trainer runs and LoRA means nothing."""
    samples: bool = False
    """Whether its trainer draws as it trains, by vLLM where that is asked for."""
    reads: tuple[str, ...] = ()
    """Settings that it reads beyond those in COMMON, TRAINING and VLLM."""

    @property
    def own_settings(self) -> tuple[str, ...]:
        """Settings that it reads beyond those of every stage with a trainer."""
        return (*self.reads, *(VLLM if self.samples else ()))

    @property
    def settings(self) -> frozenset[str]:
        """Every field of `StageConfig` that changes what the stage does."""
        return frozenset((*COMMON, *(TRAINING if self.trains else ()), *self.own_settings))

    def read_of(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The part of the given settings that it reads."""
        return {name: value for name, value in settings.items() if name in self.settings}

    def lacks(self, there: Collection[Need]) -> tuple[str, ...]:
        """What it needs and `there` does not hold, each in words."""
        return tuple(dict.fromkeys(DEMANDS[need] for need in self.needs if need not in there))

    def runner(self) -> Callable[[Session], None]:
        """Import its recipe and return the function that runs the stage."""
        return getattr(import_module(f"posttrain_diag.stages.recipes.{self.recipe}"), self.function)


def needs_met(
    *, demos: bool, pairs: bool, teacher: bool, siblings: bool, retained: bool, verifier: bool = True
) -> frozenset[Need]:
    """Name what stages may need and is there.

    Args:
        demos: training problems carry demonstrations.
        pairs: training problems carry preference pairs.
        teacher: there is another model to learn from.
        siblings: there is another checkpoint of the same architecture.
        retained: there are tasks whose pass rate should stay.
        verifier: the tasks' verifiers may be used for training; own rollouts are worth what a verifier makes of them.
    """
    there: dict[Need, bool] = {
        "demos": demos,
        "pairs": pairs,
        "teacher": teacher,
        "siblings": siblings,
        "retained_tasks": retained,
        "verifier": verifier,
        "own_rollouts": verifier,
    }
    return frozenset(need for need, met in there.items() if met)
