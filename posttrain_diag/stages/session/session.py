"""One stage in progress: its policy, its phases on disk, its watcher and its bill.

A phase is one trainer run. Everything a phase is trained on is written before it starts, every checkpoint of the
trainer carries the stage's own state, and a finished phase leaves its weights: after `kill -9` the same command goes on
from the last checkpoint to the same weights.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from posttrain_diag.engines.contract import Engine
from posttrain_diag.engines.hf.load import quiet
from posttrain_diag.errors import UsageError
from posttrain_diag.evidence import MAIN, DrawSpec
from posttrain_diag.rollouts.collect import Collector
from posttrain_diag.rollouts.judge import Judge
from posttrain_diag.rollouts.progress import Progress
from posttrain_diag.rollouts.stored import stored_rollouts
from posttrain_diag.settings.stage import StageConfig
from posttrain_diag.stages.data.rows import (
    Lesson,
    TokenPair,
    TokenRow,
    load_pairs,
    load_rows,
    mixed,
    save_rows,
    taught_ids,
    text_row,
)
from posttrain_diag.stages.inputs import StageInputs
from posttrain_diag.stages.policy.policy import Policy
from posttrain_diag.stages.session.ledger import Ledger
from posttrain_diag.stages.session.watch import Watcher
from posttrain_diag.stages.trainers.trl import processes_of
from posttrain_diag.store import RolloutStore, Store, write_atomic
from posttrain_diag.tasks.problems.split import some
from posttrain_diag.types import Problem, Rollout, SamplingParams

STATE = "stage_state.json"
REPLAY_DRAWS = 8
"""Draws of the starting policy per retained problem; those that pass are replayed."""
SKILL_PROBLEMS, SKILL_DRAWS = 128, 4
"""Where no tasks to retain are given: training problems that are looked at for what the model solves already, and draws
of each."""
SOLVED = 0.75
"""Share of its draws that must pass for a training problem to count as solved already."""

Trained = TypeVar("Trained", TokenRow, TokenPair, Lesson)


@dataclass
class StageState:
    """The numbers of a stage that must survive a restart."""

    steps: int = 0
    """Optimizer steps of all phases so far."""
    generated_tokens: int = 0
    """Tokens drawn for training: RL draws, own rollouts, teachers' texts."""
    rollouts: int = 0
    trained_tokens: int = 0
    zero_steps: int = 0
    """RL steps in a row without one passing draw."""
    stopped: str | None = None
    """Why the stage ended early; empty while it has not."""
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    """Numbers that only one stage has, e.g. the share of hints."""


