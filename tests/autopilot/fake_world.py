"""A world in which analysing and training are arithmetic: a model is a directory that says how much it can do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from store_rows import rollout

from posttrain_diag.autopilot import Steps, autopilot, make_autopilot_config
from posttrain_diag.diagnose.contract import estimate_json
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.settings.analysis import AnalyzeConfig
from posttrain_diag.stages import Measured, StageConfig, StageResult
from posttrain_diag.stages.prepare import TrainRequest, prepare
from posttrain_diag.stages.session.watch import Look
from posttrain_diag.store import RunDir, write_atomic
from posttrain_diag.tasks import load_tasks, write_tasks
from posttrain_diag.types import Estimate, Problem

DRAWS = 64


class Killed(BaseException):
    """Where kill -9 would end the process."""


@dataclass(frozen=True)
class Model:
    """What a checkpoint can do."""

    skill: float = 0.2
    retention: float = 1.0


Effect = Callable[[Model, StageConfig], Model]


def gains(skill: float, retention: float = 0.0) -> Effect:
    """A stage that changes both by fixed amounts."""
    return lambda model, _: Model(min(1.0, model.skill + skill), model.retention + retention)


def tasks_file(path: Path, n: int, *, demos: bool = False, name: str = "p") -> str:
    rows = [
        Problem(f"{name}{i}", f"{name}{i}=", None, str(i), {"type": "exact"}, (str(i),) if demos else ())
        for i in range(n)
    ]
    write_tasks(rows, path)
    return str(path)


@dataclass
class World:
    """The functions of a run, what they have done, and what they are told to do."""

    folder: Path
    plan: list[tuple[str, float]] = field(default_factory=lambda: [("grpo", 0.5), ("rft", 0.3)])
    """Stages and the gain that the forecast promises."""
    effects: Mapping[str, Effect | Exception] = field(default_factory=lambda: {"grpo": gains(0.7), "rft": gains(0.4)})
    verdict: Callable[[Model, int], str] = lambda model, rollouts: "saturated" if model.skill > 0.94 else "reshaping"
    needed: int | None = None
    """Rollouts per problem that an undetermined verdict asks for."""
    analysis_tokens: int = 1000
    costs: Mapping[str, int] = field(default_factory=dict[str, int])
    """Expected tokens of a stage; 400 where nothing is said."""
    rises: Callable[[Model], bool] = lambda model: False
    """Whether a stage still rises on the probe problems when its steps are done, by what it came out with."""
    kill_pilots: int = 0
    """So many times the process dies in the middle of the pilots."""
    resources: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    """What plans and pilots were told there is."""
    work: list[str] = field(default_factory=list[str])
    said: list[str] = field(default_factory=list[str])
    configs: list[AnalyzeConfig] = field(default_factory=list[AnalyzeConfig])
    requests: list[TrainRequest] = field(default_factory=list[TrainRequest])
    given: list[Measured | None] = field(default_factory=list["Measured | None"])

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        make_model(self.folder / "start", Model())
        self.tasks = tasks_file(self.folder / "tasks.jsonl", 8)
        self.train_tasks = tasks_file(self.folder / "train.jsonl", 12, name="t")
        self.retain = tasks_file(self.folder / "retain.jsonl", 8, name="r")

    @property
    def out(self) -> Path:
        return self.folder / "run"

    def run(self, **values: Any) -> Mapping[str, Any]:
        """`diag run` in this world."""
        given = {"model": str(self.folder / "start"), "tasks": self.tasks, "train_tasks": self.train_tasks, **values}
        steps = Steps(
            analyze=self.analyze,
            train=self.train,
            compare=self.compare,
            plan=self.replan,
            pilot=self.pilot,
            say=self.said.append,
        )
        return autopilot(make_autopilot_config(**given), self.out, steps)

    def events(self) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (self.out / "events.jsonl").read_text().splitlines()]
        return [{key: value for key, value in row.items() if key != "time"} for row in rows]

    def told(self, event: str) -> list[dict[str, Any]]:
        return [row for row in self.events() if row["event"] == event]

    def analyze(self, config: AnalyzeConfig, progress: Progress, command: str) -> None:
        self.configs.append(config)
        n, run = config.rollouts_per_problem, RunDir(config.out, create=True)
        known = run.diagnosis_path.exists() and json.loads(run.diagnosis_path.read_text())["per_problem"] == n
        if known:
            return
        self.work.append(f"analyze {config.out.relative_to(self.out)} {n}")
        problems = load_tasks(config.tasks).problems
        run.claim({"model_sha": config.model, "sampling": {"max_new_tokens": 8, "temperature": 1.0, "seed": 0}})
        write_atomic(run.config_path, yaml.safe_dump(config.model_dump(mode="json")))
        write_tasks(problems, run.path / "tasks.jsonl")
        store = run.store()
        store.add(rollout(0, n, problem_id=problems[0].id, token_ids=(), token_count=self.analysis_tokens))
        store.close()
        progress.advance(n, self.analysis_tokens)
        model = read_model(config.model)
        found = self.verdict(model, n)
        needed = {"rollouts_per_problem": self.needed, "problems": len(problems), "reason": "draw more"}
        run.write_json(
            "diagnosis.json",
            {
                "bottleneck": found,
                "confidence": 0.9,
                "alternatives": [],
                "needed": needed if found == "undetermined" else None,
                "instrument": {"status": "ok", "findings": [{"severity": "broken", "advice": "mend the golds"}]},
                "estimates": {"pass@1": estimate_json(estimate(model.skill))},
                "plan": [] if found in ("saturated", "undetermined") else [self.proposal(*row) for row in self.plan],
                "not_proposed": {"merge": "no siblings"},
                "tasks": {"n": len(problems)},
                "samples": {"rollouts": n * len(problems), "rollouts_all_arms": n * len(problems), "tokens": 1000},
                "per_problem": n,
            },
        )

    def proposal(self, stage: str, gain: float) -> dict[str, Any]:
        expected, cost = {"value": gain, "low": 0.0, "high": gain}, {"tokens": self.costs.get(stage, 400)}
        return {"stage": stage, "expected_gain": expected, "cost": cost, "needs": [], "why": f"{stage} pays"}

    def train(
        self, request: TrainRequest, progress: Progress, say: Callable[[str], None], before: Measured | None
    ) -> None:
        prepared = prepare(request)
        if (prepared.out / "result.json").exists():
            return
        effect, name = self.effects[prepared.stage], f"train {prepared.out.relative_to(self.out)}"
        if isinstance(effect, Exception):  # refused at once, as often as it is asked for
            raise effect
        self.work.append(name)
        self.requests.append(request)
        self.given.append(before)
        start = read_model(prepared.inputs.model)
        after = effect(start, prepared.config)
        make_model(prepared.out / "checkpoint", after)
        problems, retained = prepared.inputs.held_out, prepared.inputs.retained if prepared.inputs.retain else ()
        result = StageResult(
            prepared.stage,
            str(prepared.out / "checkpoint"),
            replace(before, tokens=0) if before else measured(start, problems, retained),
            measured(after, problems, retained),
            steps=50,
            best_step=0 if after == start else 50,
            stopped=None,
            collapse=False,
            generated_tokens=300,
            trained_tokens=200,
            watched_tokens=10,
            rollouts=30,
            cpu_s=1.0,
            wall_s=1.0,
        )
        rates = [0.2, 0.2, 0.2, 0.3 if self.rises(after) else 0.2]
        looks = [Look(13 * (i + 1), rate, rate, 8, None, 0.0, 0.0, False, rate) for i, rate in enumerate(rates)]
        lines = "".join(json.dumps(asdict(look)) + "\n" for look in looks)
        write_atomic(prepared.out / "watch" / "metrics.jsonl", lines)
        write_atomic(prepared.out / "result.json", json.dumps({"schema": 1, **asdict(result)}))

    def replan(self, run: Path, has: Mapping[str, Any]) -> Mapping[str, Any]:
        self.resources.append(has)
        found = json.loads((run / "diagnosis.json").read_text())
        if found["bottleneck"] == "saturated" and has["to_target"]:
            return {**found, "plan": [self.proposal(*row) for row in self.plan]}
        return found

    def pilot(self, run: Path, has: Mapping[str, Any], request: TrainRequest, progress: Progress, say: Any) -> None:
        data = json.loads((run / "diagnosis.json").read_text())
        if "pilots" in data:
            return
        self.resources.append(has)
        self.work.append(f"pilot {run.relative_to(self.out)} {request.settings}")
        made = run / "pilots" / "0-rft"
        made.mkdir(parents=True, exist_ok=True)
        write_atomic(made / "before.json", json.dumps({"tokens": 70}))
        write_atomic(made / "stage.json", "{}")
        if self.kill_pilots:
            self.kill_pilots -= 1
            raise Killed
        pilots = {"reason": "two are close", "runs": [{"stage": "rft"}]}
        write_atomic(run / "diagnosis.json", json.dumps({**data, "plan": data["plan"][::-1], "pilots": pilots}))

    def compare(self, before: Path, after: Path, out: Path, seed: int) -> None:
        self.work.append(f"compare {before.relative_to(self.out)} {after.relative_to(self.out)}")
        write_atomic(out, json.dumps({"role": "reshaping", "reason": "told", "forecast": None, "decomposition": {}}))


def make_model(path: Path, model: Model) -> None:
    path.mkdir(parents=True, exist_ok=True)
    write_atomic(path / "model.json", json.dumps(asdict(model)))


def read_model(path: str) -> Model:
    return Model(**json.loads((Path(path) / "model.json").read_text()))


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.01, value + 0.01, 0.9, 8)


def measured(model: Model, problems: tuple[Problem, ...], retained: tuple[Problem, ...]) -> Measured:
    def counts(rows: tuple[Problem, ...], rate: float) -> dict[str, tuple[int, int]]:
        return {row.id: (min(DRAWS, max(0, round(rate * DRAWS) + i % 3 - 1)), DRAWS) for i, row in enumerate(rows)}

    kept = estimate(model.retention) if retained else None
    return Measured(
        {"pass@1": estimate(model.skill)},
        kept,
        0.0,
        counts(problems, model.skill),
        counts(retained, model.retention),
        40,
    )
