"""Jobs on Kubernetes: made or found living, removed, and what the cluster's answers mean.

A step is one Job, or several that belong together (a Service, and one Job per rank). Their names say which run and
step they are for and nothing else, so that whoever asks again finds those that live.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiException, BatchV1Api, CoreV1Api, VersionApi
from urllib3.exceptions import HTTPError

from elysium.errors import ElysiumError, UsageError

Say = Callable[[str], None]
# (connect, read) in seconds.
TIMEOUT = (10, 60)
# Indexed Jobs are on by default from 1.22 and stable from 1.24 (Kubernetes' list of feature gates).
_INDEXED_SINCE = (1, 24)


class Unreachable(ElysiumError):
    """The cluster's API does not answer, or has no time: what a later attempt may mend."""


@dataclass(frozen=True)
class JobEnd:
    """How a Job, or several that belong together, ended.

    Attributes:
        complete: Whether they did their work.
        reason: One sentence.
        exit_code: Of the step that decided, None where no pod is left to tell.
        tail: The last lines it printed.
        again: Whether another attempt may end better.
    """

    complete: bool
    reason: str
    exit_code: int | None = None
    tail: tuple[str, ...] = ()
    again: bool = False


@dataclass(frozen=True)
class JobPlace:
    """Where Jobs that belong together are: enough to find them again from any process.

    Attributes:
        namespace: Of all of them.
        jobs: Names; the first is rank 0, which speaks for all.
        services: Names.
    """

    namespace: str
    jobs: tuple[str, ...]
    services: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifests: Sequence[dict[str, Any]]) -> JobPlace:
        """Returns where `manifests` will be.

        Raises:
            UsageError: If a Job has no deadline: nobody would stop it where its watcher is gone.
        """
        jobs = [manifest for manifest in manifests if manifest["kind"] == "Job"]
        for job in jobs:
            if not job["spec"].get("activeDeadlineSeconds"):
                raise UsageError(f"the Job {job['metadata']['name']} has no activeDeadlineSeconds; see k8s/job.yaml.j2")
        return cls(
            namespace=jobs[0]["metadata"]["namespace"],
            jobs=tuple(job["metadata"]["name"] for job in jobs),
            services=tuple(manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "Service"),
        )


