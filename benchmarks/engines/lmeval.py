"""lm-eval as a contestant: a `generate_until` task with repeats that computes pass@k, `--model hf`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MAX_NEW = 64

TASK = """task: passk
dataset_path: json
dataset_kwargs:
  data_files: {{test: "{data}"}}
output_type: generate_until
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
repeats: {repeats}
num_fewshot: 0
generation_kwargs:
  until: []
  do_sample: true
  temperature: 1.0
  top_k: 0
  top_p: 1.0
  max_gen_toks: 64
filter_list:
  - name: all
    filter:
      - function: custom
        filter_fn: !function passk_utils.keep_all
metric_list:
  - metric: !function passk_utils.pass_at_k
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

UTILS = '''"""pass@k of draws that hold the answer, by the unbiased estimator."""
import math


def keep_all(resps, docs):
    return resps


def pass_at_k(references, predictions):
    n = len(predictions[0])
    c = sum(references[0] in text for text in predictions[0])
    return {f"pass@{k}": 1 - math.comb(n - c, k) / math.comb(n, k) for k in (1, 4, 16, 64) if k <= n}
'''


class LMEval:
    """`simple_evaluate` on a loaded `HFLM`, so that loading is left out as for the others."""

    def __init__(self, spec: dict[str, Any]) -> None:
        import torch
        import transformers
        from lm_eval.models.huggingface import HFLM

        logging.disable(logging.WARNING)
        transformers.utils.logging.set_verbosity_error()
        self.work, self.folder = spec["work"], Path.cwd() / "lm-eval"
        self.answers: list[str] = self.work.get("answers") or ["ba"] * len(self.work["texts"])
        self.lm = HFLM(
            pretrained=spec["model"],
            dtype=getattr(torch, spec["dtype"]),
            device=spec["device"],
            batch_size=spec["options"]["batch_size"],
        )
        self.sample([0], 4, 1)

    def sample(self, which: Sequence[int], n: int, seed: int) -> list[list[int]]:
        """See `benchmarks.engines.worker.Contestant`."""
        by_prompt, _ = self._evaluate(which, n, seed)
        return [[self._length(text) for text in texts] for texts in by_prompt]

    def pass_at_k(self, which: Sequence[int], n: int, seed: int) -> dict[str, Any]:
        """pass@k over the prompts in `which`, and how many tokens it took."""
        by_prompt, metrics = self._evaluate(which, n, seed)
        tokens = sum(self._length(text) for texts in by_prompt for text in texts)
        return {"pass_at_k": metrics, "tokens": tokens, "draws": sum(map(len, by_prompt))}

    def _evaluate(self, which: Sequence[int], n: int, seed: int) -> tuple[list[list[str]], dict[str, float]]:
        import sys

        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        here = self.folder / f"{len(which)}x{n}"
        here.mkdir(parents=True, exist_ok=True)
        rows = [{"prompt": self.work["texts"][p], "answer": self.answers[p]} for p in which]
        (here / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (here / "passk.yaml").write_text(TASK.format(data=here / "tasks.jsonl", repeats=n))
        (here / "passk_utils.py").write_text(UTILS)
        found = simple_evaluate(
            model=self.lm,
            tasks=["passk"],
            task_manager=TaskManager(include_path=str(here), include_defaults=False),
            bootstrap_iters=0,
            log_samples=True,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
        )
        assert found is not None
        samples = sorted(found["samples"]["passk"], key=lambda sample: sample["doc_id"])
        texts: list[list[str]] = [sample["filtered_resps"][0] for sample in samples]
        assert [len(row) for row in texts] == [n] * len(which), "lm-eval lost draws"
        metrics = {key.partition(",")[0]: value for key, value in found["results"]["passk"].items() if "pass@" in key}
        sys.modules.pop("passk_utils", None)
        return texts, metrics

    def _length(self, text: str) -> int:
        return min(MAX_NEW, len(text.split()) + 1)


CONTESTANTS: dict[str, Callable[[dict[str, Any]], Any]] = {"lm-eval": LMEval}
