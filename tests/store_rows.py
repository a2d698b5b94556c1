"""Rollouts to store: any number of them, all different, and what a store should say of them."""

from __future__ import annotations

from posttrain_diag.types import Rollout, Verdict

VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "fail", "truncated", "error")


def rollout(prompt: int, index: int, **values: object) -> Rollout:
    verdict = VERDICTS[(prompt + index) % 5]
    fields: dict[str, object] = {
        "problem_id": f"p{prompt}",
        "arm": "main",
        "sample_idx": index,
        "seed": 1000 * prompt + index,
        "text": f"text {prompt} {index} é",
        "token_ids": tuple(range(index % 4)),
        "token_logprobs": tuple(-0.5 for _ in range(index % 4)),
        "finish_reason": {"truncated": "length", "error": "error"}.get(verdict, "stop"),
        "verdict": verdict,
        "strict": verdict == "pass",
        "lenient": verdict == "pass" or index % 3 == 0,
        "extracted": None if index % 2 else f"answer {index}",
        "score": None,
        "engine": "fake",
        "model_sha": "m",
        "prompt_sha": f"q{prompt}",
        "sampling_sha": "s",
        "verifier_sha": "v",
    }
    return Rollout(**{**fields, **values})  # pyright: ignore


def judged(
    problem_id: str, ids: tuple[int, ...], verdict: Verdict, *, text: str = "", score: float | None = None
) -> Rollout:
    """A rollout as a stage draws it, after a prompt of one token."""
    return rollout(
        0, 0, problem_id=problem_id, token_ids=ids, token_logprobs=None, verdict=verdict, strict=verdict == "pass",
        lenient=False, text=text, score=score, prompt_ids=(1,),
    )  # fmt: skip


def rows(prompts: int, n: int, start: int = 0) -> list[Rollout]:
    return [rollout(p, i) for i in range(start, n) for p in range(prompts)]
