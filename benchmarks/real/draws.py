"""The draws behind the truth: 256 of every problem, kept with their texts, so that another reading needs no new draw.

    python -m benchmarks.real.draws --model models/smollm2-135m --data DIR [FAMILY ...]

A problem is a file under runs/real-truth while they are made, a line of truth/FAMILY.jsonl.gz when its family is done:
{"id": ..., "draws": [[text, tokens, finish, how often], ...]}. Another start goes on where one stopped.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.real.families import TEMPERATURE, Family, all_families
from posttrain_diag.analysis.analyze import load_engine
from posttrain_diag.engines.contract import Engine, Prompt, SampleRequest
from posttrain_diag.rollouts.identity import draw_seed
from posttrain_diag.settings.analysis import AnalyzeConfig, make_config
from posttrain_diag.store import write_atomic
from posttrain_diag.tasks import load_problems
from posttrain_diag.types import Problem

TRUTH = Path(__file__).parent / "truth"
WORK = Path("runs/real-truth")
DRAWS = 256
AT_ONCE = 4
"""Problems whose draws are made together."""
Told = tuple[str, int, str, int]
"""Text, tokens, how it finished, how often it was drawn."""


def config_of(family: Family, model: Path, out: Path, **more: object) -> AnalyzeConfig:
    """What `diag analyze` is asked for on a family; its tasks file is written beside the run directory."""
    out.mkdir(parents=True, exist_ok=True)
    settings = {"model": str(model), "tasks": str(family.write(out)), "temperature": TEMPERATURE, **family.options}
    return make_config(out=out / "run", **settings, **more)


def draw_problems(engine: Engine, config: AnalyzeConfig, problems: Sequence[Problem], cap: int) -> Iterator[list[Told]]:
    """All draws of these problems, those that are alike told once.

    Args:
        engine: of the model.
        config: with the sampling law.
        problems: to draw.
        cap: new tokens of a draw at most.
    """
    requests = [
        SampleRequest(
            problem.id,
            Prompt(problem.prompt, problem.messages),
            tuple(range(DRAWS)),
            tuple(draw_seed(0, f"truth {problem.id}", i) for i in range(DRAWS)),
        )
        for problem in problems
    ]
    found: dict[str, Counter[tuple[str, int, str]]] = {problem.id: Counter() for problem in problems}
    for draw in engine.sample(requests, config.sampling(cap)):
        found[draw.key][draw.text, draw.n_tokens, draw.finish_reason] += 1
    for problem in problems:
        yield [(*told, n) for told, n in found[problem.id].most_common()]


def draw_family(family: Family, model: Path) -> None:
    """Draw what a family lacks, then publish it."""
    work = WORK / family.name
    config = config_of(family, model, work)
    problems = load_problems(config).problems
    due = [(i, problem) for i, problem in enumerate(problems) if not (work / f"{i:02}.json").exists()]
    if due:
        engine = load_engine(config)
        for start in range(0, len(due), AT_ONCE):
            now, began = due[start : start + AT_ONCE], time.process_time()
            made = draw_problems(engine, config, [problem for _, problem in now], family.cap)
            tokens = 0
            for (i, problem), draws in zip(now, made, strict=True):
                write_atomic(work / f"{i:02}.json", json.dumps({"id": problem.id, "draws": draws}))
                tokens += sum(length * n for _, length, _, n in draws)
            spent = time.process_time() - began
            print(
                f"{family.name} {start + len(now)}/{len(due)}: {tokens / spent:.0f} tokens per CPU-second", flush=True
            )
        engine.close()
    TRUTH.mkdir(exist_ok=True)
    lines = [path.read_text() for path in sorted(work.glob("[0-9][0-9].json"))]
    with (TRUTH / f"{family.name}.jsonl.gz").open("wb") as file:
        file.write(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def stored_draws(name: str) -> dict[str, list[Told]]:
    """Problem id -> its draws, of a family that is published."""
    text = gzip.decompress((TRUTH / f"{name}.jsonl.gz").read_bytes()).decode()
    rows = [json.loads(line) for line in text.splitlines()]
    return {row["id"]: [(text, tokens, finish, n) for text, tokens, finish, n in row["draws"]] for row in rows}


def main() -> int:
    """Draw the named families, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--model", type=Path, required=True, help="directory that `make real-model` built")
    parser.add_argument("--data", type=Path, required=True, help="folder with gsm8k_test.jsonl and mbpp.jsonl")
    arguments = parser.parse_args()
    families = all_families(arguments.data)
    for name in arguments.families or families:
        draw_family(families[name], arguments.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
