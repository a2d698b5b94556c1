"""How `diag tasks check` shows what it found."""

from __future__ import annotations

from posttrain_diag.cli.terminal import echo, one_line
from posttrain_diag.tasks import TasksCheck
from posttrain_diag.tasks.check import Hits
from posttrain_diag.wording.numbers import count, percent

MAX_TEXT = 160


def print_check(found: TasksCheck) -> None:
    """Print the findings as plain lines."""
    echo(f"{found.source}: {found.problems} problems, layout {found.layout}, sha {found.sha[:12]}")
    echo("columns: " + ", ".join(f"{field} from {column}" for field, column in found.columns.items()))
    for note in found.notes:
        echo(f"note: {note}")
    for name, check in found.types.items():
        echo(f"verifier {name}: {check.problems} problems")
        echo(
            f"  golds that pass: {check.golds_passed}/{check.golds}; "
            f"failed {check.golds_failed}, errored {check.golds_errored}"
        )
        echo(
            f"  corrupted completions that pass: {check.corrupted_passed}/{check.corrupted} strictly, "
            f"{check.corrupted_passed_leniently} leniently"
        )
    _hits("golds that fail", found.golds_failing)
    _hits("without a reference (verifier unchecked)", found.without_reference)
    _hits("corrupted completions pass", found.corrupted_passing)
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


def _hits(title: str, hits: Hits) -> None:
    if not hits.total:
        return
    echo(f"{title}: {hits.total}")
    for index, key in enumerate(hits.ids):
        reason = hits.reasons[index] if index < len(hits.reasons) else ""
        echo(f"  {_short(key)}{': ' + _short(reason) if reason else ''}")


def _short(text: str) -> str:
    """One printable line."""
    return one_line(text, MAX_TEXT)
