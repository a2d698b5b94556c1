from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks import check_verifier, verifier_sha, verify
from posttrain_diag.tasks.verifiers.spec import TYPES
from tasks.conftest import FIXED, problem

EXACT: dict[str, Any] = {"type": "exact"}
NUMERIC: dict[str, Any] = {"type": "numeric"}
CHOICE: dict[str, Any] = {"type": "choice"}
CONTAINS: dict[str, Any] = {"type": "contains"}
WORDS: dict[str, Any] = {"type": "words"}
YESNO: dict[str, Any] = {"type": "yesno"}
LIST: dict[str, Any] = {"type": "list"}
LAST_FIELD: dict[str, Any] = {"type": "regex", "pattern": r"(?:^|\|)([^|]*)$"}
HASHES: dict[str, Any] = {"type": "regex", "pattern": r"#### (.*)"}
OPTIONS = "Which?\nA) red\nB) blue\nC) green"

# verifier, answer, completion, strict, lenient, extracted
TABLE: list[tuple[dict[str, Any], str, str, int, int, str | None]] = [
    (EXACT, "[abc]", "abc", 0, 1, "abc"),
    (EXACT, "abc", "[abc]", 0, 1, "[abc]"),
    (EXACT, "[abc]", " [abc]\n", 1, 1, "[abc]"),
    (EXACT, "abc", "ABC", 0, 1, "ABC"),
    (EXACT, "abc", "I think abc", 0, 1, "I think abc"),
    (EXACT, "abc", "Let me see.\nThe answer is abc.", 0, 1, "Let me see.\nThe answer is abc."),
    (EXACT, "abc", "the answer is abd or the answer is abc or the answer is abe", 0, 0, None),
    (EXACT, "abc", "", 0, 0, ""),
    (EXACT, "1000", "1,000.0", 0, 1, "1,000.0"),
    ({**EXACT, "compare": "casefold"}, "abc", "ABC", 1, 1, "ABC"),
    ({**EXACT, "compare": "ignorecase"}, "abc", "ABC", 1, 1, "ABC"),
    ({**EXACT, "compare": "numeric"}, "1000", "1,000", 1, 1, "1,000"),
    ({**EXACT, "compare": "literal"}, "[1, 2]", "[1,2]", 1, 1, "[1,2]"),
    ({**EXACT, "strip": False}, "abc", "abc ", 0, 1, "abc "),
    ({**EXACT, "strip": " ."}, "abc", "abc. ", 1, 1, "abc"),
    (LAST_FIELD, "abc", "X|abc", 1, 1, "abc"),
    (LAST_FIELD, "abc", "abc", 1, 1, "abc"),
    (LAST_FIELD, "[abc]", "X|abc", 0, 1, "abc"),
    (LAST_FIELD, "abc", "abc|X", 0, 0, "X"),
    (LAST_FIELD, "abc", "X|abc|", 0, 0, ""),
    ({"type": "regex", "pattern": r"([^|]*)$"}, "abc", "X|abc", 1, 1, "abc"),
    ({"type": "regex", "pattern": r"[0-9]*"}, "12", "is 12 ", 1, 1, "12"),
    ({"type": "regex", "pattern": r"(?=(\d\d))"}, "23", "123", 1, 1, "23"),
    ({"type": "regex", "pattern": r"a(\d)|b(\d)"}, "2", "a1 b2", 1, 1, "2"),
    (HASHES, "5", "#### 4\n#### 5", 1, 1, "5"),
    ({**HASHES, "which": "first"}, "4", "#### 4\n#### 5", 1, 1, "4"),
    ({**HASHES, "which": "first"}, "5", "#### 4\n#### 5", 0, 0, "4"),
    ({**HASHES, "which": "any"}, "4", "#### 4\n#### 5", 1, 1, "4"),
    ({**HASHES, "compare": "numeric"}, "1000", "#### 1,000", 1, 1, "1,000"),
    (HASHES, "5", "The answer is 5.", 0, 1, None),
    (HASHES, "5", "it could be 5 or 6", 0, 0, None),
    (NUMERIC, "18", "9 * 2 = 18", 1, 1, "18"),
    (NUMERIC, "1319", "#### 1,319", 1, 1, "1319"),
    (NUMERIC, "1,319", "1319.00.", 1, 1, "1319"),
    (NUMERIC, "18", "18 then 17", 0, 0, "17"),
    (NUMERIC, "18", "The answer is 18. Check: 9*2.", 1, 1, "18"),
    (NUMERIC, "18", "The answer is 17. Check: 18, 2.", 0, 0, "17"),
    (NUMERIC, "18", "1 2 3 18 4 5", 0, 0, "5"),
    (NUMERIC, "18", "eighteen", 1, 1, "18"),
    (NUMERIC, "0.5", "50%", 1, 1, "50%"),
    (NUMERIC, "0.5", "½", 1, 1, "½"),
    (NUMERIC, "0.5", "0.5%", 0, 0, "0.5%"),
    (NUMERIC, "-3", "16 - 3", 0, 0, "3"),
    ({**NUMERIC, "which": "first"}, "16", "16 - 3", 1, 1, "16"),
    ({**NUMERIC, "which": "any"}, "3", "16 - 3 = 13", 1, 1, "3"),
    (CHOICE, "B", "B", 1, 1, "B"),
    (CHOICE, "(b)", "(B)", 1, 1, "B"),
    (CHOICE, "B", "B) blue", 1, 1, "B"),
    (CHOICE, "B", "**B**.", 1, 1, "B"),
    (CHOICE, "B", "The answer is B because ...", 1, 1, "B"),
    (CHOICE, "B", "I see A. So the answer is (B).", 1, 1, "B"),
    (CHOICE, "B", "b", 1, 1, "B"),
    (CHOICE, "B", "blue", 1, 1, "B"),
    (CHOICE, "A", "A dog", 0, 0, None),
    (CHOICE, "B", "A B C", 0, 0, None),
    (CHOICE, "B", "C", 0, 0, "C"),
    (CHOICE, "B", "red", 0, 0, "A"),
    (CHOICE, "B", "D", 0, 0, None),
    (CONTAINS, "Paris", "It is Paris.", 1, 1, "Paris"),
    (CONTAINS, "Paris", "it is paris", 0, 1, "Paris"),
    (CONTAINS, "Paris", "London", 0, 0, None),
    ({**CONTAINS, "compare": "casefold"}, "Paris", "it is paris", 1, 1, "Paris"),
    (CONTAINS, "Paris", "The capital is not Paris but Lyon.", 0, 0, None),
    (CONTAINS, "Rome", "Romeo lived in Verona", 0, 0, None),
    (CONTAINS, "4", "it is 14", 0, 0, None),
    (CONTAINS, "4", "it is 4.5", 0, 0, None),
    ({**CONTAINS, "compare": "numeric"}, "18", "it is 118", 0, 0, None),
    (WORDS, "Paris", "The capital is Paris.", 1, 1, "Paris"),
    (WORDS, "Paris", "It is Lyon.", 0, 0, "It is Lyon"),
    (YESNO, "yes", "Yes, it is.", 1, 1, "yes"),
    (YESNO, "false", "no", 1, 1, "no"),
    (YESNO, "yes", "I know", 0, 0, None),
    (LIST, "2, 3", "3 and 2", 1, 1, "2, 3"),
    (LIST, "(2, 3)", "(3, 2)", 0, 0, "3, 2"),
]


