from __future__ import annotations

import time
from typing import Any

import pytest

from posttrain_diag.errors import TaskError
from posttrain_diag.tasks import load_tasks
from posttrain_diag.tasks.problems import hub
from posttrain_diag.tasks.problems.named import ALIASES, NAMED, named

datasets: Any = pytest.importorskip("datasets")
GSM = {"question": "2 + 2?", "answer": "2 + 2 = 4\n#### 4"}
CLOSED = "http://127.0.0.1:9"


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", CLOSED)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", CLOSED)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """A hub that answers with one data set; what it was asked for."""
    asked: list[tuple[str, str | None]] = []

    def load_dataset(name: str, config: str | None = None) -> Any:
        asked.append((name, config))
        return datasets.DatasetDict({part: datasets.Dataset.from_list([GSM] * 3) for part in ("train", "test")})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "_answers", lambda: True)
    return asked


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize("source", ["gsm8k", "openai/gsm8k", "openai/gsm8k:main:test"])
def test_without_a_network_one_line_says_so_at_once(source: str, capfd: pytest.CaptureFixture[str]):
    started = time.monotonic()
    with pytest.raises(TaskError) as caught:
        load_tasks(source)
    assert time.monotonic() - started < 10
    assert "openai/gsm8k" in str(caught.value) and "the hub cannot be reached" in str(caught.value)
    assert "--tasks FILE.jsonl" in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert datasets.config.HF_HUB_OFFLINE is False


def test_known_names_stand_for_a_repository_a_config_and_a_split(served: list[tuple[str, str | None]]):
    tasks = load_tasks("GSM8K", limit=2)
    assert served == [("openai/gsm8k", "main")]
    assert [p.answer for p in tasks.problems] == ["4", "4"]
    assert any("openai/gsm8k:main:test" in note for note in tasks.notes)


def test_a_split_and_a_config_can_be_named(served: list[tuple[str, str | None]]):
    load_tasks("a/b:train")
    load_tasks("a/b:c:train")
    assert served == [("a/b", None), ("a/b", "c")]
    with pytest.raises(TaskError, match=r"has the splits train, test: name one, as in a/b:train"):
        load_tasks("a/b:dev")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("Config name is missing.\nPlease pick one among ['x', 'y']"), "name one, as in a/b:CONFIG:SPLIT"),
        (OSError("401 Client Error: gated repo"), "set HF_TOKEN"),
        (OSError("disk full\nmore"), "cannot load the HF data set a/b: disk full"),
    ],
)
def test_what_the_hub_refuses_says_what_to_do(
    error: Exception, says: str, served: list[Any], monkeypatch: pytest.MonkeyPatch
):
    def load_dataset(name: str, config: str | None = None) -> Any:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(TaskError) as caught:
        load_tasks("a/b")
    assert says in str(caught.value)


def test_tasks_that_cannot_be_judged_are_refused_before_they_are_loaded(served: list[Any]):
    with pytest.raises(TaskError, match=r"ifeval: IFEval: its instruction checks .* --verifier path.py:function"):
        load_tasks("ifeval")
    assert served == []


def test_names_near_a_known_one_are_asked_about():
    with pytest.raises(TaskError, match=r"no tasks file 'gsm8' \(did you mean 'gsm8k'\?\)"):
        load_tasks("gsm8")


def test_the_table_of_names_is_sound():
    assert named("MMLU-Pro") is NAMED["mmlu-pro"] and named("nothing") is None
    assert all(ALIASES[name] in NAMED and name not in NAMED for name in ALIASES)
    for name, entry in NAMED.items():
        assert name == name.casefold() and hub.NAME.fullmatch(entry.address), name


def test_a_directory_of_a_data_set(tmp_path: Any):
    datasets.Dataset.from_list([GSM]).save_to_disk(str(tmp_path / "saved"))
    assert load_tasks(str(tmp_path / "saved")).problems[0].answer == "4"
