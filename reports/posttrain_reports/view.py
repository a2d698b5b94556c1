"""The verdict, the actions and the numbers in words: what both the HTML page and the Markdown twin print."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posttrain_diag.wording.estimates import (
    bound_text,
    is_bound,
    is_share,
    points_text,
    quantity,
    quantity_ends,
    share_text,
)
from posttrain_diag.wording.numbers import (
    LEAST_CLASS_SHARE,
    UNDEFINED,
    class_percent,
    count,
    finite,
    nominal,
    percent_between,
    plain,
    token_count,
)
from posttrain_diag.wording.text import clip
from posttrain_diag.wording.vocabulary import (
    CLASSES,
    COUNTS_UNDETERMINED,
    FINDINGS,
    INSTRUMENT,
    SHARES,
    VERDICTS,
    estimate_title,
    hue,
    stage_title,
    verdict_title,
)
from posttrain_reports.actions import LONG_TEXT, MAX_LIST, NAME_LIMIT, free_steps, span
from posttrain_reports.data import ReportData, as_mapping
from posttrain_reports.figdata import numeric_column, reported_shares

MAX_MAIN = 12
"""With at most this many estimates, the table of key numbers shows them all."""
MAIN_NUMBERS = ("pass@1", "pass@16", "pass@256", "maj@64", "coverage", "expected_successes", "mixed_groups@8",
                "lenient_pass@1", "chance_pass@1", "gold_pass_rate", "truncated_rate")  # fmt: skip
MAX_FINDING_PROBLEMS = 8
MAX_FINDINGS = 30
MAX_SUMMARY = 60
"""Most estimates listed per probe; beyond it the table says how many more the diagnosis file holds."""
MAX_SETTINGS = 80
LEAST_LISTED = 0.02
"""From this share of problems on, a class is named in the headline of a mixture."""
_K_IN_NAME = re.compile(r"^(?:pass|maj|lenient_pass)[@^](\d+)$")


@dataclass(frozen=True)
class EstimateView:
    """One estimate, in the words that a page prints."""

    name: str
    title: str
    value: str
    interval: str
    """The interval; empty where there is none, and where both ends read like the value."""
    bounded: bool
    """Whether there is an interval."""
    level: str
    label: str
    n: str
    k: str
    reason: str
    defined: bool
    bar: tuple[float, float, float] | None
    """Interval and value as (low, value, high) in percent of a bar, for shares with an interval."""

    @property
    def under(self) -> tuple[str, ...]:
        """What stands under the value in a tile: interval, observations, and a label other than "measured"."""
        interval = self.interval if self.bounded else "no interval"
        said = (interval, f"n = {self.n}" if self.n else "", self.label if self.label != "measured" else "")
        return tuple(part for part in said if part)


@dataclass(frozen=True)
class VerdictView:
    """What must be understood in ten seconds, in the words that a page prints."""

    bottleneck: str
    title: str
    hue: str
    """The style class of the verdict's colour."""
    headline: str
    next_step: str
    confidence: str
    confidence_pct: float | None
    alternatives: tuple[tuple[str, str, float], ...]
    """The other verdicts, each as (title, probability in words, probability in percent)."""
    instrument: str
    instrument_title: str
    instrument_meaning: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class FindingView:
    """One instrument finding, in the words that a page prints."""

    kind: str
    title: str
    share: str
    advice: str
    problems: tuple[str, ...]
    more: int


def number(name: str, block: Mapping[str, Any], level: float | None = None) -> EstimateView:
    """An estimate block as words; anything but a finite value is shown as not estimated, with its reason."""
    label = str(block.get("label") or ("measured" if block else "undefined"))
    value = None if label == "undefined" else finite(block.get("value"))
    low, high = finite(block.get("low")), finite(block.get("high"))
    own_level = finite(block.get("level")) or level
    drawn = finite(block.get("n"))
    found = _K_IN_NAME.search(name)
    is_bar = value is not None and low is not None and high is not None and is_share(name, value)
    reason = str(block.get("reason") or "")
    bound = is_bound(block)
    if value is None and not reason:
        reason = "no reason was recorded"
    return EstimateView(
        name=name,
        title=clip(estimate_title(name), NAME_LIMIT),
        value=_value(name, block, value),
        interval=quantity_ends(name, block),
        bounded=low is not None and high is not None,
        level="" if own_level is None or bound else nominal(own_level),
        label=clip(label, NAME_LIMIT) if value is not None or bound else "undefined",
        n="" if drawn is None or (drawn == 0 and value is None) else count(drawn),
        k=found.group(1) if found else "",
        reason=clip(reason, LONG_TEXT),
        defined=value is not None or bound,
        bar=span(low, value, high) if is_bar else None,
    )


