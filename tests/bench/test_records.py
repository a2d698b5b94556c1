"""Records of long benchmarks: none is lost between the machine that made it and the next one."""

from __future__ import annotations

from pathlib import Path

from benchmarks.records import keep, publish, restore


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_another_machine_goes_on_and_loses_nothing(tmp_path: Path) -> None:
    file, first, second = tmp_path / "records.jsonl", tmp_path / "first", tmp_path / "second"
    keep({"reached": 0.5}, first / "grpo-0.json")
    keep({"reached": 0.7}, first / "sft-0.json")
    publish(first, file)

    keep({"reached": 0.9}, second / "sft-0.json")  # made again there: its own is the newer one
    assert restore(file, second) == 1
    assert names(second) == ["grpo-0.json", "sft-0.json"]
    assert (second / "grpo-0.json").read_text() == (first / "grpo-0.json").read_text()
    assert "0.9" in (second / "sft-0.json").read_text()

    (second / "grpo-0.json").unlink()
    publish(second, file)  # of part of the work only
    third = tmp_path / "third"
    assert restore(file, third) == 2
    assert "0.9" in (third / "sft-0.json").read_text()
    assert "0.5" in (third / "grpo-0.json").read_text()


def test_nothing_published_yet(tmp_path: Path) -> None:
    assert restore(tmp_path / "none.jsonl", tmp_path / "work") == 0
