"""`diag view`: an index of runs of every kind and state, and a server that gives away nothing else."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from posttrain_reports.index import render_index

from posttrain_diag.cli.serve import FILES, RunServer, kind_of
from posttrain_diag.errors import UsageError
from posttrain_diag.store.run_index import RunIndex

from .hostile import EVIL, comparison, diagnosis, estimate, harmless

NAMED = {"schema": 1, "model": "zoo:base", "tasks": "builtin:zoo/S"}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    write(root / "done/run.json", NAMED)
    write(root / "done/diagnosis.json", diagnosis("m"))
    write(root / "done/report.html", "<p>report</p>")
    write(root / "done/rollouts.sqlite", "secret")
    write(root / "done/figures/pass_at_k.svg", "<svg/>")
    write(root / "done/figures/notes.txt", "secret")
    write(root / "done/comparison-x/comparison.json", comparison("m"))
    write(root / "cut/run.json", NAMED)
    write(root / "cut/rollouts.sqlite", "x")
    write(root / "bad/run.json", NAMED)
    write(root / "bad/diagnosis.json", '{"bottleneck":')
    write(root / "list/run.json", NAMED)
    write(root / "list/diagnosis.json", "[]")
    write(root / "odd/run.json", NAMED)
    write(root / "odd/diagnosis.json", {**diagnosis(), "bottleneck": ["reshaping"]})
    result = {"model": "zoo:base", "tasks": {"source": "t"}, "end": "target", "reason": "reached", "kept": ["sft"],
              "before": {"pass@1": estimate(0.1)}, "after": {"pass@1": estimate(0.97)}}  # fmt: skip
    write(root / "auto/state.json", {"phase": "done", "rounds": []})
    write(root / "auto/result.json", result)
    write(root / "auto/comparison.json", comparison())
    write(root / "auto2/state.json", {"phase": "train", "rounds": [{"stage": "grpo"}]})
    write(root / "auto2/rounds/00-start/run.json", NAMED)
    write(root / "auto2/rounds/01-grpo/stage/checkpoint/run.json", NAMED)  # a checkpoint is no run
    write(root / ".hidden/run.json", NAMED)
    (tmp_path / "outside").mkdir()
    write(tmp_path / "outside/run.json", NAMED)
    write(tmp_path / "outside/report.html", "outside")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "done/report.md").symlink_to(tmp_path / "outside/report.html")
    os.mkfifo(root / "done/plan.yaml")
    return root


@pytest.fixture
def server(runs: Path) -> Generator[RunServer]:
    with RunServer(RunIndex(runs), 0) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: RunServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """The answer to a path that is sent as it is."""
    link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    link.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        link.putheader(name, value)
    link.endheaders()
    got = link.getresponse()
    body = got.read()
    link.close()
    return got.status, {name.lower(): value for name, value in got.getheaders()}, body


def test_every_run_is_found_with_its_state(runs: Path) -> None:
    found = {str(entry.path): entry for entry in RunIndex(runs).entries()}
    states = {path: (entry.kind, entry.state) for path, entry in found.items()}
    assert states == {
        "done": ("analysis", "finished"), "done/comparison-x": ("comparison", "finished"), "cut": ("analysis", "unfinished"),
        "bad": ("analysis", "damaged"), "list": ("analysis", "damaged"), "odd": ("analysis", "damaged"),
        "auto": ("autopilot", "finished"), "auto2": ("autopilot", "unfinished"), "auto2/rounds/00-start": ("analysis", "unfinished"),
    }  # fmt: skip
    done = found["done"]
    assert (done.verdict, done.confidence, done.page, done.instrument) == ("reshaping", 0.93, "report.html", "suspect")
    assert found["done/comparison-x"].verdict == "reshaping" and found["done/comparison-x"].pass_1 == estimate(0.87)
    assert found["auto"].verdict == "target" and found["auto"].pass_1 == estimate(0.97)
    assert (
        "rollouts.sqlite" in found["cut"].note
        and "grpo" in found["auto2"].note
        and "diagnosis.json" in found["bad"].note
    )


def test_only_what_changed_is_read_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from posttrain_diag.store import run_index

    read: list[str] = []
    real = run_index.read_entry
    monkeypatch.setattr(
        run_index, "read_entry", lambda folder, path, files: read.append(str(path)) or real(folder, path, files)
    )
    index = RunIndex(runs)
    first = index.entries()
    assert len(read) == len(first)
    read.clear()
    write(runs / "bad/diagnosis.json", diagnosis())
    later = {str(entry.path): entry.state for entry in index.entries()}
    assert read == ["bad"] and later["bad"] == "finished"


def test_the_index_shows_and_links_every_run(server: RunServer) -> None:
    status, headers, body = ask(server, "/")
    page = body.decode()
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    assert page.count("<tr data-kind") == 9
    assert 'href="/runs/done/report.html"' in page
    for said in ("Reshaping", "93.0%", "[40.0, 60.0]", "suspect", "+87.0 points", "not finished", "damaged", "Target"):
        assert said in page, said
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert ask(server, "/", "HEAD")[2] == b""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/runs/done/report.html", "text/html; charset=utf-8"),
        ("/runs/done/diagnosis.json", "application/json; charset=utf-8"),
        ("/runs/done/figures/pass_at_k.svg", "image/svg+xml"),
        ("/runs/done/comparison-x/comparison.json?x=1", "application/json; charset=utf-8"),
    ],
)
def test_files_of_runs(server: RunServer, path: str, kind: str) -> None:
    status, headers, body = ask(server, path)
    assert (status, headers["content-type"]) == (200, kind) and body
    assert headers["x-content-type-options"] == "nosniff" and "sandbox" in headers["content-security-policy"]
    status, headers, body = ask(server, path, "HEAD")
    assert status == 200 and body == b"" and int(headers["content-length"]) > 0


@pytest.mark.parametrize(
    "path",
    [
        "/runs/done/rollouts.sqlite",
        "/runs/done/figures/notes.txt",
        "/runs/done/../../outside/report.html",
        "/runs/%2e%2e/outside/report.html",
        "/runs/done/..%2f..%2foutside/report.html",
        "/runs/done%2freport.html",
        "/runs//done/report.html",
        "/runs//etc/passwd",
        "/runs/link/report.html",
        "/runs/done/report.md",
        "/runs/done/plan.yaml",
        "/runs/done/report.html%00.json",
        "/runs/figures/pass_at_k.svg",
        "/runs/nowhere/report.html",
        "/report.html",
        "/runs",
    ],
)
def test_nothing_else_is_served(server: RunServer, path: str) -> None:
    status, _, body = ask(server, path)
    assert status == 404 and b"secret" not in body and b"outside" not in body


def test_requests_from_elsewhere_and_writes_are_refused(server: RunServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost@evil", ""):
        assert ask(server, "/", Host=host)[0] == 403, host
    for host in ("localhost:9999", "127.0.0.1", "LOCALHOST"):
        assert ask(server, "/", Host=host)[0] == 200, host
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        status, headers, _ = ask(server, "/runs/done/report.html", method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_the_list_of_files_names_no_store() -> None:
    assert not any("sqlite" in name or "rollouts" in name for name in FILES)
    assert kind_of(["a", "..", "report.html"]) is None and kind_of(["a", "report.html"]) == "text/html; charset=utf-8"


def test_a_port_in_use_is_an_error_that_names_it(runs: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"--port {port} is in use.*--port 0"):
            RunServer(RunIndex(runs), port)
    with pytest.raises(UsageError, match="no such folder"):
        RunIndex(runs / "nowhere")


def test_hostile_runs_are_shown_harmless(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>\x1b[2J\u202e" + os.fsdecode(b"\xff")
    write(tmp_path / name / "run.json", NAMED)
    write(tmp_path / name / "diagnosis.json", diagnosis(EVIL))
    write(tmp_path / name / "report.html", "x")
    write(tmp_path / "damaged\x07" / "run.json", EVIL.replace("\ud800", ""))
    write(tmp_path / "big" / "run.json", NAMED)
    write(tmp_path / "big" / "diagnosis.json", diagnosis("A" * 10_000_000))
    page = render_index(RunIndex(tmp_path).entries(), EVIL)
    harmless(page)
    assert "<img" not in page and "<script>alert" not in page and len(page) < 200_000
    assert page.count("<script") == 2
    with RunServer(RunIndex(tmp_path), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        (link,) = re.findall(r'href="(/runs/[^"]+)"', page)
        answer = ask(server, link)
        server.shutdown()
        thread.join()
    assert answer[0] == 200 and answer[2] == b"x"


def test_ctrl_c_ends_it_cleanly(runs: Path) -> None:
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a background job ignores it
    run = f"{heard}; from posttrain_diag.cli.app import main; main()"
    command = [sys.executable, "-c", run, "view", str(runs), "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", lines[1])
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_a_thousand_runs(tmp_path: Path) -> None:
    for i in range(1000):
        write(tmp_path / f"r{i}" / "run.json", NAMED)
        write(tmp_path / f"r{i}" / "diagnosis.json", diagnosis())
    page = render_index(RunIndex(tmp_path).entries(), "many")
    assert page.count("<tr data-kind") == 1000
