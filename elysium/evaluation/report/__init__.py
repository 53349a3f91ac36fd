"""Self-contained pages: of a run, of one evaluation, and of several side by side."""

from elysium.evaluation.report.page import read_evaluations, render_evaluations
from elysium.evaluation.report.run_page import render, render_sources
from elysium.evaluation.report.sources import Sources

__all__ = ["Sources", "read_evaluations", "render", "render_evaluations", "render_sources"]
