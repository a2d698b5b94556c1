"""Makes everything under posttrain_diag/data/zoo: models, tasks, exact probabilities, README.

python -m posttrain_diag.zoo.ship            # all of it; finished models are kept
python -m posttrain_diag.zoo.ship --tasks    # tasks, probabilities and README only
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from typing import TYPE_CHECKING

from posttrain_diag.tasks import write_tasks
from posttrain_diag.zoo.build import build
from posttrain_diag.zoo.paths import DATA_DIR, MODELS_DIR, TASKS_DIR, TRUTH_FILE, shipped_models
from posttrain_diag.zoo.problems import mastered_problems, problems
from posttrain_diag.zoo.registry import load_truth, truth_table
from posttrain_diag.zoo.truth import exact_success
from posttrain_diag.zoo.worlds import FAMILIES, WORLDS

if TYPE_CHECKING:
    import pandas as pd

    from posttrain_diag.types import Problem

SHIPPED = ("base", "frontier", "teacher", "stories", "stories-ckA", "stories-ckB", "stories-chat")
PROBLEMS_PER_FAMILY = 100
_LENIENT_PRUNE = 1e-5
_NOT_ON = {"base": ("F15",), "frontier": ("F",)}
"""Tasks whose letter the model learned under another law."""


def shipped_tasks() -> dict[str, tuple[Problem, ...]]:
    """Every shipped tasks file's problems, by name."""
    tasks = {name: problems(name, PROBLEMS_PER_FAMILY) for name in FAMILIES}
    return {**tasks, **{world.retention: mastered_problems(world) for world in WORLDS.values()}}


def write_all_tasks() -> None:
    """Write every tasks file."""
    TASKS_DIR.mkdir(parents=True, exist_ok=True)
    for name, rows in shipped_tasks().items():
        write_tasks(rows, TASKS_DIR / f"{name}.jsonl")


def compute_truth() -> pd.DataFrame:
    """Exact probabilities of every shipped model on every shipped tasks file."""
    import pandas as pd

    parts: list[pd.DataFrame] = []
    for model, directory in shipped_models().items():
        for name, rows in shipped_tasks().items():
            if name in _NOT_ON.get(model, ()):
                continue
            part = exact_success(directory, rows)
            lenient = exact_success(directory, rows, reading="lenient", prune=_LENIENT_PRUNE)
            part.insert(0, "tasks", name)
            part.insert(0, "model", model)
            part["lenient_p_low"], part["lenient_p_high"] = lenient["p_low"], lenient["p_high"]
            if model == "teacher":
                part["closed_form_p"] = float("nan")
            parts.append(part)
            _say(f"{model} {name}: mean p {part['p_low'].mean():.3g}")
    return pd.concat(parts, ignore_index=True)


def write_truth() -> None:
    """Write truth.csv."""
    scratch = TRUTH_FILE.with_suffix(".tmp")
    compute_truth().to_csv(scratch, index=False, float_format="%.6g")
    scratch.replace(TRUTH_FILE)


def write_readme() -> None:
    """Write README.md with the table of closed-form and exact probabilities."""
    table = truth_table()
    lines = [
        "| tasks | model | bottleneck | closed form p | exact p: mean | min | max | lenient | pass@64 | pass@256 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.to_dict("records"):
        figures = [
            f"{row[column]:.3g}"
            for column in ("closed_form_p", "p_mean", "p_min", "p_max", "lenient_p", "pass@64", "pass@256")
        ]
        lines.append("| " + " | ".join([row["tasks"], row["model"], row["bottleneck"], *figures]) + " |")
    truth = load_truth()
    teacher = truth[truth["model"] == "teacher"].groupby("tasks")["p_low"].mean()
    text = _README.format(
        table="\n".join(lines),
        date=date.today().isoformat(),
        teacher_low=teacher.min(),
        teacher_high=teacher.max(),
    )
    scratch = DATA_DIR / ".README.tmp"
    scratch.write_text(text)
    scratch.replace(DATA_DIR / "README.md")


def main(arguments: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", action="store_true", help="keep the models as they are")
    options = parser.parse_args(arguments)
    if not options.tasks:
        build(SHIPPED, MODELS_DIR, progress=_progress)
    write_all_tasks()
    write_truth()
    write_readme()


def _progress(name: str, done: int, steps: int, loss: float) -> None:
    if done % 200 == 0:
        _say(f"{name} {done}/{steps} loss {loss:.4f}")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


_README = """# The shipped zoo

Tiny real Hugging Face models (Llama, 162,304 parameters, one token per character) whose bottleneck is known by
construction and whose success probability on every problem is computed exactly. They are trained from scratch on a
procedural world: no outside data, no outside weights.

- `models/base`, `models/frontier`, `models/teacher`: `zoo:base`, `zoo:frontier`, `zoo:teacher` on the command line.
  `build.json` in each says how it was made.
- `tasks/FAMILY.jsonl`: `builtin:zoo/FAMILY`, 100 held-out problems each; `tasks/mastered.jsonl` is the retention set.
- `truth.csv`: exact probability per model and problem: p_low <= p <= p_high; log10_p is of p_low. `lenient_*`
  forgives brackets and punctuation around the answer.

Made by `python -m posttrain_diag.zoo.ship` ({date}; torch on one CPU thread, seed 0, about 4 minutes per pre-trained
model). What the families are: `posttrain_diag/zoo/world.py`.

One rollout at temperature 1, full vocabulary, each family on its own model; pass@k is what k independent draws give:

{table}

`teacher` solves every family: mean exact p between {teacher_low:.3f} and {teacher_high:.3f}.
"""

if __name__ == "__main__":
    main()
