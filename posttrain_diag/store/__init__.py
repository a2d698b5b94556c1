"""What is on disk: the rollout store (SQLite) and the run directory around it."""

from posttrain_diag.store.rollouts import RolloutStore, ScoreRow
from posttrain_diag.store.run_dir import RunDir, write_atomic

__all__ = ["RolloutStore", "RunDir", "ScoreRow", "write_atomic"]
