"""What trainers are fed: token ids, never text, so that training sees exactly what sampling and scoring see.

    row    {"input_ids": [prompt..., response..., stop], "labels": [-100..., response..., stop]}
    pair   {"prompt_ids": [...], "chosen_ids": [...], "rejected_ids": [...]}

decode → encode is not the identity for most tokenizers, and a trainer's own templates need not be the ones the model
was measured under.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from posttrain_diag.engines.contract import Engine, Prompt
from posttrain_diag.errors import UsageError
from posttrain_diag.store import write_atomic
from posttrain_diag.types import Problem, Rollout

if TYPE_CHECKING:
    from datasets import Dataset

IGNORED = -100
"""Label of a token that is not trained on."""


@dataclass(frozen=True)
class TokenRow:
    """A prompt and the response to be made likelier."""

    problem_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    """The end of a response included."""

    @property
    def input_ids(self) -> list[int]:
        """Prompt and response."""
        return [*self.prompt_ids, *self.response_ids]

    @property
    def labels(self) -> list[int]:
        """Next-token targets: the response alone."""
        return [IGNORED] * len(self.prompt_ids) + list(self.response_ids)


@dataclass(frozen=True)
class TokenPair:
    """A prompt with a response to prefer over another."""

    problem_id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]


@dataclass(frozen=True)
class Lesson:
    """What one teacher makes of one problem."""

    problem_id: str
    teacher: int
    """Its place among the teachers."""
    n: int
    """Draws."""
    c: int
    """Passing draws."""
    response_ids: tuple[tuple[int, ...], ...]
    """Different passing draws in the student's tokens, each ended as the student's responses end."""


def end_ids(engine: Engine) -> tuple[int, ...]:
    """What ends a response in training: the turn end of the chat template in use, else the model's own eos token.

    Raises:
        UsageError: the model has neither; nothing could teach it to end.
    """
    info = engine.info
    if info.stop_texts:
        return engine.response_ids(info.stop_texts[0])
    if not info.stop_token_ids:
        raise UsageError(
            f"{info.model}: the model has no stop token, so training cannot teach it to end a response: set "
            "eos_token_id in its generation_config.json"
        )
    return info.stop_token_ids[:1]


def content_ids(engine: Engine, draw: Rollout) -> tuple[int, ...]:
    """The tokens of a finished draw without what ended it: a stop token, or the tokens of a stop text.

    Args:
        engine: whose tokens the draw is made of.
        draw: that ended by itself.
    """
    ids = draw.token_ids
    if ids and ids[-1] in engine.info.stop_token_ids:
        return ids[:-1]
    # a response decoded on its own may lack the space that stands after the given beginning
    said = draw.text[len(draw.response_prefix) :].lstrip()
    size = len(ids)
    while size and engine.decode(ids[: size - 1]).lstrip().startswith(said):
        size -= 1
    return ids[:size] if engine.decode(ids[:size]).lstrip() == said else engine.response_ids(said)


def taught_ids(engine: Engine, draw: Rollout) -> tuple[int, ...]:
    """A draw as a response to train on; one that ended is taught to end where the model's responses do."""
    return (*content_ids(engine, draw), *end_ids(engine)) if draw.finish_reason == "stop" else draw.token_ids


def text_row(engine: Engine, problem: Problem, text: str) -> TokenRow:
    """A response given as text, with its end."""
    prompt_ids = engine.prompt_ids(Prompt(problem.prompt, problem.messages))
    return TokenRow(problem.id, prompt_ids, (*engine.response_ids(text), *end_ids(engine)))


def demo_rows(engine: Engine, problems: Iterable[Problem]) -> list[TokenRow]:
    """One row per demonstration."""
    return [text_row(engine, problem, demo) for problem in problems for demo in problem.demos]


def text_pairs(engine: Engine, problems: Iterable[Problem]) -> list[TokenPair]:
    """One pair per preference of the problems, both responses with their end."""
    out: list[TokenPair] = []
    for problem in problems:
        for pair in problem.pairs:
            chosen, rejected = (text_row(engine, problem, text) for text in (pair.chosen, pair.rejected))
            out.append(TokenPair(problem.id, chosen.prompt_ids, chosen.response_ids, rejected.response_ids))
    return out


def check_lengths(rows: Sequence[TokenRow | TokenPair], context: int | None) -> None:
    """Refuse rows that do not fit into the context: cut ones would teach the model to stop early, or not at all.

    Raises:
        UsageError: names the longest row.
    """
    if context is None or not rows:
        return
    longest = max(rows, key=_length)
    if _length(longest) > context:
        many = sum(_length(row) > context for row in rows)
        raise UsageError(
            f"{many} training rows are longer than the model's context of {context} tokens, e.g. problem "
            f"{longest.problem_id!r} with {_length(longest)}: shorten the prompts or the demonstrations"
        )


def _length(row: TokenRow | TokenPair) -> int:
    if isinstance(row, TokenRow):
        return len(row.prompt_ids) + len(row.response_ids)
    return len(row.prompt_ids) + max(len(row.chosen_ids), len(row.rejected_ids))


