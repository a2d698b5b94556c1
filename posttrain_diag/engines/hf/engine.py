"""The `hf` engine: any causal transformers model, embedded, on CPU or CUDA.

    files ──► model + tokenizer (`load`) ──► self-check (`check`) ──► draws (`sample`) | scores (`score`)

Prompts are tokenized by `engines.model.prompts`; `forward` and `slots` make one decoding step, `random` chooses a
token.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from posttrain_diag.engines.contract import Draw, EngineInfo, Prompt, SampleRequest, Score, ScoreRequest
from posttrain_diag.engines.hf.check import DecodePath, Paths, check_paths
from posttrain_diag.engines.hf.forward import CachedDecode, CausalLM, Decode, PlainDecode
from posttrain_diag.engines.hf.load import Loaded, load, quiet, require_torch
from posttrain_diag.engines.hf.memory import RowCost, is_out_of_memory, usable_bytes
from posttrain_diag.engines.hf.prefill import Prefiller
from posttrain_diag.engines.hf.sample import Sampler, sample_rows
from posttrain_diag.engines.hf.score import Scorer, score_targets
from posttrain_diag.engines.hf.slots import SlotDecode
from posttrain_diag.engines.hf.stop_texts import StopTexts
from posttrain_diag.engines.model.files import ModelFiles, find_model, model_sha
from posttrain_diag.engines.model.prompts import PromptCodec, context_length
from posttrain_diag.engines.model.stops import Stops, find_stops
from posttrain_diag.errors import EngineError, ModelError, UsageError
from posttrain_diag.types import SamplingParams

_SMALL_MODEL = 20_000_000
_ROWS_SMALL, _ROWS_LARGE = 1024, 512
"""Rows of a batch where memory allows: a small model's steps cost overhead, a large one's arithmetic."""


def load_hf_engine(
    model: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    template: str | None = None,
    use_chat_template: bool | None = None,
    system_prompt: str | None = None,
    batch_rows: int | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> HFEngine:
    """Load a model for sampling and scoring.

    Args:
        model: directory of a Hugging Face model or of a PEFT adapter (merged into its base), or a hub id; only
            a hub id may use the network.
        device: "cpu", "cuda", "cuda:N"; None = cuda where there is one.
        dtype: "float32", "bfloat16", "float16"; None = a 16-bit checkpoint as bfloat16 on CUDA, a bfloat16
            checkpoint as it is on a CPU that computes in bfloat16, float32 elsewhere.
        template: plain-text template with {prompt}, used instead of any chat template.
        use_chat_template: None = where the tokenizer has one.
        system_prompt: put before prompts that carry none.
        batch_rows: most rows decoded together; None = from free memory.
        trust_remote_code: run Python code that comes with the model.
        allow_pickle: accept pickled weights where there are no safetensors.

    Raises:
        ModelError: the files do not make a causal language model, or its outputs are not numbers.
        UsageError: settings that are wrong in themselves.
        MissingExtra: torch, transformers, safetensors or peft is not installed.
    """
    if batch_rows is not None and batch_rows < 1:
        raise UsageError(f"batch_rows must be at least 1, got {batch_rows}")
    require_torch()
    with quiet():
        files = find_model(model, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
        try:
            loaded = load(files, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise _too_large(files) from error
        codec = PromptCodec(
            loaded.tokenizer,
            template=template,
            use_chat_template=use_chat_template,
            system_prompt=system_prompt,
        )
        codec.prompt_ids(Prompt(text="a"))  # shows at once what the tokenizer adds to a prompt
        return HFEngine(files, loaded, codec, batch_rows)


def _too_large(files: ModelFiles) -> ModelError:
    return ModelError(
        f"{files.name!r} does not fit into memory: use a smaller dtype (dtype='bfloat16'), another device, or a "
        "smaller model"
    )


class HFEngine:
    """An `Engine` on a transformers model; make it with `load_hf_engine`."""

    def __init__(self, files: ModelFiles, loaded: Loaded, codec: PromptCodec, batch_rows: int | None) -> None:
        config = loaded.model.config.get_text_config()
        self._codec = codec
        self._lm: CausalLM | None = CausalLM(loaded.model, loaded.device)
        self._device = loaded.device
        self._context = context_length(config)
        self._window: int | None = getattr(config, "sliding_window", None)
        special_ids: list[int] = list(loaded.tokenizer.all_special_ids)
        try:
            self._paths = check_paths(self._lm, special_ids, self._context, self._window)
        except ModelError as error:
            raise ModelError(f"{files.name!r}: {error}") from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise _too_large(files) from error
        self._n_ids = int(loaded.model.get_input_embeddings().weight.shape[0])
        self._stops = find_stops(files, loaded.tokenizer, self._paths.vocab_size, chat=codec.chats)
        n_parameters = sum(int(p.numel()) for p in loaded.model.parameters())
        self._max_rows = batch_rows or (_ROWS_SMALL if n_parameters < _SMALL_MODEL else _ROWS_LARGE)
        element_size = 4 if loaded.dtype == "float32" else 2
        self._cost = RowCost.of(config, self._paths.kv_bytes_per_token, self._paths.vocab_size, element_size)
        self._info = EngineInfo(
            engine="hf",
            model=files.name,
            model_sha=model_sha(files),
            architecture=type(loaded.model).__name__,
            n_parameters=n_parameters,
            vocab_size=self._paths.vocab_size,
            context_length=self._context,
            dtype=loaded.dtype,
            device=str(loaded.device),
            stop_token_ids=self._stops.ids,
            stop_tokens=tuple(codec.token_text(i) for i in self._stops.ids),
            stop_texts=self._stops.texts,
            undeclared_stops=self._stops.undeclared,
            chat_template_sha=codec.template_sha,
            renderings=codec.renderings,
            notices=(*loaded.notices, *self._paths.notices),
            warnings=self._stops.warnings,
        )

    @property
    def info(self) -> EngineInfo:
        """What the engine has loaded; its notices grow when a prompt shows something new."""
        return replace(self._info, notices=(*self._info.notices, *self._codec.notices))

    def stops(self, params: SamplingParams) -> Stops:
        """What ends a draw under this sampling law."""
        return self._stops.with_asked(params.stop)

    @property
    def paths(self) -> Paths:
        """Which decoding path the self-check chose."""
        return self._paths

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """Token ids the model is conditioned on, response prefix included.

        Raises:
            EngineError: an empty prompt without a BOS token, or messages the chat template refuses.
        """
        return self._codec.prompt_ids(prompt)

    def response_ids(self, completion: str) -> tuple[int, ...]:
        """Token ids of a completion as it would follow a prompt (no special tokens added)."""
        return self._codec.response_ids(completion)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of response tokens, special tokens removed."""
        return self._codec.decode(token_ids)

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> Iterator[Draw]:
        """Draw all requests; each draw is yielded as soon as it is finished, in any order.

        A draw is a function of model, prompt, settings and its own seed: batches and order do not change it
        (up to floating-point ties). Everything is checked before the first draw.

        Raises:
            EngineError: a prompt leaves no room in the context, or not even one row fits into memory.
            ModelError: the model's outputs are not numbers.
            UsageError: settings outside their range.
        """
        lm = self._loaded()
        check_params(params)
        rows = sample_rows(requests, self._codec, self._n_ids, self._context, params.max_new_tokens)
        if params.temperature == 0.0 and any(request.tilt is not None for request in requests):
            raise EngineError(
                "a tilted draw at temperature 0: greedy decoding has one outcome and no proposal can weight it; "
                "draw without a tilt, or at a temperature above 0"
            )
        longest = max((len(row.ids) for row in rows), default=0) + params.max_new_tokens
        path = self._paths.decode if self._window is None or longest <= self._window else self._paths.long_decode
        stops = self.stops(params)
        sampler = Sampler(
            codec=self._codec,
            new_state=partial(_new_state, lm, path),
            equal_lengths=path in ("equal", "plain"),
            copies_prompts=path != "slots",
            stop_ids=stops.ids,
            stop_texts=StopTexts(self._codec, stops.texts),
            cost=self._cost,
            budget=partial(usable_bytes, self._device),
            free_cache=self._free_cache,
            device=self._device,
        )
        return sampler.draws(rows, params, self._max_rows)

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Score all requests; each score is yielded when its batch is done, in any order.

        Raises:
            EngineError: a completion does not fit into the context or into memory.
            ModelError: the model's outputs are not numbers.
        """
        lm = self._loaded()
        targets = score_targets(requests, self._codec, self._n_ids, self._context, self._stops.ids)
        longest = max((len(target.prompt) + len(target.ids) for target in targets), default=0)
        scorer = Scorer(
            lm=lm,
            codec=self._codec,
            path=self._paths.score if self._window is None or longest <= self._window else self._paths.long_score,
            stop_ids=self._stops.ids,
            cost=self._cost,
            budget=partial(usable_bytes, self._device),
            free_cache=self._free_cache,
        )
        return scorer.scores(targets, self._max_rows)

    def close(self) -> None:
        """Free the model's memory; the engine cannot be used afterwards. Closing twice is closing once."""
        if self._lm is not None:
            self._lm = None
            self._free_cache()

    def _loaded(self) -> CausalLM:
        if self._lm is None:
            raise EngineError(f"the engine of {self._info.model!r} is closed: load it again")
        return self._lm

    def _free_cache(self) -> None:
        gc.collect()
        if self._device.type == "cuda":
            import torch

            torch.cuda.empty_cache()


