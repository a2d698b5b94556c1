"""Shows run directories in the browser of this machine: read-only, on 127.0.0.1, allow-listed files alone.

A run directory may come from anyone, and any page in the browser may send requests here. So: the socket is bound to
127.0.0.1; a Host that is not this machine's own name is refused (DNS rebinding); only GET and HEAD; a file is served
only if its name is on a list and its folder is a run; folders and files are opened one by one without following
symbolic links; pages get an origin of their own (CSP sandbox), so that a report's script reads no other run.
"""

from __future__ import annotations

import errno
import os
import socketserver
import stat
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

from posttrain_diag.errors import UsageError
from posttrain_diag.store.run_index import MARKS, RunIndex

ADDRESS = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")
"""Names of this machine that a request may ask for, with any port: an SSH tunnel may have another one at its end."""

TEXT, JSON, BINARY = "text/plain; charset=utf-8", "application/json; charset=utf-8", "application/octet-stream"
HTML = "text/html; charset=utf-8"
FILES: dict[str, str] = {
    "report.html": HTML,
    "comparison.html": HTML,
    "report.md": TEXT,
    "diagnosis.json": JSON,
    "measurements.json": JSON,
    "facts.json": JSON,
    "model.json": JSON,
    "run.json": JSON,
    "state.json": JSON,
    "result.json": JSON,
    "comparison.json": JSON,
    "plan.yaml": TEXT,
    "config.yaml": TEXT,
    "events.jsonl": TEXT,
    "problems.parquet": BINARY,
    "comparison.parquet": BINARY,
}
"""Files of a run directory that are served, with their types."""
FIGURES = {".svg": "image/svg+xml", ".png": "image/png", ".pdf": "application/pdf"}
"""Files of a run's folder figures/ that are served, by their suffix."""

INDEX_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; " + (
    "form-action 'none'; frame-ancestors 'none'"
)
"""Policy of the index, beside the page's own policy, which allows its script by hash alone."""
FILE_POLICY = INDEX_POLICY + "; img-src 'self' data:; sandbox allow-scripts allow-popups allow-modals"
CHUNK = 1 << 16


class RunServer(ThreadingHTTPServer):
    """Serves the runs of one folder on this machine.

    Args:
        index: the index of the folder.
        port: port to listen on; 0: any free one.

    Raises:
        UsageError: the port cannot be had; the message names it.
    """

    daemon_threads = True

    def __init__(self, index: RunIndex, port: int) -> None:
        self.index = index
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            why = {errno.EADDRINUSE: "is in use, perhaps by another diag view", errno.EACCES: "is not allowed to you"}
            raise UsageError(
                f"--port {port} {why.get(error.errno or 0, f'cannot be opened ({error.strerror})')}; give another, "
                f"e.g. --port {port + 1 if port < 65535 else 8642}, or --port 0 for any free one"
            ) from error

    def server_bind(self) -> None:
        """Bind without looking up this machine's name, which may wait for a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, int(self.server_address[1])

    @property
    def url(self) -> str:
        """The address of the index."""
        return f"http://{ADDRESS}:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    """Answers one request of a browser."""

    timeout = 30
    server_version = "diag"
    sys_version = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the index, or with a file of a run."""
        if not self._from_here():
            return
        path = urlsplit(self.path).path
        if path == "/":
            self._index()
        elif path.startswith("/runs/"):
            self._file([os.fsdecode(unquote_to_bytes(part)) for part in path.removeprefix("/runs/").split("/")])
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def _other(self) -> None:
        if self._from_here():
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _other

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Print nothing about a request."""

    def _from_here(self) -> bool:
        """Whether the browser was asked for this machine by one of its own names."""
        host = self.headers.get("Host", "").strip().lower()
        name, _, port = host.partition(":")
        if name in HOSTS and (not port or port.isdecimal()):
            return True
        self._refuse(HTTPStatus.FORBIDDEN)
        return False

    @property
    def _index_of(self) -> RunIndex:
        assert isinstance(self.server, RunServer)
        return self.server.index

    def _index(self) -> None:
        from posttrain_reports.index import render_index

        page = render_index(self._index_of.entries(), self._index_of.root.resolve().name)
        body = page.encode()
        self._head(HTTPStatus.OK, HTML, len(body), INDEX_POLICY)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _file(self, parts: Sequence[str]) -> None:
        kind = kind_of(parts)
        if kind is None or (file := open_below(self._index_of.root, parts)) is None:
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        with file:
            self._head(HTTPStatus.OK, kind, left := os.fstat(file.fileno()).st_size, FILE_POLICY)
            while self.command != "HEAD" and left > 0 and (block := file.read(min(CHUNK, left))):
                self.wfile.write(block)
                left -= len(block)
            if left and self.command != "HEAD":
                self.close_connection = True  # the file became shorter meanwhile: the reader must notice

    def _refuse(self, status: HTTPStatus) -> None:
        body = f"{status.value} {status.phrase}\n".encode()
        self.close_connection = True  # a body that was sent with the request is not read
        self._head(status, TEXT, len(body), FILE_POLICY)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int, policy: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def kind_of(parts: Sequence[str]) -> str | None:
    """The type of a path that may be served, by its names alone; None for every other path."""
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        return None
    if len(parts) > 1 and parts[-2] == "figures":
        return FIGURES.get(Path(parts[-1]).suffix)
    return FILES.get(parts[-1])


def open_below(root: Path, parts: Sequence[str]) -> BinaryIO | None:
    """The regular file of a run directory, opened without following a symbolic link below `root`; else None."""
    folders = [*parts[:-1]]
    held: list[int] = []
    try:
        held.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY))
        for name in folders:
            held.append(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=held[-1]))
        run = held[-2] if folders and folders[-1] == "figures" else held[-1]
        if not MARKS.keys() & set(os.listdir(run)):  # noqa: PTH208 - a descriptor, not a path
            return None
        # O_NONBLOCK: opening a pipe would wait for its other end
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=held[-1])
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            return None
        return os.fdopen(file, "rb")
    except OSError:
        return None
    finally:
        for descriptor in held:
            os.close(descriptor)
