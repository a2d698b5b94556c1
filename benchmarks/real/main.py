"""Does the verdict hold on a real model that nobody made for this tool, and at what price?

    python -m benchmarks real --model models/smollm2-135m --data DIR [--only NAME ...] [--old CHECKOUT]

`make real-model` builds the model; DIR holds gsm8k_test.jsonl and mbpp.jsonl (without it, the families made here).
Every family whose truth is in truth/ (see draws.py) is analyzed at quick and at standard effort and held against it;
two broken instruments and, with --old, an older checkout are run beside. A run that was made is not made again
(runs/bench-real); records.jsonl holds them all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.machine import write
from benchmarks.real.draws import TRUTH, config_of
from benchmarks.real.families import CAPITALS, TEMPERATURE, Family, all_families, own_families
from benchmarks.real.truth import truth_of
from benchmarks.records import keep, publish
from posttrain_diag.analysis.analyze import analyze
from posttrain_diag.analysis.estimate import estimate_cost

BY_NAME_ONLY = "it needs a real model's directory (make real-model) and takes an hour"
WORK = Path("runs/bench-real")
RECORDS = Path(__file__).parent / "records.jsonl"
SURE = 0.8
"""A verdict at least this probable is a confident one."""
MEASURED = ("pass@1", "lenient_pass@1", "pass@16", "coverage")
"""Estimates that are held against the truth."""
OLD = ("capitals-bare", "choice", "tag", "letter-count")
"""Families that an older checkout is run on, at quick effort."""


def broken() -> dict[str, tuple[Family, dict[str, Any]]]:
    """Instruments that are broken: a verifier that rejects the demonstrations, a token cap that cuts every answer."""
    rows = own_families()["capitals"].rows
    told = [
        {**row, "demos": [f"The capital of {country} is {city}."], "verifier": {"type": "exact"}}
        for row, (country, city) in zip(rows, CAPITALS.items(), strict=True)
    ]
    return {
        "exact verifier": (Family("capitals-exact", tuple(told)), {}),
        "token cap 6": (Family("capitals-cut", rows), {"max_new_tokens": 6}),
    }


def run(name: str, family: Family, model: Path, **more: Any) -> dict[str, Any]:
    """The record of one analysis; read where it was made before.

    Args:
        name: of the record.
        family: what is asked.
        model: its directory.
        **more: further settings.
    """
    done = WORK / f"{name}.json"
    if done.exists():
        return json.loads(done.read_text())
    folder = WORK / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    config = config_of(family, model, folder, **more)
    told = estimate_cost(config)
    started = time.perf_counter()
    found = analyze(config)
    samples = found.json["samples"]
    estimates = {key: found.json["estimates"].get(key) for key in MEASURED}
    record = {
        "family": family.name,
        "effort": config.effort,
        "verdict": found.diagnosis.bottleneck,
        "confidence": found.diagnosis.confidence,
        "others": {one.bottleneck: one.probability for one in found.diagnosis.alternatives},
        "instrument": found.diagnosis.instrument.status,
        "findings": [f"{f.kind} ({f.severity})" for f in found.diagnosis.instrument.findings],
        "cap": found.evidence.settings.sampling.max_new_tokens,
        "estimates": {k: None if e is None else [e["value"], e["low"], e["high"]] for k, e in estimates.items()},
        "shares": {key: [e["value"], e["low"], e["high"]] for key, e in found.json["shares"].items()},
        "tokens_by_arm": samples["tokens_by_arm"],
        "tokens": samples["tokens"],
        "told_tokens": told.tokens,
        "told_probe_tokens": told.probe_tokens,
        "told_s": told.time_s,
        "wall_s": time.perf_counter() - started,
        "proposed": [action["stage"] for action in found.json["plan"]],
    }
    shutil.rmtree(folder, ignore_errors=True)
    keep(record, done)
    publish(WORK, RECORDS)
    print(f"{name}: {record['verdict']} {record['confidence']:.2f}, {record['tokens']:,} tokens", flush=True)
    return record


def run_old(family: Family, model: Path, checkout: Path) -> dict[str, Any]:
    """The same question put to another checkout of this project, by its command line, at quick effort.

    Args:
        family: what is asked.
        model: its directory.
        checkout: of the other version.
    """
    done = WORK / f"{family.name}-old.json"
    if done.exists():
        return json.loads(done.read_text())
    folder = (WORK / "runs" / f"{family.name}-old").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "posttrain_diag", "analyze", str(model.resolve())]
    command += ["--tasks", str(family.write(folder)), "--effort", "quick", "--out", str(folder / "run")]
    command += ["--temperature", str(TEMPERATURE)]
    path = os.pathsep.join(str(checkout / part) for part in ("", "probes", "reports"))
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": path}, cwd=checkout)
    data = json.loads((folder / "run" / "diagnosis.json").read_text())
    record = {
        "family": family.name,
        "effort": "quick, older checkout",
        "verdict": data["bottleneck"],
        "confidence": data["confidence"],
        "instrument": data["instrument"]["status"],
        "tokens": data["samples"]["tokens"],
    }
    shutil.rmtree(folder, ignore_errors=True)
    keep(record, done)
    publish(WORK, RECORDS)
    return record


def probe_share(record: Mapping[str, Any]) -> float:
    """Tokens of everything but the main arm, as a multiple of the main arm's; the pilot draws are told apart."""
    arms = record["tokens_by_arm"]
    return sum(n for arm, n in arms.items() if arm not in {"main", "pilot"}) / arms["main"]


