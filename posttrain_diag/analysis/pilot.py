"""What a run directory keeps of the pilot draws behind its token cap, so that a resumed run makes no others.

RUN/run.json  {"sampling": {"max_new_tokens": 224, ...}, "pilot": {"said": "...", "problems": ["id"], "caps": [256]}}
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from posttrain_diag.evidence import PILOT, DrawSpec
from posttrain_diag.rollouts.token_cap import TokenCap
from posttrain_diag.store import RunDir


def keepsake(cap: TokenCap) -> dict[str, Any]:
    """What run.json holds of pilot draws; nothing where none decided."""
    if cap.pilot is None:
        return {}
    chosen = list(dict.fromkeys(draw.problem_id for draw in cap.pilot.made))
    return {"pilot": {"said": cap.said, "problems": chosen, "caps": list(cap.pilot.caps)}}


def stored_cap(out: Path) -> int | None:
    """The token cap that a run directory is bound to; None where there is no run yet."""
    if not (out / "run.json").exists():
        return None
    return int(RunDir(out).read_json("run.json")["sampling"]["max_new_tokens"])


def pilot_notes(run: RunDir) -> tuple[str, ...]:
    """What decided the token cap, where pilot draws did."""
    found = run.read_json("run.json").get("pilot")
    return () if found is None else (str(found["said"]),)


def pilot_specs(run: RunDir, known: Container[str]) -> Iterator[DrawSpec]:
    """The pilot draws of a run, as far as its tasks still hold their problems."""
    found = run.read_json("run.json").get("pilot") or {"problems": (), "caps": ()}
    for key in found["problems"]:
        if key in known:
            yield from (DrawSpec(key, PILOT, 1, max_new_tokens=cap) for cap in found["caps"])
