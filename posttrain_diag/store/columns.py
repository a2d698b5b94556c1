"""The columns of a stored rollout: one order, one set of values and one frame for every kind of store."""

from __future__ import annotations

from array import array
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from posttrain_diag.types import Rollout

if TYPE_CHECKING:
    import pandas as pd

IDENTITY = ("model_sha", "prompt_sha", "sampling_sha", "sample_idx")

COLUMNS: dict[str, str] = {
    "model_sha": "string",
    "prompt_sha": "string",
    "sampling_sha": "string",
    "sample_idx": "int64",
    "problem_id": "string",
    "arm": "string",
    "verifier_sha": "string",
    "verdict": "string",
    "strict": "bool",
    "lenient": "bool",
    "n_tokens": "int64",
    "seed": "int64",
    "finish_reason": "string",
    "engine": "string",
    "logprob": "double",
    "policy_logprob": "double",
    "proposal_logprob": "double",
    "score": "double",
    "extracted": "string",
    "error": "string",
    "response_prefix": "string",
    "text": "string",
    "token_ids": "int32s",
    "token_logprobs": "float32s",
}
"""The columns with their types. What counts are made of comes first, so that counting reads past no text."""

NULLABLE = {"logprob", "policy_logprob", "proposal_logprob", "score", "extracted", "error", "token_logprobs"}

REPEATED = (
    "model_sha",
    "prompt_sha",
    "sampling_sha",
    "problem_id",
    "arm",
    "verifier_sha",
    "verdict",
    "finish_reason",
    "engine",
    "response_prefix",
)
"""Columns whose values repeat over many rows."""

FRAME_COLUMNS = (
    "problem_id",
    "arm",
    "sample_idx",
    "seed",
    "response_prefix",
    "text",
    "n_tokens",
    "logprob",
    "finish_reason",
    "verdict",
    "strict",
    "lenient",
    "extracted",
    "score",
    "error",
    "verifier_sha",
    "prompt_sha",
    "sampling_sha",
    "policy_logprob",
    "proposal_logprob",
)
"""The columns that probes read."""

_ORDER = ("problem_id", "arm", "sampling_sha", "sample_idx", "prompt_sha")


def clean(text: str) -> str:
    """A text that can be stored as UTF-8: lone surrogates are written as their escapes, never dropped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def clean_or_none(text: str | None) -> str | None:
    """The text as `clean` makes it; None stays None."""
    return None if text is None else clean(text)


def values_of(rollout: Rollout) -> tuple[Any, ...]:
    """A rollout's values in the order of COLUMNS; token arrays as bytes (int32, float32)."""
    logprobs = rollout.token_logprobs
    return (
        rollout.model_sha,
        rollout.prompt_sha,
        rollout.sampling_sha,
        rollout.sample_idx,
        rollout.problem_id,
        rollout.arm,
        rollout.verifier_sha,
        rollout.verdict,
        rollout.strict,
        rollout.lenient,
        rollout.n_tokens,
        rollout.seed,
        rollout.finish_reason,
        rollout.engine,
        rollout.logprob,
        rollout.policy_logprob,
        rollout.proposal_logprob,
        rollout.score,
        clean_or_none(rollout.extracted),
        clean_or_none(rollout.error),
        clean(rollout.response_prefix),
        clean(rollout.text),
        array("i", rollout.token_ids).tobytes(),
        None if logprobs is None else array("f", logprobs).tobytes(),
    )


@cache
def arrow_schema() -> Any:
    """COLUMNS as an Arrow schema."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "int64": pa.int64(),
        "bool": pa.bool_(),
        "double": pa.float64(),
        "int32s": pa.list_(pa.int32()),
        "float32s": pa.list_(pa.float32()),
    }
    return pa.schema([pa.field(name, types[kind], name in NULLABLE) for name, kind in COLUMNS.items()])


def record_batch(rows: list[tuple[Any, ...]]) -> Any:
    """Rows of `values_of` as an Arrow record batch."""
    import pyarrow as pa

    schema = arrow_schema()
    columns = [
        _lists(values, field.type) if pa.types.is_list(field.type) else pa.array(values, field.type)
        for values, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _lists(blobs: tuple[bytes | None, ...], kind: Any) -> Any:
    import pyarrow as pa

    sizes = np.asarray([0 if blob is None else len(blob) // 4 for blob in blobs])
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    dtype = np.int32 if kind.value_type == pa.int32() else np.float32
    values = pa.array(np.frombuffer(b"".join(blob for blob in blobs if blob is not None), dtype), kind.value_type)
    absent = np.asarray([blob is None for blob in blobs])
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array(absent) if absent.any() else None)


def frame_schema() -> Any:
    """FRAME_COLUMNS as an Arrow schema."""
    import pyarrow as pa

    schema = arrow_schema()
    return pa.schema([schema.field(name) for name in FRAME_COLUMNS])


def frame_of(tables: list[Any]) -> pd.DataFrame:
    """Arrow tables with the columns of `frame_schema` as one frame, in the order every store keeps."""
    import pyarrow as pa

    schema = frame_schema()
    table = pa.concat_tables([schema.empty_table(), *(each.select(FRAME_COLUMNS).cast(schema) for each in tables)])
    return table.sort_by([(name, "ascending") for name in _ORDER]).to_pandas(self_destruct=True)
