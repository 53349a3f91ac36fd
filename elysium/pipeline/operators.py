"""The Airflow operator that runs one step of the table, as a process here or as a Job on Kubernetes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from elysium.errors import GateRefused
from elysium.pipeline.runner import failure_lines, run_process, step_command
from elysium.pipeline.steps import Step, step
from elysium.pipeline.workspace import Workspace

# Lines with this mark are for the person at the terminal; `run_dag` picks them out of Airflow's own.
MARK = "[elysium] "


class StepOperator(BaseOperator):
    """Runs one step; the DAG run's params say on which workspace, with which settings, and where.

    Args:
        step: Name of the step.
        **kwargs: Of every operator.
    """

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step

    def execute(self, context: Any) -> str:
        """Runs the step and returns its summary; a refused gate fails at once, all else may be tried again."""
        params = context["params"]
        row = step(self.step)
        run_id = str(context["run_id"])
        if params["runner"] == "kubernetes":
            return self._on_kubernetes(context, row, run_id)
        place = Workspace.at(params["workspace"] or default_workspace(run_id))
        if place.info() is None:
            place.settings(params["preset"], tuple(params["overrides"]))
        print(f"{MARK}{row.name:<16} …", flush=True)
        code, tail = run_process(step_command(row, place), place.log_path(row.name))
        for line in tail:
            self.log.info(line)
        manifest = place.manifest(row)
        if code == 0 and manifest is not None:
            print(
                f"{MARK}        {manifest.seconds:6.1f} s  {manifest.peak_mib:6.0f} MiB  {manifest.summary}", flush=True
            )
            return manifest.summary
        for line in failure_lines(place, row, code, tail):
            print(f"{MARK}{line}", flush=True)
        if code == GateRefused.exit_code and manifest is not None:
            raise AirflowFailException(f"{row.name} refused: {manifest.summary}")
        raise AirflowException(f"{row.name} failed with exit code {code}: {tail[-1] if tail else 'it printed nothing'}")

    def _on_kubernetes(self, context: Any, row: Step, run_id: str) -> str:
        from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator

        from elysium.pipeline.kubernetes import JobRequest, render_job

        params = context["params"]
        request = JobRequest(
            run_id=run_id,
            workspace=params["workspace"] or f"/workspace/{slug(run_id)}",
            preset=params["preset"],
            overrides=tuple(params["overrides"]),
        )
        job = to_job(render_job(row, request))
        operator = KubernetesJobOperator(
            task_id=self.task_id,
            namespace=job.metadata.namespace,
            full_job_spec=job,
            wait_until_job_complete=True,
            get_logs=True,
        )
        operator.execute(context)
        return f"Job {job.metadata.name} is complete"


def to_job(manifest: dict[str, Any]) -> Any:
    """Returns a manifest as the Kubernetes client's own Job, which the provider's operator takes."""
    from kubernetes.client import ApiClient

    # The client reads its models from answers of the API only; this is such an answer.
    class Answer:
        data = json.dumps(manifest)

    return ApiClient().deserialize(Answer(), "V1Job")


def default_workspace(run_id: str) -> Path:
    """Returns where a scheduled run, which nobody named a workspace for, keeps its artifacts."""
    return Path(os.environ.get("ELYSIUM_RUNS", "runs")) / slug(run_id)


def slug(run_id: str) -> str:
    """Returns a run id fit for folder and Job names.

    Example:
        >>> slug("scheduled__2026-11-01T00:00:00+00:00")
        'scheduled-2026-11-01t00-00-00-00-00'
    """
    return re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")
