"""Untrusted text made harmless: model names, task ids, completions and errors cannot alter what stands around them."""

from __future__ import annotations

import re

_LAST_WORDS = 0.3
"""Share of a clipped text's length that is kept from its end, where final answers stand."""

# Characters that change how *other* text is displayed, or that have no glyph: C0 and C1 controls, bidi marks,
# embeddings, overrides and isolates, zero-width spaces, line separators, surrogates, tag characters,
# non-characters. ZWJ and ZWNJ stay: emoji and Indic scripts need them.
_HIDDEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)

_PLAIN_MARKS = {"−": "-", "—": "-", "–": "-", "→": "->", "≤": "<=", "…": "..."}
"""Marks that our own numbers and sentences use, and what stands for them where an encoding lacks them."""


def _spell_out(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)  # the Unicode picture of the control, e.g. ␛ for ESC
    if code == 0x7F:
        return "␡"
    return f"⟦U+{code:04X}⟧"


def visible(text: str) -> str:
    """The same text with every hidden character spelled out, so that it cannot alter what stands around it.

    Newlines and tabs stay. The result can always be encoded as UTF-8.
    """
    return _HIDDEN.sub(_spell_out, text.replace("\r\n", "\n"))


def clip(text: str, limit: int) -> str:
    """A text of at most about `limit` characters: its beginning and end, and how many were left out between."""
    if len(text) <= limit:
        return visible(text)
    tail = int(limit * _LAST_WORDS)
    head = limit - tail
    left_out = len(text) - head - tail
    end = text[len(text) - tail :]
    return f"{visible(text[:head])} […{left_out:,} characters left out…] {visible(end)}"


def encodable(text: str, encoding: str) -> str:
    r"""The text in the characters of an encoding: a minus sign becomes a hyphen, what has no stand-in an escape.

    Spelling out here, before a line is measured, keeps its width; a stream that replaced characters would change it.
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for mark, plain in _PLAIN_MARKS.items():
            if not _has(mark, encoding):
                text = text.replace(mark, plain)
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def _has(mark: str, encoding: str) -> bool:
    try:
        mark.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