def _new_state(
    lm: CausalLM, path: DecodePath, prompts: Sequence[tuple[int, ...]], order: Sequence[int], rows: int, tokens: int
) -> Decode:
    if path == "slots":
        return SlotDecode(lm, Prefiller(lm, prompts, order), rows, tokens)
    return PlainDecode(lm, prompts) if path == "plain" else CachedDecode(lm, prompts)


def check_params(params: SamplingParams) -> None:
    """Make sure that every setting of the sampling law is within its range.

    Raises:
        UsageError: a setting is outside its range.
    """
    wrong = {
        "temperature": (params.temperature, params.temperature >= 0.0, "0 (greedy) or more"),
        "top_p": (params.top_p, 0.0 < params.top_p <= 1.0, "more than 0 and at most 1"),
        "top_k": (params.top_k, params.top_k >= 0, "0 (off) or more"),
        "min_p": (params.min_p, 0.0 <= params.min_p < 1.0, "0 (off) or more and below 1"),
        "max_new_tokens": (params.max_new_tokens, params.max_new_tokens >= 1, "1 or more"),
    }
    for name, (value, fine, accepted) in wrong.items():
        if not fine:
            raise UsageError(f"{name} must be {accepted}, got {value}")
    if "" in params.stop:
        raise UsageError("a stop text is empty: it would end every draw before its first token; leave it out")