class Session:
    """One stage in progress, as a stage's `run(session)` gets it."""

    def __init__(
        self,
        inputs: StageInputs,
        config: StageConfig,
        policy: Policy,
        params: SamplingParams,
        folder: Path,
        *,
        steps: int,
        learning_rate: float,
        default_replay: float = 0.0,
        store: Callable[[], Store] | None = None,
        progress: Progress | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.inputs = inputs
        self.config = config
        self.policy = policy
        self.params = params
        self.folder = folder
        self.steps = steps
        self.learning_rate = learning_rate
        self.replay_share = replay_share(config, inputs, default_replay)
        self._default_replay = default_replay
        self.rate_factor = 1.0
        """Of the next optimizer step's learning rate."""
        self.most_zero_steps: int | None = None
        """Steps in a row without one passing draw after which the stage ends; None: it does not end for that."""
        self.progress = progress or Progress()
        self.say = say or _silent
        self.processes = processes_of(policy.device)
        self.state = StageState()
        self.judge = Judge([*inputs.train, *inputs.replayed])
        self.problems = {problem.id: problem for problem in inputs.train}
        self._ledger = Ledger()
        self._open_store = store or (lambda: RolloutStore(folder / "rollouts.sqlite"))
        self.watcher = Watcher(policy, inputs.watched, inputs.retained, params, config.watch_rollouts, folder / "watch")

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return bool(self.processes.is_main_process)

    def made_once(
        self, name: str, make: Callable[[], Sequence[Trained]], load: Callable[[Path], list[Trained]]
    ) -> list[Trained]:
        """Rows for training, made by the main process once and read back from a file of the stage ever after.

        Args:
            name: names the file.
            make: makes the rows where the file is not there yet.
            load: reads them from the file.
        """
        path = self.folder / name
        bill, noted = path.with_suffix(".bill.json"), path.with_suffix(".owed.json")
        if self.is_main:
            if not path.exists():
                self._ledger = Ledger(noted)
                try:
                    rows = make()
                finally:
                    self._write_bill(bill)  # what was drawn was paid for, whether or not it made rows
                save_rows(path, rows)
                self._ledger = Ledger()
            noted.unlink(missing_ok=True)
        self.processes.wait_for_everyone()
        self._read_bill(bill)
        return load(path)

    def rows_once(self, name: str, make: Callable[[], Sequence[TokenRow]]) -> list[TokenRow]:
        """Rows for training, made once and read back ever after, as `made_once` describes."""
        return self.made_once(f"{name}.jsonl", make, load_rows)

    def pairs_once(self, name: str, make: Callable[[], Sequence[TokenPair]]) -> list[TokenPair]:
        """Preference pairs, made once and read back ever after, as `made_once` describes."""
        return self.made_once(f"{name}.jsonl", make, load_pairs)

    def _write_bill(self, path: Path) -> None:
        """Write what was drawn and noted so far outside trainers, for restarts and for every other process."""
        own = self.state
        bill = {"generated_tokens": own.generated_tokens, "rollouts": own.rollouts, "extra": own.extra}
        write_atomic(path, json.dumps(bill))

    def _read_bill(self, path: Path) -> None:
        bill = json.loads(path.read_text())
        self.state.extra = bill.pop("extra") | self.state.extra
        for name, value in bill.items():
            setattr(self.state, name, max(value, getattr(self.state, name)))

    def own_draws(
        self,
        problems: Sequence[Problem],
        n: int,
        *,
        version: str = "",
        arm: str = MAIN,
        hints: Mapping[str, tuple[int, ...]] | None = None,
        cap: int | None = None,
    ) -> dict[str, list[Rollout]]:
        """Draws of each problem by the policy as it is now: those in the store, and as many new ones as are missing.

        Draws of the starting model are shared with other stages and analyses of it; those of later weights, which
        exist in this stage alone, stay in its folder.

        Args:
            problems: what to draw for; ids are unique.
            n: draws per problem.
            version: names the state of the weights; empty while they are the starting model's.
            arm: name in the store of another prompt than the problem's own.
            hints: response tokens given to a problem, by its id.
            cap: tokens drawn at most; None: the stage's cap, less the hint.

        Returns:
            The rollouts by problem id.
        """
        engine = self.policy.engine
        self.policy.sync()
        engine.version = version
        store = (lambda: RolloutStore(self.folder / "versions.sqlite")) if version else self._open_store
        try:
            return self.draws_of(engine, problems, n, arm=arm, hints=hints, cap=cap, open_store=store)
        finally:
            engine.version = ""

    def draws_of(
        self,
        engine: Engine,
        problems: Sequence[Problem],
        n: int,
        *,
        arm: str = MAIN,
        hints: Mapping[str, tuple[int, ...]] | None = None,
        cap: int | None = None,
        open_store: Callable[[], Store] | None = None,
    ) -> dict[str, list[Rollout]]:
        """Draws of each problem by the model of an engine: those in the store, and as many new ones as are missing.

        New draws go on the stage's bill.

        Args:
            engine: the policy or another model.
            problems: what to draw for; ids are unique.
            n: draws per problem.
            arm: name in the store of another prompt than the problem's own.
            hints: response tokens given to a problem, by its id.
            cap: tokens drawn at most; None: the stage's cap, less the hint.
            open_store: opens the store that keeps them; None: the store of the run.

        Returns:
            The rollouts by problem id.
        """
        by_id, given = {problem.id: problem for problem in problems}, hints or {}
        store = (open_store or self._open_store)()
        try:
            collector = Collector(engine, store, by_id, self.params)
            owed = collector.owed(DrawSpec(key, arm, n, given.get(key, ()), cap) for key in by_id)
            new = sum(len(item.missing) for item in owed)
            due = self._ledger.due(engine.info.model_sha, owed)
            self.progress.plan(n * len(by_id), n * len(by_id) - new, cap or self.params.max_new_tokens)
            collector.draw(owed, self.progress)
            out: dict[str, list[Rollout]] = {}
            for item, drawn, billed in zip(owed, stored_rollouts(store, engine, owed, by_id), due, strict=True):
                out[item.spec.problem_id] = drawn
                self.state.generated_tokens += sum(draw.n_tokens for draw in drawn if draw.sample_idx in billed)
            self.state.rollouts += sum(map(len, due))
            return out
        finally:
            store.close()

    def replay_rows(self) -> list[TokenRow]:
        """Rows that keep the retained tasks: the starting policy's own passing draws, else demonstrations.

        Raises:
            UsageError: no tasks to retain were given, or nothing is known that passes on them.
        """
        problems = self.inputs.replayed
        if not problems:
            raise UsageError("replay needs tasks to retain: --retain FILE, or set replay to 0")

        def make() -> list[TokenRow]:
            rows: list[TokenRow] = []
            drawn, engine = self.own_draws(problems, REPLAY_DRAWS), self.policy.engine
            for problem in problems:
                own = {d.token_ids: d for d in drawn[problem.id] if d.passed}
                rows += [TokenRow(problem.id, d.prompt_ids, taught_ids(engine, d)) for d in own.values()]
                if not own:
                    rows += [text_row(engine, problem, demo) for demo in problem.demos[:1]]
            if not rows:
                raise UsageError(
                    "replay found nothing to keep: the model passes none of the tasks to retain, and they carry no "
                    "demonstrations; give tasks that it solves, or set replay to 0"
                )
            return rows

        return self.rows_once("replay", make)

    def skill_rows(self) -> list[TokenRow]:
        """The starting policy's own passing draws on training problems that it solves already."""
        problems = some(self.inputs.train, SKILL_PROBLEMS, seed=self.config.seed)

        def make() -> list[TokenRow]:
            drawn = self.own_draws(problems, SKILL_DRAWS)
            solved = {key: own for key, own in drawn.items() if sum(d.passed for d in own) >= SOLVED * len(own)}
            self.state.extra["solved_before"] = {"problems": len(solved), "of": len(problems)}
            engine = self.policy.engine
            own = {TokenRow(d.problem_id, d.prompt_ids, taught_ids(engine, d)): None for d in _passed(solved)}
            return list(own)

        return self.rows_once("skills", make)

    def with_replay(self, rows: Sequence[TokenRow], *, own: bool = False) -> list[TokenRow]:
        """Rows for a supervised stage, with replayed rows mixed in.

        Where tasks to retain were given, or a share was set, that share is of those tasks. Else what the model solves
        of the training problems is replayed, at most in the proportion that these have among them: what others wrote
        must not cost what it does right.

        Args:
            rows: what the stage teaches.
            own: they are the model's own passes, which hold what it does right already.
        """
        if self.inputs.retain or self.config.replay is not None:
            if self.replay_share == 0:
                return list(rows)
            return mixed(rows, self.replay_rows(), self.replay_share, seed=self.config.seed)
        if own or self._default_replay == 0 or not (skills := self.skill_rows()):
            return list(rows)
        looked = min(SKILL_PROBLEMS, len(self.inputs.train))
        share = min(self._default_replay, len({row.problem_id for row in skills}) / looked)
        return mixed(rows, skills, share, seed=self.config.seed)

    def phase(self, name: str, make: Callable[[Path], Any]) -> None:
        """Run one trainer to its end, or take over what an earlier process left.

        Args:
            name: name of the phase, unique in the stage.
            make: builds the trainer, given the folder for its checkpoints; not called for a finished phase.
        """
        from transformers import PrinterCallback

        from posttrain_diag.stages.trainers.callback import StageCallback

        folder = self.folder / "phases" / name
        done = folder / "done.json"
        if done.exists():
            self.policy.load_weights(folder)
            self.state = StageState(**json.loads(done.read_text()))
            return
        if self.state.stopped:
            return
        checkpoints = folder / "trainer"
        with quiet():
            trainer = make(checkpoints)
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(StageCallback(self, self.state.steps, trainer))
            resumed = self._resume_from(checkpoints)
            self.policy.lend(trainer)
            trainer.train(resume_from_checkpoint=resumed)
            self.policy.take_back()
        if self.is_main:
            self.policy.save_training_state(folder)
            write_atomic(done, json.dumps(asdict(self.state)))
            shutil.rmtree(checkpoints, ignore_errors=True)
        self.processes.wait_for_everyone()

    def _resume_from(self, checkpoints: Path) -> str | None:
        """The last complete checkpoint; a checkpoint that a kill left half-written is removed."""
        found: list[tuple[int, Path]] = []
        for path in checkpoints.glob("checkpoint-*"):
            if (path / STATE).exists():
                found.append((int(path.name.rpartition("-")[2]), path))
            elif self.is_main:
                shutil.rmtree(path)
        self.processes.wait_for_everyone()
        if not found:
            return None
        last = max(found)[1]
        self.state = StageState(**json.loads((last / STATE).read_text()))
        return str(last)


def replay_share(config: StageConfig, inputs: StageInputs, default: float) -> float:
    """Share of retained tasks in a batch: the user's, else the stage's default where there are tasks to retain."""
    if config.replay is not None:
        return config.replay
    return default if inputs.retain else 0.0


def _passed(drawn: Mapping[str, Sequence[Rollout]]) -> Iterator[Rollout]:
    """The draws that pass, problem by problem."""
    return (draw for own in drawn.values() for draw in own if draw.passed)


def _silent(text: str) -> None:
    """Take a line of text and show it to nobody."""
