"""What a DAG run works on: its workspace, settings and runner, from its params and from the event that started it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elysium.pipeline.kubernetes import JobRequest

# Where the runs of schedules are kept: a folder, on a cluster below /workspace, or s3://bucket/prefix.
VARIABLE = "ELYSIUM_RUNS"


@dataclass(frozen=True)
class RunPlace:
    """One DAG run, as its tasks need it.

    Attributes:
        run_id: Airflow's behind the DAG's name; names Jobs.
        workspace: Path or URI, as the steps see it.
        preset: Of the run.
        overrides: Each `section.key=value`.
        runner: `local` or `kubernetes`.
    """

    run_id: str
    workspace: str
    preset: str
    overrides: tuple[str, ...]
    runner: str

    def job_request(self) -> JobRequest:
        """Returns what Jobs are rendered for."""
        from elysium.pipeline.kubernetes import JobRequest
        from elysium.pipeline.profile import load_profile

        return JobRequest(self.run_id, self.workspace, self.preset, self.overrides, load_profile())


def place_of(context: Any) -> RunPlace:
    """Returns the place of a task's run.

    A run that an asset's event started goes on in the workspace that the event names, with its preset; what is finished
    there is found finished. A run of the schedule has a workspace named after its DAG and itself.

    Args:
        context: The task's, as Airflow gives it.
    """
    params, run_id = context["params"], run_name(context["ti"].dag_id, context["run_id"])
    workspace, preset, overrides = params["workspace"], params["preset"], tuple(params["overrides"])
    extra = _newest_extra(context)
    if not workspace and extra.get("workspace"):
        # The workspace knows its settings; a preset of another name would be refused there.
        workspace, preset = str(extra["workspace"]), str(extra.get("preset") or preset)
    if not workspace:
        workspace = default_workspace(run_id, params["runner"])
    return RunPlace(run_id, workspace, preset, overrides, params["runner"])


def run_name(dag_id: str, run_id: str) -> str:
    """Returns what a run is called among those of all DAGs: an id of Airflow's is one DAG's own only.

    Two DAGs that the clock starts at one moment have runs of the same id, and must share neither Jobs nor workspace.

    Example:
        >>> run_name("elysium_retrain", "scheduled__2026-11-01T02:00:00+00:00")
        'retrain-scheduled__2026-11-01T02:00:00+00:00'
    """
    return f"{dag_id.removeprefix('elysium_')}-{run_id}"


def default_workspace(run_id: str, runner: str = "local") -> str:
    """Returns where a scheduled run, which nobody named a workspace for, keeps its artifacts.

    Args:
        run_id: Of `run_name`.
        runner: Of the run.

    Example:
        >>> default_workspace("retrain-scheduled__2026-11-01T02:00:00+00:00", "kubernetes")
        '/workspace/retrain-scheduled-2026-11-01t02-00-00-00-00'
    """
    home = os.environ.get(VARIABLE) or ("/workspace" if runner == "kubernetes" else "runs")
    return f"{home.rstrip('/')}/{slug(run_id)}"


def slug(run_id: str) -> str:
    """Returns a run id fit for folder and Job names.

    Example:
        >>> slug("retrain-scheduled__2026-11-01T02:00:00+00:00")
        'retrain-scheduled-2026-11-01t02-00-00-00-00'
    """
    return re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")


def _newest_extra(context: Any) -> dict[str, Any]:
    events = context.get("triggering_asset_events") or {}
    found = [event for asset in events for event in events[asset]]
    if not found:
        return {}
    return dict(max(found, key=lambda event: event.timestamp).extra or {})