@pytest.mark.parametrize(("spec", "answer", "completion", "strict", "lenient", "extracted"), TABLE)
def test_readings(spec: dict[str, Any], answer: str, completion: str, strict: int, lenient: int, extracted: str | None):
    judgement = verify(completion, problem(spec, answer, prompt=OPTIONS))
    assert judgement.error is None
    assert (judgement.strict, judgement.lenient) == (bool(strict), bool(lenient))
    if extracted is not None or spec["type"] != "exact":
        assert judgement.extracted == extracted


def test_declared_options():
    spec = {"type": "choice", "options": ["red", "blue"]}
    assert verify("blue", problem(spec, "B")).lenient
    assert verify("B", problem(spec, "blue")).strict
    assert not verify("C", problem(spec, "B")).lenient
    assert verify("blue", problem({"type": "choice", "options": {"a": "red", "b": "blue"}}, "B")).lenient


@pytest.mark.parametrize(
    ("spec", "answer", "says"),
    [
        ({}, "1", ["unknown verifier type None", "exact, regex"]),
        ({"type": "fuzzy"}, "1", ["'fuzzy'", "exact, regex, numeric", "words, yesno"]),
        ({"type": "exact", "patern": "x", "zz": 1}, "1", ["'patern', 'zz'", "compare, strip, which"]),
        ({"type": "exact", "which": "middle"}, "1", ["first, last or any", "'middle'"]),
        ({"type": "exact", "strip": 3}, "1", ["true, false or a string", "3"]),
        ({"type": "exact", "compare": "fuzzy"}, "1", ["exact, casefold, numeric", "'fuzzy'"]),
        ({"type": "regex"}, "1", ["needs 'pattern'", "None", "Example"]),
        ({"type": "regex", "pattern": "("}, "1", ["'('", "not a regular expression"]),
        ({"type": "numeric"}, "many", ["one number", "'many'", "exact"]),
        ({"type": "choice"}, "red", ["names an option", "'red'"]),
        ({"type": "yesno"}, "perhaps", ["yes or no", "'perhaps'", "words"]),
        ({"type": "list"}, "red", ["two items", "'red'", "words"]),
        ({"type": "words", "options": []}, "red", ["'options'", "compare, strip, which"]),
        ({"type": "choice", "options": ["red"]}, "A", ["2 to 26"]),
        ({"type": "exact"}, None, ["no answer", "'p'"]),
        ({"type": "contains"}, "  ", ["no answer"]),
        ({"type": "python"}, None, ["'function'", "'test'"]),
        ({"type": "python", "function": "f.py:f", "test": "x"}, None, ["both"]),
        ({"type": "python", "test": "x", "timeout_s": -1}, None, ["timeout_s", "-1"]),
        ({"type": "python", "test": "x", "entry_point": "a b"}, None, ["function name", "'a b'"]),
        ({"type": "python", "test": 3}, None, ["'test' is a text", "int"]),
    ],
)
def test_unusable_verifiers(spec: dict[str, Any], answer: str | None, says: list[str]):
    with pytest.raises(VerifierError) as caught:
        check_verifier(problem(spec, answer))
    for words in says:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_strict_implies_lenient_for_all_data_types_on_hostile_text():
    texts = ["", "\x00", "\ud800", "\u202eabc\u202c", "abc" * 50_000, "\\boxed{" * 5000, "[" * 5000, "1," * 20_000]
    kinds = ((EXACT, "abc"), (HASHES, "5"), (NUMERIC, "5"), (CHOICE, "B"), (CONTAINS, "abc"), (WORDS, "abc"))
    for spec, answer in (*kinds, (YESNO, "no"), (LIST, "a, b")):
        for text in texts:
            judgement = verify(text, problem(spec, answer))
            assert judgement.lenient or not judgement.strict


