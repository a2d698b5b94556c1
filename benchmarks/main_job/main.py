"""The seven zoo families, the instrument traps, GSM8K on random-weight models, timing.

`python -m benchmarks main_job [--gsm8k=PATH]` runs `diag analyze` as a user would, in its own process each time.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import machine
from posttrain_diag.tasks import load_tasks, write_tasks
from posttrain_diag.zoo import list_families, load_truth, resolve_model

EXPECTED = {
    "S": "reshaping",
    "N": "reshaping",
    "H": "reshaping",
    "G": "format",
    "F15": "guided",
    "T": "support",
    "R": "saturated",
}
NEVER = {"support", "reshaping"}


def diag(*args: str, out: Path) -> tuple[dict[str, Any], float]:
    """Run `diag analyze ... --json`; diagnosis and wall seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "posttrain_diag", "analyze", *args, "--out", str(out), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout), time.perf_counter() - start


def families(work: Path) -> list[dict[str, Any]]:
    """Bottleneck and interval coverage on each family, 64 rollouts per problem."""
    models = {f.name: f.model for f in list_families()}
    truth = load_truth()
    rows: list[dict[str, Any]] = []
    for name, expected in EXPECTED.items():
        found, wall_s = diag(
            models[name],
            "--tasks",
            f"builtin:zoo/{name}",
            "--rollouts",
            "64",
            "--allocation",
            "uniform",
            out=work / name,
        )
        table = pd.read_parquet(work / name / "problems.parquet").set_index("id")
        exact = truth[(truth["tasks"] == name) & (truth["model"] == models[name].removeprefix("zoo:"))].set_index("id")
        joined = table.join(exact[["p_low", "p_high"]].rename(columns=lambda c: f"exact_{c}"), how="inner")
        covered = (joined["p_low"] <= joined["exact_p_high"]) & (joined["p_high"] >= joined["exact_p_low"])
        width = (joined["p_high"] - joined["p_low"]).mean()
        rows.append(
            {
                "family": name,
                "expected": expected,
                "found": found["bottleneck"],
                "confidence": found["confidence"],
                "instrument": found["instrument"]["status"],
                "problems": len(joined),
                "covered": float(covered.mean()),
                "mean_width": float(width),
                "exact_p_mean": float(exact["p_low"].mean()),
                "estimated_p_mean": float(joined["p_mean"].mean()),
                "wall_s": round(wall_s, 1),
            }
        )
        print(rows[-1], flush=True)
    return rows


def wrong_golds(work: Path, family: str, *, with_demos: bool) -> tuple[str, str]:
    """A copy of a family's tasks with 30% of the answers replaced by another word."""
    rng = random.Random(0)
    problems = list(load_tasks(f"builtin:zoo/{family}").problems)
    for i in rng.sample(range(len(problems)), round(0.3 * len(problems))):
        answer = problems[i].answer or ""
        wrong = "".join(rng.choice("abcdefghij") for _ in answer)
        problems[i] = replace(problems[i], answer=wrong if wrong != answer else wrong[::-1])
    if not with_demos:
        problems = [replace(p, demos=()) for p in problems]
    path = work / f"wrong-{family}-{with_demos}.jsonl"
    write_tasks(problems, path)
    return "zoo:base", str(path)


def without_eos(work: Path) -> tuple[str, str]:
    """The base model with every mention of a stop token removed."""
    model = work / "no-eos-model"
    shutil.copytree(resolve_model("zoo:base"), model)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"):
        path = model / name
        if path.exists():
            values = json.loads(path.read_text())
            path.write_text(json.dumps({k: v for k, v in values.items() if k not in {"eos_token", "eos_token_id"}}))
    return str(model), "builtin:zoo/R"


def other_eos(work: Path) -> tuple[str, str]:
    """The base model told to stop at a token that it never uses as one."""
    model = work / "other-eos-model"
    shutil.copytree(resolve_model("zoo:base"), model)
    for name in ("config.json", "generation_config.json"):
        values = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps({**values, "eos_token_id": 3}))
    values = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**values, "eos_token": "<unk>"}))
    return str(model), "builtin:zoo/R"


def coin_flips(work: Path) -> tuple[str, str]:
    """A model that answers a or b at random, and tasks that want one of them."""
    from posttrain_diag.types import Problem
    from posttrain_diag.zoo.model import load_model
    from posttrain_diag.zoo.training import Schedule, train
    from posttrain_diag.zoo.worlds.strings import VOCABULARY

    def draw(rng: random.Random) -> tuple[str, str]:
        return "X:" + "".join(rng.choice("abcdefghij") for _ in range(6)) + "=", rng.choice("ab")

    model = load_model(resolve_model("zoo:base"), VOCABULARY)
    train(model, draw, Schedule(steps=150, batch_size=64, learning_rate=2e-3), VOCABULARY, seed=0)
    directory = work / "coin-model"
    shutil.copytree(resolve_model("zoo:base"), directory)
    model.save_pretrained(directory)
    rng = random.Random(1)
    problems = [
        Problem(f"c{i}", draw(rng)[0], None, rng.choice("ab"), {"type": "exact"}, tags=("zoo",)) for i in range(60)
    ]
    write_tasks(problems, work / "coin.jsonl")
    return str(directory), str(work / "coin.jsonl")