def mixed(rows: Sequence[TokenRow], replay: Sequence[TokenRow], share: float, *, seed: int) -> list[TokenRow]:
    """`rows` with so many replayed ones that these are `share` of all; both are repeated whole as often as needed."""
    if share <= 0:
        return list(rows)
    wanted = round(len(rows) * share / (1 - share))
    rng = random.Random(seed)
    pool: list[TokenRow] = []
    while len(pool) < wanted:
        pool += rng.sample(list(replay), len(replay))
    return [*rows, *pool[:wanted]]


def replayed(rows: Sequence[TokenRow], share: float, beside: int, *, seed_text: str) -> list[TokenRow]:
    """Rows to add to a batch of `beside` sequences so that these are `share` of both; fewer where there are none."""
    wanted = max(1, round(beside * share / (1 - share)))
    return random.Random(seed_text).sample(list(rows), min(wanted, len(rows)))


def row_dataset(rows: Sequence[TokenRow]) -> Dataset:
    """Rows as a data set that SFTTrainer takes as it is."""
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]})


def pair_dataset(pairs: Sequence[TokenPair]) -> Dataset:
    """Pairs as a data set of token ids."""
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "prompt_ids": [list(pair.prompt_ids) for pair in pairs],
            "chosen_ids": [list(pair.chosen_ids) for pair in pairs],
            "rejected_ids": [list(pair.rejected_ids) for pair in pairs],
        }
    )


def unpaired_dataset(pairs: Sequence[TokenPair], batch: int, *, seed: int) -> Dataset:
    """Every response of the pairs as a row with a `label`, shuffled, as KTO's collator takes them.

    Args:
        pairs: each gives a desired and an undesired response.
        batch: sequences per device at once; within so many rows in a row KTO's KL is estimated, from each prompt
            with the response of the row before.
        seed: of the order.
    """
    from datasets import Dataset

    rows = [
        row
        for pair in pairs
        for row in ((pair.prompt_ids, pair.chosen_ids, True), (pair.prompt_ids, pair.rejected_ids, False))
    ]
    random.Random(seed).shuffle(rows)
    responses = [list(row[1]) for row in rows]
    chunks = [responses[i : i + batch] for i in range(0, len(responses), batch)]
    return Dataset.from_dict(
        {
            "prompt_ids": [list(row[0]) for row in rows],
            "completion_ids": responses,
            "KL_completion_ids": [ids for chunk in chunks for ids in (chunk[-1], *chunk[:-1])],
            "label": [row[2] for row in rows],
        }
    )


def sequence_dataset(pairs: Sequence[TokenPair]) -> Dataset:
    """Pairs as whole sequences with their targets, as the collator of CPO and ORPO takes them."""
    from datasets import Dataset

    columns: dict[str, list[list[int]]] = {}
    for side in ("chosen", "rejected"):
        rows = [
            TokenRow(p.problem_id, p.prompt_ids, p.chosen_ids if side == "chosen" else p.rejected_ids) for p in pairs
        ]
        columns[f"{side}_input_ids"] = [row.input_ids for row in rows]
        columns[f"{side}_attention_mask"] = [[1] * len(row.input_ids) for row in rows]
        columns[f"{side}_labels"] = [row.labels for row in rows]
    return Dataset.from_dict(columns)


def in_turn(keys: Sequence[str], n: int, *, seed: int) -> list[str]:
    """`n` keys: all of them in a seeded order, again and again in a new one."""
    rng = random.Random(seed)
    out: list[str] = []
    while len(out) < n:
        out += rng.sample(list(keys), len(keys))
    return out[:n]


def prompt_dataset(problem_ids: Sequence[str]) -> Dataset:
    """Problems to draw from: the trainer's `prompt` is the problem's id, which stands for its token ids."""
    from datasets import Dataset

    return Dataset.from_dict({"prompt": list(problem_ids)})


def save_rows(path: Path, rows: Sequence[TokenRow | TokenPair | Lesson]) -> None:
    """Write rows as JSON lines, at once or not at all."""
    write_atomic(path, "".join(json.dumps(asdict(row)) + "\n" for row in rows))


def load_rows(path: Path) -> list[TokenRow]:
    """Rows that `save_rows` wrote."""
    found = (json.loads(line) for line in path.read_text().splitlines())
    return [TokenRow(r["problem_id"], tuple(r["prompt_ids"]), tuple(r["response_ids"])) for r in found]


def load_pairs(path: Path) -> list[TokenPair]:
    """Pairs that `save_rows` wrote."""
    found = (json.loads(line) for line in path.read_text().splitlines())
    keys = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [TokenPair(r["problem_id"], *(tuple(r[key]) for key in keys)) for r in found]


def load_lessons(path: Path) -> list[Lesson]:
    """Lessons that `save_rows` wrote."""
    found = (json.loads(line) for line in path.read_text().splitlines())
    return [
        Lesson(r["problem_id"], r["teacher"], r["n"], r["c"], tuple(tuple(ids) for ids in r["response_ids"]))
        for r in found
    ]