@FIXED
@given(st.text(max_size=60), st.text(min_size=1, max_size=10).filter(lambda s: s.strip() != ""))
def test_strict_implies_lenient(completion: str, answer: str):
    for spec in (EXACT, LAST_FIELD, CONTAINS):
        judgement = verify(completion, problem(spec, answer))
        assert judgement.lenient or not judgement.strict
    assert verify(answer, problem(EXACT, answer)).strict


def test_a_pattern_that_backtracks_for_ever_is_an_error_not_a_hang():
    start = time.monotonic()
    judgement = verify("a" * 40 + "b", problem({"type": "regex", "pattern": "(a+)+$"}, "x"))
    assert time.monotonic() - start < 5
    assert judgement.error is not None
    assert "took more than" in judgement.error
    assert not judgement.strict and not judgement.lenient


def test_regex_works_outside_the_main_thread():
    found: list[bool] = []
    worker = threading.Thread(target=lambda: found.append(verify("X|abc", problem(LAST_FIELD, "abc")).strict))
    worker.start()
    worker.join()
    assert found == [True]


def test_sha_depends_on_type_options_and_answer_only():
    base = verifier_sha(problem(EXACT, "1"))
    assert verifier_sha(problem(dict(EXACT), "1", id="other", prompt="?", demos=("1",))) == base
    assert verifier_sha(problem(EXACT, "2")) != base
    assert verifier_sha(problem({**EXACT, "strip": False}, "1")) != base
    assert verifier_sha(problem(NUMERIC, "1")) != base
    regex = {"type": "regex", "pattern": "x"}
    assert verifier_sha(problem(regex, "1")) == verifier_sha(problem(dict(reversed(regex.items())), "1"))


def test_every_type_is_in_the_table():
    assert set(TYPES) == {
        *("exact", "regex", "numeric", "words", "yesno", "choice", "list", "contains", "math", "python", "code"),
        *("literal", "json", "any"),
    }
