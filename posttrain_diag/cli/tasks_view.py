"""Prints what `diag tasks check` found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from posttrain_diag.cli.terminal import echo, one_line, print_line, print_table
from posttrain_diag.tasks import TasksCheck
from posttrain_diag.tasks.check import Hits, Tried
from posttrain_diag.wording.numbers import count, percent

MAX_TEXT = 160
EXAMPLE_CHARS = 80
"""Most characters of a surprising completion that are shown."""
LISTED = 5
"""Most problems that are named per finding."""
_COLUMNS = ("", "accepted", "strictly")


def print_check(found: TasksCheck) -> None:
    """Print the findings: what was read, one table of what the verifiers accept, what stands out, and the verdict."""
    echo(f"{found.source}: {found.problems} problems, layout {found.layout}, sha {found.sha[:12]}")
    echo("columns: " + ", ".join(f"{field} from {column}" for field, column in found.columns.items()))
    for note in found.notes:
        echo(f"note: {note}")
    echo("verifiers: " + ", ".join(f"{name} for {check.problems}" for name, check in found.types.items()))
    echo()
    print_table(_COLUMNS, list(_rows(found)), right={"accepted", "strictly"})
    echo()
    for line in _surprises(found):
        echo(line)
    _hits("golds that are rejected", found.golds_failing)
    _hits("without a reference (golds unchecked)", found.without_reference)
    _hits("duplicate prompts", found.duplicate_prompts)
    _hits("same prompt, another answer", found.conflicting_answers)
    echo(
        f"demonstrations on {percent(found.share_with_demos)}, preference pairs on {percent(found.share_with_pairs)} "
        "of the problems"
    )
    if found.guess_rate is not None:
        common = _short(found.most_common_answer or "")
        guessed = percent(found.guess_rate)
        echo(f"{found.distinct_answers} distinct answers; the most common, {common!r}, solves {guessed}")
    sizes = found.prompt_chars
    echo(
        "prompt length in characters: " + ", ".join(f"{name} {count(sizes[name])}" for name in ("min", "median", "max"))
    )
    for example in found.examples:
        echo()
        echo(f"example {example.id}")
        echo(f"  prompt:    {_short(example.prompt)}")
        echo(f"  answer:    {_short(example.answer or '-')}")
        if example.reference is not None:
            echo(f"  reference: {_short(example.reference)}  (verifier reads {_short(example.extracted or '-')!r})")
    echo()
    for fault in found.faults:
        print_line(f"not fit: {fault}", "bold red")
    if found.ok:
        most = f"{percent(found.max_false_positives)} of {found.tried} problems"
        print_line(f"fit: golds pass, and no kind of wrong completion passes on more than {most}", "bold green")


def _rows(found: TasksCheck) -> Iterator[tuple[str, str, str]]:
    golds, passed = (sum(getattr(each, name) for each in found.types.values()) for name in ("golds", "golds_passed"))
    yield "right answers: all should be accepted", "", ""
    yield "  golds as they are", "", f"{passed}/{golds}"
    yield from _tried(found.right)
    for title, tried in (("wrong answers: none should be", found.wrong), ("attacks: none should be", found.attacks)):
        if tried:
            yield title, "", ""
            yield from _tried(tried)


def _tried(tried: Mapping[str, Tried]) -> Iterator[tuple[str, str, str]]:
    for kind, each in tried.items():
        yield f"  {kind}", f"{each.lenient}/{each.n}", f"{each.strict}/{each.n}"


def _surprises(found: TasksCheck) -> Iterator[str]:
    """A line for each kind that is not wholly accepted, or not wholly rejected, as it should be."""
    for tried, verdict in ((found.right, "rejected"), (found.wrong, "accepted"), (found.attacks, "accepted")):
        for kind, each in tried.items():
            if each.example_id:
                failed = f", the verifier failed on {each.errored}" if each.errored else ""
                example = _short(each.example, EXAMPLE_CHARS)
                where = f"{each.problems} problems ({kind}{failed})"
                yield f"{verdict} on {where}: {example!r} on {_short(each.example_id)}"


def _hits(title: str, hits: Hits) -> None:
    if not hits.total:
        return
    echo(f"{title}: {hits.total}")
    for index, key in enumerate(hits.ids[:LISTED]):
        reason = hits.reasons[index] if index < len(hits.reasons) else ""
        echo(f"  {_short(key)}{': ' + _short(reason) if reason else ''}")
    if hits.total > LISTED:
        echo(f"  ... and {hits.total - LISTED} more (--json names {len(hits.ids)})")


def _short(text: str, limit: int = MAX_TEXT) -> str:
    """A text as one printable line."""
    return one_line(text, limit)
