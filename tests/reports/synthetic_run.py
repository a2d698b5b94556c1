"""Realistic runs for the report tests: one per bottleneck, plus hostile, empty and huge ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from posttrain_reports import ReportData

MIX: dict[str, dict[str, float]] = {
    "support": {"mastered": 0.06, "reshaping": 0.10, "guided": 0.04, "support": 0.74, "unresolved": 0.06},
    "reshaping": {"mastered": 0.14, "reshaping": 0.70, "format": 0.03, "support": 0.05, "unresolved": 0.08},
    "format": {"mastered": 0.10, "reshaping": 0.16, "format": 0.68, "support": 0.03, "unresolved": 0.03},
    "guided": {"mastered": 0.04, "reshaping": 0.11, "guided": 0.71, "support": 0.09, "unresolved": 0.05},
    "consolidation": {"mastered": 0.22, "reshaping": 0.38, "support": 0.28, "unresolved": 0.12},
    "mixed": {"mastered": 0.10, "reshaping": 0.33, "format": 0.12, "guided": 0.14, "support": 0.27, "unresolved": 0.04},
    "saturated": {"mastered": 0.95, "reshaping": 0.05},
    "instrument": {"mastered": 0.12, "reshaping": 0.20, "support": 0.44, "unresolved": 0.24},
    "undetermined": {"mastered": 0.05, "reshaping": 0.16, "support": 0.09, "unresolved": 0.70},
}
BOTTLENECKS = tuple(MIX)
CLASSES = ("mastered", "reshaping", "format", "guided", "support", "unresolved")

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script </script <img src=x onerror=alert(1)>",
    "\x1b[31mred\x1b[0m\x00\x07",
    "abc\u202egnp.exe\u2066x\u2069",
    "lone \ud800 surrogate \udfff",
    "{{ 7 * 7 }} {% raw %} ]]> <!-- --> & &amp; \" ' `tick`",
    "\u2028line\u2029sep\ufeff\u200b",
    "x" * 60_000,
)


def interval(value: float | None, n: int, label: str = "measured", width: float = 1.64) -> dict[str, Any]:
    if value is None:
        return {
            "value": None,
            "low": None,
            "high": None,
            "level": 0.9,
            "n": 0,
            "label": "undefined",
            "reason": "k exceeds the 64 rollouts of some problem",
        }
    half = width * math.sqrt(max(value * (1 - value), 0.01) / max(n, 1))
    return {
        "value": value,
        "low": max(0.0, value - half),
        "high": min(1.0, value + half),
        "level": 0.9,
        "n": n,
        "label": label,
        "reason": "",
    }


def make_problems(bottleneck: str, count: int, n: int = 64, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names, shares = zip(*MIX[bottleneck].items(), strict=True)
    cls = rng.choice(names, size=count, p=np.array(shares) / sum(shares))
    law = {
        "mastered": (30, 2),
        "reshaping": (1.3, 6),
        "format": (1, 20),
        "guided": (0.05, 60),
        "support": (0.01, 90),
        "unresolved": (0.5, 60),
    }
    p = np.array([rng.beta(*law[c]) for c in cls]) if count < 5000 else rng.beta(0.3, 2, size=count)
    c = rng.binomial(n, p)
    truncated = rng.binomial(n - c, 0.03)
    mean = (c + 0.2) / (n + 1.5)
    half = 1.64 * np.sqrt(mean * (1 - mean) / n)
    a, b = rng.integers(2, 99, size=count), rng.integers(2, 99, size=count)
    frame = pd.DataFrame({
        "id": [f"arith-{i:04d}" for i in range(count)],
        "n": n, "c": c, "truncated": truncated, "errored": 0,
        "p_mean": mean, "p_low": np.clip(mean - half, 0, 1), "p_high": np.clip(mean + half, 0, 1),
        "class": cls,
        "strict": c / n, "lenient": np.clip(c / n + np.where(cls == "format", 0.6, 0.0), 0, 1),
        "min_token_prob": np.exp(-rng.gamma(3, 1.2, size=count)), "demo_logprob_nats": -rng.gamma(4, 6, size=count),
        "hint_depth": np.where(cls == "guided", 0.25, np.nan), "certified_zero": (c == 0) & (cls == "support"),
        "prompt": [f"What is {x} times {y}, written in base seven? Show your work, then give the answer in brackets." for x, y in zip(a, b, strict=True)],
        "answer": [f"[{np.base_repr(int(x) * int(y), 7)}]" for x, y in zip(a, b, strict=True)],
    })  # fmt: skip
    for name in CLASSES[:-1]:
        frame[f"post_{name}"] = np.where(cls == name, 0.97, 0.0075)
    return frame


def make_plan(bottleneck: str) -> list[dict[str, Any]]:
    def stage(
        stage: str,
        role: str,
        gain: tuple[float, float, float] | None,
        needs: list[str],
        why: str,
        cost: tuple[int, float, float | None],
    ) -> dict[str, Any]:
        value = (
            {"value": None, "low": None, "high": None, "reason": "no calibration for this stage yet"}
            if gain is None
            else dict(zip(("value", "low", "high"), gain, strict=True))
        )
        return {"stage": stage, "role": role, "expected_gain": value, "retention_risk": 0.12, "needs": needs, "why": why,
                "cost": dict(zip(("tokens", "flops", "time_s"), cost, strict=True)), "command": f"diag train runs/arith --stage {stage}"}  # fmt: skip

    sft = stage("sft", "expansion", (0.31, 0.12, 0.47), ["demonstrations for the 89 support-limited problems (--demos FILE)"],
                "No right answer appears in 64 rollouts on most problems and no prefix short of the answer helps; demonstrations put right answers into support.", (1_200_000, 3.4e15, 260.0))  # fmt: skip
    grpo = stage(
        "grpo",
        "reshaping",
        (0.08, 0.02, 0.15),
        [],
        "34% of groups of 8 hold both passes and failures: there is a gradient today on these problems.",
        (18_400_000, 2.1e17, 5400.0),
    )
    guided = stage(
        "guided-rl",
        "expansion",
        None,
        ["demonstrations to take prefixes from"],
        "A quarter of a correct trace already lifts success from 0% to 38% on guided-reachable problems.",
        (9_000_000, 8.8e16, None),
    )
    fmt = stage(
        "rft",
        "repair",
        (0.52, 0.41, 0.60),
        [],
        "Lenient reading passes where the strict one fails: the answer is right, the brackets are missing.",
        (150_000, 4e14, 35.0),
    )
    orders = {"support": [sft, guided, grpo], "reshaping": [grpo, sft], "format": [fmt, grpo, sft], "guided": [guided, sft, grpo], "consolidation": [stage("distill-onpolicy", "consolidation", (0.2, 0.1, 0.3), ["a teacher (--teacher M)"], "The teacher succeeds on student states and the student does not.", (10, 1e10, 3.0)), grpo],
              "mixed": [sft, grpo, guided, fmt], "saturated": [], "instrument": [], "undetermined": [grpo]}  # fmt: skip
    return orders[bottleneck]


def make_diagnosis(bottleneck: str, problems: pd.DataFrame) -> dict[str, Any]:
    count = len(problems)
    shares = problems["class"].value_counts(normalize=True)
    p1 = float((problems["c"] / problems["n"]).mean())
    findings = []
    status = {"instrument": "broken", "undetermined": "suspect"}.get(bottleneck, "ok")
    if status != "ok":
        findings = [
            {"kind": "gold_fails", "share": interval(0.31, count), "problems": list(problems["id"][:11]),
             "advice": "31% of gold answers fail their own verifier: the gold has brackets, the verifier compares without them. Run `diag tasks check FILE` and repair the tasks."},
            {"kind": "truncation", "share": interval(0.12, count), "problems": list(problems["id"][3:6]), "advice": "12% of rollouts stop at the token cap of 96: raise --max-new-tokens."},
        ]  # fmt: skip
    alternatives = [b for b in ("guided", "reshaping", "support") if b != bottleneck][:2]
    return {
        "schema": 1,
        "model": {"name": "zoo:frontier", "sha": "9f1c2ab77d10", "architecture": "LlamaForCausalLM", "n_parameters": 1_240_064, "dtype": "float32", "device": "cpu", "stop_tokens": ["<eos>"]},
        "tasks": {"source": "builtin:zoo/F15", "n": count, "sha": "51b0e6c2", "verifier": {"type": "exact"}},
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 96, "seed": 0},
        "settings": {"rollout_budget": 256, "mastery": 0.8, "level": 0.9},
        "instrument": {"status": status, "findings": findings},
        "bottleneck": bottleneck, "confidence": 0.93,
        "alternatives": [{"bottleneck": b, "probability": p} for b, p in zip(alternatives, (0.05, 0.02), strict=False)],
        "shares": {c: interval(float(shares.get(c, 0.0)), count) for c in CLASSES},
        "estimates": {
            "pass@1": interval(p1, count), "pass@16": interval(min(1, p1 * 3), count), "pass@64": interval(min(1, p1 * 3.6), count),
            "pass@256": interval(min(1, p1 * 4.2), count, "estimated"), "coverage": interval(min(1, p1 * 4.0), count, "estimated"),
            "expected_successes": {"value": 11.3, "low": 8.1, "high": 16.9, "label": "estimated", "n": count}, "mixed_groups@8": interval(0.21, count, "estimated"),
            "maj@8": {},
        },
        "plan": make_plan(bottleneck),
        "samples": {"rollouts": int(problems["n"].sum()), "tokens": 412_880, "truncated": int(problems["truncated"].sum()), "errored": 0},
        "versions": {"posttrain-diag": "0.1.0", "torch": "2.8.0", "transformers": "5.1.0", "python": "3.11.7"},
        "reasons": ["No pass in 64 rollouts on most problems; the bound at eps = 1/256 holds for 71% of them.", "Success after a quarter of a correct trace stays at the level of the neutral control."],
    }  # fmt: skip


def curve(ks: list[int], values: list[float | None], labels: list[str], n: int) -> dict[str, Any]:
    cells = [
        interval(v, n, width=1.64 * (1 + 0.25 * i * (label != "measured")))
        for i, (v, label) in enumerate(zip(values, labels, strict=True))
    ]
    return {
        "k": ks,
        "value": values,
        "low": [c["low"] for c in cells],
        "high": [c["high"] for c in cells],
        "label": labels,
    }


def make_measurements(bottleneck: str, problems: pd.DataFrame) -> list[dict[str, Any]]:
    count = len(problems)
    ks = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    p = np.asarray(problems["p_mean"])
    values = [float(np.mean(1 - (1 - p) ** k)) * (0.35 if bottleneck == "support" else 0.9) for k in ks]
    labels = ["measured"] * 7 + ["estimated"] * 2 + ["model-dependent"] * 2
    rho = [0.0, 0.1, 0.25, 0.4, 0.6, 0.8, 1.0]
    rise = {"guided": [0.01, 0.12, 0.38, 0.55, 0.7, 0.85, 0.97]}.get(
        bottleneck, [0.01, 0.02, 0.03, 0.04, 0.09, 0.3, 0.95]
    )
    arms = {
        "true": rise,
        "permuted": [0.01, 0.01, 0.0, 0.01, 0.0, 0.02, 0.01],
        "neutral": [0.01, 0.02, 0.01, 0.02, 0.02, 0.01, None],
    }

    def arm(ys: list[float | None]) -> dict[str, Any]:
        cells = [interval(y, count) for y in ys]
        return {key: [c[key] for c in cells] for key in ("value", "low", "high")}

    text = [
        "Multiply",
        " 17",
        " by",
        " 42",
        ":",
        " 714",
        "; in",
        " base",
        " seven",
        " that",
        " is",
        " ",
        "2",
        "0",
        "4",
        "0",
        ".",
        "\n",
        "[2040]",
    ]
    logprobs = [
        -0.1,
        -0.2,
        -0.02,
        -0.05,
        -0.3,
        -1.2,
        -3.0,
        -0.1,
        -0.05,
        -0.6,
        -0.1,
        -6.0,
        -10.4,
        -2.2,
        -5.2,
        -0.9,
        -0.4,
        -5.0,
        -0.02,
    ]
    tokens = [{"text": t, "logprob": lp, "rank": int(-lp * 8)} for t, lp in zip(text, logprobs, strict=True)]
    mixed = {
        "G": [4, 8, 16, 32, 64],
        "value": [0.12, 0.21, 0.29, 0.36, 0.41],
        "low": [0.08, 0.16, 0.23, 0.29, 0.33],
        "high": [0.17, 0.27, 0.36, 0.44, 0.5],
    }
    return [
        {"probe": "pass_at_k", "question": "How often does at least one of k rollouts pass?", "summary": {"pass@1": interval(0.2, count), "maj@8": interval(None, count)},
         "figures": [{"name": "pass_at_k", "title": "pass@k", "data": curve(ks, values, labels, count)},
                     {"name": "p_distribution", "title": "", "data": {"p_mean": list(p), "eps": 1 / 256, "mastery": 0.8}}],
         "notes": ["pass@512 and beyond rest on the fitted mixing law."]},
        {"probe": "prefix_ladder", "question": "How much of a correct trace does the policy need before it succeeds?", "summary": {"gain_at_0.25": interval(0.02, count)},
         "figures": [{"name": "prefix_ladder", "title": "Prefix ladder", "data": {"rho": rho, "arms": {a: arm(ys) for a, ys in arms.items()}}}], "notes": []},
        {"probe": "likelihood", "question": "How likely are the demonstrations under the policy?", "summary": {"demo_logprob_nats": {"value": -24.1, "low": -26.0, "high": -22.0, "n": count, "label": "measured"}},
         "figures": [{"name": "demo_likelihood", "title": "Likelihood of demonstrations", "data": {key: list(problems[source]) for key, source in (("problem_id", "id"), ("demo_logprob_nats", "demo_logprob_nats"), ("min_token_prob", "min_token_prob"))}},
                     {"name": "demo_tokens", "title": "", "data": {"examples": [{"problem_id": "arith-0003", "tokens": tokens}, {"problem_id": "arith-0007", "tokens": tokens[:9]}]}}], "notes": []},
        {"probe": "signal", "question": "Is there a gradient for RL with a verifier today?", "summary": {"mixed_groups@8": interval(0.21, count, "estimated")},
         "figures": [{"name": "mixed_groups", "title": "Signal for on-policy RL", "data": mixed}], "notes": ["Partial credit: the verifier gives none."]},
        {"probe": "format", "question": "Are right answers lost to their form?", "summary": {},
         "figures": [{"name": "format", "title": "", "data": {"strict": interval(0.18, count), "lenient": interval(0.66 if bottleneck == "format" else 0.2, count)}},
                     {"name": "answer_lengths", "title": "Answer lengths", "data": {"length": [1, 2, 3], "share": [0.2, 0.5, 0.3]}}], "notes": []},
    ]  # fmt: skip


def make_transcripts(problems: pd.DataFrame, limit: int = 60, seed: int = 1) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for problem in problems.head(limit).to_dict("records"):
        for i in range(12):
            verdict = "pass" if i < problem["c"] * 12 / problem["n"] else ("truncated" if i == 11 else "fail")
            lenient = verdict == "pass" or (problem["class"] == "format" and i % 2 == 0)
            wrong = f"[{rng.integers(100, 99999)}]"
            answer = problem["answer"] if verdict == "pass" else (problem["answer"].strip("[]") if lenient else wrong)
            work = (
                "First multiply the two numbers, then divide by seven again and again and read the remainders upwards.\n"
                * int(rng.integers(1, 4))
            )
            rows.append({"problem_id": problem["id"], "arm": "main" if i % 5 else "prefix:0.25", "sample_idx": i, "text": f"{work}So the answer is {answer}", "verdict": verdict, "lenient": lenient,
                         "extracted": None if verdict == "truncated" else answer, "finish_reason": "length" if verdict == "truncated" else "stop", "n_tokens": int(rng.integers(20, 96)), "logprob": float(-rng.gamma(4, 6))})  # fmt: skip
    return rows


def make_run(bottleneck: str = "support", count: int = 120, **changes: Any) -> ReportData:
    problems = make_problems(bottleneck, count)
    parts: dict[str, Any] = {
        "diagnosis": make_diagnosis(bottleneck, problems),
        "problems": problems,
        "measurements": make_measurements(bottleneck, problems),
        "failures": [{"probe": "selection", "error": "EngineError: the engine returned no logprobs; use --engine hf"}]
        if bottleneck == "support"
        else [],
        "transcripts": make_transcripts(problems),
        "command": "diag analyze zoo:frontier --tasks builtin:zoo/F15 --out runs/arith --rollouts 64 --seed 0",
        "created": "2026-03-14 10:22 UTC",
    }
    return ReportData(**{**parts, **changes})


RUN_KEYWORDS = frozenset(("schema", "model", "tasks", "sampling", "settings", "instrument", "status", "findings", "kind", "share", "problems", "advice", "value", "low",
        "high", "level", "n", "label", "reason", "bottleneck", "confidence", "alternatives", "probability", "shares", *CLASSES, "estimates", "plan",
        "stage", "role", "expected_gain", "retention_risk", "cost", "needs", "why", "command", "tokens", "flops", "time_s", "samples", "versions",
        "reasons", "probe", "question", "summary", "figures", "notes", "name", "title", "data", "rho", "arms", "k", "G", "problem_id",
        "demo_logprob_nats", "min_token_prob", "examples", "text", "logprob", "rank", "strict", "lenient", "error"))  # fmt: skip
"""Keys that diagnosis.json and measurements.json fix; every other key and every string can be attacked."""


def poisoned(value: Any, text: str, keep: frozenset[str], fixed: Collection[str] = ()) -> Any:
    """The same structure with `text` behind every string and every key.

    Args:
        value: plain data.
        text: what is put behind strings.
        keep: keys that stay as they are.
        fixed: keys whose values stay as they are.
    """
    if isinstance(value, str):
        return value + text
    if isinstance(value, Mapping):
        return {
            key if key in keep else f"{key}{text}": item if key in fixed else poisoned(item, text, keep, fixed)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [poisoned(item, text, keep, fixed) for item in value]
    return value
