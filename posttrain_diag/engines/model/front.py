"""A model's front: tokenizer, templates, stop set and identity, without its weights.

Engines whose weights live in another process (vllm, ray, a server) turn prompts into ids and ids into text here, so
that a draw has the same identity and the same text whichever engine made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from posttrain_diag.engines.contract import Capability, EngineInfo, Prompt
from posttrain_diag.engines.hf.load import load_config, load_tokenizer, quiet, require_torch
from posttrain_diag.engines.model.files import (
    ModelFiles,
    find_model,
    find_tokenizer,
    model_sha,
    require_tokenizer,
    weight_files,
)
from posttrain_diag.engines.model.prompts import PromptCodec, context_length
from posttrain_diag.engines.model.stops import Stops, find_stops


@dataclass(frozen=True)
class Front:
    """What a driver needs of a model that others run."""

    files: ModelFiles
    config: Any
    """The transformers (text) config."""
    codec: PromptCodec
    n_ids: int
    """Size of the model's vocabulary as its config states it."""
    context: int | None
    stops: Stops

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a draw, the one that ends a training row first."""
        return self.stops.ids

    def info(
        self, *, engine: str, dtype: str, device: str, lacks: Mapping[Capability, str], notices: tuple[str, ...] = ()
    ) -> EngineInfo:
        """What the run directory records of this model behind that engine."""
        return EngineInfo(
            engine=engine,
            model=self.files.name,
            model_sha=model_sha(self.files),
            architecture=next(iter(getattr(self.config, "architectures", None) or ()), str(self.config.model_type)),
            n_parameters=n_parameters(self.files),
            vocab_size=self.n_ids,
            context_length=self.context,
            dtype=dtype,
            device=device,
            stop_token_ids=self.stop_ids,
            stop_tokens=tuple(self.codec.token_text(i) for i in self.stop_ids),
            stop_texts=self.stops.texts,
            undeclared_stops=self.stops.undeclared,
            chat_template_sha=self.codec.template_sha,
            renderings=self.codec.renderings,
            notices=(*notices, *self.codec.notices),
            warnings=self.stops.warnings,
            lacks=lacks,
        )


def open_front(
    model: str,
    *,
    template: str | None = None,
    use_chat_template: bool | None = None,
    system_prompt: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> Front:
    """Read tokenizer and configuration of a model; the weights are only looked at, not loaded.

    Args:
        model: directory of a Hugging Face model or PEFT adapter, or a hub id.
        template: plain-text template with {prompt}, used instead of any chat template.
        use_chat_template: None = where the tokenizer has one.
        system_prompt: put before prompts that carry none.
        trust_remote_code: run Python code that comes with the model.
        allow_pickle: accept pickled weights where there are no safetensors.

    Raises:
        ModelError: the files do not make a causal language model.
        UsageError: settings that are wrong in themselves.
        MissingExtra: torch or transformers is not installed.
    """
    require_torch()
    with quiet():
        files = find_model(model, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle)
        require_tokenizer(files, trust_remote_code)
        config = load_config(files, trust_remote_code)
        text_config = config.get_text_config()
        codec = PromptCodec(
            load_tokenizer(files, trust_remote_code),
            template=template,
            use_chat_template=use_chat_template,
            system_prompt=system_prompt,
        )
        codec.prompt_ids(Prompt(text="a"))  # shows at once what the tokenizer adds to a prompt
    n_ids = int(text_config.vocab_size)
    stops = find_stops(files, codec.tokenizer, n_ids, chat=codec.chats)
    return Front(files, text_config, codec, n_ids, context_length(text_config), stops)


def open_tokenizer(
    name: str,
    *,
    template: str | None = None,
    use_chat_template: bool | None = None,
    system_prompt: str | None = None,
    trust_remote_code: bool = False,
) -> Front:
    """The front of a model that a server holds: only its tokenizer, and its config.json where there is one.

    Args:
        name: directory or hub id.
        template: plain-text template with {prompt}, used instead of any chat template.
        use_chat_template: None = where the tokenizer has one.
        system_prompt: put before prompts that carry none.
        trust_remote_code: run Python code that comes with the tokenizer.

    Raises:
        ModelError: no tokenizer there.
        UsageError: settings that are wrong in themselves.
        MissingExtra: torch or transformers is not installed.
    """
    require_torch()
    with quiet():
        files = find_tokenizer(name, trust_remote_code=trust_remote_code)
        require_tokenizer(files, trust_remote_code)
        known = (files.root / "config.json").exists()
        config = load_config(files, trust_remote_code).get_text_config() if known else None
        codec = PromptCodec(
            load_tokenizer(files, trust_remote_code),
            template=template,
            use_chat_template=use_chat_template,
            system_prompt=system_prompt,
        )
        codec.prompt_ids(Prompt(text="a"))
    n_ids = max(len(codec.tokenizer), int(getattr(config, "vocab_size", 0) or 0))
    stops = find_stops(files, codec.tokenizer, n_ids, chat=codec.chats)
    return Front(files, config, codec, n_ids, context_length(config), stops)


def n_parameters(files: ModelFiles) -> int:
    """Parameters of the base model as its safetensors headers list them; 0 for pickled weights."""
    from math import prod

    from safetensors import safe_open

    total = 0
    for path in weight_files(files):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as weights:
                total += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total
