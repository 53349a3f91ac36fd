"""The Airflow operator that runs one step of the table, as a process here or as a Job on Kubernetes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from elysium import __version__
from elysium.errors import GateRefused, UsageError
from elysium.pipeline.runner import failure_lines, run_process, step_command
from elysium.pipeline.steps import Step, step
from elysium.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from elysium.pipeline.jobs import JobRun

# Lines with this mark are for the person at the terminal; `run_dag` picks them out of Airflow's own.
MARK = "[elysium] "
# What no second attempt can mend.
_FINAL = (UsageError.exit_code, GateRefused.exit_code)


class StepOperator(BaseOperator):
    """Runs one step; the DAG run's params say on which workspace, with which settings, and where.

    Args:
        step: Name of the step.
        **kwargs: Of every operator.
    """

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self._process: subprocess.Popen[str] | None = None
        self._job: JobRun | None = None

    def execute(self, context: Any) -> str:
        """Runs the step and returns its summary; a refused gate fails at once, what a retry may mend does not."""
        row, params, run_id = step(self.step), context["params"], str(context["run_id"])
        if params["runner"] == "kubernetes":
            return self._on_kubernetes(row, params, run_id)
        return self._here(row, params, run_id)

    def on_kill(self) -> None:
        """Stops the step when its task is stopped: a process saves what it has, a Job is removed."""
        if self._process is not None:
            self._process.terminate()
        if self._job is not None:
            self._job.delete()

    def _here(self, row: Step, params: Any, run_id: str) -> str:
        place = Workspace.at(params["workspace"] or default_workspace(run_id))
        settings = [part for override in params["overrides"] for part in ("--set", override)]
        command = [*step_command(row, place), "--preset", params["preset"], *settings]
        print(f"{MARK}{row.name:<16} …", flush=True)
        code, tail = run_process(command, place.log_path(row.name), say=self.log.info, started=self._keep)
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
        failure = AirflowFailException if code in _FINAL else AirflowException
        raise failure(f"{row.name} failed with exit code {code}: {tail[-1] if tail else 'it printed nothing'}")

    def _keep(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _on_kubernetes(self, row: Step, params: Any, run_id: str) -> str:
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

        from elysium.pipeline.jobs import JobRun
        from elysium.pipeline.kubernetes import JobRequest, render_job

        request = JobRequest(
            run_id=run_id,
            workspace=params["workspace"] or f"/workspace/{slug(run_id)}",
            preset=params["preset"],
            overrides=tuple(params["overrides"]),
            registry=os.environ.get("ELYSIUM_IMAGE_REGISTRY", ""),
            tag=os.environ.get("ELYSIUM_IMAGE_TAG", __version__),
        )
        hook = KubernetesHook(conn_id=KubernetesHook.default_conn_name)
        self._job = JobRun(hook.batch_v1_client, hook.core_v1_client, render_job(row, request), say=self.log.info)
        end = self._job.run()
        if end.complete:
            return end.reason
        # The Job has had its retries by the template; a second Job would only have them again.
        raise AirflowFailException(
            f"{row.name} {'refused' if end.exit_code == GateRefused.exit_code else 'failed'}: {end.reason}"
        )


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
