"""What a run on Kubeflow ends with, however it ended: how each step fared, for people and their chat."""

from __future__ import annotations

import html
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elysium.pipeline.component import cli, read_note, run_workspace
from elysium.pipeline.notify import VARIABLE, tell
from elysium.pipeline.page import self_contained
from elysium.pipeline.steps import STEPS, Resources, Step, dependencies, gates_before, step
from elysium.pipeline.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from elysium.pipeline.remote import RemoteWorkspace

RESOURCES = Resources(cpu=1, memory_gib=4, seconds=1800, retries=1)
_MARK = {"done": "✓", "refused": "⊘", "failed": "✗", "skipped": "–"}
_LOST = "it left no word: its pod was killed, ran out of memory or time, or never started; see the pod's events and log"


@dataclass(frozen=True)
class StepEnd:
    """How one step fared.

    Attributes:
        name: Of the step.
        status: `skipped` where a step before it failed or refused.
        text: Its own line, or what went wrong.
        seconds: Of the attempt that finished it.
    """

    name: str
    status: Literal["done", "refused", "failed", "skipped"]
    text: str
    seconds: float | None = None


def run_report(workspace: str, run_id: str, run_name: str, summary: Any, page: Any) -> None:
    """Writes the run's summary and page, and posts a line to the webhook if there is one.

    It never fails for the webhook: a run that went well must not turn red because a chat is down.

    Args:
        workspace: As the components were given it.
        run_id: Kubeflow's id of the run.
        run_name: What people call the run.
        summary: Kubeflow's Markdown artifact.
        page: Kubeflow's HTML artifact: the run's report, or the summary where the run did not get so far or is on S3.
    """
    place = open_workspace(run_workspace(workspace, run_id))
    ends = step_ends(place)
    text = markdown(run_name, place, ends)
    print(text)
    for path in (Path(summary.path), Path(page.path)):
        path.parent.mkdir(parents=True, exist_ok=True)
    Path(summary.path).write_text(text, encoding="utf-8")
    Path(page.path).write_text(_page(place, text), encoding="utf-8")
    if os.environ.get(VARIABLE):
        tell(headline(run_name, ends))


def step_ends(place: Workspace | RemoteWorkspace) -> list[StepEnd]:
    """Returns how each step of a run that has ended fared, by what it published and left behind, in table order."""
    ends: dict[str, StepEnd] = {}
    for row in STEPS:
        ends[row.name] = _step_end(place, row, ends)
    return list(ends.values())


def headline(run_name: str, ends: list[StepEnd]) -> str:
    """Returns the run's end in one line.

    Example:
        >>> headline("weekly", [StepEnd("ingest", "done", "3 clips"), StepEnd("curate", "failed", "exit code 1: disk")])
        'Elysium weekly: curate failed: exit code 1: disk'
    """
    for status in ("failed", "refused"):
        for end in ends:
            if end.status == status:
                return f"Elysium {run_name}: {end.name} {status}: {end.text}"
    return f"Elysium {run_name}: {ends[-1].text}"


def markdown(run_name: str, place: Workspace | RemoteWorkspace, ends: list[StepEnd]) -> str:
    """Returns the summary: the run's end in one line, and a table of its steps."""
    lines = [
        f"**{_cell(headline(run_name, ends))}**",
        "",
        f"Workspace: `{place.uri}`",
        "",
        "| | step | seconds | result |",
        "| --- | --- | ---: | --- |",
    ]
    for end in ends:
        seconds = "" if end.seconds is None else f"{end.seconds:.1f}"
        word = "" if end.status == "done" else f"{end.status}: "
        lines.append(f"| {_MARK[end.status]} | {end.name} | {seconds} | {word}{_cell(end.text)} |")
    return "\n".join(lines) + "\n"


def _step_end(place: Workspace | RemoteWorkspace, row: Step, before: dict[str, StepEnd]) -> StepEnd:
    note, manifest = read_note(place, row), place.manifest(row)
    if note is not None:
        return StepEnd(row.name, "failed", note)
    stopped = [name for name in (*gates_before(row), *dependencies(row)) if before[name].status != "done"]
    if stopped:
        return StepEnd(row.name, "skipped", f"{stopped[0]} {before[stopped[0]].status}")
    if manifest is None:
        return StepEnd(row.name, "failed", _LOST)
    return StepEnd(row.name, manifest.status, manifest.summary, manifest.seconds)


def _page(place: Workspace | RemoteWorkspace, text: str) -> str:
    if isinstance(place, Workspace) and place.manifest(step("evaluate")) is not None:
        report = place.root / "report.html"
        # Its charts need what the step's Python has, which may be another one than this.
        made = subprocess.run([*cli(), "pipeline", "report", place.uri, "--json"], capture_output=True, check=False)
        if made.returncode == 0 and report.is_file():
            return self_contained(report.read_text(encoding="utf-8"), lambda name: _read(place.root / name), place.uri)
    return f'<!DOCTYPE html><html><head><meta charset="utf-8"></head><body><pre>{html.escape(text)}</pre></body></html>'


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
