"""Progress: live on a terminal of any width, plain lines elsewhere, silent on request; classes arrive as they resolve."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from dataclasses import replace
from fcntl import ioctl
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine

from posttrain_diag.analysis import analyze as analyze_module
from posttrain_diag.analysis.allocate import classes_of
from posttrain_diag.autopilot.bill import Metered
from posttrain_diag.cli import progress as module
from posttrain_diag.cli.progress import Meter, PlainProgress, make_progress
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.types import CLASSES, Problem

from .hostile import EVIL, harmless

SHOW = """
import sys, time
from posttrain_diag.cli.progress import make_progress
from posttrain_diag.cli.terminal import say, tolerate_encodings
tolerate_encodings()
with make_progress(quiet=False) as progress:
    progress.phase("sample", sys.argv[1])
    progress.plan(64000, 0, 40)
    progress.advance(1000, 20000)
    progress.resolved({"mastered": 48, "reshaping": 23, "support": 100, "unresolved": 79})
    time.sleep(0.4)
    say("told in between")
    progress.note("loud")
    progress.steps(1, 30, 0)
    progress.steps(11, 30, 5000)
    time.sleep(0.4)
"""


def on_terminal(columns: int, detail: str = "main arm, adaptive", **variables: str) -> str:
    """What a process writes on stderr when that is a terminal of this width."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **variables}
    for name in ("COLUMNS", "NO_COLOR"):
        if name not in variables:
            environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-c", SHOW, detail], stderr=theirs, stdout=subprocess.DEVNULL, env=environment
    )
    os.close(theirs)
    out = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 60)
        try:
            block = os.read(ours, 65536) if ready else b""
        except OSError:  # the other end is closed
            block = b""
        if not block:
            break
        out += block
    os.close(ours)
    assert process.wait(60) == 0, out
    return out.decode("utf-8", "replace")


def frames(shown: str) -> list[str]:
    """The lines that were drawn, without their escape codes."""
    return [
        line for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", shown).replace("\r", "\n").split("\n") if line.strip()
    ]


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_the_live_display_fits_its_terminal(columns: int) -> None:
    shown = on_terminal(columns, "a model with a very long name " * 5)
    lines = frames(shown)
    assert max(len(line) for line in lines) <= columns
    text = "\n".join(lines)
    for said in (
        "sampling",
        "/64,000 rollouts",
        "tokens/s",
        "left",
        "48 mastered",
        "23 reshaping",
        "100 not reached",
        "79 open",
        "11/30 steps",
        "told in between",
    ):
        assert said in re.sub(r"\s+", " ", text), (said, text)
    assert "38;2;0;158;115" in shown or "38;5;" in shown  # a class has its colour


def test_no_color_dumb_terminals_and_ascii_are_respected() -> None:
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]|38;", on_terminal(60, NO_COLOR="1"))
    dumb = on_terminal(60, TERM="dumb")
    assert "\x1b" not in dumb and "sampling: main arm, adaptive" in dumb and "48 mastered" in dumb
    plain = on_terminal(60, "модель", PYTHONIOENCODING="ascii")
    assert max(len(line) for line in frames(plain)) <= 60
    assert "\\u2588" not in plain and "# 48 mastered" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", plain)


def test_hostile_details_do_not_drive_the_terminal() -> None:
    shown = on_terminal(80, EVIL.replace("\x00", "").replace("\ud800", ""))
    assert "\x1b[2J" not in shown and "\x1b]8" not in shown and "\u202e" not in shown


def test_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_EVERY_S", 0.0)
    shown = PlainProgress()
    shown.warn("end the turn")
    assert capsys.readouterr().err == "warning: end the turn\n"
    shown.phase("sample", EVIL)
    shown.plan(100, 20, 8)
    shown.plan(100, 30, 8)
    shown.advance(10, 500)
    shown.resolved({"mastered": 3, "unresolved": 2})
    shown.resolved({"mastered": 3, "unresolved": 2})
    err = capsys.readouterr().err
    harmless(err)
    lines = err.splitlines()
    assert lines[1] == "  at most 100 rollouts, 20 stored already, at most 8 tokens each"
    assert re.fullmatch(r"  40/100 rollouts, [\d.,]+( [kMB])? tokens/s, at most \d+ s left", lines[2])
    assert lines[3:] == ["  classes: # 3 mastered  . 2 open"]


