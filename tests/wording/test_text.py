"""Untrusted text made harmless, and the marks of our own that an encoding may lack."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.wording.text import clip, encodable, visible

BIDI = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


@given(st.text(alphabet=st.characters(), max_size=60))
def test_visible_text_is_encodable_and_hides_nothing(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert visible(shown) == shown
    for character in shown:
        assert unicodedata.category(character) not in ("Cc", "Cs") or character in "\n\t"
        assert unicodedata.bidirectional(character) not in BIDI


def test_clip_keeps_both_ends_and_counts_the_rest() -> None:
    text = "a" * 500 + "b" * 500 + "END"
    shown = clip(text, 100)
    assert shown.startswith("aaa")
    assert shown.endswith("END")
    assert "903 characters left out" in shown
    assert clip("short", 100) == "short"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "−5.0 points → ≤2.3% … — модель"),
        ("ascii", r"-5.0 points -> <=2.3% ... - \u043c\u043e\u0434\u0435\u043b\u044c"),
        ("cp1252", r"-5.0 points -> <=2.3% … — \u043c\u043e\u0434\u0435\u043b\u044c"),
    ],
)
def test_our_marks_have_stand_ins_where_an_encoding_lacks_them(encoding: str, shown: str) -> None:
    assert encodable("−5.0 points → ≤2.3% … — модель", encoding) == shown
