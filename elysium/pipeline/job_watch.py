"""Jobs from their beginning to their end: pods' lines handed on, troubles told once, the end put into words."""

from __future__ import annotations

import contextlib
import datetime
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from elysium.errors import ElysiumError, GateRefused, UsageError
from elysium.pipeline.job_troubles import (
    CONTAINER,
    Trouble,
    creation_trouble,
    disruption,
    ending,
    exit_code,
    waiting_trouble,
)
from elysium.pipeline.jobs import Cluster, JobEnd, JobPlace, Unreachable, condition, explained

# What no second attempt can mend.
FINAL_CODES = (UsageError.exit_code, GateRefused.exit_code)
_TAIL = 20
# A stream of lines is left now and then for a look at the Job: (connect, read) and whole, in seconds.
_STREAM = (10, 30)
_STREAM_WHOLE = 60.0
# So much of an old pod's log is read by a watcher that comes late.
_TAIL_LINES = 2000
# Streams that are opened again go back so far: clocks differ.
_OVERLAP = 60
# Looks at a Job that should have ended by its pod's exit code and has not: the cluster knows no podFailurePolicy.
_LOOKS_WITHOUT_POLICY = 3
# A Job ends itself at its deadline; this much later its watcher does it.
_MARGIN = 300


class JobWatch:
    """Follows Jobs that belong together.

    Args:
        cluster: Where they are.
        place: Their names.
        patience: Seconds that a pod may be unable to start for a reason that does not look like going away.
        stop: Set by whoever wants the watch to end without the Jobs.
    """

    def __init__(
        self, cluster: Cluster, place: JobPlace, *, patience: float = 180.0, stop: threading.Event | None = None
    ) -> None:
        self._cluster, self._place, self._patience = cluster, place, patience
        self._stop = stop or threading.Event()
        self._read_whole: set[str] = set()
        self._newest: dict[str, tuple[str, float]] = {}
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._told: set[str] = set()
        self._since: dict[str, float] = {}
        self._final_looks = 0
        self._seen: set[str] = set()

    def follow(self) -> JobEnd | None:
        """Returns how the Jobs ended; None if the watch was stopped before.

        Raises:
            Unreachable: If the cluster no longer accepts the credentials.
            ElysiumError: If it refuses to show the Jobs.
        """
        while not self._stop.is_set():
            try:
                end = self._look()
            except (ApiException, HTTPError) as error:
                why = explained(f"see the Job {self._place.jobs[0]}", error)
                if not isinstance(why, Unreachable) or getattr(error, "status", None) == 401:
                    raise why from error
                # The Job does not need us: an API server that restarts is waited for.
                self._tell(f"the cluster's API does not answer ({type(error).__name__}); the Job goes on without it")
            else:
                if end is not None:
                    return end
            self._stop.wait(self._cluster.seconds)
        return None

    def _look(self) -> JobEnd | None:
        """Hands on what is new; returns the end if the Jobs have come to it."""
        jobs = {name: self._cluster.job(name, self._place.namespace) for name in self._place.jobs}
        pods = {name: self._cluster.pods(name, self._place.namespace) for name in jobs}
        for name, job in jobs.items():
            if job is None:
                return self._given_up(f"the Job {name} was deleted", again=True)
        ended = {name: condition(job) for name, job in jobs.items()}
        for name, job in jobs.items():
            if job is not None and job.spec.suspend and ended[name] is None:
                self._tell(f"the Job {name} waits in its queue until there is room")
            trouble = self._trouble(name, pods[name], lives=ended[name] is None)
            if trouble is not None:
                return self._given_up(f"{trouble.text}; gave up after {self._patience:.0f} s", again=trouble.again)
        self._hand_on(pods[self._place.jobs[0]])
        for name, end in ended.items():
            if end is not None and end.type == "Failed":
                return self._failed(name, end, pods[name])
        late = next((name for name, job in jobs.items() if ended[name] is None and _overdue(job)), None)
        if late is not None:
            return self._given_up(f"the Job {late} is over its deadline and the cluster has not ended it", again=False)
        if all(end is not None for end in ended.values()):
            self._cluster.delete_services(self._place)
            return JobEnd(True, self._last() or f"Job {self._place.jobs[0]} is complete", 0, tuple(self._tail))
        return self._ended_without_policy(pods, ended)

    def _failed(self, name: str, end: Any, pods: list[Any]) -> JobEnd:
        last = next((pod for pod in reversed(pods) if exit_code(pod) not in (None, 0)), pods[-1] if pods else None)
        if last is not None and (name != self._place.jobs[0] or not self._tail):
            self._read_tail(last)
        why = f"{end.reason}: {end.message}" if end.message else str(end.reason)
        reason = f"the Job {name} failed ({why})"
        more = [text for text in (ending(last) if last is not None else None, self._last()) if text]
        if more:
            reason += "; " + (more[0] if len(more) == 2 else f"it said: {more[0]}" if self._last() else more[0])
        if len(self._place.jobs) > 1:
            # The others wait for the one that failed.
            self._cluster.delete(self._place)
        else:
            self._cluster.delete_services(self._place)
        return JobEnd(False, reason, exit_code(last) if last is not None else None, tuple(self._tail))

    def _given_up(self, reason: str, *, again: bool, code: int | None = None) -> JobEnd:
        self._cluster.delete(self._place)
        return JobEnd(False, reason, code, tuple(self._tail), again)

    def _ended_without_policy(self, pods: dict[str, list[Any]], ended: dict[str, Any]) -> JobEnd | None:
        """Returns the end of a Job whose step said that a retry cannot help, on a cluster that would retry it."""
        for name, found in pods.items():
            final = next((pod for pod in found if exit_code(pod) in FINAL_CODES), None)
            if ended[name] is None and final is not None:
                self._final_looks += 1
                if self._final_looks < _LOOKS_WITHOUT_POLICY:
                    return None
                if not self._tail:
                    self._read_tail(final)
                said = f"; it said: {self._last()}" if self._last() else ""
                code = exit_code(final)
                return self._given_up(f"the Job {name} failed (exit code {code}){said}", again=False, code=code)
        return None

    def _trouble(self, name: str, pods: list[Any], *, lives: bool) -> Trouble | None:
        """Tells what keeps the Job's pods from running; returns what has lasted too long."""
        found: Trouble | None = None
        for pod in pods:
            taken = disruption(pod)
            if taken is not None:
                self._tell(f"pod {pod.metadata.name} was taken away ({taken}); the next one goes on from what it saved")
            if pod.status.phase == "Pending" and lives:
                found = found or waiting_trouble(pod, self._pod_events(pod))
        if not pods and lives and name in self._seen:
            found = creation_trouble(name, self._cluster.events(name, self._place.namespace))
        self._seen.add(name)
        if found is None:
            self._since.pop(name, None)
            return None
        self._tell(found.text)
        began = self._since.setdefault(name, time.monotonic())
        return found if found.lasting and time.monotonic() - began >= self._patience else None

    def _pod_events(self, pod: Any) -> list[Any]:
        """Returns a pod's warnings, once it waits for longer than one look."""
        name = pod.metadata.name
        if name not in self._seen:
            self._seen.add(name)
            return []
        return self._cluster.events(name, self._place.namespace)

    def _hand_on(self, pods: list[Any]) -> None:
        followed = [pod for pod in pods if _index(pod) == 0]
        for pod in followed:
            if pod.status.phase in ("Running", "Succeeded", "Failed") and pod.metadata.name not in self._read_whole:
                self._read_log(pod, alone=len(followed) == len(pods) and len(self._place.jobs) == 1)

    def _read_log(self, pod: Any, *, alone: bool) -> None:
        """Hands on the lines of a pod that were not handed on yet, until it ends, or for a while."""
        name = pod.metadata.name
        before, at_clock = self._newest.get(name, ("", 0.0))
        since: dict[str, Any] = {"tail_lines": _TAIL_LINES}
        if before:
            since = {"since_seconds": math.ceil(time.monotonic() - at_clock) + _OVERLAP}
        # With other ranks to look after, a silent stream is left sooner.
        stream_for = _STREAM_WHOLE if alone else self._cluster.seconds
        until = time.monotonic() + stream_for
        try:
            stream = self._cluster.core.read_namespaced_pod_log(
                name,
                self._place.namespace,
                container=CONTAINER,
                follow=pod.status.phase == "Running",
                timestamps=True,
                _preload_content=False,
                _request_timeout=(_STREAM[0], min(_STREAM[1], max(stream_for, 1))),
                **since,
            )
            with contextlib.closing(stream):
                for line in _lines(stream):
                    # The time in front is of fixed width, so it sorts as text.
                    at, _, text = line.partition(" ")
                    if at > before:
                        self._newest[name] = (at, time.monotonic())
                        self._tail.append(text)
                        self._cluster.say(text)
                    if self._stop.is_set() or (time.monotonic() > until and pod.status.phase == "Running"):
                        return
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

    def _read_tail(self, pod: Any) -> None:
        """Takes the last lines of a pod that was not followed."""
        try:
            stream = self._cluster.core.read_namespaced_pod_log(
                pod.metadata.name,
                self._place.namespace,
                container=CONTAINER,
                tail_lines=_TAIL,
                timestamps=True,
                _preload_content=False,
                _request_timeout=_STREAM,
            )
            with contextlib.closing(stream):
                lines = [line.partition(" ")[2] for line in _lines(stream)]
        except (ApiException, HTTPError):
            return
        self._tail.clear()
        for line in lines:
            self._tail.append(line)
            self._cluster.say(line)

    def _last(self) -> str:
        return next((line.strip() for line in reversed(self._tail) if line.strip()), "")

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._cluster.say(line)


