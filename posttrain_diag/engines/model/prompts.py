"""Text and messages -> token ids, and back: templates, one BOS, no trailing EOS."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from posttrain_diag.engines.contract import Prompt, Rendering
from posttrain_diag.engines.model.files import first_line
from posttrain_diag.errors import EngineError, UsageError
from posttrain_diag.types import turn_text

PLAIN_TEMPLATE = "{prompt}"
_INNER_BOS = "the text of a prompt holds a BOS token that does not begin the prompt: take it out of the tasks"


def context_length(config: Any) -> int | None:
    """Longest sequence a (text) config allows, prompt and response together; None where it names none."""
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def plain_text(prompt: Prompt, template: str | None, system: str | None) -> str:
    """A prompt where no chat template is in use: the template filled in, messages as 'User: ...' lines."""
    if prompt.messages is None:
        text = (template or PLAIN_TEMPLATE).replace("{prompt}", prompt.text or "")
        return text if system is None else f"{system}\n\n{text}"
    messages = list(prompt.messages)
    if system is not None and (not messages or messages[0].get("role") != "system"):
        messages.insert(0, {"role": "system", "content": system})
    lines = [f"{message['role'].capitalize()}: {turn_text(message)}" for message in messages]
    if not messages or messages[-1]["role"] != "assistant":
        lines.append("Assistant:")
    return "\n".join(lines)


class PromptCodec:
    """How this model is addressed: its chat template, or a plain template for a base model."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        template: str | None,
        use_chat_template: bool | None,
        system_prompt: str | None,
    ) -> None:
        if template is not None and "{prompt}" not in template:
            raise UsageError(f"the prompt template {template!r} has no {{prompt}}: write it where the prompt goes")
        has_chat = bool(tokenizer.chat_template)
        if use_chat_template and not has_chat:
            raise UsageError("the tokenizer has no chat template: leave use_chat_template out, or give a template")
        if use_chat_template and template is not None:
            raise UsageError("a plain template and use_chat_template=True exclude each other: give one")
        self.tokenizer = tokenizer
        self._has_chat = has_chat
        self._chat = has_chat and use_chat_template is not False and template is None
        self._template = template or PLAIN_TEMPLATE
        self._system = system_prompt
        self._texts: dict[int, str] = {}
        self.notices: list[str] = []
        """Grows when a prompt shows something that a reader must know."""
        if not self._chat and system_prompt is not None:
            self._note("the system prompt is put before each prompt as plain text: no chat template is in use")

    @property
    def chats(self) -> bool:
        """Whether prompts go through the chat template where they do not say otherwise."""
        return self._chat

    @property
    def renderings(self) -> tuple[Rendering, ...]:
        """How prompts can be rendered, the way in use first."""
        if not self._has_chat:
            return ("plain",)
        return ("chat", "plain") if self._chat else ("plain", "chat")

    @property
    def template_sha(self) -> str | None:
        """Hash of chat template (or plain template) and system prompt; None for prompts used as they are."""
        if not self._chat and self._template == PLAIN_TEMPLATE and self._system is None:
            return None
        template = str(self.tokenizer.get_chat_template()) if self._chat else self._template
        return hashlib.sha256(f"{template}\0{self._system or ''}".encode()).hexdigest()

    def prompt_ids(self, prompt: Prompt, key: str = "") -> tuple[int, ...]:
        """Token ids the model is conditioned on, response prefix included.

        Raises:
            EngineError: the prompt is empty and there is no BOS, the chat template refuses the messages, or the
                prompt wants a chat template and there is none.
        """
        named = f"request {key!r}: " if key else ""
        if (prompt.text is None) == (prompt.messages is None):
            raise EngineError(f"{named}a prompt needs exactly one of text and messages")
        chat = self._chat if prompt.rendering is None else prompt.rendering == "chat"
        if chat and not self._has_chat:
            raise EngineError(f"{named}the prompt wants a chat template and the tokenizer has none: use rendering=None")
        ids = self._chat_ids(prompt, named) if chat else self._plain_ids(prompt)
        if not ids and self.tokenizer.bos_token_id is not None:
            ids = [self.tokenizer.bos_token_id]
        ids.extend(prompt.response_prefix_ids)
        if not ids:
            raise EngineError(
                f"{named}the prompt is empty and the tokenizer has no BOS token to begin with: write a prompt, or give "
                "a template with some text"
            )
        return tuple(ids)

    def response_ids(self, completion: str) -> tuple[int, ...]:
        """Token ids of a completion on its own, no special tokens added."""
        return tuple(self._encode(completion, special=False))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of response tokens, special tokens removed."""
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def continuation(self, prefix_ids: Sequence[int], token_ids: Sequence[int]) -> str:
        """Text that `token_ids` add after the response prefix (a leading space survives)."""
        if prefix_ids:
            before, whole = self.decode(prefix_ids), self.decode((*prefix_ids, *token_ids))
            if whole.startswith(before):
                return whole[len(before) :]
        return self.decode(token_ids)

    def token_text(self, token_id: int) -> str:
        """One token as text, special tokens shown."""
        if token_id not in self._texts:
            self._texts[token_id] = self.tokenizer.decode(
                [token_id], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        return self._texts[token_id]

    def _encode(self, text: str, *, special: bool) -> list[int]:
        return list(
            self.tokenizer(text, add_special_tokens=special, truncation=False, padding=False, verbose=False).input_ids
        )

    def _note(self, notice: str) -> None:
        if notice not in self.notices:
            self.notices.append(notice)

    def _chat_ids(self, prompt: Prompt, named: str) -> list[int]:
        from jinja2.exceptions import TemplateError

        messages = [dict(m) for m in prompt.messages or ({"role": "user", "content": prompt.text or ""},)]
        if self._system is not None and messages[0].get("role") != "system":
            messages.insert(0, {"role": "system", "content": self._system})
        continued = messages[-1].get("role") == "assistant"
        try:
            text = self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=not continued,
                continue_final_message=continued,
            )
        except (TemplateError, ValueError) as error:
            raise EngineError(
                f"{named}the chat template refuses the messages ({first_line(error)}): change the roles or the system "
                "prompt, or use use_chat_template=False"
            ) from error
        bos = self.tokenizer.bos_token  # a template may write one before every turn; the messages may not
        if bos and any(bos in str(message.get("content")) for message in messages):
            self._note(_INNER_BOS)
        return self._single_bos(self._encode(text, special=False))

    def _plain_ids(self, prompt: Prompt) -> list[int]:
        if prompt.messages is not None and prompt.rendering is None:
            self._note("messages are written as 'User: ...' / 'Assistant:' lines: no chat template is in use")
        text = plain_text(prompt, self._template, self._system)
        ids = self._without_eos(self._single_bos(self._encode(text, special=True)), text)
        bos = self.tokenizer.bos_token_id
        if bos is not None and bos in ids[1:]:
            self._note(_INNER_BOS)
        return ids

    def _single_bos(self, ids: list[int]) -> list[int]:
        bos = self.tokenizer.bos_token_id
        while bos is not None and ids[:2] == [bos, bos]:
            self._note("a doubled BOS token was removed from the beginning of prompts")
            ids = ids[1:]
        return ids

    def _without_eos(self, ids: list[int], text: str) -> list[int]:
        eos = self.tokenizer.eos_token_id
        if eos is None or not ids or ids[-1] != eos:
            return ids
        bare = self._encode(text, special=False)
        if bare[-1:] == [eos] or (not bare and eos == self.tokenizer.bos_token_id):
            return ids  # the prompt itself ends so
        self._note("the EOS token that the tokenizer appends to every text was removed from prompts")
        return ids[:-1]
