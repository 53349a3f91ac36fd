"""Jobs on Kubernetes: made or found living, removed, and what the cluster's answers mean.

A step is one Job, or several that belong together (a Service, and one Job per rank). Their names say which run and
step they are for and nothing else, so that whoever asks again finds those that live.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiException, BatchV1Api, CoreV1Api, VersionApi
from urllib3.exceptions import HTTPError

from elysium.errors import ElysiumError, UsageError

Say = Callable[[str], None]
# (connect, read) in seconds.
TIMEOUT = (10, 60)
# So much longer than a Job's grace period may its deletion last, in seconds.
_DELETION_MARGIN = 300.0
# Indexed Jobs are on by default from 1.22 and stable from 1.24 (Kubernetes' list of feature gates).
_INDEXED_SINCE = (1, 24)


class Unreachable(ElysiumError):
    """The cluster's API does not answer, has no time or no room: what a later attempt may mend."""


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
        margin: Seconds beyond its grace period for which a Job that is deleted is waited for.
    """

    def __init__(
        self,
        batch: BatchV1Api,
        core: CoreV1Api,
        say: Say,
        seconds: float = 5.0,
        margin: float = _DELETION_MARGIN,
    ) -> None:
        self.batch, self.core, self.say, self.seconds, self.margin = batch, core, say, seconds, margin

    def submit(self, manifests: Sequence[dict[str, Any]]) -> JobPlace:
        """Makes the Jobs unless they live already.

        Jobs that ended earlier make way for new ones: whether their work still stands only the step itself can tell.
        Where one of several is refused, none is left: the others would wait for it, with their GPUs.

        Raises:
            UsageError: If the cluster is too old for them.
            Unreachable: If the API does not answer, or Jobs of before do not go.
            ElysiumError: If it refuses.
        """
        place = JobPlace.of(manifests)
        try:
            self._demand_version(manifests)
            while not self._all_made(manifests, place, self._living(place)):
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

    def _living(self, place: JobPlace) -> dict[str, Any]:
        """Returns the Jobs that live, by name, when those that ended or are being deleted have gone."""
        told, began = False, time.monotonic()
        while True:
            found = {name: self.job(name, place.namespace) for name in place.jobs}
            there = {name: job for name, job in found.items() if job is not None}
            leaving = next((job for job in there.values() if job.metadata.deletion_timestamp is not None), None)
            if leaving is not None:
                name, grace = leaving.metadata.name, grace_seconds(leaving)
                if not told:
                    told = True
                    self.say(
                        f"waits for the Job {name} of before to go; its pods have {grace} s to save what they have"
                    )
                if time.monotonic() - began > grace + self.margin:
                    raise Unreachable(
                        f"the Job {name} of before is still being deleted after {grace + self.margin:.0f} s: a "
                        "finalizer holds it, or a node that does not answer holds its pods; see kubectl -n "
                        f"{place.namespace} get pods -l job-name={name} -o wide"
                    )
            else:
                ended = {name: condition(job) for name, job in there.items()}
                # Also where some live: ranks do not go on without the one that failed.
                failed = any(end is not None and end.type == "Failed" for end in ended.values())
                if not failed and (not there or any(end is None for end in ended.values())):
                    return there
                self.delete(place)
            time.sleep(self.seconds)

    def _all_made(self, manifests: Sequence[dict[str, Any]], place: JobPlace, there: Mapping[str, Any]) -> bool:
        """Makes what is not there yet; returns False where somebody else has made some of it meanwhile."""
        for manifest in manifests:
            if manifest["metadata"]["name"] in there:
                continue
            try:
                if not self._made(manifest):
                    return False
            except ApiException as error:
                if _is_refusal(error):
                    self._leave_none(place)
                raise
        name = place.jobs[0]
        self.say(f"Job {name} lives already: going on with it" if there else f"Job {name} begins")
        return True

    def _leave_none(self, place: JobPlace) -> None:
        try:
            self.delete(place)
        except (ApiException, HTTPError) as error:
            self.say(f"{explained(f'remove the Job {place.jobs[0]}', error)}; what was made of it lives on")

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


def grace_seconds(job: Any) -> int:
    """Returns how long a Job's pods have from SIGTERM to SIGKILL."""
    seconds = job.spec.template.spec.termination_grace_period_seconds
    # The API writes the default out; a Job that is made up may lack it.
    return 30 if seconds is None else int(seconds)


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


def _is_refusal(error: ApiException) -> bool:
    """Returns whether the API has said no, rather than that it has no time or does not know who asks."""
    return 400 <= (error.status or 0) < 500 and error.status not in (401, 429)


def _message(error: ApiException) -> str:
    """Returns the sentence in the API's answer."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