def _value(name: str, block: Mapping[str, Any], value: float | None) -> str:
    if is_bound(block):
        return bound_text(block, name)
    return UNDEFINED if value is None else quantity(name, value)


def level_of(diagnosis: Mapping[str, Any]) -> float | None:
    """The nominal coverage all intervals of the run share, or None when the run did not record it."""
    return finite(as_mapping(diagnosis.get("settings")).get("level"))


def key_numbers(diagnosis: Mapping[str, Any]) -> tuple[EstimateView, ...]:
    """The headline estimates: pass@k in order of k, then the others as given."""
    estimates = as_mapping(diagnosis.get("estimates"))

    def order(item: tuple[int, str]) -> tuple[bool, int, int]:
        found = re.fullmatch(r"pass@(\d+)", item[1])
        return (found is None, int(found.group(1)) if found else 0, item[0])

    names = [name for _, name in sorted(enumerate(map(str, estimates)), key=order)]
    return tuple(number(name, as_mapping(estimates[name]), level_of(diagnosis)) for name in names)


def main_numbers(
    numbers: Sequence[EstimateView], budget: float | None, asked: Sequence[int] = ()
) -> tuple[EstimateView, ...]:
    """The estimates of the table of key numbers; where there are few estimates, all of them.

    Args:
        numbers: every estimate of the run.
        budget: rollouts per problem the user can afford; pass@budget is always kept.
        asked: the k whose pass@k the user asked for, which are kept as well.
    """
    if len(numbers) <= MAX_MAIN:
        return tuple(numbers)
    measured = [n for n in numbers if n.name.startswith("pass@") and n.label == "measured"]
    kept = {*MAIN_NUMBERS, *(n.name for n in measured[-1:]), *(f"pass@{k}" for k in asked)}
    if budget:
        kept.add(f"pass@{budget:g}")
    return tuple(n for n in numbers if n.name in kept)


def headline_numbers(numbers: Sequence[EstimateView], budget: float | None) -> tuple[EstimateView, ...]:
    """At most four scores for the top of the page: pass@1, pass@k at the rollout budget, coverage, signal.

    Where pass@budget was not estimated, the largest k that needs no assumed law stands in for it.
    """
    by_name = {n.name: n for n in numbers}
    curve = [n for n in numbers if n.name.startswith("pass@") and n.name != "pass@1"]
    sound = [n for n in curve if n.label in ("measured", "estimated")]
    at_budget = by_name.get(f"pass@{budget:g}") if budget else None
    if at_budget is None or not at_budget.defined:
        at_budget = (sound or curve or [None])[-1]
    signal = [n for n in numbers if n.name.startswith("mixed_groups@")]
    picks = [
        by_name.get("pass@1"),
        at_budget,
        by_name.get("coverage"),
        by_name.get("mixed_groups@8", (signal or [None])[0]),
    ]
    return tuple(n for n in picks if n is not None)


def share_rows(diagnosis: Mapping[str, Any], totals: Mapping[str, int]) -> tuple[dict[str, Any], ...]:
    """Class shares with interval, meaning and count, for bar (widths, 0 for what overlaps), legend and table."""
    return tuple(
        {
            "name": share.name,
            "title": SHARES[share.name].title,
            "meaning": SHARES[share.name].meaning,
            "value": UNDEFINED if share.value is None else class_percent(share.value),
            "width": max(100 * (share.value or 0.0), 0.0) if share.name in CLASSES else 0.0,
            "interval": ""
            if share.value is None
            else percent_between(share.value, share.low, share.high, least=LEAST_CLASS_SHARE),
            "bar": span(share.low, share.value, share.high) if None not in (share.low, share.high) else None,
            "count": totals.get(share.name, 0),
            "reason": share.reason,
        }
        for share in reported_shares(diagnosis)
    )