def cells_of(record: Mapping[str, Any], family: Family) -> dict[str, tuple[float, bool]]:
    """Estimate -> what is true of it, and whether its 90% interval holds that."""
    truth = truth_of(family, config_of(family, Path("model"), WORK / "truth"), record["cap"])
    true = {
        "pass@1": truth.pass_at_1,
        "lenient_pass@1": truth.substance,
        "pass@16": truth.pass_at(16),
        "coverage": truth.coverage,
    }
    out: dict[str, tuple[float, bool]] = {}
    for name, value in true.items():
        found = record["estimates"][name]
        if found is not None and found[1] is not None:
            out[name] = (value, found[1] - 1e-9 <= value <= found[2] + 1e-9)
    return out


def _family_lines(families: Mapping[str, Family], records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| family | effort | true verdict | found | confidence | true pass@1 | pass@1 | cells held | tokens | probes / main |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for record in records:
        family = families[record["family"]]
        true, sure = truth_of(family, config_of(family, Path("model"), WORK / "truth"), record["cap"]).verdict()
        cells = cells_of(record, family)
        value, low, high = record["estimates"]["pass@1"]
        missed = [name for name, (_, held) in cells.items() if not held]
        yield (
            f"| {family.name} | {record['effort']} | {true}{'' if sure >= 0.9 else f' ({sure:.0%} sure)'} | "
            f"{record['verdict']} | {record['confidence']:.2f} | {cells['pass@1'][0]:.3f} | "
            f"{value or 0:.3f} [{low or 0:.3f}, {high:.3f}] | {len(cells) - len(missed)}/{len(cells)}"
            f"{' (not ' + ', '.join(missed) + ')' if missed else ''} | {record['tokens']:,} | {probe_share(record):.2f} |"
        )


def summary(families: Mapping[str, Family], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures over all families of one effort."""
    right = wrong_sure = held = cells = 0
    for record in records:
        family = families[record["family"]]
        true, _ = truth_of(family, config_of(family, Path("model"), WORK / "truth"), record["cap"]).verdict()
        right += record["verdict"] == true
        wrong_sure += record["verdict"] not in {true, "undetermined"} and record["confidence"] >= SURE
        found = cells_of(record, family)
        held += sum(ok for _, ok in found.values())
        cells += len(found)
    told = [(r["told_tokens"] + r["told_probe_tokens"]) / r["tokens"] for r in records]
    return {
        "families": len(records),
        "verdict_equal": right,
        "confident_wrong": wrong_sure,
        "cells": cells,
        "cells_held": held,
        "probe_share_max": max(map(probe_share, records)),
        "told_over_spent": sorted(told),
        "tokens": sum(r["tokens"] for r in records),
    }


def main() -> int:
    """Run what is due, then write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="*", help="families; all with a truth otherwise")
    parser.add_argument("--efforts", nargs="*", default=["quick", "standard"])
    parser.add_argument("--old", type=Path, help="checkout of an older version, run on a few families beside this one")
    arguments = parser.parse_args()
    families = all_families(arguments.data) if arguments.data else own_families()
    known = [name for name in families if (TRUTH / f"{name}.jsonl.gz").exists()]
    WORK.mkdir(parents=True, exist_ok=True)
    by_effort: dict[str, list[dict[str, Any]]] = {effort: [] for effort in arguments.efforts}
    for effort in arguments.efforts:
        for name in arguments.only or known:
            by_effort[effort].append(run(f"{name}-{effort}", families[name], arguments.model, effort=effort))
    spoilt = [
        (kind, run(f"{family.name}-quick", family, arguments.model, effort="quick", **more))
        for kind, (family, more) in broken().items()
    ]
    old = [run_old(families[name], arguments.model, arguments.old) for name in OLD] if arguments.old else []
    report(families, by_effort, spoilt, old)
    return 0


def report(
    families: Mapping[str, Family],
    by_effort: Mapping[str, Sequence[Mapping[str, Any]]],
    spoilt: Sequence[tuple[str, Mapping[str, Any]]],
    old: Sequence[Mapping[str, Any]],
) -> None:
    """Write results.md and results.json.

    Args:
        families: by name.
        by_effort: effort -> records.
        spoilt: what is broken, and its record.
        old: records of the older checkout.
    """
    figures = {effort: summary(families, records) for effort, records in by_effort.items() if records}
    lines: list[str] = [
        "SmolLM2-135M-Instruct in bfloat16, temperature 0.7, 40 problems a family; the truth is from 256 draws of each "
        "problem, labelled by rules that do not use the product's verifiers (labels.py).",
        "",
        "| effort | verdict as from the true p | confident and wrong | truth inside the 90% interval | probes / main arm, most | "
        "told / spent tokens, median [range] | tokens |",
        "|---|---|---|---|---|---|---|",
    ]
    for effort, f in figures.items():
        told = f["told_over_spent"]
        lines.append(
            f"| {effort} | {f['verdict_equal']} of {f['families']} | {f['confident_wrong']} | {f['cells_held']} of {f['cells']} | "
            f"{f['probe_share_max']:.2f} | {told[len(told) // 2]:.2f} [{told[0]:.2f}, {told[-1]:.2f}] | {f['tokens']:,} |"
        )
    lines += ["", *_family_lines(families, [record for records in by_effort.values() for record in records])]
    lines += ["", "| broken instrument | found | confidence | tokens beyond the main arm |", "|---|---|---|---|"]
    lines += [f"| {kind} | {r['verdict']} | {r['confidence']:.2f} | {probe_share(r):.2f} |" for kind, r in spoilt]
    if old:
        now = {record["family"]: record for record in by_effort.get("quick", ())}
        lines += [
            "",
            "| family, quick | older checkout | its tokens | now | tokens now | old / now |",
            "|---|---|---|---|---|---|",
        ]
        for r in old:
            if (n := now.get(r["family"])) is not None:
                lines.append(
                    f"| {r['family']} | {r['verdict']} {r['confidence']:.2f} | {r['tokens']:,} | {n['verdict']} "
                    f"{n['confidence']:.2f} | {n['tokens']:,} | {r['tokens'] / n['tokens']:.1f} |"
                )
    write("real", "A real model", {"figures": figures}, lines)


if __name__ == "__main__":
    sys.exit(main())
