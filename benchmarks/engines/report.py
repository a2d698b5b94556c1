"""From timings to tables: rates, ratios within a round, the share of the machine's limit, and what is not as it should be."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.engines.driver import Contestant, Raw
from benchmarks.engines.limits import scoring_seconds, workload_seconds
from benchmarks.engines.models import MEAN_LENGTH, Shape, Work

LENGTH_TOLERANCE = 0.05
TARGETS = {
    ("sampling", "150m", "generate"): 8.0,
    ("sampling", "150m", "vLLM"): 1.15,
    ("sampling", "tiny", "generate"): 5.0,
    ("sampling", "tiny", "vLLM"): 1.5,
    ("sampling", "tiny", "lm-eval"): 5.0,
    ("scoring", "150m", "vLLM"): 3.0,
    ("scoring", "tiny", "vLLM"): 3.0,
}
"""(part, model, rival) -> how many times its rate per CPU-second is asked for (issue 4)."""

HELD_EQUAL = """Held equal: the checkpoint on disk and its dtype, prompts, 64 draws of each at temperature 1 without cuts, at most 64
new tokens, the number of threads (not bound to a core), the clocks (CPU-seconds of the process and its children, and
wall-seconds, of the work alone: loading, compiling and a warm-up come before). Runs alternate A B C A B C; a ratio is the median over
rounds of (hf engine / rival in the same round), with the least and the greatest beside it.

Not equal, and in the rivals' favour: the hf engine tokenizes, and returns text, the raw log-probability and that of the sampling law
of every token; `generate`, continuous batching and lm-eval return no log-probabilities; `generate`, continuous batching and vLLM
are given token ids; of every rival several settings were tried and the fastest stands here (all are listed), the hf engine runs
with its defaults. vLLM runs in one process (no IPC), block size 32, prefix caching, cleared before each run. `generate`, continuous
batching, lm-eval and the padded forward, whose rates do not depend on the number of prompts, get fewer, spread over all lengths.
The hf engine's dtype is set to the checkpoint's.

Limit: the time in which a perfect engine of that many rows would do the same draws on this machine, the larger of its floating-point
operations over the rate of a large matrix product and its bytes over the rate of a large read or copy, both measured in this run
(weights once per step; keys and values of a prompt once per step, of a draw once per step; nothing for sampling itself)."""


def sampling_table(
    raw: Raw,
    shape: Shape,
    work: Work,
    everyone: Sequence[Contestant],
    chosen: Sequence[Contestant],
    limits: dict[str, float],
    n_draws: int,
    clock: str = "cpu_s",
) -> dict[str, Any]:
    """All contestants of one model; those that only ran in the tuning round are marked."""
    entries: list[dict[str, Any]] = []
    for one in everyone:
        runs = [row for row in raw.find(model=shape.name, contestant=one.name, do="sample") if "tokens" in row]
        full = [row for row in runs if row["repeat"] != "tuning"] if one in chosen else []
        entry = _entry(raw, shape, one, full or runs)
        entry["tuning_only"] = not full and bool(runs)
        if runs:
            used = full or runs
            which = _which(one, work, full, runs, n_draws)
            lengths = [len(work.prompts[p]) for p in which]
            best = workload_seconds(shape, lengths, used[0]["lengths"], min(one.rows, len(which) * n_draws), limits)
            entry |= {"prompts": len(which), "rows": one.rows, **_length(used), **_share(best, used, clock)}
        entries.append(entry)
    _ratios(raw, shape, "sample", entries)
    return {"shape": shape.describe(), "contestants": entries}


def _which(one: Contestant, work: Work, full: Sequence[Any], runs: Sequence[dict[str, Any]], n_draws: int) -> list[int]:
    """The prompts a contestant's first run was given."""
    n = len((full or runs)[0]["lengths"])
    assert all(row[0] == n_draws for row in (full or runs)[0]["lengths"]), one.name
    return list(range(n)) if n == len(work.prompts) and one.prompts is None else work.spread(n)