def verdict(data: ReportData) -> VerdictView:
    """The bottleneck as a sentence to act on, how sure it is, and whether the instrument can be trusted."""
    diagnosis = data.diagnosis
    name = str(diagnosis["bottleneck"])
    instrument = as_mapping(diagnosis["instrument"])
    status = str(instrument.get("status") or "suspect")
    confidence = finite(diagnosis["confidence"])
    alternatives = sorted(
        ((str(a.get("bottleneck")), finite(a.get("probability"))) for a in diagnosis.get("alternatives") or ()),
        key=lambda pair: -(pair[1] or 0.0),
    )
    found = INSTRUMENT.get(status)
    next_step = _next_step(name, status, diagnosis)
    told = [clip(str(r), LONG_TEXT) for r in (diagnosis.get("reasons") or ())[:MAX_LIST]]
    return VerdictView(
        bottleneck=name,
        title=clip(verdict_title(name), NAME_LIMIT),
        hue=hue(name),
        headline=_headline(name, diagnosis),
        next_step=next_step,
        confidence=UNDEFINED if confidence is None else class_percent(confidence),
        confidence_pct=None if confidence is None else 100 * confidence,
        alternatives=tuple(
            (
                clip(verdict_title(b), NAME_LIMIT),
                UNDEFINED if p is None else class_percent(p),
                100 * (p or 0.0),
            )
            for b, p in alternatives
            if b != name
        ),
        instrument=status if found else "suspect",
        instrument_title=found.title if found else clip(status, NAME_LIMIT),
        instrument_meaning=found.meaning if found else "The run records an unknown instrument status.",
        reasons=tuple(r for r in told if r != next_step),
    )


def _headline(name: str, diagnosis: Mapping[str, Any]) -> str:
    words = VERDICTS.get(name)
    sentence = words.sentence if words else f"The bottleneck is recorded as {clip(name, NAME_LIMIT)}"
    shares = {share.name: share.value for share in reported_shares(diagnosis) if share.value}
    if name == "mixed":
        ranked = sorted((c for c in list(CLASSES)[1:-1] if c in shares), key=lambda c: -shares[c])
        held = [c for c in ranked if (shares[c] or 0.0) >= LEAST_LISTED] or ranked
        listed = ", ".join(f"{c} on {class_percent(shares[c])}" for c in held[:3])
        return f"{sentence}: {listed} of problems." if ranked else f"{sentence}."
    value = shares.get(words.counted) if words else None
    if value is None:
        return f"{sentence}."
    where = "practically all problems" if value > 0.999 else f"{class_percent(value)} of problems"
    return f"{sentence}: {where} are mastered." if name == "saturated" else f"{sentence} on {where}."


def _next_step(name: str, status: str, diagnosis: Mapping[str, Any]) -> str:
    plan = diagnosis.get("plan") or ()
    if name == "instrument" or status == "broken":
        return _repair(diagnosis)
    if name == "undetermined" and as_mapping(diagnosis.get("model")).get("name") == "imported counts":
        return COUNTS_UNDETERMINED
    if name == "undetermined":
        needed = as_mapping(diagnosis.get("needed")).get("reason")
        return clip(str(needed), LONG_TEXT) if needed else VERDICTS[name].without_plan
    free = "".join(f"{step.title[:1].lower()}{step.title[1:]}" for step in free_steps(diagnosis)[:1])
    if not plan and free:
        return f"Next: {free}; it costs no training."
    if not plan:
        fallback = VERDICTS[name].without_plan if name in VERDICTS else ""
        return fallback or "The plan holds no stage with a positive expected gain."
    caution = "Read the instrument findings, then: " if status == "suspect" else "Next: "
    caution += f"{free} (no training), then " if free else ""
    title = clip(stage_title(str(plan[0].get("stage"))), NAME_LIMIT)
    gain = as_mapping(plan[0].get("expected_gain"))
    if finite(gain.get("value")) is None:
        return f"{caution}{title}; its gain is not estimated."
    return f"{caution}{title}, {points_text(gain)} of pass@1 expected."


def _repair(diagnosis: Mapping[str, Any]) -> str:
    found = findings(diagnosis)
    if not found:
        return VERDICTS["instrument"].without_plan
    title = found[0].title[0].lower() + found[0].title[1:]
    return f"Repair the instrument first: {title} ({found[0].share}). Every number below may be wrong."


