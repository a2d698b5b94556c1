"""The tokens of a world: one token per character, or byte-pair encoding.

Ids 0..3 are the special tokens in every world. Texts of the zoo are ASCII, so a token always adds the same text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain_diag.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
PAD_ID, BOS_ID, EOS_ID, UNK_ID = range(4)
USER, ASSISTANT = "<|user|>", "<|assistant|>"
"""Special tokens of a chat: one begins the user's turn, one the assistant's, which ends with the stop token."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


class Vocabulary(ABC):
    """The tokens of one world, and their Hugging Face tokenizer."""

    context_length: int

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Text that each token adds to a decoded response, by id, shape (V,); empty for special tokens."""
        return self._pieces()

    @abstractmethod
    def _pieces(self) -> tuple[str, ...]: ...

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of a text.

        Raises:
            UsageError: the text cannot be written in these tokens.
        """

    @abstractmethod
    def core(self) -> Any:
        """The `tokenizers.Tokenizer` behind the Hugging Face one."""

    def __len__(self) -> int:
        return len(self.pieces)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of token ids, special tokens removed."""
        pieces = self.pieces
        return "".join(pieces[i] for i in token_ids)

    def prompt_ids(self, prompt: str, *, chat: bool) -> list[int]:
        """Token ids of a prompt; inside the chat template's user turn where `chat`."""
        return self.encode(f"{USER}{prompt}{ASSISTANT}" if chat else prompt)

    def tokenizer(self, *, chat: bool = False) -> PreTrainedTokenizerFast:
        """The same vocabulary as a Hugging Face tokenizer; adds no special tokens by itself."""
        from transformers import PreTrainedTokenizerFast

        made = PreTrainedTokenizerFast(
            tokenizer_object=self.core(),
            pad_token=SPECIALS[PAD_ID],
            bos_token=SPECIALS[BOS_ID],
            eos_token=SPECIALS[EOS_ID],
            unk_token=SPECIALS[UNK_ID],
            padding_side="left",
            model_max_length=self.context_length,
            clean_up_tokenization_spaces=False,
        )
        if chat:
            made.chat_template = CHAT_TEMPLATE
        return made


class CharVocabulary(Vocabulary):
    """One token per character, so a text has exactly one tokenization."""

    def __init__(self, characters: str, context_length: int) -> None:
        self.characters = characters
        self.context_length = context_length
        self.tokens: tuple[str, ...] = (*SPECIALS, *characters)
        """Token text by id, shape (V,)."""
        self._id_of = {token: i for i, token in enumerate(self.tokens)}

    def _pieces(self) -> tuple[str, ...]:
        return ("",) * len(SPECIALS) + tuple(self.characters)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, one per character.

        Raises:
            UsageError: the text has a character that is not among the tokens.
        """
        unknown = sorted({c for c in text if c not in self._id_of})
        if unknown:
            raise UsageError(
                f"zoo models cannot read {text!r}: the characters {unknown} are not in their vocabulary "
                f"({self.characters}); use prompts of builtin:zoo tasks"
            )
        return [self._id_of[c] for c in text]

    def core(self) -> Any:
        """The `tokenizers.Tokenizer` behind the Hugging Face one."""
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

        core = Tokenizer(models.WordLevel(dict(self._id_of), unk_token=SPECIALS[UNK_ID]))
        core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        core.decoder = decoders.Fuse()
        return core


class BpeVocabulary(Vocabulary):
    """Byte-pair encoding as a file defines it; the file is made by `train_bpe` and shipped.

    Training it again may give other ids.
    """

    def __init__(self, path: Path, context_length: int) -> None:
        self.path = path
        self.context_length = context_length

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.path))

    def core(self) -> Any:
        """The `tokenizers.Tokenizer` behind the Hugging Face one, read from its file."""
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.path))  # one of its own: a Hugging Face tokenizer changes it

    def _pieces(self) -> tuple[str, ...]:
        specials = {*SPECIALS, USER, ASSISTANT}
        names = [self._tokenizer.id_to_token(i) for i in range(self._tokenizer.get_vocab_size())]
        return tuple("" if name in specials else self._tokenizer.decode([i]) for i, name in enumerate(names))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, by byte-pair encoding.

        Raises:
            UsageError: the text cannot be written in these tokens.
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if UNK_ID in ids:
            raise UsageError(f"zoo models cannot read {text!r}: use prompts of builtin:zoo tasks")
        return ids


def train_bpe(texts: Sequence[str], size: int, path: Path) -> None:
    """Make the tokenizer file of a `BpeVocabulary` from a world's texts.

    Args:
        texts: examples of the world's prompts and responses.
        size: number of tokens, special ones included.
        path: file to write.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE(unk_token=SPECIALS[UNK_ID]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*SPECIALS, USER, ASSISTANT],
        initial_alphabet=[],
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    path.parent.mkdir(parents=True, exist_ok=True)
    core.save(str(path))
