"""Makes the golden reports of this folder anew, by the commands that a user would type (some ten minutes).

    make examples [ARGS="S T"]      python reports/examples/make.py [NAME ...]

Each example is a page and its Markdown twin. Look at the pages after a change of the templates: a test says which of
them were made by other templates than those of today.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
WORK = HERE.parents[1] / "runs" / "examples"
"""The folder of the run directories; a rerun goes on with them, so that new templates need no new runs."""
Make = Callable[[], Path]


def diag(*args: str) -> None:
    """Run `diag` in the working folder."""
    subprocess.run([sys.executable, "-m", "posttrain_diag", *args], check=True, stdout=subprocess.DEVNULL)


def analysed(name: str, model: str, tasks: str, *more: str) -> Path:
    """Run `diag analyze` and return its run directory.

    Args:
        name: name of the run directory.
        model: the model to analyse.
        tasks: the tasks.
        *more: further flags.
    """
    out = Path("runs", name)
    diag("analyze", model, "--tasks", tasks, "--out", str(out), "--quiet", *more)
    return out


def mixture() -> tuple[str, str, str]:
    """Make tasks, training tasks and tasks to retain of two families: one within reach (S), one never seen (T).

    Returns:
        The paths of the three files.
    """
    from posttrain_diag.tasks import write_tasks
    from posttrain_diag.zoo import mastered_problems, problems

    files = {name: Path("tasks", f"mixture-{name}.jsonl") for name in ("held-out", "train", "retain")}
    if not files["train"].exists():
        Path("tasks").mkdir(exist_ok=True)
        write_tasks([row for family in "ST" for row in problems(family, 60)], files["held-out"])
        write_tasks([row for family in "ST" for row in problems(family, 1000, split="training")], files["train"])
        write_tasks(mastered_problems(per_family=100), files["retain"])
    held_out, train, retain = (str(files[name]) for name in ("held-out", "train", "retain"))
    return held_out, train, retain


def autopilot() -> Path:
    """Make an autopilot run on the mixture; returns its folder."""
    out = Path("runs", "autopilot")
    if not (out / "result.json").exists():
        tasks, train, retain = mixture()
        diag(
            "run",
            "zoo:base",
            "--tasks",
            tasks,
            "--train-tasks",
            train,
            "--retain",
            retain,
            "--out",
            str(out),
            "--quiet",
        )
    return out


def comparison() -> Path:
    """Compare the run before and after the first stage of the autopilot run; returns the folder of the comparison."""
    return next(iter(sorted((autopilot() / "rounds").glob("01-*"))))


def counts() -> Path:
    """Diagnose from counts alone: problem_id, n, c of the mixture, without model and texts."""
    source = analysed("mixture", "zoo:base", mixture()[0])
    table = pd.read_parquet(source / "problems.parquet")[["id", "n", "c"]].rename(columns={"id": "problem_id"})
    table.to_csv("counts.csv", index=False)
    diag("import", "counts", "counts.csv", "--out", "runs/counts")
    return Path("runs", "counts")


EXAMPLES: Mapping[str, Make] = {
    "S": lambda: analysed("S", "zoo:base", "builtin:zoo/S"),
    "T": lambda: analysed("T", "zoo:base", "builtin:zoo/T"),
    "F15": lambda: analysed("F15", "zoo:frontier", "builtin:zoo/F15"),
    "G": lambda: analysed("G", "zoo:base", "builtin:zoo/G"),
    "mixture": lambda: analysed("mixture", "zoo:base", mixture()[0]),
    "counts": counts,
    "comparison": comparison,
    "autopilot": autopilot,
}


def main(names: list[str]) -> None:
    """Make some examples, or all."""
    if unknown := set(names) - set(EXAMPLES):
        sys.exit(f"no example {', '.join(sorted(unknown))}; there are {', '.join(EXAMPLES)}")
    WORK.mkdir(parents=True, exist_ok=True)
    os.chdir(WORK)
    for name in names or EXAMPLES:
        made = EXAMPLES[name]()
        diag("report", str(made))
        for suffix in ("html", "md"):
            shutil.copyfile(made / f"report.{suffix}", HERE / f"{name}.{suffix}")
        text = (HERE / f"{name}.html").read_text(encoding="utf-8")
        if found := re.search(rf"{re.escape(str(WORK))}[^ \"<]*", text):
            sys.exit(f"{name}: a path of this machine is on the page: {found.group()}")
        sys.stderr.write(f"{name}: {len(text.encode()):,} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1:])