def findings(diagnosis: Mapping[str, Any]) -> tuple[FindingView, ...]:
    """The instrument findings in the order given."""
    result: list[FindingView] = []
    for block in (as_mapping(diagnosis["instrument"]).get("findings") or ())[:MAX_FINDINGS]:
        share = as_mapping(block.get("share"))
        concerned = [str(p) for p in block.get("problems") or ()]
        shown = "share not estimated" if finite(share.get("value")) is None else share_text(share)
        result.append(
            FindingView(
                kind=clip(str(block.get("kind")), NAME_LIMIT),
                title=clip(FINDINGS.get(str(block.get("kind")), str(block.get("kind"))), NAME_LIMIT),
                share=shown,
                advice=clip(str(block.get("advice") or ""), LONG_TEXT),
                problems=tuple(concerned[:MAX_FINDING_PROBLEMS]),
                more=max(len(concerned) - MAX_FINDING_PROBLEMS, 0),
            )
        )
    return tuple(result)


def rollout_identity(data: ReportData) -> str:
    """The counts sentence n = passed + failed + truncated + errored over all problems."""
    table = data.problems
    drawn = "drawn" if "drawn" in table.columns else "n"
    unrecorded = [name for name in ("truncated", "errored") if name not in table.columns]
    n, c, truncated, errored = (
        int(np.nansum(numeric_column(table, name))) for name in (drawn, "c", "truncated", "errored")
    )
    parts = [f"{c:,} passed", f"{n - c - truncated - errored:,} failed"]
    parts += [
        f"{count:,} {name}"
        for name, count in (("truncated", truncated), ("errored", errored))
        if name not in unrecorded
    ]
    problems = f"{len(table):,} problem{'' if len(table) == 1 else 's'}"
    tail = f" ({' and '.join(unrecorded)} not recorded)" if unrecorded else ""
    return f"{n:,} rollouts = {' + '.join(parts)}, over {problems}{tail}."


def conditions(data: ReportData) -> tuple[tuple[str, str], ...]:
    """What every number was measured under, each as (what, value), for the strip under the headline numbers."""
    sampling, tasks, samples, settings = (
        as_mapping(data.diagnosis.get(key)) for key in ("sampling", "tasks", "samples", "settings")
    )
    n, drawn, tokens = len(data.problems), finite(samples.get("rollouts")), finite(samples.get("tokens"))
    cap, level = finite(sampling.get("max_new_tokens")), finite(settings.get("level"))
    cut = [name for name in ("top_p", "top_k", "min_p") if finite(sampling.get(name)) not in (None, 0.0)]
    held = [f"{name.replace('_', '-')} {sampling[name]:g}" for name in cut if (name, sampling[name]) != ("top_p", 1)]
    verifiers = as_mapping(tasks.get("verifiers"))
    said = (
        ("problems", f"{n:,}"),
        ("rollouts each", "" if drawn is None or not n else f"n = {_mean(drawn / n)}"),
        ("temperature", _law(sampling.get("temperature"), held)),
        ("stop texts", clip(", ".join(map(repr, sampling.get("stop") or ())), NAME_LIMIT)),
        ("token cap", "" if cap is None else token_count(cap)),
        ("verifier", clip(", ".join(map(str, verifiers)), NAME_LIMIT)),
        ("budget B", plain(b) if (b := finite(settings.get("rollout_budget"))) is not None else ""),
        ("intervals", "" if level is None else nominal(level)),
        ("cost so far", "" if tokens is None else f"{token_count(tokens)} tokens"),
    )
    return tuple((name, value) for name, value in said if value)


def _mean(drawn: float) -> str:
    return f"{drawn:,.0f}" if drawn == round(drawn) else f"{drawn:,.1f} on average"


def _law(temperature: object, held: Sequence[str]) -> str:
    """The temperature with whatever else bends the sampling law; empty when it was not recorded."""
    value = finite(temperature)
    return "" if value is None else ", ".join((f"{value:g}", *held))


def flatten(block: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows of (dotted name, value)."""
    rows: list[tuple[str, str]] = []
    for key, value in block.items():
        name = clip(f"{prefix}{key}", NAME_LIMIT)
        if isinstance(value, Mapping) and value:
            rows += flatten(value, f"{name}.")
        elif isinstance(value, list | tuple):
            rows.append((name, clip(", ".join(map(str, value)) or "none", LONG_TEXT)))
        else:
            rows.append((name, "not recorded" if value is None else clip(str(value), LONG_TEXT)))
    if len(rows) > MAX_SETTINGS:
        return [*rows[:MAX_SETTINGS], ("not shown", f"{len(rows) - MAX_SETTINGS} more in diagnosis.json")]
    return rows
