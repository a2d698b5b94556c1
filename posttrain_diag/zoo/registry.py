"""What the zoo offers: models by name, families with their tasks, model, bottleneck and chance of success."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from posttrain_diag.errors import UsageError
from posttrain_diag.types import Bottleneck
from posttrain_diag.zoo.family import Architecture, World
from posttrain_diag.zoo.paths import TASKS_DIR, TRUTH_FILE, built_models, shipped_models
from posttrain_diag.zoo.recipes import RECIPES, Recipe
from posttrain_diag.zoo.vocabulary import BpeVocabulary
from posttrain_diag.zoo.worlds import FAMILIES, WORLDS, world_of

if TYPE_CHECKING:
    import pandas as pd

SCHEME = "zoo:"
TokenizerKind = Literal["char", "bpe", "chat"]
"""What a token is: a character, a byte pair, or a byte pair or character with a chat template around the prompt."""


@dataclass(frozen=True)
class ZooModel:
    """A model of the zoo, shipped or to be built."""

    name: str
    summary: str
    parent: str | None
    """The model its training started from."""
    world: str
    architecture: Architecture
    tokenizer: TokenizerKind
    shipped: bool
    path: Path | None
    """Directory of the model; None: it was not built yet."""

    @property
    def spec(self) -> str:
        """The name under which the command line takes the model."""
        return SCHEME + self.name


@dataclass(frozen=True)
class ZooFamily:
    """A family of problems, and the shipped model whose bottleneck it shows."""

    name: str
    tasks: str
    """Name of its tasks, `builtin:zoo/NAME`."""
    tasks_path: Path
    model: str
    """Name of its model, `zoo:NAME`."""
    bottleneck: Bottleneck
    """The bottleneck that its pre-training law was constructed to have."""
    closed_form_p: float
    """Mean chance of success under the pre-training law (strict reading, temperature 1)."""
    summary: str
    world: str
    architecture: Architecture
    """Architecture of the model."""
    tokenizer: TokenizerKind
    """Kind of the model's tokenizer."""


def list_models() -> list[ZooModel]:
    """Every model that is shipped or can be built."""
    shipped, built = shipped_models(), built_models()
    return [
        ZooModel(
            name,
            recipe.summary,
            recipe.parent,
            recipe.world.name,
            _architecture(recipe),
            _tokenizer(recipe),
            name in shipped,
            shipped.get(name, built.get(name)),
        )
        for name, recipe in RECIPES.items()
    ]


def list_families() -> list[ZooFamily]:
    """Every family, and the retention sets of the worlds at the end."""
    families = [
        _family(fam.name, world_of(fam), fam.model, fam.bottleneck, fam.mean_closed_form_p(), fam.summary)
        for fam in FAMILIES.values()
    ]
    retention = [
        _family(
            world.retention,
            world,
            world.families[0].model,
            "saturated",
            1.0,
            f"retention set: problems of {', '.join(world.mastered)}",
        )
        for world in WORLDS.values()
    ]
    return [*families, *retention]


def _family(
    name: str, world: World, model: str, bottleneck: Bottleneck, closed_form_p: float, summary: str
) -> ZooFamily:
    recipe = RECIPES[model]
    return ZooFamily(
        name,
        f"builtin:zoo/{name}",
        TASKS_DIR / f"{name}.jsonl",
        SCHEME + model,
        bottleneck,
        closed_form_p,
        summary,
        world.name,
        _architecture(recipe),
        _tokenizer(recipe),
    )


def _architecture(recipe: Recipe) -> Architecture:
    return recipe.architecture or recipe.world.architecture


def _tokenizer(recipe: Recipe) -> TokenizerKind:
    if recipe.chat:
        return "chat"
    return "bpe" if isinstance(recipe.world.vocabulary, BpeVocabulary) else "char"


def resolve_model(spec: str) -> Path:
    """The directory of `zoo:NAME`: that of the shipped model, else that of the one built in the cache directory.

    Raises:
        UsageError: there is no such model, or it has not been built.
    """
    name = spec.removeprefix(SCHEME)
    found = {**built_models(), **shipped_models()}.get(name)
    if spec.startswith(SCHEME) and found:
        return found
    if spec.startswith(SCHEME) and name in RECIPES:
        raise UsageError(f"{spec} is not built yet: run `diag zoo build {name}` (a few minutes on a CPU)")
    raise UsageError(
        f"there is no zoo model {spec!r}; zoo models: {', '.join(SCHEME + n for n in RECIPES)} "
        f"(ready to use: {', '.join(SCHEME + n for n in sorted({**built_models(), **shipped_models()}))}; "
        "build others with `diag zoo build NAME`)"
    )


def load_truth() -> pd.DataFrame:
    """Exact success probabilities of the shipped models on the shipped problems.

    Returns:
        One row per (model, tasks, id): columns model, tasks, id, family, length, closed_form_p, p_low, p_high,
        log10_p, lenient_p_low, lenient_p_high, class. See `posttrain_diag.zoo.truth.exact_success` and
        `posttrain_diag.zoo.classes.true_classes`.
    """
    import pandas as pd

    return pd.read_csv(TRUTH_FILE, keep_default_na=False, na_values=[""])


def class_of(bottleneck: Bottleneck) -> str:
    """The class that the problems of a family with this bottleneck are in."""
    return "mastered" if bottleneck == "saturated" else bottleneck


def truth_table() -> pd.DataFrame:
    """For each family on its own model how far the trained model is from its closed form.

    Returns:
        One row per family: columns tasks, model, bottleneck, closed_form_p, p_mean, p_min, p_max, lenient_p, pass@64
        and pass@256 expected of independent draws, and constructed (share of problems whose exact class is that of
        the bottleneck).
    """
    import pandas as pd

    truth = load_truth()
    rows: list[dict[str, object]] = []
    for fam in list_families():
        own = truth[(truth["tasks"] == fam.name) & (truth["model"] == fam.model.removeprefix(SCHEME))]
        p = own["p_low"]
        rows.append(
            {
                "tasks": fam.name,
                "model": fam.model,
                "bottleneck": fam.bottleneck,
                "closed_form_p": fam.closed_form_p,
                "p_mean": p.mean(),
                "p_min": p.min(),
                "p_max": p.max(),
                "lenient_p": own["lenient_p_low"].mean(),
                "pass@64": (1 - (1 - p) ** 64).mean(),
                "pass@256": (1 - (1 - p) ** 256).mean(),
                "constructed": (own["class"] == class_of(fam.bottleneck)).mean(),
            }
        )
    return pd.DataFrame(rows)
