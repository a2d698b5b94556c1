"""Where a draw ends: eos tokens of the files, the chat template's own turn end, and texts that a person names.

generation_config.json (or config.json), tokenizer ──► eos ids ──┐
chat template, rendered with an assistant turn ──► turn end ─────┴──► Stops ──► + SamplingParams.stop ──► a draw's end
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from posttrain_diag.engines.model.files import ModelFiles, read_json

FEWEST_CHARS = 3
"""Characters of a turn end that is plain text: a shorter one, such as a quotation mark, stands in answers too."""
_TURN = "turnendprobe"
"""What the assistant says in the rendered turn: one word that no template changes."""


@dataclass(frozen=True)
class TurnEnd:
    """What a chat template writes after an assistant's turn."""

    text: str
    token_id: int | None
    """None where it is plain text that the tokenizer cuts into several tokens."""


@dataclass(frozen=True)
class Stops:
    """What ends a draw of a model."""

    ids: tuple[int, ...]
    """Stop tokens; first the one that the model itself ends a response with, which training rows end with too."""
    texts: tuple[str, ...] = ()
    """Texts that end a draw; first the chat template's turn end where it is no token."""
    beyond_eos: TurnEnd | None = None
    """The chat template's turn end where no eos field names it."""
    known: dict[str, int] = field(default_factory=dict[str, int], compare=False, repr=False)
    """Special tokens by their text: they never stand in a decoded text, so a stop text that is one is a stop token."""

    def with_asked(self, asked: Sequence[str]) -> Stops:
        """These and the stop strings of a sampling law."""
        ids = [self.known[text] for text in asked if text in self.known]
        texts = [text for text in asked if text not in self.known]
        return replace(self, ids=tuple(dict.fromkeys((*self.ids, *ids))), texts=(*self.texts, *texts))

    @property
    def undeclared(self) -> tuple[str, ...]:
        """Texts of what ends a draw though no eos field names it."""
        return () if self.beyond_eos is None else (self.beyond_eos.text,)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever uses the model must know and can mend."""
        end = self.beyond_eos
        if end is not None and end.token_id is None:
            return (
                f"the chat template ends a turn with {end.text!r}, which is no token of this tokenizer: draws stop "
                "where that text is written; give it to other programs as a stop string",
            )
        if end is not None:
            return (
                f"the chat template ends a turn with {end.text!r} (token {end.token_id}), which no eos field names "
                "(generation_config.json, config.json, tokenizer): draws stop there all the same; add it to "
                "eos_token_id in generation_config.json, or other programs will draw past it",
            )
        if self.ids:
            return ()
        return (
            "the model has no stop token: neither generation_config.json, config.json, tokenizer nor chat template "
            "names one, so every draw runs to the token cap; set eos_token_id in generation_config.json, or give "
            "--stop TEXT",
        )


def find_stops(files: ModelFiles, tokenizer: Any, n_ids: int, *, chat: bool) -> Stops:
    """The stop set of a model: the eos ids of its files united with the turn end of its chat template.

    Where generation_config.json is absent, config.json's eos_token_id stands in, as in `generate`. Only what the
    files say counts: a configuration class's default would invent a stop token. The turn end counts as a token however
    prompts are rendered, as a text only where the chat template is in use.

    Args:
        files: of the model.
        tokenizer: of the model.
        n_ids: size of its vocabulary; larger ids are left out.
        chat: prompts are rendered by the chat template.
    """
    declared = declared_ids(files, tokenizer, n_ids)
    first = (tokenizer.eos_token_id,) if tokenizer.eos_token_id in declared else declared[:1]
    known, end = special_tokens(tokenizer), turn_end(tokenizer, declared)
    if end is not None and end.token_id is None:
        texts, beyond = ((end.text,), end) if chat else ((), None)
        return Stops(_led(first, declared), texts, beyond, known)
    if end is None or end.token_id is None or end.token_id >= n_ids:
        return Stops(_led(first, declared), known=known)
    first = (end.token_id,) if chat or not first else first
    beyond = None if end.token_id in declared else end
    return Stops(_led(first, (*declared, end.token_id)), beyond_eos=beyond, known=known)


def _led(first: tuple[int, ...], ids: Sequence[int]) -> tuple[int, ...]:
    """The ids once each: the first one, then the others by size."""
    return tuple(dict.fromkeys((*first, *sorted(ids))))


def declared_ids(files: ModelFiles, tokenizer: Any, n_ids: int) -> tuple[int, ...]:
    """The eos ids that the model's files name, in their order, the tokenizer's last; ids the model lacks left out."""
    path = files.root / "generation_config.json"
    declared: Any = read_json(path if path.exists() else files.root / "config.json").get("eos_token_id")
    ids: list[Any] = declared if isinstance(declared, list) else [declared]
    return tuple(dict.fromkeys(i for i in (*ids, tokenizer.eos_token_id) if isinstance(i, int) and 0 <= i < n_ids))


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Texts of the special tokens -> their ids."""
    named = {str(text): int(tokenizer.convert_tokens_to_ids(text)) for text in tokenizer.all_special_tokens}
    return {str(token): i for i, token in _added(tokenizer).items() if token.special} | named


def _added(tokenizer: Any) -> dict[int, Any]:
    """The tokens that were added to a vocabulary, by id; tokenizers of another make have no such list."""
    return getattr(tokenizer, "added_tokens_decoder", {})


def turn_end(tokenizer: Any, declared: Sequence[int] = ()) -> TurnEnd | None:
    """What the chat template writes after an assistant's turn; None without a template, or where it writes nothing.

    Where nothing but white space follows the last turn, the beginning of the next one ends it if an eos field says so
    (GLM-4 ends its turns by writing `<|user|>`).

    Args:
        tokenizer: with or without a chat template.
        declared: eos ids of the model's files.
    """
    if not tokenizer.chat_template:
        return None
    question, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": _TURN}
    tail = _after_turn(tokenizer, [question, answer])
    if tail is None:
        return None
    if tail:
        return _leading(tokenizer, tail)
    following = _leading(tokenizer, _after_turn(tokenizer, [question, answer, {"role": "user", "content": "b"}]) or "")
    return following if following is not None and following.token_id in declared else None


def _after_turn(tokenizer: Any, messages: list[dict[str, str]]) -> str | None:
    """What is rendered after the assistant's words, white space around it removed; None where that cannot be told."""
    from jinja2.exceptions import TemplateError

    parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]
    for turns in (messages, parts):  # some templates take a turn's content in parts only
        try:
            text = str(tokenizer.apply_chat_template(turns, tokenize=False))
        except (TemplateError, ValueError, TypeError, KeyError):
            continue
        _, found, after = text.rpartition(_TURN)
        if found:
            return after.strip()
    return None


def _leading(tokenizer: Any, tail: str) -> TurnEnd | None:
    """The token or the line of text that a tail begins with."""
    tokens = {str(token): i for i, token in _added(tokenizer).items()} | special_tokens(tokenizer)
    tokens = {text: i for text, i in tokens.items() if text.strip()}
    first = max((text for text in tokens if tail.startswith(text)), key=len, default=None)
    if first is not None:
        return TurnEnd(first, tokens[first])
    ends = [at for text in (*tokens, "\n") if (at := tail.find(text)) >= 0]
    words = tail[: min(ends, default=len(tail))].strip()
    return TurnEnd(words, None) if len(words) >= FEWEST_CHARS else None


def cut_at_stop(text: str, stops: Sequence[str]) -> str | None:
    """The text before the first of the stop texts; None where none of them stands in it."""
    places = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(places)] if places else None
