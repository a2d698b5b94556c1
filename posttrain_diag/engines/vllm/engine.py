"""The `vllm` engine: vLLM in a process of its own, with its own interpreter.

    Front (tokenizer, stop set) ──► token ids ──► `process` ──pipe──► `worker` ──► vLLM
                                                            draws and scores come back as they finish

Log-probabilities are vLLM's raw ones (before temperature and cuts), the same as the hf engine's. A draw is a function
of its seed and of the numerics of the batch it ran in: a repeated draw may differ, its law does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from posttrain_diag.engines.contract import Draw, Engine, EngineInfo, Prompt, SampleRequest, Score, ScoreRequest
from posttrain_diag.engines.hf.engine import check_params
from posttrain_diag.engines.hf.load import DTYPES
from posttrain_diag.engines.hf.memory import free_bytes
from posttrain_diag.engines.hf.random import is_cut
from posttrain_diag.engines.hf.sample import DecodedRow, sample_rows
from posttrain_diag.engines.model.files import read_json
from posttrain_diag.engines.model.front import Front, n_parameters, open_front
from posttrain_diag.engines.model.stops import Stops, cut_at_stop
from posttrain_diag.engines.sequence_scores import SequenceScores
from posttrain_diag.engines.vllm.check import compare_with_hf
from posttrain_diag.engines.vllm.process import ARGUMENTS, VLLMProcess, extra_arguments, find_python
from posttrain_diag.errors import EngineError, ModelError, UsageError
from posttrain_diag.types import FinishReason, SamplingParams

LACKS = "vLLM draws from the model alone, not from a proposal of ours; use the hf engine"
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts as the largest rank of an adapter."""
_GIB = 1 << 30
_ONE_THREAD_BELOW = 20_000_000


def load_vllm_engine(
    model: str,
    *,
    python: str | None = None,
    dtype: str | None = None,
    template: str | None = None,
    use_chat_template: bool | None = None,
    system_prompt: str | None = None,
    batch_rows: int | None = None,
    trust_remote_code: bool = False,
    check: bool = True,
) -> VLLMEngine:
    """Start vLLM on a model and compare it with the hf engine.

    Args:
        model: directory of a Hugging Face model or of a LoRA adapter, or a hub id.
        python: interpreter of the environment that has vLLM; None = VLLM_PYTHON, .venv-vllm, this one.
        dtype: "float32", "bfloat16", "float16"; None = float32 on a CPU, the checkpoint's 16 bits on a GPU.
        template: plain-text template with {prompt}, used instead of any chat template.
        use_chat_template: None = where the tokenizer has one.
        system_prompt: put before prompts that carry none.
        batch_rows: most sequences decoded together; None = vLLM's own choice.
        trust_remote_code: run Python code that comes with the model.
        check: score a few of vLLM's draws with the hf engine too.

    Raises:
        ModelError: the files do not make a causal language model.
        EngineError: vLLM does not start, or its log-probabilities are not the model's.
        UsageError: settings that are wrong in themselves, or no interpreter with vLLM.
        MissingExtra: torch or transformers is not installed.
    """
    if dtype not in (None, "auto") and dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}: give auto, {', '.join(sorted(set(DTYPES.values())))}")
    interpreter, extra = find_python(python), extra_arguments()
    front = open_front(
        model,
        template=template,
        use_chat_template=use_chat_template,
        system_prompt=system_prompt,
        trust_remote_code=trust_remote_code,
    )
    start = {
        "model": str(front.files.root),
        "dtype": DTYPES.get(dtype or "auto"),
        "tokenizer": str(front.files.tokenizer),
        "stored_dtype": str(getattr(front.config, "dtype", None) or "float32"),
        "trust_remote_code": trust_remote_code,
        "max_num_seqs": batch_rows,
        "kv_cache_gib": _kv_cache_gib(),
        "one_thread": n_parameters(front.files) < _ONE_THREAD_BELOW,
        **_adapter(front),
        "extra": extra,
    }
    engine = VLLMEngine(front, VLLMProcess(interpreter, start), extra)
    if not check:
        return engine
    from posttrain_diag.engines.hf.engine import load_hf_engine

    def load_hf(dtype: str) -> Engine:
        return load_hf_engine(
            model,
            device="cpu",
            dtype=dtype,
            template=template,
            use_chat_template=use_chat_template,
            system_prompt=system_prompt,
            trust_remote_code=trust_remote_code,
        )

    try:
        engine.notices += compare_with_hf(engine, load_hf)
    except BaseException:
        engine.close()
        raise
    return engine


