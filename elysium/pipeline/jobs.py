"""One Kubernetes Job from start to end: made or found living, its pods' lines handed on, its end put into words."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiException, BatchV1Api, CoreV1Api
from urllib3.exceptions import HTTPError

from elysium.errors import ElysiumError

_CONTAINER = "step"
# A step may be silent for long; a connection that is, may be dead. (connect, read) in seconds.
_LOG_TIMEOUT = (10, 300)
_TIMEOUT = (10, 60)
_BEGINNING = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True)
class JobEnd:
    """How a Job ended.

    Attributes:
        complete: Whether it did its work.
        reason: One sentence.
        exit_code: Of the last pod's step, None where no pod is left to tell.
    """

    complete: bool
    reason: str
    exit_code: int | None = None


class JobRun:
    """Runs one Job, also when somebody began it before.

    Args:
        batch: Client of the API's batch group.
        core: Client of its core group.
        manifest: The Job.
        say: Takes what the pods print and what happens to the Job, line by line.
        seconds: Between two looks at the Job.
    """

    def __init__(
        self,
        batch: BatchV1Api,
        core: CoreV1Api,
        manifest: dict[str, Any],
        say: Callable[[str], None],
        seconds: float = 5.0,
    ) -> None:
        self._batch, self._core, self._manifest, self._say, self._seconds = batch, core, manifest, say, seconds
        self.name: str = manifest["metadata"]["name"]
        self._namespace: str = manifest["metadata"]["namespace"]
        self._read_whole: set[str] = set()
        self._newest: dict[str, str] = {}
        self._last_line = ""
        self._told: set[str] = set()

    def run(self) -> JobEnd:
        """Makes the Job unless it lives already, and follows it to its end.

        A Job that ended earlier makes way for a new one: whether its work still stands only the step itself can tell.

        Raises:
            ElysiumError: If the cluster refuses.
        """
        self._submit()
        while True:
            try:
                end = self._look()
            except (ApiException, HTTPError) as error:
                # The Job does not need us: an API server that restarts is waited for, a refusal is not.
                if isinstance(error, ApiException) and 400 <= (error.status or 0) < 500 and error.status != 429:
                    raise ElysiumError(f"the cluster does not show the Job {self.name}: {_message(error)}") from error
                self._tell(f"the cluster's API does not answer ({type(error).__name__}); the Job {self.name} goes on")
            else:
                if end is not None:
                    return end
            time.sleep(self._seconds)

    def delete(self) -> None:
        """Removes the Job and its pods; these get their grace period to save what they have."""
        try:
            self._batch.delete_namespaced_job(
                self.name, self._namespace, propagation_policy="Foreground", _request_timeout=_TIMEOUT
            )
        except ApiException as error:
            if error.status != 404:
                raise

    def _submit(self) -> None:
        while True:
            try:
                self._batch.create_namespaced_job(self._namespace, self._manifest, _request_timeout=_TIMEOUT)
            except ApiException as error:
                if error.status != 409:
                    raise ElysiumError(f"the cluster refuses the Job {self.name}: {_message(error)}") from error
            else:
                self._say(f"Job {self.name} begins")
                return
            job = self._job()
            if job is not None and job.metadata.deletion_timestamp is None:
                if _condition(job) is None:
                    self._say(f"Job {self.name} lives already: going on with it")
                    return
                self.delete()
            if job is not None:
                time.sleep(self._seconds)

    def _look(self) -> JobEnd | None:
        """Hands on what is new; returns the end if the Job has come to it."""
        job = self._job()
        if job is None:
            return JobEnd(False, f"the Job {self.name} was deleted")
        condition = _condition(job)
        pods = self._pods()
        for pod in pods:
            self._explain_waiting(pod)
            if pod.status.phase in ("Running", "Succeeded", "Failed") and pod.metadata.name not in self._read_whole:
                self._read_log(pod)
        if condition is None:
            return None
        code = _exit_code(pods[-1]) if pods else None
        if condition.type == "Complete":
            return JobEnd(True, self._last_line or f"Job {self.name} is complete", code)
        why = f"{condition.reason}: {condition.message}" if condition.message else str(condition.reason)
        said = f"; it said: {self._last_line}" if self._last_line else ""
        return JobEnd(False, f"the Job {self.name} failed ({why}){said}", code)

    def _read_log(self, pod: Any) -> None:
        """Hands on the lines of a pod that were not handed on yet, until it ends or the connection does."""
        name = pod.metadata.name
        before = self._newest.get(name, "")
        try:
            stream = self._core.read_namespaced_pod_log(
                name,
                self._namespace,
                container=_CONTAINER,
                follow=True,
                timestamps=True,
                _preload_content=False,
                _request_timeout=_LOG_TIMEOUT,
            )
            with contextlib.closing(stream):
                for line in _lines(stream):
                    # The time in front is of fixed width, so it sorts as text.
                    at, _, text = line.partition(" ")
                    if at <= before:
                        continue
                    self._newest[name], self._last_line = at, text or self._last_line
                    self._say(text)
        except ApiException as error:
            # The pod has gone, or its container has not begun.
            if error.status not in (400, 404):
                raise
        except HTTPError:
            # Silent for long, or the server went away: the next look reads on.
            return
        # The stream of a living pod also ends when the API server does.
        if pod.status.phase != "Running":
            self._read_whole.add(name)

    def _explain_waiting(self, pod: Any) -> None:
        for condition in pod.status.conditions or ():
            if condition.type == "PodScheduled" and condition.status == "False":
                self._tell(f"pod {pod.metadata.name} waits for a node: {condition.message}")
        for status in pod.status.container_statuses or ():
            waiting = status.state.waiting if status.state else None
            if waiting is not None and waiting.reason not in _BEGINNING:
                self._tell(f"pod {pod.metadata.name} does not start: {waiting.reason}: {waiting.message}")

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._say(line)

    def _job(self) -> Any | None:
        try:
            return self._batch.read_namespaced_job(self.name, self._namespace, _request_timeout=_TIMEOUT)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _pods(self) -> list[Any]:
        """Returns the Job's pods, oldest first."""
        found = self._core.list_namespaced_pod(
            self._namespace, label_selector=f"job-name={self.name}", _request_timeout=_TIMEOUT
        )
        return sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp)


def _condition(job: Any) -> Any | None:
    """Returns the condition that says how the Job ended, or None while it lives."""
    for condition in (job.status.conditions if job.status else None) or ():
        if condition.type in ("Complete", "Failed") and condition.status == "True":
            return condition
    return None


def _exit_code(pod: Any) -> int | None:
    for status in pod.status.container_statuses or ():
        if status.name == _CONTAINER and status.state and status.state.terminated:
            code: int = status.state.terminated.exit_code
            return code
    return None


def _message(error: ApiException) -> str:
    """Returns the sentence in the API's answer."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"


def _lines(stream: Any) -> Iterator[str]:
    """Yields the lines of a stream of bytes as they come."""
    rest = b""
    for chunk in stream.stream(4096, decode_content=False):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", errors="replace")
    if rest:
        yield rest.decode("utf-8", errors="replace")
