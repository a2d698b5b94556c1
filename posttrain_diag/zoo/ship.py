"""Makes everything under posttrain_diag/data/zoo: models, tasks, exact probabilities, README.

python -m posttrain_diag.zoo.ship            # what is missing: models, rows of the truth; tasks and README anew
python -m posttrain_diag.zoo.ship --tasks    # no models
python -m posttrain_diag.zoo.ship --fresh    # all of the truth again, e.g. after a model was trained anew
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from posttrain_diag.tasks import write_tasks
from posttrain_diag.zoo.build import build
from posttrain_diag.zoo.classes import true_classes
from posttrain_diag.zoo.paths import DATA_DIR, MODELS_DIR, TASKS_DIR, TRUTH_FILE, shipped_models
from posttrain_diag.zoo.problems import mastered_problems, problems
from posttrain_diag.zoo.recipes import RECIPES
from posttrain_diag.zoo.registry import list_models, load_truth, truth_table
from posttrain_diag.zoo.truth import exact_success
from posttrain_diag.zoo.worlds import FAMILIES, WORLDS, pretraining_families

if TYPE_CHECKING:
    import pandas as pd

    from posttrain_diag.types import Problem

SHIPPED = (
    "base",
    "frontier",
    "teacher",
    "ckA",
    "ckB",
    "sums",
    "sums-ckA",
    "sums-ckB",
    "stories",
    "stories-chat",
    "stories-ckA",
    "stories-ckB",
)
PROBLEMS_PER_FAMILY = 100
_LENIENT_PRUNE = 1e-5


def shipped_tasks() -> dict[str, tuple[Problem, ...]]:
    """The problems of every shipped tasks file, by its name."""
    tasks = {name: problems(name, PROBLEMS_PER_FAMILY) for name in FAMILIES}
    return {**tasks, **{world.retention: mastered_problems(world) for world in WORLDS.values()}}


def write_all_tasks() -> None:
    """Write every tasks file that is shipped."""
    TASKS_DIR.mkdir(parents=True, exist_ok=True)
    for name, rows in shipped_tasks().items():
        write_tasks(rows, TASKS_DIR / f"{name}.jsonl")


def tasks_of(model: str) -> tuple[str, ...]:
    """The tasks whose truth is shipped for a model: its world's, less those its ancestor learned under another law."""
    recipe = RECIPES[model]
    root = recipe
    while root.parent is not None:
        root = RECIPES[root.parent]
    known = pretraining_families(recipe.world, root.name)
    return (*(fam.name for fam in recipe.world.families if fam in known), recipe.world.retention)


def compute_truth(
    known: pd.DataFrame | None = None, save: Callable[[pd.DataFrame], None] | None = None
) -> pd.DataFrame:
    """Exact probabilities and classes of every shipped model on the tasks files of its world.

    Args:
        known: rows of an earlier call: a model and tasks file that it covers is not computed again.
        save: called with all rows so far whenever some were computed.
    """
    tasks = shipped_tasks()
    parts: dict[tuple[str, str], pd.DataFrame | None] = {}
    for model in shipped_models():
        for name in tasks_of(model):
            part = None if known is None else known[(known["model"] == model) & (known["tasks"] == name)]
            whole = part is not None and part["id"].tolist() == [row.id for row in tasks[name]]
            parts[model, name] = part if whole else None
    for (model, name), part in parts.items():
        if part is None:
            fresh = truth_of(model, shipped_models()[model], name, tasks[name])
            parts[model, name] = fresh
            _say(f"{model} {name}: mean p {fresh['p_low'].mean():.3g}")
            if save is not None:
                save(_joined(parts.values()))
    return _joined(parts.values())


