"""How each zoo model is made: from which model, on which examples, for how long.

base      pre-trained on all families of strings (F with .30)
frontier  the same with F15 instead of F
teacher   base, then 800 steps on correct responses of every family, T and U three times as often
ckA       base, then fine-tuned on T with replay of the pre-training law
ckB       ckA, then fine-tuned on U without replay: it has lost T (the pair shows what consolidation is for)

sums and stories, each with a ckA and a ckB, are base, ckA and ckB in the other worlds; stories-chat is stories inside
a chat template, of another architecture.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from posttrain_diag.zoo.family import Architecture, Family, World
from posttrain_diag.zoo.problems import draw_pretraining_word
from posttrain_diag.zoo.training import Example, ExampleSource, Schedule
from posttrain_diag.zoo.worlds import STORIES, STRINGS, SUMS, family, pretraining_families


@dataclass(frozen=True)
class Recipe:
    """How one model is made."""

    name: str
    summary: str
    parent: str | None
    """The model that training starts from; None: fresh weights."""
    schedule: Schedule
    examples: Callable[[], ExampleSource]
    world: World = STRINGS
    architecture: Architecture | None = None
    """Architecture of the model; None: that of the world."""
    chat: bool = False
    """Whether prompts stand in the chat template, which the tokenizer then carries."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the saved weights; training is in float32."""


def pretraining(world: World, model: str, leave_out: Sequence[str] = ()) -> ExampleSource:
    """Draws examples from the pre-training law of `model`."""
    families = [f for f in pretraining_families(world, model) if f.name not in leave_out]
    shares = [f.share for f in families]

    def draw(rng: random.Random) -> Example:
        fam = rng.choices(families, shares)[0]
        x = draw_pretraining_word(fam, rng)
        return fam.prompt(x), fam.responses.draw(x, rng)

    return draw


def demonstrations(families: Sequence[Family]) -> ExampleSource:
    """Draws correct responses, in each family's default style."""

    def draw(rng: random.Random) -> Example:
        fam = rng.choice(families)
        x = draw_pretraining_word(fam, rng)
        return fam.prompt(x), fam.demo(x)

    return draw


def half(first: ExampleSource, second: ExampleSource) -> ExampleSource:
    """Draws each example from one of two sources, with equal chance."""
    return lambda rng: first(rng) if rng.random() < 0.5 else second(rng)


_PRETRAINING = Schedule(2400, learning_rate=4e-3, decay_power=2.0)
_FINE_TUNING = Schedule(300, batch_size=128, learning_rate=1e-3, warmup_steps=10, weight_decay=0.0)
_WITH_REPLAY = Schedule(700, batch_size=128, learning_rate=2e-3, warmup_steps=10, weight_decay=0.0)
_SUMS_PRETRAINING = Schedule(2200, batch_size=128, learning_rate=4e-3, decay_power=2.0)
_SUMS_WITH_REPLAY = replace(_WITH_REPLAY, steps=400)


def _sum(
    name: str, summary: str, parent: str | None, schedule: Schedule, examples: Callable[[], ExampleSource]
) -> Recipe:
    """The recipe of a model of the world of sums."""
    return Recipe(name, summary, parent, schedule, examples, SUMS, dtype="bfloat16")


_STORIES_PRETRAINING = Schedule(2400, batch_size=128, learning_rate=3e-3, decay_power=2.0)


def _story(
    name: str,
    summary: str,
    parent: str | None,
    schedule: Schedule,
    examples: Callable[[], ExampleSource],
    *,
    architecture: Architecture | None = None,
    chat: bool = False,
) -> Recipe:
    """The recipe of a model of the world of stories."""
    return Recipe(name, summary, parent, schedule, examples, STORIES, architecture, chat=chat, dtype="bfloat16")


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "base",
            "holds every bottleneck: mastered R P Q W, reshaping S N H, format G, frontier F, support T U",
            None,
            _PRETRAINING,
            lambda: pretraining(STRINGS, "base"),
        ),
        Recipe(
            "frontier",
            "as base, with family F so rare (2.6e-7) that only guidance reaches it: F15",
            None,
            _PRETRAINING,
            lambda: pretraining(STRINGS, "frontier"),
        ),
        Recipe(
            "teacher",
            "solves every family",
            "base",
            Schedule(800, learning_rate=3e-3, warmup_steps=20),
            lambda: demonstrations([*pretraining_families(STRINGS, "base"), *2 * [family("T"), family("U")]]),
        ),
        Recipe(
            "ckA",
            "base fine-tuned on T with replay: solves T, not U",
            "base",
            _WITH_REPLAY,
            lambda: half(demonstrations([family("T")]), pretraining(STRINGS, "base", leave_out=("T",))),
            dtype="bfloat16",
        ),
        Recipe(
            "ckB",
            "ckA fine-tuned on U without replay: solves U, has lost T",
            "ckA",
            replace(_FINE_TUNING, steps=700),
            lambda: demonstrations([family("U")]),
            dtype="bfloat16",
        ),
        _story(
            "stories",
            "word problems in English, gpt2: the bottlenecks of base in byte-pair tokens",
            None,
            _STORIES_PRETRAINING,
            lambda: pretraining(STORIES, "stories"),
        ),
        _story(
            "stories-chat",
            "as stories, llama, pre-trained inside a chat template",
            None,
            _STORIES_PRETRAINING,
            lambda: pretraining(STORIES, "stories"),
            architecture="llama",
            chat=True,
        ),
        _story(
            "stories-ckA",
            "stories fine-tuned on stories-T with replay: solves it, not stories-U",
            "stories",
            _WITH_REPLAY,
            lambda: half(
                demonstrations([family("stories-T")]), pretraining(STORIES, "stories", leave_out=("stories-T",))
            ),
        ),
        _story(
            "stories-ckB",
            "stories-ckA fine-tuned on stories-U without replay: solves it, has lost stories-T",
            "stories-ckA",
            _FINE_TUNING,
            lambda: demonstrations([family("stories-U")]),
        ),
        _sum(
            "sums",
            "sums with worked steps, qwen3: the bottlenecks of base in digits",
            None,
            _SUMS_PRETRAINING,
            lambda: pretraining(SUMS, "sums"),
        ),
        _sum(
            "sums-ckA",
            "sums fine-tuned on sums-T with replay: solves it, not sums-U",
            "sums",
            _SUMS_WITH_REPLAY,
            lambda: half(demonstrations([family("sums-T")]), pretraining(SUMS, "sums", leave_out=("sums-T",))),
        ),
        _sum(
            "sums-ckB",
            "sums-ckA fine-tuned on sums-U without replay: solves it, has lost sums-T",
            "sums-ckA",
            _FINE_TUNING,
            lambda: demonstrations([family("sums-U")]),
        ),
    )
}
"""Every model that can be built, parents before children."""
