"""What a pod's state means, in one sentence for the person who reads the task's log."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from elysium.errors import GateRefused, UsageError

CONTAINER = "step"
# Exit codes of what no second attempt can mend.
FINAL_CODES = (UsageError.exit_code, GateRefused.exit_code)
# Of a step that was told to stop: what it was stopped for is not told by its lines.
STOPPED = 143
# A container that waits for one of these is on its way.
_BEGINNING = ("ContainerCreating", "PodInitializing")
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
_MOUNTS = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
# The kubelet tries a mount again after 122 s at most, and says so each time it fails; the API keeps its word for an
# hour, long after the mount has succeeded. In seconds.
_SAID_AGAIN_WITHIN = 150


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not run.

    Attributes:
        text: One sentence.
        kind: What stays while the cluster puts the same trouble into other words: ErrImagePull and ImagePullBackOff
            take turns.
        lasting: Whether waiting for long makes no sense; a while does, since a registry may have hiccups.
        again: Whether another attempt later may end better.
    """

    text: str
    kind: str
    lasting: bool = True
    again: bool = False


def waiting_trouble(pod: Any, events: list[Any], now: datetime.datetime) -> Trouble | None:
    """Returns what keeps a pod from starting, or None.

    Args:
        pod: As the API shows it.
        events: Warnings about it, oldest first.
        now: With its time zone.
    """
    name = pod.metadata.name
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            text = f"pod {name} waits for a node that has room for it: {condition.message}"
            return Trouble(text, "room", lasting=False)
    for status in [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]:
        waiting = status.state.waiting if status.state else None
        if waiting is None or waiting.reason is None or waiting.reason in _BEGINNING:
            continue
        said = f"{waiting.reason}: {waiting.message}" if waiting.message else str(waiting.reason)
        if waiting.reason in _NO_IMAGE:
            return Trouble(
                f"the image {status.image or 'of the step'} cannot be had ({said}); "
                "check its name, tag, registry and pull secret",
                "image",
            )
        if waiting.reason == "CreateContainerConfigError":
            return Trouble(
                f"pod {name} lacks a Secret or ConfigMap that it refers to ({said}); make it in the namespace",
                "configuration",
            )
        return Trouble(f"pod {name} does not start ({said})", "start")
    for event in reversed(events):
        if event.reason in _MOUNTS and _is_fresh(event, now):
            text = f"pod {name} cannot mount a volume, Secret or ConfigMap ({event.reason}: {event.message})"
            return Trouble(text, "mount")
    return None


def creation_trouble(job: str, events: list[Any]) -> Trouble | None:
    """Returns why a Job has no pods, or None where nothing is known against it.

    Args:
        job: Its name.
        events: Warnings about it, oldest first.
    """
    for event in reversed(events):
        if event.reason != "FailedCreate":
            continue
        text = str(event.message)
        if "exceeded quota" in text:
            text = f"the Job {job} gets no pod, the namespace's quota is too small for it: {text}"
            return Trouble(text, "quota", again=True)
        return Trouble(f"the Job {job} gets no pod: {text}", "creation")
    return None


def disruption(pod: Any) -> str | None:
    """Returns how the cluster took a pod away (eviction, preemption, a drained or lost node), or None."""
    for condition in pod.status.conditions or ():
        if condition.type == "DisruptionTarget" and condition.status == "True":
            return f"{condition.reason}: {condition.message}"
    if pod.status.reason in ("Evicted", "Preempting", "Shutdown", "Terminated", "NodeShutdown", "NodeLost"):
        return f"{pod.status.reason}: {pod.status.message}"
    return None


def exit_code(pod: Any) -> int | None:
    """Returns the exit code of a pod's step, or None where it has none."""
    ended = _terminated(pod)
    return None if ended is None else int(ended.exit_code)


def pod_index(pod: Any) -> int:
    """Returns the index of an Indexed Job's pod; 0 for any other pod."""
    found = (pod.metadata.annotations or {}).get("batch.kubernetes.io/job-completion-index", "0")
    return int(found)


def unmended(pods: list[Any]) -> list[Any]:
    """Returns those of a Job's pods whose step failed, without those for which another pod did the work later."""
    done = {pod_index(pod) for pod in pods if exit_code(pod) == 0}
    return [pod for pod in pods if exit_code(pod) not in (None, 0) and pod_index(pod) not in done]


def ending(pod: Any) -> str | None:
    """Returns what to say of how a pod's step ended beyond its exit code, or None.

    Args:
        pod: As the API shows it.
    """
    ended = _terminated(pod)
    if ended is None:
        return None
    if ended.reason == "OOMKilled":
        limit = _memory_limit(pod)
        return (
            f"it was killed for taking more memory than its limit{f' of {limit}' if limit else ''} (OOMKilled); raise "
            "memory_gib in the step table or max_memory_gib in the job profile, or make its batches smaller"
        )
    if ended.exit_code == 137:
        return "it was killed (SIGKILL) without time to save; the node may have run out of memory"
    if ended.exit_code == STOPPED:
        return "it was asked to stop (SIGTERM)"
    return None


def _memory_limit(pod: Any) -> str | None:
    for container in pod.spec.containers if pod.spec else ():
        if container.name == CONTAINER and container.resources and container.resources.limits:
            return str(container.resources.limits.get("memory") or "") or None
    return None


def _is_fresh(event: Any, now: datetime.datetime) -> bool:
    """Returns whether an event was seen so lately that what it tells of still holds; one without a time may."""
    newest = event.series.last_observed_time if event.series else None
    at = newest or event.last_timestamp or event.event_time
    return at is None or (now - at).total_seconds() < _SAID_AGAIN_WITHIN


def _terminated(pod: Any) -> Any | None:
    for status in pod.status.container_statuses or ():
        if status.name == CONTAINER and status.state and status.state.terminated:
            return status.state.terminated
    return None
