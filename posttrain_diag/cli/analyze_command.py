"""`diag analyze`: flags → config → analysis → verdict box."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posttrain_diag.cli import completion
from posttrain_diag.cli.terminal import echo, echo_json
from posttrain_diag.errors import UsageError
from posttrain_diag.wording.numbers import count, duration, scientific, token_count

if TYPE_CHECKING:
    from posttrain_diag.analysis.estimate import CostEstimate
    from posttrain_diag.settings.analysis import AnalyzeConfig

Model = Annotated[
    str | None,
    typer.Argument(help="HF directory, PEFT adapter directory, hub id, or zoo:NAME.", autocompletion=completion.models),
]
Tasks = Annotated[
    str | None,
    typer.Option(
        help="JSONL, JSON, CSV, Parquet, a known name (gsm8k; `diag tasks list`), HF data set, or builtin:zoo/FAMILY.",
        autocompletion=completion.tasks,
    ),
]
Out = Annotated[Path | None, typer.Option(help="Run directory. Default: runs/MODEL-TASKS-HASH.")]
Effort = Annotated[
    str,
    typer.Option(
        help="quick (16 rollouts per problem), standard (64) or thorough (256).", autocompletion=completion.efforts
    ),
]
Rollouts = Annotated[
    int | None, typer.Option(help="Most rollouts per problem in the mean; overrides --effort. Raise it to top up.")
]
Allocation = Annotated[
    str,
    typer.Option(
        help="adaptive: spend where classes are open; uniform: all alike.", autocompletion=completion.allocations
    ),
]
Budget = Annotated[int, typer.Option(help="B: rollouts per prompt your RL stage can afford; support means p >= 1/B.")]
MaxTokens = Annotated[
    int | None,
    typer.Option(help="Token cap. Default: four times the longest demonstration; without any, from pilot draws."),
]
Temperature = Annotated[float, typer.Option(help="Sampling temperature.")]
TopP = Annotated[float, typer.Option(help="Nucleus sampling threshold.")]
TopK = Annotated[int, typer.Option(help="Top-k sampling; 0 is off.")]
MinP = Annotated[float, typer.Option(help="Cut tokens below this share of the likeliest one's probability; 0 is off.")]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        help="Text that ends a draw, beside the model's own stop tokens (repeatable); \\n is a line break.",
    ),
]
Seed = Annotated[int, typer.Option(help="One seed; every draw derives its own from it.")]
Mastery = Annotated[float, typer.Option(help="Success probability from which a problem counts as mastered.")]
Level = Annotated[float, typer.Option(help="Nominal coverage of the intervals.")]
Demos = Annotated[
    str | None,
    typer.Option(help="Tasks file whose demonstrations are merged in by problem id.", autocompletion=completion.tasks),
]
Teacher = Annotated[
    list[str] | None,
    typer.Option(
        help="Another model to compare with: a teacher, a sibling or an earlier checkpoint (repeatable).",
        autocompletion=completion.models,
    ),
]
Sibling = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL_OR_RUN",
        help="Another checkpoint of the same architecture, compared as a teacher is and there to merge with: a model, "
        "or the run directory of its analysis on the same tasks, which costs no draw (repeatable).",
        autocompletion=completion.models,
    ),
]
TrainTasks = Annotated[
    str | None,
    typer.Option(
        help="Tasks that `diag train` would train on. Default: a split of --tasks.", autocompletion=completion.tasks
    ),
]
Retain = Annotated[
    str | None,
    typer.Option(
        help="Tasks whose pass rate should stay; a stage replays half of them.", autocompletion=completion.tasks
    ),
]
Mapping = Annotated[list[str] | None, typer.Option("--map", help="FIELD=COLUMN, e.g. --map prompt=question.")]
Verifier = Annotated[str | None, typer.Option(help="path.py:function or package.module:function.")]
AllowCode = Annotated[bool, typer.Option("--allow-code", help="Run verifier code that the tasks file names.")]
Limit = Annotated[int | None, typer.Option(help="Use only the first N problems.")]
Engine = Annotated[
    str,
    typer.Option(
        help="hf (embedded), vllm (subprocess), openai (a server) or ray (a cluster).",
        autocompletion=completion.engines,
    ),
]
VllmPython = Annotated[str | None, typer.Option(help="vllm: Python of the environment that has vLLM.")]
BaseUrl = Annotated[str | None, typer.Option(help="openai: server address, e.g. http://127.0.0.1:8000/v1.")]
ApiKeyEnv = Annotated[str, typer.Option(help="openai: environment variable that holds the API key.")]
Concurrency = Annotated[int, typer.Option(help="openai: requests in flight.")]
Tokenizer = Annotated[str | None, typer.Option(help="openai: directory or hub id with the served model's tokenizer.")]
RayAddress = Annotated[str | None, typer.Option(help="ray: cluster address. Default: RAY_ADDRESS, else a local one.")]
RayWorkers = Annotated[int | None, typer.Option(help="ray: engines in the cluster. Default: as many as fit.")]
RayEngine = Annotated[
    str,
    typer.Option(help="ray: the engine of each worker: hf, vllm or openai.", autocompletion=completion.worker_engines),
]
Store = Annotated[
    str,
    typer.Option(
        help="Rollout store: sqlite, or parquet (shards, for many millions).", autocompletion=completion.stores
    ),
]
Template = Annotated[str | None, typer.Option(help="Plain template for base models, e.g. 'Q: {prompt}\\nA:'.")]
ChatTemplate = Annotated[
    bool | None, typer.Option("--chat-template/--no-chat-template", help="Default: used when the tokenizer has one.")
]
SystemPrompt = Annotated[str | None, typer.Option(help="System turn for chat models.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ... Default: cuda when there is one.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.", autocompletion=completion.dtypes)]
BatchRows = Annotated[int | None, typer.Option(help="Sequences per batch. Default: from free memory.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that the model directory brings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print diagnosis.json on stdout; everything else on stderr.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what the run would cost, after a few pilot draws; write nothing.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Resume = Annotated[
    bool | None,
    typer.Option(
        "--resume/--no-resume",
        help="--resume: continue --out with its own settings (MODEL and --tasks not needed). --no-resume: refuse an "
        "existing run. Default: the same command continues.",
    ),
]


def analyze(
    model: Model = None,
    tasks: Tasks = None,
    out: Out = None,
    effort: Effort = "standard",
    rollouts: Rollouts = None,
    allocation: Allocation = "adaptive",
    rollout_budget: Budget = 256,
    max_new_tokens: MaxTokens = None,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    stop: Stop = None,
    seed: Seed = 0,
    mastery: Mastery = 0.8,
    level: Level = 0.9,
    demos: Demos = None,
    teacher: Teacher = None,
    sibling: Sibling = None,
    train_tasks: TrainTasks = None,
    retain: Retain = None,
    mapping: Mapping = None,
    verifier: Verifier = None,
    allow_code: AllowCode = False,
    limit: Limit = None,
    engine: Engine = "hf",
    vllm_python: VllmPython = None,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    concurrency: Concurrency = 16,
    tokenizer: Tokenizer = None,
    ray_address: RayAddress = None,
    ray_workers: RayWorkers = None,
    ray_engine: RayEngine = "hf",
    store: Store = "sqlite",
    template: Template = None,
    chat_template: ChatTemplate = None,
    system_prompt: SystemPrompt = None,
    device: Device = None,
    dtype: Dtype = None,
    batch_rows: BatchRows = None,
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    resume: Resume = None,
) -> None:
    """Measure a model on tasks, name the bottleneck, prescribe the stage that pays, write an HTML report."""
    values = {
        "effort": effort,
        "rollouts": rollouts,
        "allocation": allocation,
        "rollout_budget": rollout_budget,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "stop": parse_stops(stop),
        "seed": seed,
        "mastery": mastery,
        "level": level,
        "demos": demos,
        "teacher": tuple(teacher or ()),
        "sibling": tuple(sibling or ()),
        "train_tasks": train_tasks,
        "retain": retain,
        "mapping": parse_mapping(mapping),
        "verifier": verifier,
        "allow_code": allow_code,
        "limit": limit,
        "engine": engine,
        "vllm_python": vllm_python,
        "base_url": base_url,
        "api_key_env": api_key_env,
        "concurrency": concurrency,
        "tokenizer": tokenizer,
        "ray_address": ray_address,
        "ray_workers": ray_workers,
        "ray_engine": ray_engine,
        "store": store,
        "template": template,
        "chat_template": chat_template,
        "system_prompt": system_prompt,
        "device": device,
        "dtype": dtype,
        "batch_rows": batch_rows,
        "trust_remote_code": trust_remote_code,
    }
    config = resolve_config(model, tasks, out, values, resume)
    if dry_run:
        show_cost(config, as_json, quiet=quiet)
        return
    from posttrain_diag.analysis.analyze import analyze as run_analysis
    from posttrain_diag.cli.progress import make_progress

    with make_progress(quiet=quiet) as progress:
        analysis = run_analysis(config, progress, shlex.join(["diag", *sys.argv[1:]]))
    if as_json:
        echo_json(analysis.json)
    else:
        from posttrain_diag.cli.verdict import print_verdict
        from posttrain_diag.recommend.duration import with_times
        from posttrain_diag.store.speed import stored_speed

        plan = with_times(analysis.json["plan"], stored_speed(analysis.run))
        print_verdict({**analysis.json, "plan": plan}, analysis.run.path)


def parse_mapping(pairs: list[str] | None) -> dict[str, str]:
    """Read FIELD=COLUMN pairs into a dictionary.

    Raises:
        UsageError: a pair without "=".
    """
    out: dict[str, str] = {}
    for pair in pairs or []:
        field, separator, column = pair.partition("=")
        if not separator or not field or not column:
            raise UsageError(f"--map {pair!r}: expected FIELD=COLUMN, e.g. --map prompt=question")
        out[field] = column
    return out


def parse_stops(texts: list[str] | None) -> tuple[str, ...]:
    r"""Stop texts as they were meant: \n, \r and \t are a line break, a return and a tab, \\ is a backslash."""
    meant = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\\\": "\\"}
    return tuple(re.sub(r"\\[nrt\\]", lambda found: meant[found[0]], text) for text in texts or ())


def resolve_config(
    model: str | None, tasks: str | None, out: Path | None, values: dict[str, Any], resume: bool | None
) -> AnalyzeConfig:
    """The configuration from flags, or from the run directory that is to be resumed.

    Args:
        model: the model, if it was given.
        tasks: the tasks, if they were given.
        out: the run directory, if it was given.
        values: all other settings by name.
        resume: True to go on with a run, False to refuse a directory that holds one; None: go on if there is one.

    Raises:
        UsageError: the model or the tasks are missing, or the directory does not suit `resume`.
    """
    from posttrain_diag.settings.analysis import load_config, make_config

    if resume and (model is None or tasks is None):
        if out is None:
            raise UsageError("--resume without MODEL and --tasks needs --out RUN, the run to go on with")
        return load_config(out / "config.yaml").model_copy(update={"out": out})
    if model is None or tasks is None:
        missing = "MODEL" if model is None else "--tasks"
        raise UsageError(
            f"{missing} is missing: diag analyze MODEL --tasks FILE (try: diag analyze zoo:base --tasks builtin:zoo/S)"
        )
    config = make_config(model=model, tasks=tasks, out=out or default_out(model, tasks, values), **values)
    if resume is False and (config.out / "run.json").exists():
        raise UsageError(f"--no-resume: {config.out} holds a run already; choose another --out")
    return config


def default_out(model: str, tasks: str, values: dict[str, Any]) -> Path:
    """The default run directory, runs/MODEL-TASKS-HASH.

    The hash is over what fixes the draws, so that the same command continues its run.
    """
    fixed = {key: values[key] for key in ("max_new_tokens", "temperature", "top_p", "top_k", "seed", "template")}
    if values["min_p"]:
        fixed["min_p"] = values["min_p"]
    if values["stop"]:
        fixed["stop"] = sorted(set(values["stop"]))
    return named_out(model, tasks, json.dumps([str(model), str(tasks), fixed], sort_keys=True))


def named_out(model: str, tasks: str, identity: str, prefix: str = "") -> Path:
    """The default folder runs/MODEL-TASKS-HASH of a command.

    Args:
        model: the model as it was named.
        tasks: the tasks as they were named.
        identity: the text that the hash is over.
        prefix: put before MODEL.
    """
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    names = (Path(model).name, Path(tasks).name.removesuffix(".gz").rsplit(".", 1)[0])
    slug = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-") or "x" for name in names)
    return Path("runs") / f"{prefix}{slug}-{digest}"


def show_cost(config: AnalyzeConfig, as_json: bool, *, quiet: bool) -> None:
    """Print what a run would draw."""
    from dataclasses import asdict

    from posttrain_diag.analysis.estimate import estimate_cost
    from posttrain_diag.cli.progress import make_progress

    with make_progress(quiet=quiet) as progress:
        cost = estimate_cost(config, progress)
    if as_json:
        echo_json({**asdict(cost), "out": str(config.out)})
        return
    echo(
        f"{count(cost.problems)} problems, {count(cost.rollouts)} rollouts in the main arm, "
        f"{count(cost.stored)} of them stored already"
    )
    if cost.said:
        echo(cost.said)
    for line in cost_lines(cost):
        echo(line)
    if cost.teacher_rollouts:
        echo(
            f"other models: at most {count(cost.teacher_rollouts)} rollouts, about {token_count(cost.teacher_tokens)} "
            "tokens, on problems that may not be mastered"
        )
    most = f"{cost.probe_share:g} times the main arm's (--effort {config.effort})"
    probes = f"about {token_count(cost.probe_tokens)} tokens, at most {token_count(cost.most_probe_tokens)}, {most}"
    echo(f"probes: {probes}")
    echo(f"run directory: {config.out}")


def cost_lines(cost: CostEstimate) -> list[str]:
    """Tokens and time of a main arm, and what they rest on."""
    takes = "" if cost.time_s is None else f"about {duration(cost.time_s)}, "
    by = "the run's own draws"
    if cost.pilot_rollouts:
        by = f"{count(cost.pilot_rollouts)} draws made now and kept nowhere"
    return [
        f"with its probes: {takes}{scientific(cost.flops)} FLOPs, by the mean length and the speed of {by}",
        f"the main arm: about {token_count(cost.tokens)} tokens",
        f"at most {token_count(cost.max_new_tokens)} new tokens each: at most {token_count(cost.most_tokens)} tokens",
    ]
