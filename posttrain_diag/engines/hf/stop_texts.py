"""Which of the rows in flight have just written a stop text.

A stop text is complete with the token that brings its last letter, so only tokens that hold such a letter are looked
at more closely, and then only as many of the row's last tokens as a stop text can have.
"""

from __future__ import annotations

from collections.abc import Sequence

from posttrain_diag.engines.model.prompts import PromptCodec
from posttrain_diag.engines.model.stops import cut_at_stop

_PARTIAL = "\ufffd"
"""What a piece of a letter is decoded to."""
_TOKENS_PER_LETTER, _MORE_TOKENS = 4, 8
"""A letter may be cut into as many tokens as it has bytes; a few special tokens may stand between."""


class StopTexts:
    """The stop texts of one call of `sample`."""

    def __init__(self, codec: PromptCodec, texts: Sequence[str]) -> None:
        self._codec = codec
        self._texts = tuple(texts)
        self._last_letters = {text[-1] for text in self._texts}
        self._ends_one: dict[int, bool] = {}
        self.window = _TOKENS_PER_LETTER * max(map(len, self._texts), default=0) + _MORE_TOKENS
        """Last tokens of a row that may hold a stop text."""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._texts)

    def may_end_with(self, token_id: int) -> bool:
        """Whether a stop text may be complete with this token."""
        known = self._ends_one.get(token_id)
        if known is None:
            shown = self._codec.token_text(token_id)
            # a token alone may lose the space that it has in a text
            letters = {*shown, " "} | (self._last_letters if _PARTIAL in shown else set())
            known = self._ends_one[token_id] = not self._last_letters.isdisjoint(letters)
        return known

    def stands_in(self, last_ids: Sequence[int]) -> bool:
        """Whether a stop text stands in the last tokens of a row."""
        return cut_at_stop(self._codec.decode(last_ids), self._texts) is not None

    def cut(self, text: str) -> str | None:
        """The text before the first stop text; None where there is none."""
        return cut_at_stop(text, self._texts)
