"""`diag zoo`: tiny models whose bottleneck is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posttrain_diag.cli import completion
from posttrain_diag.cli.terminal import echo, echo_json, say, say_nothing
from posttrain_diag.wording.numbers import count, nats, plain

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(help="Tiny real models whose bottleneck is known by construction.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@app.callback()
def group() -> None:
    """Tiny real models whose bottleneck is known by construction."""


@app.command("list")
def list_zoo(as_json: AsJson = False) -> None:
    """List families (tasks, model, bottleneck, closed-form p) and models."""
    from posttrain_diag.zoo import list_families, list_models

    families = [
        {
            "family": f.name,
            "tasks": f.tasks,
            "model": f.model,
            "bottleneck": f.bottleneck,
            "closed_form_p": f.closed_form_p,
            "summary": f.summary,
            "world": f.world,
            "architecture": f.architecture,
            "tokenizer": f.tokenizer,
            "path": str(f.tasks_path),
        }
        for f in list_families()
    ]
    models = [
        {
            "model": m.spec,
            "summary": m.summary,
            "world": m.world,
            "architecture": m.architecture,
            "tokenizer": m.tokenizer,
            "shipped": m.shipped,
            "path": None if m.path is None else str(m.path),
        }
        for m in list_models()
    ]
    if as_json:
        by_family = {row["family"]: row for row in families}
        echo_json({"families": by_family, "models": models})
        return
    kind = ("world", "architecture", "tokenizer")
    _table(("tasks", "model", "bottleneck", "closed_form_p", *kind, "summary"), families)
    echo()
    _table(("model", *kind, "path", "summary"), [{**m, "path": m["path"] or "not built"} for m in models])


@app.command("build")
def build(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models to train; default: all.", autocompletion=completion.zoo_names)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory; default: the zoo's cache, found by zoo:NAME.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and examples.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Training steps of every model; default: its recipe's.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train zoo models on the CPU, in minutes each."""
    from posttrain_diag.cli.progress import make_progress
    from posttrain_diag.zoo import build as build_models
    from posttrain_diag.zoo import cache_dir, list_models

    wanted = names or [model.name for model in list_models()]

    tell = say_nothing if quiet else say
    begun: list[str] = []
    with make_progress(quiet=quiet) as progress:

        def show(name: str, done: int, total: int, loss: float) -> None:
            if name not in begun:
                begun.append(name)
                progress.phase("train", name)
            progress.steps(done, total, 0)
            if done == total:
                tell(f"{name}: {count(total)} steps, loss {nats(loss)} per token")

        built = build_models(wanted, out or cache_dir(), seed=seed, steps=steps, progress=show)
    if as_json:
        echo_json({name: str(path) for name, path in built.items()})
        return
    for name, path in built.items():
        echo(f"{name}\t{path}")


@app.command("truth")
def truth(
    family: Annotated[
        str | None,
        typer.Argument(
            help="FAMILY of builtin:zoo/FAMILY; default: a line per family.", autocompletion=completion.families
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="zoo:NAME or a directory; default: the shipped table.", autocompletion=completion.models),
    ] = None,
    prefix: Annotated[
        bool, typer.Option("--prefix", help="Also success after 1/4, 1/2, 3/4 and 7/8 of the demonstration.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Exact success probabilities and classes: the shipped table, or computed for a model and a family."""
    from posttrain_diag.zoo import truth_table

    if family is None:
        frame = truth_table()
    elif model is None and not prefix:
        frame = _shipped_truth(family)
    else:
        frame = _computed_truth(family, model, prefix=prefix)
    if as_json:
        echo_json(json.loads(frame.to_json(orient="records")))
    else:
        _table(tuple(frame.columns), [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")])


def _shipped_truth(family: str) -> pd.DataFrame:
    from posttrain_diag.errors import UsageError
    from posttrain_diag.tasks.problems.rows import BUILTIN
    from posttrain_diag.zoo import load_truth

    frame = load_truth()
    own = frame[frame["tasks"].isin([family, family.removeprefix(BUILTIN)])]
    if own.empty:
        known = ", ".join(sorted(frame["tasks"].unique()))
        raise UsageError(f"no shipped truth for the family {family!r}; there is truth for {known}")
    return own


def _computed_truth(family: str, model: str | None, *, prefix: bool) -> pd.DataFrame:
    from posttrain_diag.errors import UsageError
    from posttrain_diag.tasks import load_tasks
    from posttrain_diag.tasks.problems.rows import BUILTIN
    from posttrain_diag.zoo import exact_success, list_families, resolve_model, true_classes
    from posttrain_diag.zoo.classes import after_prefixes

    name = family.removeprefix(BUILTIN)
    owner = {fam.name: fam.model for fam in list_families()}
    if name not in owner:
        raise UsageError(f"there is no zoo family {name!r}; families: {', '.join(owner)}")
    chosen = model or owner[name]
    directory = resolve_model(chosen) if chosen.startswith("zoo:") else Path(chosen)
    problems = load_tasks(BUILTIN + name).problems
    frame = exact_success(directory, problems)
    if prefix:
        after = after_prefixes(directory, problems)
        frame = frame.assign(**{str(column): after[column] for column in after.columns})
    return frame.assign(**{"class": true_classes(directory, problems)["class"]})


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Print plain aligned columns, which are readable in a pipe as on a terminal."""
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    for line in [list(columns), *cells]:
        echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return plain(value) if isinstance(value, float) else str(value)