def traps(work: Path) -> list[dict[str, Any]]:
    """Broken instruments: none may be called support- or reshaping-limited without a finding."""
    cases: dict[str, tuple[tuple[str, str], list[str]]] = {
        "30% wrong golds, demos at hand (R)": (wrong_golds(work, "R", with_demos=True), []),
        "30% wrong golds, no demos (R)": (wrong_golds(work, "R", with_demos=False), []),
        "30% wrong golds, demos at hand (S)": (wrong_golds(work, "S", with_demos=True), []),
        "30% wrong golds, no demos (S)": (wrong_golds(work, "S", with_demos=False), []),
        "token cap 3 (R)": (("zoo:base", "builtin:zoo/R"), ["--max-new-tokens", "3"]),
        "token cap 5 (S)": (("zoo:base", "builtin:zoo/S"), ["--max-new-tokens", "5"]),
        "no stop token anywhere (R)": (without_eos(work), []),
        "another token as stop token (R)": (other_eos(work), []),
        "yes/no answered at random": (coin_flips(work), []),
    }
    rows: list[dict[str, Any]] = []
    for index, (name, ((model, tasks), flags)) in enumerate(cases.items()):
        found, _ = diag(model, "--tasks", tasks, *flags, out=work / f"trap-{index}")
        findings = [f"{f['kind']} ({f['severity']})" for f in found["instrument"]["findings"]]
        serious = any(f["severity"] != "note" for f in found["instrument"]["findings"])
        row = {
            "case": name,
            "bottleneck": found["bottleneck"],
            "confidence": found["confidence"],
            "status": found["instrument"]["status"],
            "findings": findings,
            "ok": serious or found["bottleneck"] not in NEVER,
        }
        rows.append(row)
        print(row, flush=True)
    return rows


def random_model(work: Path, shape: str) -> str:
    """A random-weight Llama or Qwen2 with a byte-level BPE tokenizer made on the spot."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(["<|end|>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": len(vocab),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "eos_token_id": 0,
        "bos_token_id": None,
        "pad_token_id": 0,
    }
    made = LlamaForCausalLM(LlamaConfig(**sizes)) if shape == "llama" else Qwen2ForCausalLM(Qwen2Config(**sizes))
    directory = work / f"random-{shape}"
    made.save_pretrained(directory)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(directory)
    return str(directory)


def gsm8k(work: Path, path: str) -> list[dict[str, Any]]:
    """The whole GSM8K test set on models that know nothing."""
    rows: list[dict[str, Any]] = []
    for shape in ("qwen2", "llama"):
        flags = ["--rollouts", "16", "--max-new-tokens", "32"]
        found, wall_s = diag(random_model(work, shape), "--tasks", path, *flags, out=work / f"gsm8k-{shape}")
        golds = found["estimates"]["gold_pass_rate"]
        rows.append(
            {
                "shape": shape,
                "problems": found["tasks"]["n"],
                "bottleneck": found["bottleneck"],
                "confidence": found["confidence"],
                "status": found["instrument"]["status"],
                "findings": [f"{f['kind']} ({f['severity']})" for f in found["instrument"]["findings"]],
                "golds_passing": golds["value"],
                "pass@1": found["estimates"]["pass@1"],
                "coverage": found["estimates"]["coverage"],
                "golds": next(reason for reason in found["reasons"] if reason.startswith("golds")),
                "wall_s": round(wall_s, 1),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Run all parts and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsm8k", help="the test set of GSM8K as a file of JSON lines; left out without it")
    path = parser.parse_args().gsm8k
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        data: dict[str, Any] = {"families": families(work), "traps": traps(work)}
        data["gsm8k"] = gsm8k(work, path) if path else []
    lines = ["## Seven zoo families, 64 rollouts per problem", ""]
    lines += [
        "| family | expected | found | confidence | exact p in the 90% interval | exact / estimated mean p | wall s |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [
        f"| {r['family']} | {r['expected']} | {r['found']} | {r['confidence']:.2f} | {r['covered']:.0%} of {r['problems']} | "
        f"{r['exact_p_mean']:.3g} / {r['estimated_p_mean']:.3g} | {r['wall_s']} |"
        for r in data["families"]
    ]
    total = sum(r["covered"] * r["problems"] for r in data["families"]) / sum(r["problems"] for r in data["families"])
    lines += ["", f"Over all problems: {total:.1%} covered.", "", "## Broken instruments", ""]
    lines += ["| case | verdict | confidence | status | findings |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['case']} | {r['bottleneck']} | {r['confidence']:.2f} | {r['status']} | {', '.join(r['findings'])} |"
        for r in data["traps"]
    ]
    lines += ["", "## GSM8K test set on random-weight models (16 rollouts, 32 tokens)", ""]
    if data["gsm8k"]:
        lines += ["| shape | problems | verdict | confidence | status | golds | pass@1 | coverage | wall s |"]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        lines += [
            f"| {r['shape']} | {r['problems']} | {r['bottleneck']} | {r['confidence']:.2f} | {r['status']} | {r['golds']} | "
            f"{r['pass@1']['value']:.4f} | {r['coverage']['value']:.3f} [{r['coverage']['low']:.3f}, "
            f"{r['coverage']['high']:.3f}] | {r['wall_s']} |"
            for r in data["gsm8k"]
        ]
    else:
        lines += ["Not run: give --gsm8k=PATH of the test set."]
    print(machine.write("main_job", "The main job end to end", data, lines).read_text())
    wrong = [r["family"] for r in data["families"] if r["found"] != r["expected"] or r["covered"] < 0.85]
    wrong += [r["case"] for r in data["traps"] if not r["ok"]]
    wrong += [r["shape"] for r in data["gsm8k"] if r["bottleneck"] != "support"]
    if wrong:
        raise SystemExit(f"not as it should be: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