def test_a_note_stays_on_the_terminal_and_drives_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    long = "DECODING IS SLOW: " + " ".join(["why"] * 150)
    Metered(PlainProgress(), None).note(long)
    PlainProgress().note(EVIL)
    err = capsys.readouterr().err
    harmless(err)
    assert err.splitlines()[0] == f"note: {long}"
    assert "note: loud" in "\n".join(frames(on_terminal(60)))


def test_what_the_engine_has_to_tell_is_told_once_it_is_loaded(
    run_analysis: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Heard(Progress):
        def note(self, text: str) -> None:
            told.append(text)

    law, run = {"1": 1.0}, analyze_module.analyze
    engine = FakeEngine(lambda prompt: law)
    engine.info = replace(engine.info, notices=("decoding is slow",))
    monkeypatch.setitem(run_analysis.__globals__, "analyze", lambda config: run(config, Metered(Heard(), None)))
    problems = [Problem(f"p{i}", f"q{i}", None, "1", {"type": "exact"}) for i in range(2)]
    run_analysis(lambda prompt: law, problems, engine=engine, rollouts=8)
    assert told == ["decoding is slow"]


def test_quiet_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with make_progress(quiet=True) as shown:
        shown.phase("load", "x")
        shown.steps(1, 2, 3)
    assert capsys.readouterr() == ("", "")


def test_rates_and_time_left_count_this_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    meter = Meter()
    meter.phase("sample", "")
    meter.plan(1000, 600, 8)
    now[0] += 10
    meter.advance(100, 5000)
    assert meter.rate() == "500 tokens/s, at most 30 s left"
    meter.steps(51, 100, 9000)  # resumed: 50 steps were made by another process
    now[0] += 20
    meter.steps(61, 100, 11000)
    assert meter.rate() == "100 tokens/s, 1 min 18 s left"
    meter.plan(5, 0, 8)
    meter.advance(5, 100)
    assert (meter.done, meter.total, meter.unit) == (61, 100, "steps")  # draws of the watcher do not hide the steps
    meter.steps(1, 30, 0)
    assert (meter.done, meter.made, meter.tokens) == (1, 0, 0)  # another stage


def test_classes_of_a_round() -> None:
    posterior = np.array([[0.96, 0.03, 0.01], [0.0, 1.0, 0.0], [0.0, 0.04, 0.96], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert classes_of(posterior) == {"mastered": 2, "reshaping": 1, "support": 1, "unresolved": 1}


def test_an_analysis_tells_its_classes(run_analysis: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, int]] = []
    warned: list[str] = []

    class Heard(Progress):
        def resolved(self, classes: Any) -> None:
            told.append(dict(classes))

        def warn(self, text: str) -> None:
            warned.append(text)

    run = analyze_module.analyze
    monkeypatch.setitem(run_analysis.__globals__, "analyze", lambda config: run(config, Metered(Heard(), None)))
    problems = [Problem(f"p{i}", f"q{i}", None, "1", {"type": "exact"}) for i in range(12)]
    engine = FakeEngine(lambda prompt: {"1": 1.0} if prompt < "q6" else {"1": 0.3, "2": 0.7})
    engine.info = replace(engine.info, warnings=("end the turn",))
    found = run_analysis(
        lambda _: {},
        problems,
        engine=engine,
        allocation="adaptive",
        rollouts=40,
    )
    assert warned == ["end the turn"]
    assert "end the turn" in found.json["notes"], "the report shows it among its notes"
    assert len(told) > 1 and all(sum(classes.values()) == 12 for classes in told)
    assert told[-1] == found.diagnosis.per_problem["class"].value_counts().to_dict()
    assert set().union(*told) <= {*CLASSES, "unresolved"}
