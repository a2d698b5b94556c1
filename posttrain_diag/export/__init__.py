"""Recommendations are data too: training rows, pairs and prompts out of a run, or all of its draws as tables."""

from posttrain_diag.export.write import Exported, export

__all__ = ["Exported", "export"]
