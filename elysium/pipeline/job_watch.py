"""Jobs from their beginning to their end: pods' lines handed on, troubles told once, the end put into words."""

from __future__ import annotations

import contextlib
import datetime
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from elysium.errors import ElysiumError
from elysium.pipeline.job_troubles import (
    CONTAINER,
    FINAL_CODES,
    STOPPED,
    Trouble,
    creation_trouble,
    disruption,
    ending,
    exit_code,
    pod_index,
    unmended,
    waiting_trouble,
)
from elysium.pipeline.jobs import Cluster, JobEnd, JobPlace, Unreachable, condition, explained, grace_seconds

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
# Looks at a Job that has ended and whose last lines cannot be read: a server may have hiccups, a lost node stays away.
_LOOKS_FOR_LINES = 3
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
        self._tail_of = ""
        self._told: set[str] = set()
        # By Job, and by the kind of what keeps its pods from running for good.
        self._since: dict[str, dict[str, float]] = {}
        self._kinds: dict[str, set[str]] = {}
        self._final_looks = self._looks_for_lines = 0
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
        unread = self._hand_on(pods[self._place.jobs[0]])
        failed = {name: end for name, end in ended.items() if end is not None and end.type == "Failed"}
        complete = not failed and all(end is not None for end in ended.values())
        if unread and (failed or complete) and self._looks_for_lines < _LOOKS_FOR_LINES:
            self._looks_for_lines += 1
            return None
        if failed:
            return self._failed(failed, pods)
        late = next((name for name, job in jobs.items() if ended[name] is None and _overdue(job)), None)
        if late is not None:
            return self._given_up(f"the Job {late} is over its deadline and the cluster has not ended it", again=False)
        if complete:
            self._cluster.delete_services(self._place)
            return JobEnd(True, self._last() or f"Job {self._place.jobs[0]} is complete", 0, tuple(self._tail))
        return self._ended_without_policy(pods, ended)

    def _failed(self, failed: dict[str, Any], pods: dict[str, list[Any]]) -> JobEnd:
        """Returns the end of Jobs of which some failed, in the words of the pod that says most of why."""
        first = self._place.jobs[0]
        name, pod = _decisive(failed, pods, first)
        if pod is None:
            # No step failed, such as at a deadline: the pod whose lines are known says more than the newest.
            pod = next((pod for pod in pods[name] if pod.metadata.name == self._tail_of), (pods[name] or [None])[-1])
        if pod is None and name != first:
            self._tail.clear()
        end = failed[name]
        why = f"{end.reason}: {end.message}" if end.message else str(end.reason)
        reason = f"the Job {name} failed ({why}){self._words_of(pod)}"
        if len(self._place.jobs) > 1:
            # The others wait for the one that failed.
            self._cluster.delete(self._place)
        else:
            self._cluster.delete_services(self._place)
        return JobEnd(False, reason, (exit_code(pod) or None) if pod is not None else None, tuple(self._tail))

    def _words_of(self, pod: Any | None) -> str:
        """Returns what to say of a pod's end behind the Job's, and makes its last lines the tail."""
        if pod is None:
            return f"; it said: {self._last()}" if self._last() else ""
        self._take_tail(pod)
        other = f"pod {pod.metadata.name}" if pod_index(pod) else ""
        how = ending(pod)
        if how:
            return f"; {other}: {how}" if other else f"; {how}"
        return f"; {other or 'it'} said: {self._last()}" if self._last() else ""

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
                code = exit_code(final)
                reason = f"the Job {name} failed (exit code {code}){self._words_of(final)}"
                return self._given_up(reason, again=False, code=code)
        return None

    def _trouble(self, name: str, pods: list[Any], *, lives: bool) -> Trouble | None:
        """Tells what keeps the Job's pods from running; returns what has lasted too long."""
        # One of each kind: a hundred pods may wait for the same thing.
        found: dict[str, Trouble] = {}
        for pod in pods:
            taken = disruption(pod)
            if taken is not None:
                self._tell(f"pod {pod.metadata.name} was taken away ({taken}); the next one goes on from what it saved")
            if pod.status.phase == "Pending" and lives:
                waits = waiting_trouble(pod, self._pod_events(pod), datetime.datetime.now(datetime.UTC))
                if waits is not None:
                    found.setdefault(waits.kind, waits)
        if not pods and lives and name in self._seen:
            refused = creation_trouble(name, self._cluster.events(name, self._place.namespace))
            if refused is not None:
                found[refused.kind] = refused
        self._seen.add(name)
        for kind, trouble in found.items():
            # Its text may change with each look: names of pods that were refused, what is used of a quota.
            if kind not in self._kinds.get(name, ()):
                self._tell(trouble.text)
        self._kinds[name] = set(found)
        before, now = self._since.get(name, {}), time.monotonic()
        since = {kind: before.get(kind, now) for kind, trouble in found.items() if trouble.lasting}
        self._since[name] = since
        return next((found[kind] for kind, began in since.items() if now - began >= self._patience), None)

    def _pod_events(self, pod: Any) -> list[Any]:
        """Returns a pod's warnings, once it waits for longer than one look."""
        name = pod.metadata.name
        if name not in self._seen:
            self._seen.add(name)
            return []
        return self._cluster.events(name, self._place.namespace)

    def _hand_on(self, pods: list[Any]) -> bool:
        """Hands on what the first pods printed; returns whether one that has ended may have more to read."""
        followed = [pod for pod in pods if pod_index(pod) == 0]
        for pod in followed:
            if pod.status.phase in ("Running", "Succeeded", "Failed") and pod.metadata.name not in self._read_whole:
                self._read_log(pod, alone=len(followed) == len(pods) and len(self._place.jobs) == 1)
        ended = [pod.metadata.name for pod in followed if pod.status.phase in ("Succeeded", "Failed")]
        return any(name not in self._read_whole for name in ended)

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
                        if self._tail_of != name:
                            self._tail.clear()
                            self._tail_of = name
                        self._tail.append(text)
                        self._cluster.say(text)
                    if self._stop.is_set() or (time.monotonic() > until and pod.status.phase == "Running"):
                        return
        except ApiException as error:
            # 400 and 404: its container has not begun, or the pod has gone.
            if error.status not in (400, 404):
                # The kubelet has the lines, not the API: where its node is dead, the Job is still there to be judged.
                why = explained(f"read what pod {name} prints", error)
                self._tell(f"{why}; the Job goes on without that", about=f"{name} {error.status}")
                if error.status != 403:
                    return
        except HTTPError:
            # Silent for long, or the server went away: the next look reads on.
            return
        # The stream of a living pod also ends when the API server does.
        if pod.status.phase != "Running":
            self._read_whole.add(name)

    def _take_tail(self, pod: Any) -> None:
        """Hands on the last lines of a pod, unless those that were handed on last are its own."""
        if self._tail_of == pod.metadata.name:
            return
        # Better none than another pod's.
        self._tail.clear()
        self._tail_of = pod.metadata.name
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
        self._cluster.say(f"the last lines of pod {pod.metadata.name}:")
        for line in lines:
            self._tail.append(line)
            self._cluster.say(line)

    def _last(self) -> str:
        return next((line.strip() for line in reversed(self._tail) if line.strip()), "")

    def _tell(self, line: str, about: str | None = None) -> None:
        """Says a line once; one that is worded anew each time, once for what it is about."""
        if (about or line) not in self._told:
            self._told.add(about or line)
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


def _decisive(failed: Iterable[str], pods: dict[str, list[Any]], first: str) -> tuple[str, Any | None]:
    """Returns which of the failed Jobs to name, and its pod that tells most of why, if a step failed.

    That is not merely the newest: a final exit code is why a Job was ended, and the other pods were told to stop; else
    it is a step's own failure, at best that of the pod whose lines were followed.
    """
    found = [(name, pod) for name in failed for pod in unmended(pods[name])]
    if not found:
        return next(iter(failed)), None

    def weight(entry: tuple[str, Any]) -> tuple[bool, bool, bool]:
        name, pod = entry
        code = exit_code(pod)
        return code in FINAL_CODES, code != STOPPED, name == first and pod_index(pod) == 0

    heaviest: tuple[str, Any] = max(reversed(found), key=weight)
    return heaviest


def _overdue(job: Any) -> bool:
    """Returns whether a Job should have been ended by the cluster a while ago; one that is suspended has not begun."""
    began = job.status.start_time if job.status else None
    if began is None and not job.spec.suspend:
        began = job.metadata.creation_timestamp
    if began is None:
        return False
    allowed = job.spec.active_deadline_seconds + grace_seconds(job) + _MARGIN
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
