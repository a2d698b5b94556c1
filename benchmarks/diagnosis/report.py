"""Writes the diagnosis benchmark's results: results.md, results.json, two figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.diagnosis import score
from benchmarks.diagnosis.score import Record

FOLDER = Path(__file__).parent
ACCURACY, MACRO_F1, UNRESOLVED, ECE, WALL_S = 0.95, 0.9, 0.1, 0.05, 45 * 60


def report(records: Sequence[Record], *, wall_s: float, write: bool) -> list[str]:
    """Print the figures, write them where asked; returns the marks that were missed."""
    figures = all_figures(records, wall_s)
    lines = page(records, figures)
    if write:
        draw_confusion(figures["verdicts"], FOLDER / "confusion.svg")
        draw_calibration(figures["calibration"], FOLDER / "calibration.svg")
        print(
            machine.write(
                "diagnosis",
                "Diagnosis accuracy on known bottlenecks and traps",
                {**figures, "runs": list(records)},
                lines,
            ).read_text()
        )
    else:
        print("\n".join(lines))
    return missed(figures)


def all_figures(records: Sequence[Record], wall_s: float) -> dict[str, Any]:
    """Every figure, as plain data."""
    kinds = sorted({r["kind"] for r in records})
    classes, curve = score.class_scores(records), score.calibration(records)
    return {
        "cases": len({r["case"] for r in records}),
        "n_runs": len(records),
        "accuracy": score.accuracy(records),
        "accuracy_by_kind": {kind: score.accuracy([r for r in records if r["kind"] == kind]) for kind in kinds},
        "confident_traps": [f"{r['case']} [{r['seed']}]" for r in score.confident_traps(records)],
        "rollouts_per_problem": sum(r["main_rollouts"] for r in records) / sum(r["problems"] for r in records),
        "macro_f1": classes.macro_f1,
        "f1": classes.f1,
        "unresolved": classes.unresolved,
        "unclear": classes.unclear,
        "scored_problems": classes.problems,
        "classes": classes.table,
        "calibration": curve.bins,
        "ece": curve.error,
        "verdicts": score.verdict_table(records),
        "rivals": score.rivals(records),
        "accuracy_beside_rivals": score.accuracy([r for r in records if r["kind"] != "few"]),
        "forecast": score.forecasts(records),
        "wall_s": wall_s,
        "cpu_s": sum(r["cpu_s"] for r in records),
        "rollouts": sum(r["rollouts"] for r in records),
        "tokens": sum(r["tokens"] for r in records),
    }


def missed(figures: Mapping[str, Any]) -> list[str]:
    """Issue 5's marks that these figures do not reach."""
    out: list[str] = []
    if figures["accuracy"] < ACCURACY:
        out.append(f"accuracy {figures['accuracy']:.3f} < {ACCURACY}")
    if figures["confident_traps"]:
        out.append(f"traps called support or reshaping with confidence: {figures['confident_traps']}")
    if figures["scored_problems"] and figures["macro_f1"] < MACRO_F1:
        out.append(f"macro-F1 {figures['macro_f1']:.3f} < {MACRO_F1}")
    if figures["scored_problems"] and figures["unresolved"] > UNRESOLVED:
        out.append(f"unresolved {figures['unresolved']:.3f} > {UNRESOLVED}")
    if figures["n_runs"] >= 100 and figures["ece"] > ECE:
        out.append(f"expected calibration error {figures['ece']:.3f} > {ECE}")
    if figures["wall_s"] > WALL_S:
        out.append(f"{figures['wall_s'] / 60:.0f} minutes > {WALL_S / 60:.0f}")
    return out


