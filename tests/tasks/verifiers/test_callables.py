from __future__ import annotations

from pathlib import Path

import pytest

from posttrain_diag.errors import VerifierError
from posttrain_diag.tasks import check_verifier, verifier_sha, verify
from posttrain_diag.tasks.verifiers.callables import to_judgement
from posttrain_diag.types import Judgement
from tasks.conftest import problem

SOURCE = '''
from posttrain_diag.types import Judgement

def native(completion, problem):
    return completion == problem.answer

def judged(completion, problem):
    return Judgement(False, True, "seen")

def trl(prompts, completions, answer, level, **kwargs):
    text = completions[0] if isinstance(completions[0], str) else completions[0][0]["content"]
    assert isinstance(prompts, list) and level == [3]
    return [float(text == answer[0])]

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    assert data_source == "gsm8k" and extra_info == {"index": 7}
    return {"score": 1.0 if solution_str == ground_truth else 0.25, "pred": solution_str}

def reward_func(queries, prompts, labels):
    assert queries[0].startswith(prompts[0])
    return {"rewards": [float(queries[0].endswith(labels[0]))]}

def env_reward(prompt, completion, answer, state):
    return 1.0 if completion == answer and state["answer"] == answer else 0.0

async def slow(completion, answer):
    return 1.0 if completion == answer else 0.5

def raises(completion, problem):
    raise KeyError("gone")

def none(completion, problem):
    return None

def nan(prompts, completions, **kwargs):
    return [float("nan")]

def two(prompts, completions, **kwargs):
    return [1.0, 1.0]

def strange(a, b, c, d):
    return 1

value = 3
'''  # fmt: skip


@pytest.fixture
def rewards(tmp_path: Path) -> Path:
    path = tmp_path / "rewards.py"
    path.write_text(SOURCE)
    return path


COLUMNS = {"level": 3, "data_source": "gsm8k", "extra_info": {"index": 7}}


@pytest.mark.parametrize("name", ["native", "trl", "compute_score", "reward_func", "env_reward", "slow"])
def test_every_signature_is_adapted(rewards: Path, name: str):
    spec = {"type": "python", "function": f"{rewards}:{name}", "columns": COLUMNS}
    good, bad = (verify(text, problem(spec, "18")) for text in ("18", "17"))
    assert good.error is None and good.strict and good.lenient
    assert bad.error is None and not bad.strict and not bad.lenient


def test_chat_completions_reach_trl_as_turns(rewards: Path):
    spec = {"type": "python", "function": f"{rewards}:trl", "columns": COLUMNS}
    chat = problem(spec, "18", prompt=None, messages=({"role": "user", "content": "?"},))
    assert verify("18", chat).strict


def test_what_a_callable_says_is_kept(rewards: Path):
    judged = verify("x", problem({"type": "python", "function": f"{rewards}:judged"}, "18"))
    assert judged == Judgement(False, True, "seen")
    scored = verify("17", problem({"type": "python", "function": f"{rewards}:compute_score", "columns": COLUMNS}, "18"))
    assert scored == Judgement(False, False, "17", score=0.25)


@pytest.mark.parametrize(
    ("name", "says"),
    [("raises", "KeyError: 'gone'"), ("none", "returned None"), ("nan", "returned NaN"), ("two", "2 values")],
)
def test_a_callable_that_fails_is_an_error_never_a_fail(rewards: Path, name: str, says: str):
    judgement = verify("18", problem({"type": "python", "function": f"{rewards}:{name}"}, "18"))
    assert judgement.error is not None
    assert says in judgement.error
    assert not judgement.strict and not judgement.lenient


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("no_such.py:f", ["no_such.py", "path.py:function"]),
        ("no_such_module_x:f", ["no_such_module_x"]),
        ("{}:absent", ["no callable 'absent'", "native"]),
        ("{}:value", ["no callable 'value'"]),
        ("{}:strange", ["(a, b, c, d)", "TRL", "verl"]),
        ("nocolon", ["path.py:name", "'nocolon'"]),
    ],
)
def test_callables_that_cannot_be_used(rewards: Path, function: str, says: list[str]):
    with pytest.raises(VerifierError) as caught:
        verify("18", problem({"type": "python", "function": function.format(rewards)}, "18"))
    for words in says:
        assert words in str(caught.value)


def test_module_function():
    assert (
        verify(
            "ab", problem({"type": "python", "function": "posttrain_diag.tasks.verifiers.compare:exact"}, "x")
        ).strict
        is False
    )


@pytest.mark.parametrize(
    ("value", "strict", "score"),
    [
        (True, True, 1.0),
        (False, False, 0.0),
        (1, True, 1.0),
        (0.99, False, 0.99),
        (-1.0, False, None),
        (2.0, True, None),
        ({"score": 0.5, "acc": True}, True, 0.5),
        ({"strict": False, "lenient": True}, False, 0.0),
    ],
)
def test_return_values(value: object, strict: bool, score: float | None):
    judgement = to_judgement(value, "f")
    assert judgement.error is None
    assert (judgement.strict, judgement.score) == (strict, score)
    assert judgement.lenient or not judgement.strict


@pytest.mark.parametrize("value", [None, "1", [1.0], {}, {"reward": 1}, float("nan"), {"error": "boom"}])
def test_return_values_that_say_nothing(value: object):
    assert to_judgement(value, "f").error is not None


def test_numpy_scalars():
    import numpy as np

    assert to_judgement(np.float32(1.0), "f").strict
    assert to_judgement(np.array([0.5]), "f").score == 0.5
    assert to_judgement(np.bool_(True), "f").strict


def test_sha_follows_the_content_of_the_file_not_its_folder(tmp_path: Path):
    shas = []
    for folder, body in (("a", "def f(completion, problem): return 1\n"),) * 1 + (
        ("b", "def f(completion, problem): return 1\n"),
        ("c", "def f(completion, problem): return 0\n"),
    ):
        path = tmp_path / folder / "v.py"
        path.parent.mkdir()
        path.write_text(body)
        shas.append(verifier_sha(problem({"type": "python", "function": f"{path}:f"}, "1")))
    assert shas[0] == shas[1] != shas[2]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ("prompts, completions, completion_ids", "completion_ids, which exist only while TRL trains"),
        ("prompts, completions, trainer_state, **kwargs", "trainer_state, which exist only"),
        ("prompts, completions, level, tier", "asks for the columns level, tier: this row has depth"),
        ("prompts, completions, completion_ids=None, level=1, **kwargs", ""),
        ("prompts, completions, answer, log_extra, log_metric, depth", ""),
    ],
)
def test_rewards_that_ask_for_what_no_row_has_are_refused_before_anything_is_drawn(
    parameters: str, says: str, tmp_path: Path
):
    (tmp_path / "v.py").write_text(f"def f({parameters}):\n    return [1.0]\n")
    asked = problem({"type": "python", "function": f"{tmp_path}/v.py:f", "columns": {"depth": 2}}, "x")
    if says:
        with pytest.raises(VerifierError, match=says):
            check_verifier(asked)
    else:
        check_verifier(asked)
        assert verify("x", asked).strict


def test_what_a_reward_logs_is_dropped(tmp_path: Path):
    (tmp_path / "v.py").write_text(
        "def f(prompts, completions, log_metric, log_extra):\n"
        "    log_metric('a', 1.0)\n    log_extra('b', ['x'])\n    return [1.0]\n"
    )
    assert verify("x", problem({"type": "python", "function": f"{tmp_path}/v.py:f"}, "x")).strict
