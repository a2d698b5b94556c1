"""Whole analyses of served models whose success probability is known (worlds.py), through the command line's own path.

    a world ──► a server on loopback ──► posttrain_diag.evaluate, default effort ──► pass@1 and verdict beside the truth

The server keeps what it wrote and whether that was right, so that every verdict on every draw is held against the truth
as well. Pass@1 is the share of answers that are right; where the prompt demands a form that the model breaks, it is read
off the lenient estimate, and the verdict is to say `format`.
"""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import posttrain_diag as diag
from benchmarks.answers.worlds import Item, World, worlds
from benchmarks.openai_server import Server
from posttrain_diag.evidence import MAIN
from posttrain_diag.store import RunDir
from posttrain_diag.tasks import load_tasks

CONTEXT = 8192
MAX_NEW_TOKENS = 4096
"""Tokens of the server are characters."""


@dataclass
class Model:
    """The law of a world: what it writes for a prompt, and whether that is right."""

    world: World
    prompts: dict[str, Item]
    written: dict[tuple[str, str], bool] = field(default_factory=dict[tuple[str, str], bool])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, prompt: str, rng: random.Random) -> str:
        """What the model writes."""
        item = self.prompts.get(prompt)
        if item is None:
            return "I see."  # what the engine asks to learn what the server can do
        own = random.Random(f"{prompt}\0{rng.random()}")
        right = own.random() < item.p
        text = (item.right if right else item.wrong)(own)
        with self.lock:
            self.written[prompt, text] = right
        return text


def run(name: str, tasks: Path, out: Path) -> dict[str, Any]:
    """Analyse one world; what was found beside what is true.

    Args:
        name: of the world.
        tasks: folder with the public task files.
        out: where the tasks file and the run directory go.
    """
    world = worlds(tasks)[name]()
    path = out / f"{name}.jsonl"
    path.write_text("".join(json.dumps(item.row) + "\n" for item in world.items), encoding="utf-8")
    problems = load_tasks(str(path), allow_code=world.code).problems
    prompts = {problem.prompt_text: item for problem, item in zip(problems, world.items, strict=True)}
    model = Model(world, prompts)
    server = Server(law=model, chat=world.chat, logprobs=False, scores=False, ids=False, context=CONTEXT)
    start = time.process_time()
    try:
        found = diag.evaluate(
            "m",
            tasks=str(path),
            out=out / name,
            engine="openai",
            base_url=server.url,
            max_new_tokens=MAX_NEW_TOKENS,
            allow_code=world.code,
        )
    finally:
        server.close()
    return _compared(model, found, time.process_time() - start, {p.id: p.prompt_text for p in problems})


def _compared(model: Model, found: diag.Run, cpu_s: float, prompts: dict[str, str]) -> dict[str, Any]:
    with closing(RunDir(found.path).store()) as store:
        frame = store.frame(store.models()[0])
    rows = frame[frame["arm"] == MAIN]
    known = [model.written.get((prompts[row.problem_id], row.text)) for row in rows.itertuples()]
    judged = [(right, bool(row.lenient), bool(row.strict)) for right, row in zip(known, rows.itertuples(), strict=True)]
    estimates = {key: round(found.estimates[key].value, 4) for key in ("pass@1", "lenient_pass@1", "pass@16")}
    return {
        "problems": len(model.world.items),
        "p": model.world.p,
        "truth": model.world.truth,
        "estimates": estimates,
        "draws": len(judged),
        "unknown": sum(right is None for right, _, _ in judged),
        "substance misread": sum(right is not None and right != lenient for right, lenient, _ in judged),
        "strict passes": sum(strict for _, _, strict in judged),
        "verdict": found.verdict,
        "confidence": found.confidence,
        "instrument": found.instrument,
        "findings": [f"{one['kind']}: {one['advice']}" for one in found.findings],
        "cpu_s": round(cpu_s, 1),
    }


def measure(tasks: Path, names: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """All worlds, or the named ones."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: run(name, tasks, Path(folder)) for name in names or list(worlds(tasks))}


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """The measurements as Markdown."""
    lines = [
        "| served model | problems | p | truth | pass@1 | right in substance | draws | misread | verdict | instrument |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        estimates = one["estimates"]
        lines.append(
            f"| {name} | {one['problems']} | {one['p']:.2f} | {one['truth']:.3f} | {estimates['pass@1']:.3f} | "
            f"{estimates['lenient_pass@1']:.3f} | {one['draws']} | {one['substance misread']} | {one['verdict']} "
            f"{one['confidence']:.0%} | {one['instrument']} |"
        )
    said = [f"- {name}: {text}" for name, one in found.items() for text in one["findings"]]
    return [*lines, "", *(["Findings:", "", *said, ""] if said else [])]
