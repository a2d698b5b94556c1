"""The texts of tokens, kept beside the rollouts: a report shows every token's probability without the model.

RUN/vocabulary.json  {"model_sha": "...", "texts": {"17": " the", ...}}   of the tokens that were drawn
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from posttrain_diag.engines.contract import Engine
from posttrain_diag.evidence import tally
from posttrain_diag.rollouts.stored import first_draws
from posttrain_diag.store import RunDir, Span, Store

if TYPE_CHECKING:
    from posttrain_diag.store import StoredTokens

TOKEN_ROWS = 20_000
"""Rollouts at most whose tokens a report can show: the first draws of every problem and arm."""

Key = tuple[str, str, int]
"""What tells one draw from the others in reports: (prompt_sha, sampling_sha, sample_idx)."""


def shown_spans(rollouts: pd.DataFrame) -> list[Span]:
    """The draws among `rollouts` whose tokens a report may show."""
    if rollouts.empty:
        return []
    first = first_draws(tally(rollouts), TOKEN_ROWS)
    pairs = rollouts[["prompt_sha", "sampling_sha"]].drop_duplicates().head(TOKEN_ROWS)
    return [Span(prompt, sampling, 0, first) for prompt, sampling in pairs.itertuples(index=False)]


def keep_vocabulary(run: RunDir, engine: Engine, store: Store, rollouts: pd.DataFrame) -> None:
    """Write vocabulary.json with the text of every token of the draws that a report may show.

    Nothing is written where the engine has no tokenizer or gives no log-probabilities.

    Args:
        run: the run directory that the file goes into.
        engine: turns tokens into text.
        store: where the tokens of the draws are.
        rollouts: the draws in hand.
    """
    if "tokens" in engine.info.lacks or "logprobs" in engine.info.lacks:
        return
    rows = store.token_rows(engine.info.model_sha, shown_spans(rollouts))
    used: set[int] = set()
    for row in rows:
        used.update(row.ids_T.tolist())
    run.write_json(
        "vocabulary.json",
        {"model_sha": engine.info.model_sha, "texts": {str(i): t for i, t in token_texts(engine, used).items()}},
    )


def token_texts(engine: Engine, ids: Iterable[int]) -> dict[int, str]:
    """The text of every token as it reads after another one (so that a leading space survives); stop tokens by name."""
    named = dict(zip(engine.info.stop_token_ids, engine.info.stop_tokens, strict=False))
    wanted = sorted(set(ids))
    anchor = next((i for i in wanted if i not in named and engine.decode([i]).strip()), None)
    before = "" if anchor is None else engine.decode([anchor])
    texts: dict[int, str] = {}
    for token in wanted:
        alone = named.get(token) or engine.decode([token])
        after = "" if anchor is None or token in named else engine.decode([anchor, token])
        texts[token] = after[len(before) :] if len(after) > len(before) and after.startswith(before) else alone
    return texts


def stored_vocabulary(run: RunDir) -> dict[int, str]:
    """Texts of tokens by id, as an earlier analysis stored them; empty for a run without them."""
    if not (run.path / "vocabulary.json").exists():
        return {}
    return {int(token): str(text) for token, text in run.read_json("vocabulary.json")["texts"].items()}


def tokens_by_draw(store: Store, model_sha: str, rollouts: pd.DataFrame) -> Mapping[Key, StoredTokens]:
    """The tokens of the draws that a report may show, where their log-probabilities are known."""
    return {
        (row.prompt_sha, row.sampling_sha, row.sample_idx): row
        for row in store.token_rows(model_sha, shown_spans(rollouts))
        if row.logprobs_T is not None and len(row.logprobs_T) == len(row.ids_T) and np.isfinite(row.logprobs_T).all()
    }
