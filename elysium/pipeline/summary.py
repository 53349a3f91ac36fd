"""What a run has to show for itself at its end: one JSON object, or a short table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from elysium.pipeline.run_info import Run
from elysium.pipeline.steps import STEPS, step


def summarise(workspace: Run, report: Path | None) -> dict[str, Any]:
    """Returns the run's result as plain data.

    Returns:
        `run`, `workspace`, `report` (path or None), `decision` (the promotion's, or None), `metrics` (task → metric →
        percent), `data_hash`, `steps` (name → status, seconds, peak_mib, summary), `seconds` and `peak_mib` overall.
    """
    found = {row.name: workspace.manifest(row) for row in STEPS}
    manifests = {name: manifest for name, manifest in found.items() if manifest is not None}
    metrics = _read(workspace, "evaluate", "metrics.json") or {}
    return {
        "run": workspace.run_id,
        "workspace": workspace.uri,
        "report": None if report is None else str(report),
        "decision": _read(workspace, "promote", "decision.json"),
        "metrics": {name: task["model"] for name, task in metrics.get("tasks", {}).items()},
        "data_hash": (_read(workspace, "snapshot", "lineage.json") or {}).get("data_hash"),
        "steps": {
            name: manifest.model_dump(include={"status", "seconds", "peak_mib", "summary"})
            for name, manifest in manifests.items()
        },
        "seconds": round(sum(manifest.seconds for manifest in manifests.values()), 1),
        "peak_mib": max((manifest.peak_mib for manifest in manifests.values()), default=0.0),
    }


def print_summary(workspace: Run, summary: dict[str, Any]) -> None:
    """Prints steps, metrics beside their baselines and the decision as tables on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(title=f"Run {summary['run']}", title_justify="left")
    table.add_column("step")
    table.add_column("seconds", justify="right")
    table.add_column("peak MiB", justify="right")
    table.add_column("result", overflow="fold")
    for name, entry in summary["steps"].items():
        mark = "" if entry["status"] == "done" else "refused: "
        table.add_row(name, f"{entry['seconds']:.1f}", f"{entry['peak_mib']:.0f}", mark + entry["summary"])
    console.print(table)

    tasks = (_read(workspace, "evaluate", "metrics.json") or {}).get("tasks", {})
    if tasks:
        console.print(_metric_table(tasks))
    decision = summary["decision"]
    if decision is not None:
        console.print(f"[bold]{'Promoted' if decision['promoted'] else 'Not promoted'}:[/bold] {decision['summary']}")
    if summary["report"] is not None:
        console.print(f"Report: {summary['report']}", soft_wrap=True)


def _metric_table(tasks: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title="Held-out clips, percent", title_justify="left")
    table.add_column("task")
    table.add_column("metric")
    table.add_column("model", justify="right")
    baselines = list(dict.fromkeys(name for task in tasks.values() for name in task["baselines"]))
    for name in baselines:
        table.add_column(name.replace("_", " "), justify="right")
    for name, task in tasks.items():
        for metric, value in task["model"].items():
            others = (task["baselines"].get(baseline, {}).get(metric) for baseline in baselines)
            table.add_row(name, metric, f"{value:.1f}", *("–" if other is None else f"{other:.1f}" for other in others))
    return table


def _read(workspace: Run, step_name: str, file: str) -> dict[str, Any] | None:
    content = workspace.read(step(step_name), file)
    found: dict[str, Any] | None = None if content is None else json.loads(content)
    return found
