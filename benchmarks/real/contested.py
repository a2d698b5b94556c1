"""Which drawn texts a reader has to look at: those on which a rule of labels.py and the product's verifier differ.

    python -m benchmarks.real.contested --data DIR [FAMILY ...] [--out FOLDER]

Writes FOLDER/FAMILY.jsonl, the most frequent text first: {"id", "gold", "text", "often", "rule": [right, strict],
"verifier": [right, strict]}; a reader's word goes to labels/FAMILY.jsonl as {"id", "text", "right", "strict"}. For mbpp no
rule is needed: every text's code is run on the row's own tests in a process of its own, and labels/mbpp.jsonl is written.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.real.draws import config_of, stored_draws
from benchmarks.real.families import Family, Row, all_families
from benchmarks.real.labels import LABELS, RULES, label, read_by_eye
from posttrain_diag.tasks import load_problems, verify

FENCED = re.compile(r"```(?:python)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
SECONDS = 5
LIMITED = """
import os, resource, sys
import bisect, cmath, collections, copy, datetime, decimal, fractions, functools, heapq, itertools, math, operator
import random, re, statistics, string, typing
answer = sys.stdin.read()
for limit, most in (("CPU", 4), ("AS", 1 << 30), ("NPROC", 0), ("FSIZE", 0)):
    resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (most, most))
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
exec(compile(answer, "answer", "exec"), {})
"""
"""Runs a program from its standard input, with limits, and as nobody where it may: what programs import is loaded before,
for nobody may not be allowed to read the library."""


def contested(family: Family, folder: Path) -> list[dict[str, Any]]:
    """The texts on which rule and verifier differ and that nobody has read, the most frequent first.

    Args:
        family: with published draws.
        folder: for the tasks file.
    """
    problems = {problem.id: problem for problem in load_problems(config_of(family, Path("model"), folder)).problems}
    rows = {str(row["id"]): row for row in family.rows}
    read = read_by_eye(family.name)
    out: list[dict[str, Any]] = []
    for key, draws in stored_draws(family.name).items():
        counted: dict[str, int] = {}
        for text, _, _, often in draws:
            counted[text] = counted.get(text, 0) + often
        for text, often in counted.items():
            if (key, text) in read:
                continue
            said, verdict = label(family.name, rows[key], text), verify(text, problems[key])
            ours, theirs = [said.right, said.strict], [verdict.lenient, verdict.strict]
            if ours != theirs:
                gold = rows[key]["answer"]
                out.append({"id": key, "gold": gold, "text": text, "often": often, "rule": ours, "verifier": theirs})
    return sorted(out, key=lambda row: -row["often"])


def passes(text: str, row: Row) -> bool:
    """Whether the first fenced block of a text, or all of it where there is none, passes the row's own tests."""
    found = FENCED.search(text)
    program = text if found is None else found.group(1)
    tests = "\n".join([program, str(row.get("test_setup_code", "")), *row["test_list"]])
    command = [sys.executable, "-I", "-c", LIMITED]
    try:
        done = subprocess.run(command, input=tests.encode(), capture_output=True, timeout=SECONDS, cwd="/", check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def label_code(family: Family) -> int:
    """Write the labels of a family of programs; returns how many different texts pass."""
    rows = {str(row["id"]): row for row in family.rows}
    found: list[str] = []
    for key, draws in stored_draws(family.name).items():
        texts = {text for text, *_ in draws if "def " in text or "lambda" in text}
        good = sorted(text for text in texts if passes(text, rows[key]))
        found += [json.dumps({"id": key, "text": text, "right": True, "strict": True}) for text in good]
    (LABELS / f"{family.name}.jsonl").write_text("".join(f"{line}\n" for line in found))
    return len(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """List what is to be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="folder with gsm8k_test.jsonl and mbpp.jsonl")
    parser.add_argument("--out", type=Path, default=Path("runs/contested"))
    given = parser.parse_args(arguments)
    families = all_families(given.data)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.families:
        if name not in RULES:
            print(f"{name}: {label_code(families[name])} different texts pass their tests")
            continue
        found = contested(families[name], given.out)
        (given.out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
        print(f"{name}: {len(found)} different texts to read, {sum(row['often'] for row in found)} draws")
    return 0


if __name__ == "__main__":
    sys.exit(main())
