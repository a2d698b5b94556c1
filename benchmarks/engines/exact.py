"""Is what the hf engine draws and scores right? Eight architectures, random weights, float32, against plain transformers.

Greedy tokens against `generate`; log-probabilities against one plain forward pass; the law of the first token and of short
sequences against their exact probabilities (chi-square); the same draws whatever the batch.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPES = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gpt2", "neox", "phi")
PROMPTS = ("a", "2+2=", "abc def", "the quick brown fox: 17 + 25 = ?", "zzz 000", "Q: 3 + 4\nA: ")
BATCHES = (1, 7, 64, 1024)
LAWS = {
    "T=1": {"temperature": 1.0},
    "T=.7, top-k 20, top-p .9, min-p .02": {"temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.02},
}
LOGPROB_TOLERANCE = 1e-4
P_TOLERANCE = 1e-5
EOS = 2

FloatArray = NDArray[np.float64]


def cut_law(logits_V: FloatArray, params: Any) -> FloatArray:
    """The declared next-token law, by the book: temperature, then top-k, top-p, min-p on what is left."""
    p = np.exp((logits_V - logits_V.max()) / params.temperature)
    p /= p.sum()
    if params.top_k:
        p[p < np.sort(p)[-params.top_k]] = 0.0
    if params.top_p < 1.0:
        order = np.argsort(-p, kind="stable")
        shares = p[order] / p.sum()
        p[order[np.cumsum(shares) - shares >= params.top_p]] = 0.0
    if params.min_p > 0.0:
        p[p < params.min_p * p.max()] = 0.0
    return p / p.sum()


def chi_square_p(counts: Mapping[tuple[int, ...], int], law: Mapping[tuple[int, ...], float], n: int) -> float:
    """Probability of counts at least this far from their law; outcomes expected less than 5 times are pooled."""
    from scipy.stats import chi2

    if any(law.get(outcome, 0.0) == 0.0 for outcome in counts):
        return 0.0
    pairs = [(counts.get(outcome, 0), n * p) for outcome, p in law.items() if p > 0]
    cells = [pair for pair in pairs if pair[1] >= 5]
    rare = [pair for pair in pairs if pair[1] < 5]
    if sum(e for _, e in rare) >= 5:
        cells.append((sum(o for o, _ in rare), sum(e for _, e in rare)))
    statistic = sum((o - e) ** 2 / e for o, e in cells)
    return float(chi2.sf(statistic, max(1, len(cells) - 1)))


class Exact:
    """Worker side: `measure` looks at one architecture."""

    def __init__(self, spec: dict[str, Any]) -> None:
        sys.path.insert(0, spec["tests"])
        self.folder, self.options = Path(spec["folder"]), spec["options"]

    def measure(self, name: str) -> dict[str, Any]:
        """All comparisons for one architecture."""
        import torch
        from engines.tiny_models import make_model, make_tokenizer, write_model
        from transformers import AutoModelForCausalLM

        from posttrain_diag.engines.hf.engine import load_hf_engine

        path = str(write_model(self.folder / f"exact-{name}", make_model(name), make_tokenizer()))
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        engine: Any = load_hf_engine(path, device="cpu", dtype="float32")
        out = self._greedy(engine, model) | self._gaps(engine, model) | {"chi_square_p": self._laws(engine, model)}
        out |= self._batches(lambda rows: load_hf_engine(path, device="cpu", dtype="float32", batch_rows=rows))
        return {**out, "notices": list(engine.info.notices)}

    def _requests(self, prompts: Sequence[str], n: int) -> list[Any]:
        from posttrain_diag.engines.contract import Prompt, SampleRequest

        return [
            SampleRequest(str(i), Prompt(text=text), tuple(range(n)), tuple(7919 * i + j for j in range(n)))
            for i, text in enumerate(prompts)
        ]

    def _greedy(self, engine: Any, model: Any) -> dict[str, Any]:
        """How many prompts come out as `generate` has them; where not, how near the two best tokens were."""
        import torch

        from posttrain_diag.types import SamplingParams

        params = SamplingParams(temperature=0.0, max_new_tokens=24)
        requests = self._requests(PROMPTS, 1)
        drawn = {draw.key: list(draw.token_ids) for draw in engine.sample(requests, params)}
        equal, margin = 0, None
        for request in requests:
            ids = list(engine.prompt_ids(request.prompt))
            with torch.no_grad():
                out = model.generate(
                    torch.tensor([ids]),
                    attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                    do_sample=False,
                    max_new_tokens=24,
                    eos_token_id=EOS,
                    pad_token_id=0,
                )
            wanted, got = out[0, len(ids) :].tolist(), drawn[request.key]
            if wanted == got:
                equal += 1
                continue
            same = next(i for i in range(24) if wanted[i : i + 1] != got[i : i + 1])
            best = np.sort(self._logits(model, [*ids, *wanted[:same]])[-1])[-2:]
            margin = max(margin or 0.0, float(best[1] - best[0]))
        return {"greedy_equal": equal, "greedy_of": len(requests), "margin_where_not": margin}

    def _logits(self, model: Any, ids: Sequence[int]) -> FloatArray:
        import torch

        with torch.no_grad():
            return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0].double().numpy()

    def _gaps(self, engine: Any, model: Any) -> dict[str, Any]:
        """Largest difference from the plain forward: of drawn tokens, of both laws, and of scores."""
        from posttrain_diag.engines.contract import ScoreRequest
        from posttrain_diag.types import SamplingParams

        params = SamplingParams(max_new_tokens=24, **LAWS["T=.7, top-k 20, top-p .9, min-p .02"])
        requests = self._requests(PROMPTS, 8)
        prompts = {request.key: request.prompt for request in requests}
        draws = list(engine.sample(requests, params))
        wanted: dict[str, FloatArray] = {}
        raw_gap = policy_gap = score_gap = 0.0
        for i, draw in enumerate(draws):
            ids = list(engine.prompt_ids(prompts[draw.key]))
            logits_TV = self._logits(model, [*ids, *draw.token_ids])[len(ids) - 1 : -1]
            rows = np.arange(len(draw.token_ids))
            raw = (logits_TV - np.logaddexp.reduce(logits_TV, 1)[:, None])[rows, list(draw.token_ids)]
            with np.errstate(divide="ignore"):
                law = [
                    np.log(cut_law(row, params)[token]) for row, token in zip(logits_TV, draw.token_ids, strict=True)
                ]
            raw_gap = max(raw_gap, float(np.abs(raw - draw.token_logprobs).max()))
            policy_gap = max(policy_gap, float(np.abs(np.array(law) - draw.token_policy_logprobs).max()))
            wanted[str(i)] = raw
        scored = [
            ScoreRequest(str(i), prompts[draw.key], completion_ids=draw.token_ids, append_stop=False)
            for i, draw in enumerate(draws)
        ]
        for score in engine.score(scored):
            score_gap = max(score_gap, float(np.abs(score.logprob_T - wanted[score.key]).max()))
        return {"raw_gap": raw_gap, "policy_gap": policy_gap, "score_gap": score_gap}

    def _laws(self, engine: Any, model: Any) -> dict[str, list[float]]:
        """Per sampling law: chi-square p of the first token and of sequences of up to two tokens."""
        from posttrain_diag.types import SamplingParams

        n, found = self.options["draws"], {}
        request = replace(self._requests(["2+2="], n)[0])
        ids = list(engine.prompt_ids(request.prompt))
        first_logits = self._logits(model, ids)[-1]
        after = {token: self._logits(model, [*ids, token])[-1] for token in range(len(first_logits))}
        for name, settings in LAWS.items():
            params = SamplingParams(max_new_tokens=2, **settings)
            first = cut_law(first_logits, params)
            pairs = {(EOS,): float(first[EOS])}
            for token in range(len(first)):
                if token != EOS and first[token] > 0:
                    second = first[token] * cut_law(after[token], params)
                    pairs |= {(token, t): float(p) for t, p in enumerate(second)}
            drawn = Counter(draw.token_ids for draw in engine.sample([request], params))
            firsts: Counter[tuple[int, ...]] = Counter()
            for ids_drawn, count in drawn.items():
                firsts[ids_drawn[:1]] += count
            first_law = {(token,): float(p) for token, p in enumerate(first)}
            found[name] = [chi_square_p(firsts, first_law, n), chi_square_p(drawn, pairs, n)]
        return found

    def _batches(self, engine_of: Callable[[int], Any]) -> dict[str, Any]:
        """Whether every batch size gives the same draws."""
        from posttrain_diag.types import SamplingParams

        params = SamplingParams(max_new_tokens=24)
        seen: list[dict[tuple[str, int], Any]] = []
        for rows in BATCHES:
            engine = engine_of(rows)
            draws = engine.sample(self._requests(PROMPTS, self.options["batch_draws"]), params)
            seen.append({(draw.key, draw.sample_idx): draw.token_ids for draw in draws})
            engine.close()
        differing = sum(len({one[key] for one in seen}) > 1 for key in seen[0])
        assert all(one.keys() == seen[0].keys() for one in seen)
        return {"batch_draws": len(seen[0]), "batch_differing": differing}


CONTESTANTS: dict[str, Callable[[dict[str, Any]], Any]] = {"exact": Exact}


def exact(work: Path, *, quick: bool) -> dict[str, Any]:
    """Driver side: all architectures in one process."""
    from benchmarks.engines.driver import ROOT, Contestant, Machine, Worker

    options = {"draws": 2000 if quick else 20000, "batch_draws": 8 if quick else 40}
    spec = {"name": "exact", "tests": str(ROOT / "tests"), "folder": str(work)}
    worker = Worker(Contestant("exact", "exact", options), Machine(1, None, None), spec, work)
    rows = {name: worker.order("measure", name) for name in SHAPES[:: 3 if quick else 1]}
    worker.close()
    return {"draws": options["draws"], "shapes": rows}


def lines(part: dict[str, Any]) -> list[str]:
    """The part's section of results.md."""
    out = ["## Exactness (float32, random weights, CPU)", "", f"{part['date']}", ""]
    if "not_run" in part:
        return [*out, f"Not run: {part['not_run']}.", ""]
    out += [
        "| architecture | greedy equal to `generate` | gap of raw log-probabilities | of the sampling law's | of scores | "
        + " | ".join(f"p, {name}: first token, two tokens" for name in LAWS)
        + f" | draws that differ between batches of {', '.join(map(str, BATCHES))} |",
        "|---" * (6 + len(LAWS)) + "|",
    ]
    for name, row in part["shapes"].items():
        margin = row["margin_where_not"]
        greedy = f"{row['greedy_equal']} of {row['greedy_of']}"
        greedy += "" if margin is None else f" (tokens {margin:.1g} nats apart where not)"
        laws = " | ".join(", ".join(f"{p:.2g}" for p in row["chi_square_p"][law]) for law in LAWS)
        out.append(
            f"| {name} | {greedy} | {row['raw_gap']:.1e} | {row['policy_gap']:.1e} | {row['score_gap']:.1e} | {laws} | "
            f"{row['batch_differing']} of {row['batch_draws']} |"
        )
    notices = [f"{name}: {notice}" for name, row in part["shapes"].items() for notice in row["notices"]]
    return [*out, "", f"{part['draws']:,} draws a law; gaps in nats.", *notices, ""]


def failures(part: dict[str, Any]) -> list[str]:
    """What is not exact."""
    wrong: list[str] = []
    for name, row in part.get("shapes", {}).items():
        if row["greedy_equal"] < row["greedy_of"] and row["margin_where_not"] > LOGPROB_TOLERANCE:
            wrong.append(f"{name}: greedy tokens differ from generate's")
        gaps = {key: row[key] for key in ("raw_gap", "policy_gap", "score_gap") if row[key] > LOGPROB_TOLERANCE}
        if gaps:
            wrong.append(f"{name}: log-probabilities off by {gaps}")
        if min(p for ps in row["chi_square_p"].values() for p in ps) < P_TOLERANCE:
            wrong.append(f"{name}: draws do not follow their law: {row['chi_square_p']}")
        if row["batch_differing"]:
            wrong.append(f"{name}: {row['batch_differing']} draws depend on the batch")
    return wrong