def _entry(raw: Raw, shape: Shape, one: Contestant, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": one.name, "kind": one.kind, "options": one.options, "runs": len(runs)}
    facts = [row["facts"] for row in raw.find(model=shape.name, contestant=one.name) if "facts" in row]
    entry["facts"] = facts[0] if facts else None
    failed = [row["not_run"] for row in raw.find(model=shape.name, contestant=one.name) if "not_run" in row]
    if failed:
        entry["not_run"] = failed[0]
    if runs:
        for clock in ("cpu_s", "wall_s"):
            rates = [row["tokens"] / row[clock] for row in runs]
            entry[f"tokens_per_{clock}"] = statistics.median(rates)
            entry[f"tokens_per_{clock}_range"] = [min(rates), max(rates)]
        entry["peak_bytes"] = max(row["peak_bytes"] for row in runs)
    return entry


def _length(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean length of the draws, and its standard error."""
    n, total, squares = (sum(row[i] for run in runs for row in run["lengths"]) for i in range(3))
    mean = total / n
    return {"mean_length": mean, "mean_length_se": ((squares / n - mean * mean) / n) ** 0.5}


def _share(best: dict[str, float], runs: Sequence[dict[str, Any]], clock: str) -> dict[str, Any]:
    """What a perfect engine would need, as a share of what was needed (per thread where CPU-seconds count)."""
    seconds = statistics.median(row[clock] for row in runs)
    threads = runs[0]["threads"] if clock == "cpu_s" else 1
    return {
        "limit": best,
        "share_of_limit": max(best["flop_s"], best["byte_s"]) * threads / seconds,
        "limited_by": "arithmetic" if best["flop_s"] > best["byte_s"] else "memory",
        "flop_per_s": best["flops"] * threads / seconds,
        "bytes_per_s": best["bytes"] * threads / seconds,
    }


def _ratios(raw: Raw, shape: Shape, do: str, entries: Sequence[dict[str, Any]]) -> None:
    """Add how many times faster the hf engine was in the same round."""
    ours = {row["repeat"]: row for row in raw.find(model=shape.name, contestant="hf engine", do=do) if "tokens" in row}
    for entry in entries:
        theirs = [row for row in raw.find(model=shape.name, contestant=entry["name"], do=do) if "tokens" in row]
        for clock in ("cpu_s", "wall_s"):
            ratios = [
                (ours[row["repeat"]]["tokens"] / ours[row["repeat"]][clock]) / (row["tokens"] / row[clock])
                for row in theirs
                if row["repeat"] in ours
            ]
            if ratios:
                entry[f"ratio_{clock}"] = [statistics.median(ratios), min(ratios), max(ratios)]


def scoring_table(
    raw: Raw,
    shape: Shape,
    work: Work,
    everyone: Sequence[Contestant],
    limits: dict[str, float],
    n_draws: int,
    n_prompts: int,
) -> dict[str, Any]:
    """All scorers of one model, and whether they find the same sum of log-probabilities."""
    entries: list[dict[str, Any]] = []
    for one in everyone:
        which = work.spread(min(one.prompts or n_prompts, n_prompts))
        completions = [[len(done) for done in work.completions[p][:n_draws]] for p in which]
        for row in raw.find(model=shape.name, contestant=one.name, do="score"):
            if "cpu_s" in row and row["repeat"] != "agreement":
                row["tokens"] = sum(map(sum, completions))
        runs = [row for row in raw.find(model=shape.name, contestant=one.name, do="score") if "tokens" in row]
        entry = _entry(raw, shape, one, runs) | {"prompts": len(which)}
        if runs:
            best = scoring_seconds(shape, [len(work.prompts[p]) for p in which], completions, limits)
            entry |= _share(best, runs, "cpu_s")
        agreed = raw.find(model=shape.name, contestant=one.name, do="score", repeat="agreement")
        if agreed and "logprob_sum" in agreed[0]:
            n_tokens = sum(len(done) for done in work.completions[work.spread(1)[0]][:n_draws])
            entry["mean_logprob"] = agreed[0]["logprob_sum"] / n_tokens
        entries.append(entry)
    _ratios(raw, shape, "score", entries)
    return {"shape": shape.describe(), "contestants": entries}


def kept_rows(raw: Raw) -> list[dict[str, Any]]:
    """The timings as they go into results.json."""
    return [{k: v for k, v in row.items() if k != "lengths"} for row in raw.rows if "facts" not in row]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _ratio(values: Sequence[float] | None) -> str:
    return "–" if values is None else f"**{values[0]:.2f}** [{values[1]:.2f}, {values[2]:.2f}]"


def _rates_lines(table: dict[str, Any], last: str) -> list[str]:
    """One model's table; `last` is the key of its last column."""
    heads = {"mean_length": "mean length", "mean_logprob": "mean log-probability, same 1 prompt"}
    lines = [
        "| | tokens per CPU-s | range | per wall-s | hf engine ÷ this, CPU | wall | share of limit | peak GB | prompts x runs | "
        f"{heads[last]} |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for e in table["contestants"]:
        if "tokens_per_cpu_s" not in e:
            why = e.get("not_run", "not run")
            lines.append(f"| {e['name']} | not run: {why} | | | | | | | | |")
            continue
        low, high = e["tokens_per_cpu_s_range"]
        own = e["name"] == "hf engine"
        runs = f"{e['prompts']} x {e['runs']}" + (", tuning only" if e.get("tuning_only") else "")
        tail = f"{e[last]:.3f}" if last in e else "–"
        lines.append(
            f"| {e['name']} | {_number(e['tokens_per_cpu_s'])} | {_number(low)}–{_number(high)} | "
            f"{_number(e['tokens_per_wall_s'])} | {'1' if own else _ratio(e.get('ratio_cpu_s'))} | "
            f"{'1' if own else _ratio(e.get('ratio_wall_s'))} | {e['share_of_limit']:.1%} ({e['limited_by']}) | "
            f"{e['peak_bytes'] / 1e9:.1f} | {runs} | {tail} |"
        )
    return lines


def _limits_lines(limits: dict[str, float]) -> list[str]:
    rates = ", ".join(
        f"{name} {value / 1e9:,.0f}" for name, value in limits.items() if name != "bandwidth" and value >= 1e6
    )
    return [f"Machine, same threads: memory {limits['bandwidth'] / 1e9:.1f} GB/s; matrix products, GFLOP/s: {rates}."]


def part_lines(title: str, part: dict[str, Any], last: str) -> list[str]:
    lines = [f"## {title}", "", f"{part['date']}, load {part['load_1min']}", ""]
    if "not_run" in part:
        return [*lines, f"Not run: {part['not_run']}.", ""]
    loads = [row["load"] for row in part["rows"]]
    busy = f"Load of the machine during the runs: median {statistics.median(loads):.1f}, highest {max(loads):.1f}."
    lines += [*_limits_lines(part["limits"]), busy, ""]
    for name, table in part["models"].items():
        lines += [f"### {name}: {table['shape']}", "", *_rates_lines(table, last), ""]
        who_has: dict[str, list[str]] = {}
        for e in table["contestants"]:
            if e.get("facts"):
                what = ", ".join(f"{k} {v}" for k, v in e["facts"]["versions"].items())
                who_has.setdefault(f"{what}, {e['facts']['threads']} threads", []).append(e["name"])
        said = "; ".join(f"{what} ({', '.join(who)})" for what, who in who_has.items())
        notices = [n for e in table["contestants"] for n in (e.get("facts") or {}).get("notices", [])]
        lines += [f"Versions: {said}.", *(f"hf engine says: {notice}" for notice in notices), ""]
    return lines


def lines(parts: dict[str, Any], names: Sequence[str], *, quick: bool) -> list[str]:
    """The whole of results.md below its head."""
    from benchmarks.engines import end_to_end, exact, gpu, limits

    out = ["**--quick: this checks the harness; the sizes say nothing of the engines.**", ""] if quick else []
    out += [f"CPU: {limits.features()}.", "", HELD_EQUAL, ""]
    shown = {
        "sampling": lambda part: part_lines("Sampling", part, "mean_length"),
        "scoring": lambda part: part_lines("Scoring given completions", part, "mean_logprob"),
        "exact": exact.lines,
        "end_to_end": end_to_end.lines,
        "gpu": gpu.lines,
    }
    for name in names:
        out += shown[name](parts[name]) if name in parts else [f"## {name}", "", "Not run: left out by --only.", ""]
    return [*out, *_targets_lines(parts), "", *(f"NOT AS IT SHOULD BE: {line}" for line in failures(parts))]


def _reached(parts: dict[str, Any]) -> list[tuple[str, str, str, float, float | None]]:
    """(part, model, rival, asked for, reached against the rival's fastest setting)."""
    rows: list[tuple[str, str, str, float, float | None]] = []
    for (part, model, rival), wanted in TARGETS.items():
        entries = parts.get(part, {}).get("models", {}).get(model, {}).get("contestants", [])
        found = [e["ratio_cpu_s"][0] for e in entries if e["name"].startswith(rival) and "ratio_cpu_s" in e]
        if entries:
            rows.append((part, model, rival, wanted, min(found, default=None)))
    return rows


def _targets_lines(parts: dict[str, Any]) -> list[str]:
    out = ["## Asked for and reached", "", "Against each rival's fastest setting, per CPU-second.", ""]
    out += ["| part | model | rival | asked for | reached |", "|---|---|---|---|---|"]
    out += [
        f"| {part} | {model} | {rival} | {wanted} | {'not run' if ratio is None else f'{ratio:.2f}'} |"
        for part, model, rival, wanted, ratio in _reached(parts)
    ]
    return out


def failures(parts: dict[str, Any]) -> list[str]:
    """What makes the numbers unusable: lengths or scores that differ between contestants, draws that are not exact."""
    from benchmarks.engines import end_to_end, exact

    wrong: list[str] = []
    for name, table in parts.get("sampling", {}).get("models", {}).items():
        entries = [e for e in table["contestants"] if "mean_length" in e]
        ours = next((e for e in entries if e["name"] == "hf engine"), None)
        for e in entries:
            if ours is None:
                break
            gap = abs(e["mean_length"] / ours["mean_length"] - 1)
            noise = (e["mean_length_se"] ** 2 + ours["mean_length_se"] ** 2) ** 0.5 / ours["mean_length"]
            if gap > LENGTH_TOLERANCE and gap > 3 * noise:
                wrong.append(f"{name}: mean length {e['name']} {e['mean_length']:.2f}, hf {ours['mean_length']:.2f}")
        if ours is not None and abs(ours["mean_length"] / MEAN_LENGTH - 1) > 0.25:
            wrong.append(f"{name}: the hf engine's mean length is {ours['mean_length']:.1f}, made to be {MEAN_LENGTH}")
    for name, table in parts.get("scoring", {}).get("models", {}).items():
        means = {e["name"]: e["mean_logprob"] for e in table["contestants"] if "mean_logprob" in e}
        if means and max(means.values()) - min(means.values()) > 0.02:
            wrong.append(f"{name}: mean log-probabilities differ: {means}")
    if "exact" in parts:
        wrong += exact.failures(parts["exact"])
    if "end_to_end" in parts:
        wrong += end_to_end.failures(parts["end_to_end"])
    return wrong
