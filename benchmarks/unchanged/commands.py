"""The commands whose results are recorded: every kind of thing that `diag` makes, on tiny models and few draws.

All paths are relative to the folder that a recording works in. What a command reads is written here (`write_inputs`) from the
tasks that `diag zoo list` names: nothing of the package is imported, for the package is what is compared.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LISTING = "zoo list"
"""The command whose output says where the tasks lie; it runs before all others."""


@dataclass(frozen=True)
class Command:
    """One `diag` command and what it leaves behind."""

    name: str
    arguments: str
    """What stands after `diag`."""
    makes: tuple[str, ...] = ()
    """Files and folders that are compared."""
    after: tuple[str, ...] = ()
    """Commands whose results it reads."""
    copies: tuple[str, str] | None = None
    """A folder and the name of the copy in which the command works, so that the original stays as it was made."""
    exit_code: int = 0
    """Another one means that the recording is not what it should be."""


def _analysis(name: str, model: str, tasks: str, more: str = "", after: tuple[str, ...] = ()) -> Command:
    where = f"runs/{name}"
    arguments = f"analyze {model} --tasks {tasks} --rollouts 16 --out {where} --json --quiet {more}"
    return Command(f"analyze {name}", arguments.strip(), (where,), after)


SMALL = (
    "--steps 6 --set batch_size=64 --set warmup_steps=0 --set watch_every=2 --set watch_problems=8 "
    "--set watch_rollouts=8 --set eval_problems=12 --set eval_rollouts=8"
)
"""Settings that make a stage a matter of seconds."""


def _stage(name: str, start: str, more: str, **options: Any) -> Command:
    where = f"stages/{name}"
    arguments = f"train {start} --stage {name} --out {where} {SMALL} {more} --json --quiet"
    made = (where, *options.pop("makes", ()))
    return Command(f"train {name}", arguments, made, **options)


def _export(kind: str, run: str = "mixture") -> Command:
    where = f"exported/{run}-{kind}" + ("" if kind == "parquet" else ".jsonl")
    arguments = f"export runs/{run} --to {kind} --out {where} --json"
    return Command(f"export {kind} of {run}", arguments, (where,), (f"analyze {run}",))


COMMANDS: tuple[Command, ...] = (
    # what others wait for comes first
    _analysis("S", "zoo:base", "builtin:zoo/S", "--limit 40"),
    _analysis("mixture", "zoo:base", "inputs/mixture.jsonl"),
    _stage(
        "rft",
        "runs/S-trained",
        "--retain builtin:zoo/R --set learning_rate=0.003",
        after=("analyze S",),
        copies=("runs/S", "runs/S-trained"),
        makes=("runs/S-trained",),
    ),
    _stage("grpo", "--model zoo:base --tasks builtin:zoo/S", "--set learning_rate=0.0003"),
    _analysis("S-after", "stages/rft/checkpoint", "builtin:zoo/S", "--limit 40", ("train rft",)),
    _analysis("T", "zoo:base", "builtin:zoo/T", "--limit 24"),
    _analysis("G", "zoo:base", "builtin:zoo/G", "--limit 24"),
    _analysis("F15", "zoo:frontier", "builtin:zoo/F15", "--limit 24"),
    _analysis("pair", "zoo:ckB", "builtin:zoo/T", "--limit 24 --teacher zoo:ckA"),
    _analysis("chat", "zoo:stories-chat", "builtin:zoo/stories-S", "--limit 24 --store parquet --allocation uniform"),
    _analysis("wrong-golds", "zoo:base", "inputs/wrong-golds.jsonl"),
    _analysis("cut", "zoo:base", "builtin:zoo/S", "--limit 24 --max-new-tokens 5"),
    Command(
        "import counts",
        "import counts inputs/counts.csv --out runs/counts --k 1,16,256 --json --quiet",
        ("runs/counts",),
    ),
    _stage("sft", "--model zoo:base --tasks builtin:zoo/T", "--retain builtin:zoo/R --set learning_rate=0.001"),
    _stage("online-preference", "--model zoo:base --tasks builtin:zoo/S", "--set learning_rate=0.0003"),
    _stage("guided-rl", "--model zoo:frontier --tasks builtin:zoo/F15", "--set learning_rate=0.0003"),
    _stage(
        "distill-onpolicy", "--model zoo:ckB --tasks builtin:zoo/T", "--teacher zoo:ckA --set learning_rate=0.0003"
    ),
    _stage("merge", "--model zoo:ckB --tasks builtin:zoo/T", "--sibling zoo:ckA"),
    Command(
        "run",
        "run zoo:base --tasks builtin:zoo/S --out autopilot --rollouts 8 --max-stages 1 --json --quiet "
        + SMALL.replace("--steps 6", "--set steps=6"),
        ("autopilot",),
    ),
    *(_export(kind) for kind in ("sft", "pairs", "prompts", "parquet")),
    _export("parquet", "chat"),
    Command("recommend", "recommend runs/mixture --json", after=("analyze mixture",)),
    Command(
        "recommend other resources",
        "recommend runs/mixture --set demos=500 --set teacher=yes --set budget_tokens=2000000 --json",
        after=("analyze mixture",),
    ),
    Command(
        "compare", "compare runs/S-trained runs/S-after --out compared --json", ("compared",), ("analyze S-after",)
    ),
    *(
        Command(f"report {name}", f"report rendered/{name}", (f"rendered/{name}",), (command,), (made, f"rendered/{name}"))
        for name, command, made in (
            ("mixture", "analyze mixture", "runs/mixture"),
            ("counts", "import counts", "runs/counts"),
            ("comparison", "compare", "compared"),
            ("autopilot", "run", "autopilot"),
        )
    ),
    Command("tasks check", "tasks check builtin:zoo/S --json"),
    Command("tasks check of wrong golds", "tasks check inputs/wrong-golds.jsonl --json"),
    Command("zoo truth", "zoo truth S --json"),
    Command("stages", "stages --json"),
    Command("probes", "probes --json"),
    Command("probes --check", "probes --check"),
    Command("an unknown model", "analyze zoo:nope --tasks builtin:zoo/S --out runs/none", exit_code=2),
    Command(
        "view",
        "view runs --json",
        after=("analyze F15", "analyze pair", "analyze chat", "analyze cut", "analyze wrong-golds", "import counts",
               "analyze S-after", "analyze T", "analyze G", "analyze mixture"),
    ),
)  # fmt: skip

FIRST = Command(LISTING, "zoo list --json")
MIXTURE = {"R": 8, "S": 12, "T": 10, "G": 10}
"""Problems of each family in the mixture."""
COUNTS = ((64, 0), (64, 3), (64, 0), (64, 17), (64, 60), (64, 1), (32, 0), (32, 32), (128, 2), (64, 5))
"""Draws and passes that `diag import counts` gets."""


def write_inputs(work: Path, listing: Mapping[str, Any]) -> None:
    """Write what the commands read: a mixture of families, wrong golds, counts.

    Args:
        work: the folder that the recording works in.
        listing: what `diag zoo list --json` printed.
    """
    folder = work / "inputs"
    folder.mkdir(exist_ok=True)

    def rows(name: str, n: int) -> list[dict[str, Any]]:
        lines = Path(listing["families"][name]["path"]).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines[:n]]

    def write(name: str, found: list[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")

    write("mixture.jsonl", [row for name, n in MIXTURE.items() for row in rows(name, n)])
    golds = rows("R", 30)
    chosen = random.Random(0).sample(range(len(golds)), 9)
    answers = [golds[i]["answer"] for i in chosen]
    for i, answer in zip(chosen, answers[1:] + answers[:1], strict=True):
        golds[i]["answer"] = answer
    write("wrong-golds.jsonl", [{**row, "demos": []} for row in golds])
    lines = [f"p{i},{n},{c}" for i, (n, c) in enumerate(COUNTS)]
    (folder / "counts.csv").write_text("\n".join(["problem_id,n,c", *lines]) + "\n", encoding="utf-8")