class Cluster:
    """The few things that are asked of a cluster's API.

    Args:
        batch: Client of the API's batch group.
        core: Client of its core group.
        say: Takes what happens, line by line.
        seconds: Between two looks at what takes time.
    """

    def __init__(self, batch: BatchV1Api, core: CoreV1Api, say: Say, seconds: float = 5.0) -> None:
        self.batch, self.core, self.say, self.seconds = batch, core, say, seconds

    def submit(self, manifests: Sequence[dict[str, Any]]) -> JobPlace:
        """Makes the Jobs unless they live already.

        Jobs that ended earlier make way for new ones: whether their work still stands only the step itself can tell.

        Raises:
            UsageError: If the cluster is too old for them.
            Unreachable: If the API does not answer.
            ElysiumError: If it refuses.
        """
        place = JobPlace.of(manifests)
        try:
            self._demand_version(manifests)
            while not self._submitted(manifests, place):
                time.sleep(self.seconds)
        except (ApiException, HTTPError) as error:
            raise explained(f"make the Job {place.jobs[0]}", error) from error
        return place

    def delete(self, place: JobPlace) -> None:
        """Removes Jobs, their pods and Services; pods get their grace period to save what they have."""
        for name in place.jobs:
            self._ask(self.batch.delete_namespaced_job, name, place.namespace, propagation_policy="Foreground")
        self.delete_services(place)

    def delete_services(self, place: JobPlace) -> None:
        """Removes what ended Jobs need no more."""
        for name in place.services:
            self._ask(self.core.delete_namespaced_service, name, place.namespace)

    def job(self, name: str, namespace: str) -> Any | None:
        """Returns a Job, or None where there is none."""
        return self._ask(self.batch.read_namespaced_job, name, namespace)

    def pods(self, name: str, namespace: str) -> list[Any]:
        """Returns a Job's pods, oldest first."""
        found = self.core.list_namespaced_pod(namespace, label_selector=f"job-name={name}", _request_timeout=TIMEOUT)
        return sorted(found.items, key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))

    def events(self, name: str, namespace: str) -> list[Any]:
        """Returns the warnings about a Job or pod, oldest first; none where Airflow may not read them."""
        try:
            found = self.core.list_namespaced_event(
                namespace, field_selector=f"involvedObject.name={name},type=Warning", _request_timeout=TIMEOUT
            )
        except ApiException as error:
            if error.status != 403:
                raise
            return []
        return sorted(found.items, key=lambda event: str(event.last_timestamp or event.event_time or ""))

    def _submitted(self, manifests: Sequence[dict[str, Any]], place: JobPlace) -> bool:
        """Returns whether the Jobs are there; False after a look that must be followed by another one."""
        found = {name: self.job(name, place.namespace) for name in place.jobs}
        there = {name: job for name, job in found.items() if job is not None}
        if any(job.metadata.deletion_timestamp is not None for job in there.values()):
            return False
        ended = {name: condition(job) for name, job in there.items()}
        lives = any(end is None for end in ended.values())
        if there and (not lives or any(end is not None and end.type == "Failed" for end in ended.values())):
            # Also where some live: ranks do not go on without the one that failed.
            self.delete(place)
            return False
        for manifest in manifests:
            if manifest["metadata"]["name"] not in there and not self._made(manifest):
                return False
        name = place.jobs[0]
        self.say(f"Job {name} lives already: going on with it" if there else f"Job {name} begins")
        return True

    def _made(self, manifest: dict[str, Any]) -> bool:
        make = (
            self.core.create_namespaced_service if manifest["kind"] == "Service" else self.batch.create_namespaced_job
        )
        try:
            make(manifest["metadata"]["namespace"], manifest, _request_timeout=TIMEOUT)
        except ApiException as error:
            if error.status != 409:
                raise
            return bool(manifest["kind"] == "Service")
        return True

    def _demand_version(self, manifests: Sequence[dict[str, Any]]) -> None:
        if not any(manifest["spec"].get("completionMode") == "Indexed" for manifest in manifests):
            return
        told = VersionApi(self.batch.api_client).get_code(_request_timeout=TIMEOUT)
        version = (int(told.major), int((re.match(r"\d+", told.minor) or ["0"])[0]))
        if version < _INDEXED_SINCE:
            raise UsageError(
                f"the cluster's API is Kubernetes {version[0]}.{version[1]}, and Indexed Jobs need 1.24 or newer; "
                "write `indexed: false` into the job profile: then each rank or shard is a Job of its own"
            )

    @staticmethod
    def _ask(question: Callable[..., Any], *arguments: Any, **options: Any) -> Any | None:
        try:
            return question(*arguments, _request_timeout=TIMEOUT, **options)
        except ApiException as error:
            if error.status == 404:
                return None
            raise


def condition(job: Any) -> Any | None:
    """Returns the condition that says how a Job ended, or None while it lives."""
    for found in (job.status.conditions if job.status else None) or ():
        if found.type in ("Complete", "Failed") and found.status == "True":
            return found
    return None


def explained(what: str, error: ApiException | HTTPError) -> ElysiumError:
    """Returns the error for people: what could not be done and why, and whether waiting may help.

    Args:
        what: What was to be done, as in "cannot …".
        error: What the client raised.
    """
    if not isinstance(error, ApiException) or not error.status:
        return Unreachable(f"cannot {what}: the cluster's API does not answer ({type(error).__name__})")
    text = _message(error)
    if error.status == 429 or error.status >= 500:
        return Unreachable(f"cannot {what}: the cluster's API answers {error.status}: {text}")
    if error.status == 401:
        # Such as a token that ran out: the next attempt signs in anew.
        return Unreachable(f"cannot {what}: the cluster does not know Airflow's credentials (401): {text}")
    if error.status == 403 and "quota" in text:
        return Unreachable(f"cannot {what}: the namespace's quota is spent: {text}")
    if error.status == 403:
        return ElysiumError(f"cannot {what}: the cluster denies it: {text}; the rights are in k8s/base")
    return ElysiumError(f"cannot {what}: the cluster refuses it: {text}")


def _message(error: ApiException) -> str:
    """Returns the sentence in the API's answer."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
