"""What is on disk: the rollout store (SQLite or Parquet) and the run directory around it."""

from posttrain_diag.store.base import ScoreRow, Span, Store, StoredTokens
from posttrain_diag.store.parquet import ParquetStore
from posttrain_diag.store.rollouts import RolloutStore
from posttrain_diag.store.run_dir import RunDir, lock_folder, write_atomic

__all__ = [
    "ParquetStore",
    "RolloutStore",
    "RunDir",
    "ScoreRow",
    "Span",
    "Store",
    "StoredTokens",
    "lock_folder",
    "write_atomic",
]
