"""Requests to an OpenAI-compatible server: bounded retries with back-off, several at once, errors with a way out."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from posttrain_diag.errors import EngineError, MissingExtra, UsageError

Body = dict[str, Any]
Job = TypeVar("Job")
Reply = TypeVar("Reply")

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses after which another try may succeed."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Patience:
    """How often and how long a request is tried."""

    tries: int = 8
    first_s: float = 0.5
    """Seconds before the second try; they double with each further one."""
    longest_s: float = 60.0
    """Longest wait between tries in seconds, a server's Retry-After included."""
    connect_s: float = 10.0
    answer_s: float = 600.0
    """Longest silence in seconds of a server that is computing."""


class Refused(EngineError):
    """The server answered with a status that another try will not change."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """The connection to one server: its address and key, retries, and how many requests may be in flight."""

    def __init__(self, base_url: str, api_key_env: str, concurrency: int, patience: Patience) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra("httpx", "openai", "the openai engine") from error
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"--base-url {base_url!r} is no web address: give e.g. http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise UsageError("--base-url holds a password: put the key into the variable that --api-key-env names")
        self.url = base_url.rstrip("/")
        self.concurrency = concurrency
        self._patience = patience
        self._key_env = api_key_env
        key = os.environ.get(api_key_env)
        self._has_key = bool(key)
        self._loopback = parts.hostname in _LOOPBACK
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(patience.answer_s, connect=patience.connect_s, pool=None),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            trust_env=not self._loopback,
        )
        self._rng, self._lock = random.Random(0), threading.Lock()
        self._closed = threading.Event()

    def get(self, path: str, tries: int | None = None) -> Body:
        """Ask for the JSON object at a path below the base URL."""
        return self._request("GET", self.url + path, None, tries)

    def post(self, path: str, body: Body) -> Body:
        """Send a JSON object to a path below the base URL and return the one that answers.

        Raises:
            Refused: a 4xx status.
            EngineError: no answer after all tries.
        """
        return self._request("POST", self.url + path, body, None)

    def all(self, jobs: Sequence[Job], work: Callable[[Job], tuple[Reply, Sequence[Job]]]) -> Iterator[Reply]:
        """Answers of all jobs as they come; after a failure everything under way is still handed out first.

        Args:
            jobs: what is to be done.
            work: does one job, in a thread; returns its answer and further jobs that it left over.
        """
        pending, running = deque(jobs), dict[Future[tuple[Reply, Sequence[Job]]], None]()
        failure: EngineError | None = None
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            while pending or running:
                while pending and len(running) < self.concurrency:
                    running[pool.submit(work, pending.popleft())] = None
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[future]
                    try:
                        answer, more = future.result()
                    except EngineError as error:
                        failure = failure or error
                        pending.clear()
                        continue
                    if failure is None:
                        pending.extend(more)
                    yield answer
            if failure is not None:
                raise failure
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Give up what is waiting for another try and close the connections."""
        self._closed.set()
        self._client.close()

    def _request(self, method: str, url: str, body: Body | None, tries: int | None) -> Body:
        import httpx

        most = tries or self._patience.tries
        last = ""
        for number in range(most):
            retry_after: str | None = None
            try:
                response = self._client.request(method, url, json=body)
            except httpx.TransportError as error:
                last = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    with contextlib.suppress(ValueError):
                        value = response.json()
                        if isinstance(value, dict):
                            return {str(key): item for key, item in value.items()}
                    last = f"status {response.status_code}, but no JSON object: {response.text[:80]!r}"
                elif response.status_code not in _AGAIN:
                    raise self._refused(response.status_code, _said(response.text), url)
                else:
                    last = f"status {response.status_code}: {_said(response.text)}"
                    retry_after = response.headers.get("retry-after")
            if number + 1 < most and self._closed.wait(self._pause(number, retry_after)):
                raise EngineError(f"{url}: the engine was closed")
        raise EngineError(
            f"{url} gave no usable answer in {most} tries (last: {last}): is the server up and the address right? "
            "Finished draws are stored, the same command goes on"
        )

    def _pause(self, number: int, retry_after: str | None) -> float:
        """Seconds before the next try: exponential with jitter, at least what the server asks for."""
        with self._lock:
            jitter = 0.5 + self._rng.random()
        pause = self._patience.first_s * 2**number * jitter
        return min(self._patience.longest_s, max(pause, _seconds(retry_after)))

    def _refused(self, status: int, said: str, url: str) -> Refused:
        if status in (401, 403):
            given = "it was refused" if self._has_key else "that variable is empty"
            return Refused(
                f"{url} wants an API key (status {status}: {said}): set the environment variable {self._key_env} "
                f"({given}), or name another with --api-key-env",
                status,
            )
        return Refused(f"{url} refused the request (status {status}): {said}", status)


def _seconds(retry_after: str | None) -> float:
    """The header Retry-After, a number or a date, as seconds from now."""
    if not retry_after:
        return 0.0
    with contextlib.suppress(ValueError):
        return max(0.0, float(retry_after))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    return 0.0


def _said(text: str) -> str:
    """The message in an error body, on one line."""
    import json

    said: Any = text
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        for key in ("error", "detail", "message"):
            if isinstance(value, dict) and value.get(key):
                value = value[key]
        said = value
    return " ".join(str(said).split())[:300] or "no message"
