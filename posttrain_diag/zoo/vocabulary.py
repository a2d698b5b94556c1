"""The zoo's 33 tokens: every character is one token, so a text has exactly one tokenization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from posttrain_diag.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LETTERS = "abcdefghij"
"""The alphabet of the problems."""
COMMANDS = "RPQWSNHTUFGXYZ"
"""First letters of prompts (R..G) and names of strategies in responses (X, Y, Z)."""
MARKS = ":=|[]"
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
PAD_ID, BOS_ID, EOS_ID, UNK_ID = range(4)
TOKENS: tuple[str, ...] = (*SPECIALS, *LETTERS, *COMMANDS, *MARKS)
"""Token text by id, shape (33,)."""
CONTEXT_LENGTH = 64

_ID_OF = {token: i for i, token in enumerate(TOKENS)}


def encode(text: str) -> list[int]:
    """Token ids of a text, one per character.

    Raises:
        UsageError: a character is outside the vocabulary.
    """
    unknown = sorted({c for c in text if c not in _ID_OF})
    if unknown:
        raise UsageError(
            f"zoo models cannot read {text!r}: the characters {unknown} are not in their vocabulary "
            f"({LETTERS}{COMMANDS}{MARKS}); use prompts of builtin:zoo tasks"
        )
    return [_ID_OF[c] for c in text]


def decode(token_ids: Sequence[int]) -> str:
    """Text of token ids, special tokens removed."""
    return "".join(TOKENS[i] for i in token_ids if i >= len(SPECIALS))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The same vocabulary as a Hugging Face tokenizer; adds no special tokens by itself."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(dict(_ID_OF), unk_token=SPECIALS[UNK_ID]))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=SPECIALS[PAD_ID],
        bos_token=SPECIALS[BOS_ID],
        eos_token=SPECIALS[EOS_ID],
        unk_token=SPECIALS[UNK_ID],
        padding_side="left",
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )
