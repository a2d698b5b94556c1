import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.errors import UsageError
from posttrain_diag.zoo.vocabulary import EOS_ID, SPECIALS
from posttrain_diag.zoo.worlds.strings import COMMANDS, LETTERS, MARKS, VOCABULARY

texts = st.text(alphabet=LETTERS + COMMANDS + MARKS, max_size=30)


@pytest.fixture(scope="module")
def tokenizer():
    return VOCABULARY.tokenizer()


def test_33_tokens_all_different():
    assert len(VOCABULARY.tokens) == 33 == len(set(VOCABULARY.tokens))
    assert VOCABULARY.tokens[EOS_ID] == "</s>"


@given(texts)
def test_decode_undoes_encode_and_drops_specials(text):
    ids = VOCABULARY.encode(text)
    assert len(ids) == len(text)
    assert VOCABULARY.decode(ids) == text
    assert VOCABULARY.decode([0, *ids, 3, 1, EOS_ID]) == text


def test_tokenizer_gives_the_same_ids_and_text(tokenizer):
    text = "".join(VOCABULARY.tokens[len(SPECIALS) :])
    assert tokenizer(text)["input_ids"] == VOCABULARY.encode(text)
    assert tokenizer.decode([*VOCABULARY.encode(text), EOS_ID], skip_special_tokens=True) == text
    assert tokenizer.eos_token_id == EOS_ID
    assert tokenizer.pad_token_id == 0
    assert len(tokenizer) == 33


def test_a_character_outside_the_vocabulary_is_named():
    with pytest.raises(UsageError, match=r"\['!', 'z'\]"):
        VOCABULARY.encode("S:abz!=")