def run_job(cluster: Cluster, manifests: list[dict[str, Any]], **options: Any) -> JobEnd:
    """Makes Jobs or finds them living, and follows them to their end.

    Args:
        cluster: Where they run.
        manifests: The Jobs, and the Service they find each other by.
        **options: Of `JobWatch`.

    Raises:
        ElysiumError: As `Cluster.submit` and `JobWatch.follow`.
    """
    end = JobWatch(cluster, cluster.submit(manifests), **options).follow()
    if end is None:
        raise ElysiumError("the watch over the Job was stopped")
    return end


def _index(pod: Any) -> int:
    """Returns the index of an Indexed Job's pod; 0 for any other pod."""
    found = (pod.metadata.annotations or {}).get("batch.kubernetes.io/job-completion-index", "0")
    return int(found)


def _overdue(job: Any) -> bool:
    """Returns whether a Job should have been ended by the cluster a while ago; one that is suspended has not begun."""
    began = job.status.start_time if job.status else None
    if began is None and not job.spec.suspend:
        began = job.metadata.creation_timestamp
    if began is None:
        return False
    grace = job.spec.template.spec.termination_grace_period_seconds or 30
    allowed = job.spec.active_deadline_seconds + grace + _MARGIN
    return bool(datetime.datetime.now(datetime.UTC) - began > datetime.timedelta(seconds=allowed))


def _lines(stream: Any) -> Iterator[str]:
    """Yields the lines of a stream of bytes as they come."""
    rest = b""
    for chunk in stream.stream(4096, decode_content=False):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", errors="replace")
    if rest:
        yield rest.decode("utf-8", errors="replace")
