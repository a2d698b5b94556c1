"""Renders a finished run: one offline HTML page, a Markdown twin, and figures for papers."""

from __future__ import annotations

from posttrain_reports.data import ReportData
from posttrain_reports.html import render_html
from posttrain_reports.markdown import render_markdown
from posttrain_reports.write import write_report

__all__ = ["ReportData", "render_html", "render_markdown", "write_report"]