def page(records: Sequence[Record], figures: Mapping[str, Any]) -> list[str]:
    """The results as Markdown."""
    f = figures
    lines = [
        f"{f['cases']} cases, {f['n_runs']} runs, {f['rollouts_per_problem']:.0f} rollouts per problem in the mean on the main arm; "
        f"{f['rollouts']:,} rollouts, {f['tokens']:,} tokens, {f['cpu_s'] / 60:.0f} CPU-minutes ({f['wall_s'] / 60:.0f} minutes of wall time this time).",
        "",
        "| figure | asked | reached |",
        "|---|---|---|",
        f"| verdict right, over case x seed | >= {ACCURACY} | {f['accuracy']:.3f} |",
        f"| traps called support or reshaping above .8 | 0 | {len(f['confident_traps'])} |",
        f"| macro-F1 of problem classes | >= {MACRO_F1} | {f['macro_f1']:.3f} ({f['scored_problems']:,} problems; {f['unclear']} without a clear truth left out) |",
        f"| problems left unresolved | <= {UNRESOLVED} | {f['unresolved']:.3f} |",
        f"| expected calibration error | <= {ECE} | {f['ece']:.3f} |",
        "",
        "## Accuracy by kind of case, and rules of thumb on the same draws",
        "",
        "| kind | accuracy |",
        "|---|---|",
        *[f"| {kind} | {value:.3f} |" for kind, value in f["accuracy_by_kind"].items()],
        "",
        "All but the cases of too little data (no rule of thumb abstains):",
        "",
        "| rule | accuracy | accuracy with the best threshold in hindsight |",
        "|---|---|---|",
        f"| **diag analyze** | **{f['accuracy_beside_rivals']:.3f}** | |",
        *[
            f"| {r['rule']} | {r['accuracy']:.3f} | {r['best_accuracy']:.3f} (at {r['best_threshold']:.3g}) |"
            for r in f["rivals"]
        ],
        "",
        "## Verdicts (rows: right, columns: given)",
        "",
        *_matrix(f["verdicts"]),
        "",
        "![confusion](confusion.svg)",
        "",
        "## Problem classes (rows: exact, columns: given)",
        "",
        *_matrix(f["classes"]),
        "",
        "F1: " + ", ".join(f"{name} {value:.3f}" for name, value in f["f1"].items()),
        "",
        "## Calibration",
        "",
        "| probability of the likeliest verdict from | runs | said | right |",
        "|---|---|---|---|",
        *[f"| {b['from']:.2f} | {b['runs']} | {b['said']:.3f} | {b['right']:.3f} |" for b in f["calibration"]],
        "",
        "![calibration](calibration.svg)",
        "",
        "## Too little data: is the number of samples asked for about right?",
        "",
        *_forecast(f["forecast"]),
        "",
        "## Cost by kind",
        "",
        *_cost(records),
        "",
        "## Runs whose verdict was not right",
        "",
        "| case | seed | verdict | confidence | right | findings |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['case']} | {r['seed']} | {r['verdict']} | {r['confidence']:.2f} | {'/'.join(r['accepted'])} | {', '.join(r['findings'])} |"
        for r in records
        if not score.right(r)
    ]
    lines += ["", "## Every case", "", "| case | kind | verdicts over seeds | right |", "|---|---|---|---|"]
    by_case: dict[str, list[Record]] = defaultdict(list)
    for r in records:
        by_case[r["case"]].append(r)
    for name, runs in by_case.items():
        said = ", ".join(f"{r['verdict']} {r['confidence']:.2f}" for r in runs)
        lines.append(f"| {name} | {runs[0]['kind']} | {said} | {'/'.join(runs[0]['accepted'])} |")
    return lines


def _matrix(table: Mapping[str, Mapping[str, int]]) -> list[str]:
    columns = list(next(iter(table.values())))
    head = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return head + [
        f"| **{row}** | " + " | ".join(str(values[c]) for c in columns) + " |" for row, values in table.items()
    ]


def _forecast(f: Mapping[str, Any]) -> list[str]:
    return [
        f"{f['abstained']} runs abstained, {f['asked']} of them with a number of rollouts, {f['asked_for_problems']} asking for more problems. "
        f"Drawing the rollouts decided {f['decided_with_it']} of {f['drawn']} ({f['right_with_it']} rightly); a quarter of them, where that is more "
        f"than was there, decided {f['decided_with_a_quarter']} of {f['quarters']}."
    ]


def _cost(records: Sequence[Record]) -> list[str]:
    lines = ["| kind | runs | rollouts per run | tokens per run | CPU-s per run |", "|---|---|---|---|---|"]
    for kind in sorted({r["kind"] for r in records}):
        own = [r for r in records if r["kind"] == kind]
        mean = {key: sum(r[key] for r in own) / len(own) for key in ("rollouts", "tokens", "cpu_s")}
        lines.append(f"| {kind} | {len(own)} | {mean['rollouts']:,.0f} | {mean['tokens']:,.0f} | {mean['cpu_s']:.1f} |")
    return lines


def draw_confusion(table: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Verdicts by what was right, as a heat map."""
    import matplotlib as mpl
    import numpy as np
    from matplotlib.figure import Figure

    rows, columns = list(table), list(next(iter(table.values())))
    counts = np.array([[table[r][c] for c in columns] for r in rows], float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(1.1 * len(columns) + 2, 0.6 * len(rows) + 1.6), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(*counts.shape):
        if counts[i, j]:
            axes.text(
                j, i, f"{counts[i, j]:.0f}", ha="center", va="center", color="white" if share[i, j] > 0.5 else "black"
            )
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("verdict of diag analyze")
    axes.set_ylabel("right")
    path.parent.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "diagnosis"}):
        figure.savefig(path, metadata={"Date": None})


def draw_calibration(bins: Sequence[Mapping[str, float]], path: Path) -> None:
    """Probability said against frequency seen; the area of a dot is its number of runs."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.scatter([b["said"] for b in bins], [b["right"] for b in bins], s=[8 + 2 * b["runs"] for b in bins], alpha=0.7)
    for b in bins:
        axes.annotate(
            f"{b['runs']:.0f}", (b["said"], b["right"]), textcoords="offset points", xytext=(7, -9), fontsize=8
        )
    axes.set_xlabel("probability given to the likeliest verdict")
    axes.set_ylabel("share of runs in which it is right")
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    with mpl.rc_context({"svg.hashsalt": "diagnosis"}):
        figure.savefig(path, metadata={"Date": None})
