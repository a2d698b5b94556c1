"""How fast a run draws on this device, kept beside its rollouts: what the time of a stage is reckoned from.

RUN/speed.json  {"device": "cpu", "tokens": 34239, "time_s": 1.9}
"""

from __future__ import annotations

from posttrain_diag.store import RunDir

LEAST_TOKENS = 2_000
"""Drawn tokens from which on their speed is told: fewer are mostly the start."""


def keep_speed(run: RunDir, engine: str, device: str, tokens: int, time_s: float) -> None:
    """Write speed.json: how fast this run draws on this device; kept as it was where hardly anything was drawn.

    Args:
        run: the run directory.
        engine: its name; one that works elsewhere (a server, a cluster) tells nothing of this device.
        device: where it works.
        tokens: drawn.
        time_s: wall time of that.
    """
    if engine in ("hf", "vllm") and tokens >= LEAST_TOKENS and time_s > 0:
        run.write_json("speed.json", {"device": device, "tokens": tokens, "time_s": time_s})


def stored_speed(run: RunDir) -> float | None:
    """Tokens per second that a run drew on this device; None where it is not known."""
    if not (run.path / "speed.json").exists():
        return None
    found = run.read_json("speed.json")
    return float(found["tokens"]) / float(found["time_s"])
