"""What transformers offers for the same work: `generate` in several settings, continuous batching, a padded forward.

Ids in, texts out; no log-probabilities are asked of `generate`, which is in its favour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from posttrain_diag.engines.hf.forward import cache_argument

MAX_NEW, PAD, EOS = 64, 0, 2


def load(spec: dict[str, Any]) -> tuple[Any, Any]:
    """Model and tokenizer as a user loads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=getattr(torch, spec["dtype"])).eval()
    return model.to(spec["device"]), AutoTokenizer.from_pretrained(spec["model"])


def length(ids: Sequence[int]) -> int:
    """Tokens up to and with the stop token."""
    return ids.index(EOS) + 1 if EOS in ids else len(ids)


class Generate:
    """`model.generate(do_sample=True)`; options: prompts per call, static cache, one shared prefill."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.model, self.tokenizer = load(spec)
        self.work, self.options, self.device = spec["work"], spec["options"], spec["device"]
        if spec.get("warm", True):
            self.sample([0], 4, -1)

    def sample(self, which: Sequence[int], n: int, seed: int) -> list[list[int]]:
        """See `benchmarks.engines.worker.Contestant`."""
        import torch

        torch.manual_seed(seed % 2**31)
        step = self.options.get("prompts_per_call", 1)
        lengths: list[list[int]] = []
        for start in range(0, len(which), step):
            new = self._call([self.work["prompts"][p] for p in which[start : start + step]], n)
            rows: list[list[int]] = new.tolist()
            self.tokenizer.batch_decode(new, skip_special_tokens=True)
            lengths += [[length(row) for row in rows[i : i + n]] for i in range(0, len(rows), n)]
        return lengths

    def _call(self, prompts: list[list[int]], n: int) -> Any:
        import torch

        longest = max(map(len, prompts))
        padded = [[PAD] * (longest - len(ids)) + ids for ids in prompts]
        mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]
        ids_BT, mask_BT = (torch.tensor(rows, device=self.device) for rows in (padded, mask))
        settings: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        settings |= {"max_new_tokens": MAX_NEW, "eos_token_id": EOS, "pad_token_id": PAD}
        with torch.inference_mode():
            if self.options.get("shared_prefill"):
                from transformers import DynamicCache

                cache = DynamicCache(config=self.model.config)
                taken = {str(cache_argument(self.model)): cache}
                self.model(input_ids=ids_BT[:, :-1], logits_to_keep=1, **taken)
                cache.batch_repeat_interleave(n)
                rows_BT, rows_mask = ids_BT.repeat_interleave(n, 0), mask_BT.repeat_interleave(n, 0)
                out = self.model.generate(rows_BT, attention_mask=rows_mask, **taken, **settings)
            else:
                if self.options.get("static_cache"):
                    settings["cache_implementation"] = "static"
                out = self.model.generate(ids_BT, attention_mask=mask_BT, num_return_sequences=n, **settings)
        return out[:, longest:]


class Continuous:
    """transformers' continuous batching, `model.generate_batch`, with block sharing between the draws of a prompt."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.model, self.tokenizer = load(spec)
        self.work, self.options = spec["work"], spec["options"]
        if not hasattr(self.model, "generate_batch"):
            raise SystemExit("this transformers has no continuous batching")
        self.sample([0], 4, 1)

    def sample(self, which: Sequence[int], n: int, seed: int) -> list[list[int]]:
        """See `benchmarks.engines.worker.Contestant`."""
        import torch
        from transformers import ContinuousBatchingConfig, GenerationConfig

        torch.manual_seed(seed % 2**31)
        law: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        settings = GenerationConfig(max_new_tokens=MAX_NEW, eos_token_id=EOS, pad_token_id=PAD, **law)
        batching = ContinuousBatchingConfig(**self.options["batching"], seed=seed % 2**31)
        inputs = [self.work["prompts"][p] for p in which for _ in range(n)]
        out = self.model.generate_batch(
            inputs, generation_config=settings, continuous_batching_config=batching, warmup=False
        )
        rows = [list(result.generated_tokens) for result in out.values()]
        if len(rows) != len(inputs):
            raise SystemExit(f"continuous batching returned {len(rows)} of {len(inputs)} draws")
        self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [[length(row) for row in rows[i : i + n]] for i in range(0, len(rows), n)]


class Padded:
    """Teacher forcing as it is mostly written: prompt + completion, right-padded, `rows` at a time.

    The head is applied to completion positions only, which is in its favour.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self.model, _ = load(spec)
        self.work, self.options, self.device = spec["work"], spec["options"], spec["device"]
        self.score([0], 2)

    def score(self, which: Sequence[int], n: int) -> float:
        """See `benchmarks.engines.worker.Contestant`."""
        import torch

        pairs = [(self.work["prompts"][p], done) for p in which for done in self.work["completions"][p][:n]]
        pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        total, step = 0.0, self.options["rows"]
        with torch.inference_mode():
            for start in range(0, len(pairs), step):
                batch = pairs[start : start + step]
                longest = max(len(p) + len(c) for p, c in batch)
                ids = torch.tensor([p + c + [PAD] * (longest - len(p) - len(c)) for p, c in batch], device=self.device)
                mask = torch.tensor([[int(t < len(p) + len(c)) for t in range(longest)] for p, c in batch])
                hidden = self.model.model(input_ids=ids, attention_mask=mask.to(self.device)).last_hidden_state
                rows = [b for b, (_, c) in enumerate(batch) for _ in c]
                places = [len(p) + t for p, c in batch for t in range(len(c))]
                logits = self.model.lm_head(hidden[rows, [t - 1 for t in places]]).float()
                total += float(logits.log_softmax(-1).gather(1, ids[rows, places][:, None]).double().sum())
        return total


CONTESTANTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "generate": Generate,
    "continuous": Continuous,
    "padded": Padded,
}
