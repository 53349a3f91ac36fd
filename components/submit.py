"""Hands the compiled pipeline in through Kubeflow's own client; `elysium pipeline submit` starts it."""

from __future__ import annotations

import json
import re
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
from kfp import compiler
from pipeline import build
from pods import not_carried

from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.kubeflow import profile_from
from elysium.pipeline.submission import DEFAULT_EXPERIMENT, Submission, token_of

# Kubeflow's own waiting knows no canceled run, and would wait for its end for ever.
_ENDS = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_EQUALS = "EQUALS"


def submit_from(text: str) -> str:
    """Returns the answer to a submission as one line of JSON, errors too: `error`, and whether it is one of `usage`."""
    submission = Submission(**json.loads(text))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return json.dumps(_Kubeflow(submission).answer())
    except ElysiumError as error:
        return json.dumps({"error": str(error), "usage": isinstance(error, UsageError)})
    except kfp_server_api.ApiException as error:
        return json.dumps({"error": _explain(error, submission), "usage": False})


class _Kubeflow:
    """One submission at one Kubeflow."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.client = kfp.Client(
            host=submission.host,
            existing_token=token_of(submission.token_file),
            namespace=submission.namespace or "kubeflow",
            ssl_ca_cert=submission.ca_file,
        )

    def answer(self) -> dict[str, Any]:
        """Hands it in and returns what came of it."""
        submission = self.submission
        profile = profile_from(submission.profile, submission.registry, submission.tag)
        experiment = self.experiment()
        parameters = {
            "workspace": submission.workspace,
            "preset": submission.preset,
            "overrides": list(submission.overrides),
            "copy_models": submission.copy_models,
        }
        with tempfile.TemporaryDirectory(prefix="elysium-kfp-") as folder:
            package = str(Path(folder) / "pipeline.yaml")
            compiler.Compiler().compile(build(profile, submission.workspace), package_path=package)
            given = {
                "experiment_id": experiment.experiment_id,
                "job_name": submission.name,
                "pipeline_package_path": package,
                "params": parameters,
                "service_account": submission.service_account,
            }
            came = self.recur(given) if submission.recurring else self.run(given)
        return {
            "host": submission.host,
            "experiment": submission.experiment,
            "name": submission.name,
            "workspace": submission.workspace,
            "warnings": list(not_carried(profile)),
            **came,
        }

    def experiment(self) -> Any:
        """Returns the experiment, made if that was asked for."""
        submission = self.submission
        try:
            return self.client.get_experiment(
                experiment_name=submission.experiment, namespace=submission.namespace or None
            )
        except ValueError:
            if not submission.create_experiment and submission.experiment != DEFAULT_EXPERIMENT:
                found = self.client.list_experiments(page_size=20, namespace=submission.namespace or None).experiments
                names = ", ".join(entry.display_name for entry in found or []) or "none"
                raise UsageError(
                    f"there is no experiment {submission.experiment!r}; there are: {names}; "
                    "--create-experiment makes it"
                ) from None
        return self.client.create_experiment(name=submission.experiment, namespace=submission.namespace or None)

    def run(self, given: dict[str, Any]) -> dict[str, Any]:
        """Starts a run, and waits for its end if that was asked for."""
        run = self.client.run_pipeline(**given)
        url = f"{self.submission.host}/#/runs/details/{run.run_id}"
        state, refused = None, False
        if self.submission.wait_seconds is not None:
            state, refused = self.wait(run.run_id, self.submission.wait_seconds)
        return {"run": run.run_id, "url": url, "state": state, "refused": refused}

    def recur(self, given: dict[str, Any]) -> dict[str, Any]:
        """Makes the schedule, then removes those that had its name: there is no moment without one."""
        submission = self.submission
        same = {"operation": _EQUALS, "key": "display_name", "stringValue": submission.name}
        before = self.client.list_recurring_runs(
            page_size=100,
            experiment_id=given["experiment_id"],
            filter=json.dumps({"predicates": [same]}),
        ).recurring_runs
        made = self.client.create_recurring_run(
            **given,
            description="Elysium's retraining, from `elysium pipeline submit`.",
            cron_expression=submission.cron,
            interval_second=submission.interval_seconds,
            # Two runs at once would compete for the GPUs and for the champion; missed ones are not made up for.
            max_concurrency=1,
            no_catchup=True,
        )
        replaced = [entry.recurring_run_id for entry in before or [] if entry.display_name == submission.name]
        for identifier in replaced:
            self.client.delete_recurring_run(identifier)
        return {
            "recurring_run": made.recurring_run_id,
            "url": f"{submission.host}/#/recurringrun/details/{made.recurring_run_id}",
            "schedule": submission.cron or f"every {submission.interval_seconds} s",
            "replaced": replaced,
            "state": None,
            "refused": False,
        }

    def wait(self, run_id: str, seconds: float) -> tuple[str, bool]:
        """Returns a run's last state, and whether a gate kept something from running."""
        deadline = time.monotonic() + seconds
        while True:
            run = self.look(run_id)
            if run.state in _ENDS:
                tasks = (run.run_details.task_details if run.run_details else None) or []
                return run.state, any(_is_closed_gate(task) for task in tasks)
            if time.monotonic() >= deadline:
                raise ElysiumError(
                    f"the run {run_id} has not ended after {seconds:g} s and goes on without being watched: {run.state}"
                )
            time.sleep(self.submission.poll_seconds)

    def look(self, run_id: str) -> Any:
        """Returns the run; a token that has expired is read again from its file."""
        try:
            return self.client.get_run(run_id)
        except kfp_server_api.ApiException as error:
            if error.status != 401 or self.submission.token_file is None:
                raise
        self.client._existing_config.api_key["authorization"] = token_of(self.submission.token_file)
        return self.client.get_run(run_id)


def _is_closed_gate(task: Any) -> bool:
    """Returns whether a task of a run is a condition that was not met."""
    return task.state == "SKIPPED" and re.search(r"^condition-\d+$| passed$", task.display_name or "") is not None


def _explain(error: Any, submission: Submission) -> str:
    try:
        said = json.loads(error.body)
        why = said.get("message") or said.get("error") or error.reason
    except (TypeError, ValueError, AttributeError):
        why = error.reason
    if error.status in (401, 403):
        where = f" in the namespace {submission.namespace}" if submission.namespace else ""
        return f"Kubeflow at {submission.host} denies it{where} ({error.status}): {why}"
    return f"Kubeflow at {submission.host} answered {error.status}: {why}"
