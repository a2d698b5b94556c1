"""Text that attacks whoever shows it, and a diagnosis that consists of it."""

from __future__ import annotations

from typing import Any

EVIL = "<script>alert(1)</script>\x1b[2J\x1b]8;;http://evil\x07[bold][link=http://evil]x[/link]\u202egnp.exe\u2066\x9b31m\ud800\x00\r\ninjected"
FORBIDDEN = ("\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\ud800", "\x00", "\r")
"""What must not arrive at a terminal or a page as it is."""
LONG = "A" * 10_000_000


def estimate(value: float | None = 0.5, label: str = "measured", reason: str = "") -> dict[str, Any]:
    ends = (None, None) if value is None else (max(0.0, value - 0.1), min(1.0, value + 0.1))
    return {
        "value": value,
        "low": ends[0],
        "high": ends[1],
        "level": 0.9,
        "n": 10,
        "label": label,
        "reason": reason,
        "bounds": None,
    }


def proposal(
    stage: str = "sft", why: str = "It pays.", command: str = "diag train run --stage sft", **more: Any
) -> dict[str, Any]:
    return {
        "stage": stage, "role": "reshaping", "expected_gain": estimate(0.3, "model-dependent"), "expected_after": estimate(0.8),
        "expected_retention": estimate(-0.05), "retention_risk": 0.1, "utility": 0.3, "chance_best": 0.6,
        "cost": {"tokens": 230_698, "flops": 1e9, "time_s": None}, "needs": [], "why": why, "evidence": "known situations", "command": command, **more,
    }  # fmt: skip


def diagnosis(text: str = "x", **more: Any) -> dict[str, Any]:
    """A valid diagnosis.json whose free texts are `text`."""
    shares = {"mastered": 0.3, "reshaping": 0.4, "format": 0.0, "guided": 0.1, "support": 0.2}
    return {
        "schema": 1,
        "model": {"model": text, "name": text},
        "tasks": {"n": 50, "source": text, "sha": text},
        "sampling": {"temperature": 1.0},
        "settings": {"rollout_budget": 256, "mastery": 0.8, "level": 0.9},
        "instrument": {"status": "suspect", "findings": [{"kind": "truncation", "severity": "suspect", "share": estimate(), "problems": [text], "advice": text}]},
        "bottleneck": "reshaping",
        "confidence": 0.93,
        "alternatives": [{"bottleneck": "support", "probability": 0.07}],
        "needed": {"reason": text},
        "shares": {**{name: estimate(value) for name, value in shares.items()}, "unresolved": estimate(0.1)},
        "estimates": {"pass@1": estimate(), "pass@16": estimate(0.9999), "pass@256": estimate(None, "undefined", text), "coverage": estimate(0.9, "estimated")},
        "reasons": [text],
        "plan": [proposal(stage=text, why=text, command=text), proposal(needs=[text])],
        "not_proposed": {text: text},
        "notes": [text],
        "failures": [],
        "samples": {"rollouts": 10},
        "versions": {},
        **more,
    }  # fmt: skip


def harmless(shown: str) -> None:
    """No character of the text reaches the reader as a command."""
    for char in FORBIDDEN:
        assert char not in shown, f"{char!r} is in the output"


def comparison(text: str = "x") -> dict[str, Any]:
    changed = {"before": estimate(0.128), "after": estimate(1.0), "change": estimate(0.87), "p_value": 0.00025}
    counts = {name: estimate(0.5) for name in ("preserved", "expanded", "shrunk", "outside", "srr", "ndr", "nscr")}
    null = {"observed": 1.0, "expected": 0.1, "high": 0.2, "p_value": 0.01, "exceeds": True}
    side = {"path": text, "model": text, "counted": False}
    parts = {name: estimate(0.0) for name in ("reshaping", "expansion", "attrition", "outside")}
    problems = {"n": 100, "gained": [{"id": text}], "lost": [], "kept": [], "outside": 1, "unresolved": 2}
    return {
        "before": side, "after": side, "role": "reshaping", "reason": text, "pass@k": {"1": changed, "16": changed},
        "settings": {"rollout_budget": 256}, "support": counts, "null": {"expanded": null, "shrunk": null},
        "decomposition": {**parts, "forgetting": None, "net": 0.1}, "problems": problems, "forecast": None,
        "checks": [{"severity": "warning", "message": text}],
    }  # fmt: skip
