"""Writes the report into its run directory; every file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

from posttrain_diag.errors import StoreError
from posttrain_reports.data import ReportData
from posttrain_reports.html import render_html
from posttrain_reports.markdown import render_markdown
from posttrain_reports.page import write_pages
from posttrain_reports.paper import paper_figures


def write_report(data: ReportData, run_dir: Path, *, png: bool = False) -> Path:
    """Write report.html, report.md and figures/*.svg into `run_dir`.

    Args:
        data: the run's plain data.
        run_dir: the run directory; it must exist.
        png: also write each figure as PNG (300 dpi).

    Returns:
        The path of report.html.

    Raises:
        StoreError: `run_dir` is not a directory.
    """
    if not run_dir.is_dir():
        raise StoreError(f"{run_dir} is not a run directory: give the directory that `diag analyze --out` made")
    figures = paper_figures(data, ("svg", "png") if png else ("svg",))
    return write_pages(run_dir, render_html(data), render_markdown(data), figures)