def _joined(parts: Iterable[pd.DataFrame | None]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([part for part in parts if part is not None], ignore_index=True)


def truth_of(model: str, directory: Path, name: str, rows: Sequence[Problem]) -> pd.DataFrame:
    """The exact truth of one model on one tasks file.

    Args:
        model: name of the model.
        directory: the model's directory.
        name: name of the tasks.
        rows: the problems of the tasks.

    Returns:
        A row per problem with its exact probabilities and its class.
    """
    part = exact_success(directory, rows)
    lenient = exact_success(directory, rows, reading="lenient", prune=_LENIENT_PRUNE)
    part.insert(0, "tasks", name)
    part.insert(0, "model", model)
    part["lenient_p_low"] = np.maximum(lenient["p_low"], part["p_low"])
    part["lenient_p_high"] = np.maximum(lenient["p_high"], part["lenient_p_low"])
    part["class"] = true_classes(directory, rows)["class"]
    if RECIPES[model].parent is not None:
        part["closed_form_p"] = float("nan")
    return part


def write_truth(*, fresh: bool = False) -> None:
    """Write the truth file; what it holds already is kept, unless `fresh`."""
    known = load_truth() if TRUTH_FILE.exists() and not fresh else None
    _save_truth(compute_truth(known, None if fresh else _save_truth))  # an interrupted --fresh starts again


def _save_truth(table: pd.DataFrame) -> None:
    text = table.to_csv(index=False, float_format="%.6g")
    scratch = TRUTH_FILE.with_suffix(".tmp")
    scratch.write_bytes(gzip.compress(text.encode(), mtime=0))
    scratch.replace(TRUTH_FILE)


def write_readme() -> None:
    """Write README.md with a table of closed-form and exact probabilities per world."""
    table, truth, models = truth_table(), load_truth(), list_models()
    sections: list[str] = []
    for world in WORLDS.values():
        own = [model for model in models if model.world == world.name and model.name in shipped_models()]
        lines = [f"## {world.name}: {world.summary}", ""]
        for model in own:
            means = truth[truth["model"] == model.name].groupby("tasks")["p_low"].mean()
            lines.append(
                f"- `{model.spec}` ({model.architecture}, {model.tokenizer} tokenizer): {model.summary}; mean exact p "
                f"per tasks file from {means.min():.3g} to {means.max():.3g}"
            )
        names = [*(fam.name for fam in world.families), world.retention]
        lines += ["", *_table(table[table["tasks"].isin(names)].dropna(subset=["p_mean"]))]
        sections.append("\n".join(lines))
    text = _README.format(worlds="\n\n".join(sections), date=date.today().isoformat())
    scratch = DATA_DIR / ".README.tmp"
    scratch.write_text(text)
    scratch.replace(DATA_DIR / "README.md")


def _table(rows: pd.DataFrame) -> list[str]:
    head = "tasks|model|bottleneck|closed form p|exact p: mean|min|max|lenient|pass@64|pass@256|of its class"
    lines = ["| " + head.replace("|", " | ") + " |", "|" + "---|" * (head.count("|") + 1)]
    columns = ("closed_form_p", "p_mean", "p_min", "p_max", "lenient_p", "pass@64", "pass@256", "constructed")
    for row in rows.to_dict("records"):
        figures = [f"{row[column]:.3g}" for column in columns]
        lines.append("| " + " | ".join([row["tasks"], row["model"], row["bottleneck"], *figures]) + " |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line, with other arguments than its own where they are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", action="store_true", help="keep the models as they are")
    parser.add_argument("--fresh", action="store_true", help="compute all of the truth again")
    options = parser.parse_args(arguments)
    if not options.tasks:
        build(SHIPPED, MODELS_DIR, progress=_progress)
    write_all_tasks()
    write_truth(fresh=options.fresh)
    write_readme()


def _progress(name: str, done: int, steps: int, loss: float) -> None:
    if done % 200 == 0:
        _say(f"{name} {done}/{steps} loss {loss:.4f}")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


_README = """# The shipped zoo

Tiny real Hugging Face models (160,000 to 250,000 parameters) whose bottleneck is known by construction and whose
success probability on every problem is computed exactly. They are trained from scratch on procedural worlds: no outside
data, no outside weights. `diag zoo list` lists them.

- `models/NAME`: `zoo:NAME` on the command line. `build.json` in each says how it was made.
- `tasks/FAMILY.jsonl`: `builtin:zoo/FAMILY`, 100 held-out problems each; the retention set of a world is drawn from the
  families that its models master.
- `truth.csv.gz`: exact probability per model and problem: p_low <= p <= p_high; log10_p is of p_low. `lenient_*`
  forgives surface format. `class` is the problem's class for this model (eps = 1/256, mastery .8). `closed_form_p` is
  empty for fine-tuned models.

Made by `python -m posttrain_diag.zoo.ship` ({date}; torch on one CPU thread, seed 0, minutes per model). What the
families are: `posttrain_diag/zoo/worlds`.

One rollout at temperature 1, full vocabulary, each family on its own model; pass@k is what k independent draws give;
`of its class`: share of problems whose exact class is the constructed one.

{worlds}
"""

if __name__ == "__main__":
    main()
