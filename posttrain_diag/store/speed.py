"""How fast a run draws on this device, kept beside its rollouts: the time of a stage is estimated from it.

RUN/speed.json  {"device": "cpu", "tokens": 34239, "time_s": 1.9}
"""

from __future__ import annotations

from posttrain_diag.store import RunDir

LEAST_TOKENS = 2_000
"""Fewest drawn tokens that tell a speed: the time of fewer ones is mostly spent on starting."""


def keep_speed(run: RunDir, engine: str, device: str, tokens: int, time_s: float) -> None:
    """Write speed.json: how fast this run draws on this device.

    The file is left as it is where hardly anything was drawn.

    Args:
        run: the run directory.
        engine: name of the engine; one that works elsewhere (a server, a cluster) tells nothing of this device.
        device: the device that the engine works on.
        tokens: how many tokens were drawn.
        time_s: wall time that this took.
    """
    if engine in ("hf", "vllm") and tokens >= LEAST_TOKENS and time_s > 0:
        run.write_json("speed.json", {"device": device, "tokens": tokens, "time_s": time_s})


def stored_speed(run: RunDir) -> float | None:
    """Tokens per second that a run drew on this device; None where it is not known."""
    if not (run.path / "speed.json").exists():
        return None
    found = run.read_json("speed.json")
    return float(found["tokens"]) / float(found["time_s"])
