"""The verdict in ten seconds: a box with what holds the model back, and below it what to do, with whole commands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain_diag.cli.classes import class_bar, class_words
from posttrain_diag.cli.terminal import boxed, console, marked, print_line, styled
from posttrain_diag.wording.estimates import bound_certainty, is_bound, label_text, points_text, share_ends, undefined
from posttrain_diag.wording.numbers import LEAST_CLASS_SHARE, class_percent, duration, percent, token_count
from posttrain_diag.wording.vocabulary import INSTRUMENT, VERDICTS, estimate_title

KEY_NUMBERS = ("pass@1", "pass@16", "pass@256", "coverage", "mixed_groups@8")
MAX_ACTIONS = 3


def print_verdict(data: Mapping[str, Any], run: Path) -> None:
    """Print box, actions and the path of the report on stdout."""
    from rich.text import Text

    shown = console()
    verdict = VERDICTS[data["bottleneck"]]
    head = Text.assemble((verdict.name, f"bold {verdict.style}"), ": ", verdict.headline)
    model = data["model"].get("model") or data["model"].get("name")
    parts: list[Any] = [head, _certainty(data), *_findings(data), Text()]
    parts += _class_parts(data, shown.options.ascii_only, shown.width)
    parts += [_numbers(data), *_evidence(data)]
    boxed(f"{model} on {data['tasks']['source']}", parts)
    print_free_steps(data.get("before_training") or ())
    if data["plan"]:
        print_line("What pays next", "bold")
        print_actions(data["plan"][:MAX_ACTIONS])
    elif verdict.without_plan and not data.get("before_training"):
        print_line(f"What to do next: {verdict.without_plan}", "bold")
    print_line()
    print_line(f"report: {run / 'report.html'}", whole=True)


def _certainty(data: Mapping[str, Any]) -> Any:
    from rich.text import Text

    status = data["instrument"]["status"]
    line = Text(f"confidence {class_percent(data['confidence'])}")
    others = [f"{styled(a['bottleneck'])} {class_percent(a['probability'])}" for a in data["alternatives"][:3]]
    line.append(f" (else {', '.join(others)})" if others else "")
    line.append("   instrument: ")
    line.append_text(styled(status, INSTRUMENT[status].style if status in INSTRUMENT else ""))
    return line


def _findings(data: Mapping[str, Any]) -> list[Any]:
    """What is wrong with the instrument, and what an undetermined verdict still needs."""
    serious = [finding for finding in data["instrument"]["findings"] if finding["severity"] != "note"]
    told = [f"{finding['kind']}: {finding['advice']}" for finding in serious]
    if data.get("needed"):
        told.append(data["needed"]["reason"])
    return [marked("!", told, "yellow")] if told else []


def _class_parts(data: Mapping[str, Any], ascii_only: bool, width: int) -> list[Any]:
    """The shares of the problems by class; a problem counts by what it may be, so that they add up to all of them."""
    from rich.text import Text

    found = {name: e["value"] for name, e in data["shares"].items() if name not in ("unresolved", "consolidation")}
    shares: Any = {name: value for name, value in found.items() if value is not None and value >= LEAST_CLASS_SHARE / 2}
    if not shares:
        return []
    words = class_words(shares, width - 6, sampling=False, ascii_only=ascii_only, number=class_percent)
    return [class_bar(shares, width - 6, ascii_only=ascii_only), words, Text()]


def _numbers(data: Mapping[str, Any]) -> Any:
    from rich.table import Table

    numbers = Table.grid(padding=(0, 2))
    numbers.add_column(no_wrap=True)
    numbers.add_column(justify="right", no_wrap=True)
    numbers.add_column(no_wrap=True)
    numbers.add_column()
    asked = [name for k in data["settings"].get("ks", ()) if (name := f"pass@{k}") not in KEY_NUMBERS]
    for name in (*KEY_NUMBERS[:3], *asked, *KEY_NUMBERS[3:]):
        if name not in data["estimates"]:
            continue
        estimate, title = data["estimates"][name], estimate_title(name, short=True)
        if is_bound(estimate):
            known = (f"at most {percent(estimate['high'])}", bound_certainty(estimate), label_text(estimate))
            numbers.add_row(styled(title, "bold"), *(styled(cell) for cell in known[:2]), styled(known[2], "dim"))
        elif estimate is None or estimate["value"] is None:
            numbers.add_row(styled(title, "bold"), "", "", styled(undefined(estimate), "yellow"))
        else:
            cells = (percent(estimate["value"]), share_ends(estimate), label_text(estimate))
            numbers.add_row(styled(title, "bold"), *(styled(cell) for cell in cells[:2]), styled(cells[2], "dim"))
    return numbers


def _evidence(data: Mapping[str, Any]) -> list[Any]:
    from rich.text import Text

    shown = {finding["advice"] for finding in data["instrument"]["findings"]}
    if data.get("needed"):
        shown.add(data["needed"]["reason"])
    reasons = [reason for reason in data["reasons"] if reason not in shown]
    return [Text(), marked("-", reasons, "dim")] if reasons else []


def print_free_steps(steps: Sequence[Mapping[str, Any]]) -> None:
    """Print what to try before any training: title, reason and commands."""
    for step in steps:
        print_line(f"First, without training: {step['title'][0].lower()}{step['title'][1:]}", "bold")
        print_line(step["why"], indent=3)
        for command in step["commands"]:
            print_line(command, "cyan", indent=3, whole=True)
        print_line()


def print_actions(plan: Sequence[Mapping[str, Any]], *, evidence: bool = False) -> None:
    """Print the stages in their order: gain, cost, reason, unbroken command, and with `evidence` the precedents."""
    whys, shared = shared_sentences([proposal["why"] for proposal in plan])
    common = [need for need in plan[0]["needs"] if len(plan) > 1 and all(need in p["needs"] for p in plan)]
    for rank, (proposal, why) in enumerate(zip(plan, whys, strict=True), 1):
        print_line()
        print_line(f"{rank}. {proposal['stage']}", "bold")
        print_line(facts_of(proposal), indent=3)
        if why:
            print_line(why, indent=3)
        if evidence:
            print_line(proposal["evidence"], "dim", indent=3)
        for need in proposal["needs"]:
            if need not in common:
                print_line(f"needs {need}", "yellow", indent=3)
        if not proposal["needs"]:
            print_line(proposal["command"], "cyan", indent=3, whole=True)
    for need in common:
        print_line()
        print_line(f"all of them need {need}", "yellow")
    for sentence, ranks in shared.items():
        print_line()
        print_line(f"{', '.join(str(plan[index]['stage']) for index in ranks)}: {sentence}", "dim")


def facts_of(proposal: Mapping[str, Any]) -> str:
    """The figures of a proposal in words: gain in points and what it rests on, change of other tasks, cost."""
    gain = proposal["expected_gain"]
    text = f"pass@1 {points_text(gain)}"
    if label := label_text(gain):
        text += f" ({label})"
    kept = proposal.get("expected_retention")
    if kept and kept["value"] is not None:
        text += f", other tasks {points_text(kept)}"
    cost = proposal["cost"]
    text += ", cost unknown" if cost["tokens"] is None else f", about {token_count(cost['tokens'])} tokens"
    return text if cost.get("time_s") is None else f"{text}, about {duration(cost['time_s'])} here"


_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def _sentences(text: str) -> list[str]:
    return [part for part in _SENTENCE_END.split(text.strip()) if part]


def shared_sentences(texts: Sequence[str]) -> tuple[list[str], dict[str, list[int]]]:
    """Take out the sentences that several texts hold, so that they can be said once.

    Returns:
        The texts without these sentences, and the sentences with the indices of their texts.
    """
    holders: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        for sentence in dict.fromkeys(_sentences(text)):
            holders.setdefault(sentence, []).append(index)
    shared = {sentence: found for sentence, found in holders.items() if len(found) > 1}
    own = [" ".join(s for s in _sentences(text) if s not in shared) for text in texts]
    return own, shared
