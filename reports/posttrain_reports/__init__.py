"""Renders what was measured: offline HTML pages with a Markdown twin, and figures for papers."""

from __future__ import annotations

from posttrain_reports.autopilot import AutopilotData, render_autopilot, write_autopilot_report
from posttrain_reports.comparison import ComparisonData, render_comparison, write_comparison_report
from posttrain_reports.data import ReportData
from posttrain_reports.html import render_html
from posttrain_reports.markdown import render_markdown
from posttrain_reports.selection import candidate_ids
from posttrain_reports.write import write_report

__all__ = [
    "AutopilotData",
    "ComparisonData",
    "ReportData",
    "candidate_ids",
    "render_autopilot",
    "render_comparison",
    "render_html",
    "render_markdown",
    "write_autopilot_report",
    "write_comparison_report",
    "write_report",
]
