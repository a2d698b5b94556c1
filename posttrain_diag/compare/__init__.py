"""Comparison: two runs on the same problems → support gained and lost, the change explained, the role really played."""

from posttrain_diag.compare.compare import compare_runs
from posttrain_diag.compare.contract import comparison_json, default_folder, write_comparison
from posttrain_diag.compare.figures import Figures

__all__ = ["Figures", "compare_runs", "comparison_json", "default_folder", "write_comparison"]
