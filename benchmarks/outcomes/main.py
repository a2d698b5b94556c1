"""Writes posttrain_diag/data/outcomes.json, the precedents of every forecast, from the records of the stages grid.

`python -m benchmarks outcomes [--work=DIR]`; runs nothing: `stages` and `regret` make the records.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import mean

from benchmarks.records import Record
from benchmarks.stages.cases import SITUATIONS, SMALL_BUDGET, STAGES, Situation, held_out
from benchmarks.stages.run import WORK, tokens_of, within
from posttrain_diag.recommend.outcomes import Outcome
from posttrain_diag.types import ProblemClass

BY_NAME_ONLY = "writes the precedents of the product, from the records of stages and regret"

PARTS: Mapping[str, ProblemClass] = {
    **dict.fromkeys(("S", "N", "H"), "reshaping"),
    **dict.fromkeys(("F", "F15"), "guided"),
    **dict.fromkeys(("T", "U"), "support"),
    "G": "format",
}
OUT = Path(__file__).parents[2] / "posttrain_diag" / "data" / "outcomes.json"


def part_of(situation: Situation, family: str) -> ProblemClass:
    """The class of a family's problems for the situation's model, by construction; ckA has mastered T."""
    if situation.model == "zoo:ckA" and family == "T":
        return "mastered"
    return PARTS[family.rpartition("-")[2]]


@cache
def response_tokens(situation: Situation) -> float:
    """Mean tokens of a right response, the stop token included."""
    from transformers import AutoTokenizer

    from posttrain_diag.zoo import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(str(resolve_model(situation.model)))
    return mean(
        len(tokenizer(row.demos[0], add_special_tokens=False)["input_ids"]) + 1 for row in held_out(situation, 0)
    )


def outcomes_of(records: Sequence[Record]) -> list[Outcome]:
    """Outcomes of stages at their defaults: whole runs, and what they had reached within a small budget."""
    names = {variant.name for variant in STAGES}
    cells: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        if record["variant"] in names:
            cells[record["stage"], record["situation"], record["flavour"]].append(record)
    out: list[Outcome] = []
    for (stage, name, _), runs in sorted(cells.items()):
        done = [run for run in runs if "refused" not in run]
        out += _rows(stage, SITUATIONS[name], done or runs, limited=False)
        if done and mean(tokens_of(run) for run in done) > SMALL_BUDGET:
            out += _rows(stage, SITUATIONS[name], [within(run, SMALL_BUDGET) for run in done], limited=True)
    return out


def _rows(stage: str, situation: Situation, runs: Sequence[Record], *, limited: bool) -> list[Outcome]:
    rows: list[Outcome] = []
    for family in situation.families:
        refused = "refused" in runs[0]  # nothing to learn from, so nothing changed
        before, after = (0.0, 0.0) if refused else (mean(run["families"][family][i] for run in runs) for i in (0, 1))
        tokens = 0.0 if refused else mean(tokens_of(run) for run in runs)
        rows.append(
            Outcome(
                stage=stage,
                situation=situation.name,
                model=situation.model,
                family=family,
                part=part_of(situation, family),
                demos=runs[0]["demos"],
                tokens=round(tokens),
                sequences=round(tokens / response_tokens(situation)),
                before=round(min(max(before, 0.0), 1.0), 4),
                after=round(min(max(after, 0.0), 1.0), 4),
                kept=0.0 if refused else round(mean(run["retention"][1] - run["retention"][0] for run in runs), 4),
                limited=limited,
                runs=len(runs),
            )
        )
    return rows


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=WORK)
    options = parser.parse_args()
    records = [json.loads(path.read_text()) for path in sorted(options.work.glob("*.json"))]
    rows = [asdict(row) for row in outcomes_of(records)]
    lines = ",\n".join(json.dumps(row) for row in rows)
    OUT.write_text(f'{{"schema": 1, "outcomes": [\n{lines}\n]}}\n')
    print(f"{len(rows)} outcomes from {len(records)} runs: {OUT.name}")


if __name__ == "__main__":
    main()
