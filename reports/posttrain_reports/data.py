"""What a report is made of: plain data that can be read back from a run directory without the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from posttrain_diag.errors import StoreError, UsageError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
"""The version of diagnosis.json that this package can show."""

REQUIRED_KEYS = ("schema", "bottleneck", "confidence", "instrument", "shares", "estimates", "plan")
REQUIRED_COLUMNS = ("id", "n", "c")
TRANSCRIPT_KEYS = ("problem_id", "text", "verdict")


def as_mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one (for an optional block that is absent or null)."""
    return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class ReportData:
    """Everything that the report of a run shows.

    Raises:
        StoreError: a part lacks what no report can do without, or has an unknown schema.
        UsageError: a measurement or transcript is not a mapping with the agreed keys.
    """

    diagnosis: Mapping[str, Any]
    """The contents of diagnosis.json; a null value means undefined and is shown as such."""
    problems: pd.DataFrame
    """The rows of problems.parquet, with `prompt` and `answer` where known."""
    measurements: Sequence[Mapping[str, Any]]
    """One per probe: {"probe", "question", "summary": {name: estimate}, "figures": [...], "notes": [...]}."""
    failures: Sequence[Mapping[str, Any]]
    """The probes that raised an error: {"probe", "error"}."""
    transcripts: Sequence[Mapping[str, Any]]
    """Rollouts: {"problem_id", "arm", "sample_idx", "text", "verdict", "lenient", "extracted",
    "finish_reason", "n_tokens", "logprob"}; the report samples them."""
    command: str
    """The command line that made the run."""
    created: str
    """When the report was made, as text."""
    rollouts: int | None = None
    """Number of rollouts of the run, where `transcripts` are only the first draws of each problem and arm."""
    store: str = "rollouts.sqlite"
    """Name of the store that holds all of them, within the run directory."""
    vocabulary: Mapping[int, str] = field(default_factory=dict[int, str])
    """Texts of tokens by id, for transcripts with "token_ids" and "token_logprobs" (arrays of shape (T,), nats)."""

    def __post_init__(self) -> None:
        missing = [key for key in REQUIRED_KEYS if key not in self.diagnosis]
        if missing:
            raise StoreError(
                f"diagnosis.json lacks {', '.join(missing)}; a report needs {', '.join(REQUIRED_KEYS)}: "
                "run `diag analyze` again to rewrite it"
            )
        if self.diagnosis["schema"] != SCHEMA:
            raise StoreError(
                f"diagnosis.json has schema {self.diagnosis['schema']!r}, this version shows schema {SCHEMA}: "
                "render it with the version that wrote it, or run `diag analyze` again"
            )
        absent = [name for name in REQUIRED_COLUMNS if name not in self.problems.columns]
        if absent:
            raise StoreError(
                f"problems.parquet lacks the column(s) {', '.join(absent)}; it has "
                f"{', '.join(map(str, self.problems.columns)) or 'none'}: run `diag analyze` again to rewrite it"
            )
        for measurement in self.measurements:
            if "probe" not in measurement:
                raise UsageError(
                    f"a measurement has the keys {sorted(measurement)} and no 'probe': name the probe it is from"
                )
        for transcript in self.transcripts:
            lacking = [key for key in TRANSCRIPT_KEYS if key not in transcript]
            if lacking:
                raise UsageError(
                    f"a transcript lacks {', '.join(lacking)}; it needs {', '.join(TRANSCRIPT_KEYS)}: "
                    "read transcripts from the rollout store"
                )