def _kv_cache_gib() -> int:
    """Memory in GiB for vLLM's cache on a CPU: a quarter of what is free, 1 to 16 GiB."""
    import torch

    return int(min(16, max(1, free_bytes(torch.device("cpu")) // 4 // _GIB)))


def _adapter(front: Front) -> dict[str, Any]:
    """Arguments for a LoRA adapter: its directory and the rank that vLLM must reserve; empty without an adapter."""
    path = front.files.adapter
    if path is None:
        return {"adapter": None, "lora_rank": None}
    config = read_json(path / "adapter_config.json")
    kind = str(config.get("peft_type"))
    rank = max([int(config.get("r") or 0), *map(int, (config.get("rank_pattern") or {}).values())])
    if kind != "LORA" or not 0 < rank <= _LORA_RANKS[-1]:
        raise ModelError(
            f"the adapter {front.files.name!r} is of type {kind}, rank {rank}; vLLM runs LORA adapters of rank 1 to "
            f"{_LORA_RANKS[-1]}: use the hf engine, or merge the adapter into its base model"
        )
    return {"adapter": str(path.resolve()), "lora_rank": next(size for size in _LORA_RANKS if size >= rank)}


class VLLMEngine:
    """An `Engine` on a vLLM process; make it with `load_vllm_engine`."""

    def __init__(self, front: Front, process: VLLMProcess, extra: dict[str, Any]) -> None:
        self._front = front
        self._process: VLLMProcess | None = process
        facts = process.facts
        longest = int(facts["max_model_len"])
        self._context = longest if front.context is None else min(front.context, longest)
        self._info = front.info(
            engine="vllm", dtype=str(facts["dtype"]), device=str(facts["device"]), lacks={"tilts": LACKS}
        )
        self.notices: tuple[str, ...] = (f"vLLM {facts['version']} on {facts['device']}",)
        if extra:
            self.notices += (f"vLLM engine arguments from {ARGUMENTS}: {extra}",)

    @property
    def info(self) -> EngineInfo:
        """What is loaded; notices grow when a prompt shows something new."""
        told = dict.fromkeys((*self._info.notices, *self.notices, *self._front.codec.notices))
        return replace(self._info, context_length=self._context, notices=tuple(told))

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids the model is conditioned on, response prefix included.

        Raises:
            EngineError: an empty prompt without a BOS token, or messages the chat template refuses.
        """
        return self._front.codec.prompt_ids(prompt)

    def response_ids(self, completion: str) -> tuple[int, ...]:
        """Token ids of a completion as it would follow a prompt (no special tokens added)."""
        return self._front.codec.response_ids(completion)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of response tokens, special tokens removed."""
        return self._front.codec.decode(token_ids)

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        """Draw all requests; each draw is yielded as soon as it is finished, in any order.

        Raises:
            EngineError: a prompt leaves no room in the context, a tilt is asked for, or the process died.
            ModelError: the model's log-probabilities are not numbers.
            UsageError: settings outside their range.
        """
        process = self._running()
        check_params(params)
        tilted = next((request.key for request in requests if request.tilt is not None), None)
        if tilted is not None:
            raise EngineError(f"request {tilted!r} asks for a tilted draw: {LACKS}")
        front = self._front
        rows = sample_rows(requests, front.codec, front.n_ids, self._context, params.max_new_tokens)
        groups: dict[str, list[DecodedRow]] = {}
        for row in rows:
            groups.setdefault(row.request.key, []).append(row)
        return self._draws(process, list(groups.values()), params)

    def _draws(self, process: VLLMProcess, groups: list[list[DecodedRow]], params: SamplingParams) -> Iterator[Draw]:
        if not groups:
            return
        settings = {
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k or -1,
            "min_p": params.min_p,
            "max_tokens": params.max_new_tokens,
        }
        asked = [{"ids": rows[0].ids, "seeds": [row.seed for row in rows]} for rows in groups]
        stops = self._front.stops.with_asked(params.stop)
        frame = {"op": "sample", "params": settings, "stop_ids": stops.ids, "stop": stops.texts, "requests": asked}
        for answer in process.answers(process.call(frame)):
            yield self._draw(groups[answer["request"]][answer["draw"]], answer, params, stops)

    def _draw(self, row: DecodedRow, answer: dict[str, Any], params: SamplingParams, stops: Stops) -> Draw:
        ids, logprobs = tuple(answer["ids"]), tuple(answer["logprobs"])
        if not np.isfinite(logprobs).all():
            raise ModelError(
                f"request {row.request.key!r}, draw {row.sample_idx}: the model's log-probabilities are NaN or "
                "infinite; load it in float32 (--dtype float32), and if that does not help, the checkpoint is broken"
            )
        finish: FinishReason = answer["finish"] if answer["finish"] in ("stop", "length") else "error"
        stopped = finish == "stop" and ids[-1:] != () and ids[-1] in stops.ids
        text = self._front.codec.continuation(row.request.prompt.response_prefix_ids, ids[:-1] if stopped else ids)
        before_stop = cut_at_stop(text, stops.texts)
        policy = (0.0,) * len(ids) if params.temperature == 0.0 else None
        if params.temperature == 1.0 and not is_cut(params):
            policy = logprobs
        return Draw(
            key=row.request.key,
            sample_idx=row.sample_idx,
            seed=row.seed,
            text=text if before_stop is None else before_stop,
            token_ids=ids,
            token_logprobs=logprobs,
            finish_reason=finish if before_stop is None else "stop",
            error=None if finish != "error" else f"vLLM ended the draw: {answer['finish']}",
            token_policy_logprobs=policy,
            stop_text=before_stop is not None,
        )

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Score all requests; each score is yielded when it is done, in any order.

        Entropies are NaN, because vLLM does not tell them.

        Raises:
            EngineError: a completion does not fit into the context, or the process died.
            ModelError: the model's log-probabilities are not numbers.
        """
        process = self._running()
        return self._scores(process, SequenceScores(requests, self._front, self._context, "vllm"))

    def _scores(self, process: VLLMProcess, sequenced: SequenceScores) -> Iterator[Score]:
        yield from sequenced.empty()
        if not sequenced.sequences:
            return
        asked = [{"ids": one.ids, "from": one.start} for one in sequenced.sequences]
        for answer in process.answers(process.call({"op": "score", "requests": asked})):
            part = (answer["logprobs"], answer["ranks"])
            score = sequenced.add(sequenced.sequences[answer["request"]], part)
            if score is not None:
                yield score

    def close(self) -> None:
        """End the vLLM process and with it free its memory; the engine cannot be used afterwards."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _running(self) -> VLLMProcess:
        if self._process is None:
            raise EngineError(f"the engine of {self._info.model!r} is closed: load it again")
        return self._process
