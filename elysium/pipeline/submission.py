"""Hands the pipeline in at a Kubeflow: a run now, or a recurring one."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.kubeflow import (
    DEFAULT_WORKSPACE,
    check_workspace,
    kubeflow_python,
    last_line,
    pipeline_script,
    profile_from,
)
from elysium.pipeline.schedule import check_cron

DEFAULT_EXPERIMENT = "elysium"
TOKEN_VARIABLE = "ELYSIUM_KFP_TOKEN"
_HEALTH = "/apis/v2beta1/healthz"
_SECONDS = 15.0


@dataclass(frozen=True)
class Submission:
    """What is handed in, and where.

    Attributes:
        host: Address of Kubeflow Pipelines, often ending in `/pipeline`.
        workspace: The run's folder, or a folder of runs, which ends in `/`.
        preset: Of the run.
        overrides: Each `section.key=value`.
        copy_models: Whether checkpoints are copied into Kubeflow's artifact store.
        name: Of the run, or of the recurring run, which takes the place of an earlier one with this name.
        experiment: Of Kubeflow.
        create_experiment: Makes the experiment if it is not there; the default one always is.
        namespace: Where Kubeflow keeps its users apart.
        service_account: That the run's pods have; None takes Kubeflow's default.
        token_file: Holds the bearer token; it is read again while waiting. None takes `ELYSIUM_KFP_TOKEN`.
        ca_file: Certificates of the authority that signed the host's.
        cron: Schedule, six fields, seconds first.
        interval_seconds: Schedule.
        wait_seconds: How long to wait for the run's end; None does not wait.
        poll_seconds: Between two questions while waiting.
        profile: YAML file of the cluster.
        registry: Instead of the profile's.
        tag: Instead of the profile's.
    """

    host: str
    workspace: str = DEFAULT_WORKSPACE
    preset: str = "nano"
    overrides: tuple[str, ...] = ()
    copy_models: bool = True
    name: str | None = None
    experiment: str = DEFAULT_EXPERIMENT
    create_experiment: bool = False
    namespace: str | None = None
    service_account: str | None = None
    token_file: str | None = None
    ca_file: str | None = None
    cron: str | None = None
    interval_seconds: int | None = None
    wait_seconds: float | None = None
    poll_seconds: float = 15.0
    profile: str | None = None
    registry: str | None = None
    tag: str | None = None

    @property
    def recurring(self) -> bool:
        """Whether it has a schedule."""
        return self.cron is not None or self.interval_seconds is not None


def submit(submission: Submission) -> dict[str, Any]:
    """Compiles the pipeline and hands it in.

    Returns:
        `experiment`, `name`, `url` and, for a run, `run`, `state` (the last one seen, None where nobody waited),
        `refused` (whether a gate said no); for a recurring run `recurring_run`, `schedule` and `replaced`.

    Raises:
        UsageError: If something in it cannot work.
        ElysiumError: If Kubeflow cannot be reached, or says no.
    """
    _check(submission)
    multi_user = ask_host(submission.host, token_of(submission.token_file), submission.ca_file)
    if multi_user and submission.namespace is None:
        raise UsageError(f"the Kubeflow at {submission.host} keeps its users apart: name your --namespace")
    name = submission.name or ("elysium-retrain" if submission.recurring else f"elysium-{_now()}")
    request = {**asdict(submission), "host": submission.host.rstrip("/"), "name": name}
    result = subprocess.run(
        [kubeflow_python(), str(pipeline_script()), "submit"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(last_line(result.stdout))
    except ValueError:
        raise ElysiumError(f"the pipeline could not be handed in: {last_line(result.stderr)}") from None
    if "error" in answer:
        raise (UsageError if answer["usage"] else ElysiumError)(answer["error"])
    return answer


def ask_host(host: str, token: str | None, ca_file: str | None = None) -> bool:
    """Asks a Kubeflow whether it is there, and returns whether it keeps its users apart.

    Kubeflow's own client asks five times, five seconds apart, whatever the answer is.

    Raises:
        UsageError: If the address is none of Kubeflow Pipelines.
        ElysiumError: If nobody answers there, or the token is not enough.
    """
    import urllib3

    if not host.startswith(("http://", "https://")):
        raise UsageError(f"--host begins with http:// or https://, got {host!r}")
    try:
        answer = urllib3.PoolManager(ca_certs=ca_file).request(
            "GET",
            host.rstrip("/") + _HEALTH,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_SECONDS,
            retries=False,
            redirect=False,
        )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ElysiumError(
            f"no Kubeflow answers at {host} ({type(error).__name__}); inside a cluster it is reached by "
            "`kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80` and --host http://localhost:8080"
        ) from error
    if answer.status in (301, 302, 303, 307, 308, 401, 403):
        raise ElysiumError(
            f"Kubeflow at {host} lets nobody in without a login (it answered {answer.status}); "
            f"{'the token is not valid there' if token else f'give --token-file or {TOKEN_VARIABLE}'}"
        )
    try:
        return bool(answer.json().get("multi_user", False)) if answer.status == 200 else _no_kubeflow(host, answer)
    except (ValueError, AttributeError):
        return _no_kubeflow(host, answer)


def token_of(token_file: str | None) -> str | None:
    """Returns the bearer token in a file or in `ELYSIUM_KFP_TOKEN`, or None.

    Raises:
        UsageError: If the file is not there or empty.
    """
    if token_file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = Path(token_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"the token file {token_file} cannot be read: {error.strerror}") from error
    if not token:
        raise UsageError(f"the token file {token_file} is empty")
    return token


def _check(submission: Submission) -> None:
    check_workspace(submission.workspace, profile_from(submission.profile, submission.registry, submission.tag))
    if submission.cron is not None and submission.interval_seconds is not None:
        raise UsageError("a recurring run has --cron or --interval-seconds, not both")
    if submission.cron is not None:
        check_cron(submission.cron)
    if submission.interval_seconds is not None and submission.interval_seconds < 1:
        raise UsageError(f"--interval-seconds is 1 or more, got {submission.interval_seconds}")
    if submission.recurring and not submission.workspace.endswith("/"):
        raise UsageError(
            f"every run of a schedule needs a folder of its own, or it finds the first one's work finished: "
            f"end --workspace in /, got {submission.workspace!r}"
        )
    if submission.recurring and submission.wait_seconds is not None:
        raise UsageError("--wait is for a run; a schedule has no end")


def _no_kubeflow(host: str, answer: Any) -> bool:
    raise UsageError(
        f"{host} is no Kubeflow Pipelines of version 2: {_HEALTH} answered {answer.status} "
        f"({answer.headers.get('Content-Type', 'no content')}); behind Kubeflow's dashboard it ends in /pipeline"
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
