"""The Airflow trigger that watches Jobs while their task holds no worker.

It is made of names alone, so that any triggerer can go on with it. A triggerer that stops or is relieved leaves the
Jobs running; a task that is marked or cleared takes its Jobs with it.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from elysium.errors import ElysiumError, UsageError

if TYPE_CHECKING:
    from elysium.pipeline.jobs import Cluster

# A task in one of these states still wants its Jobs: another triggerer has it, or it runs again and has found them.
_WANTED = ("deferred", "running")
# A trigger lasts no shorter, in looks at its Jobs: 10 s.
_LEAST_LOOKS = 2


class JobTrigger(BaseTrigger):
    """Waits for the end of Jobs that belong together.

    Args:
        namespace: Of the Jobs.
        jobs: Their names; the first is rank 0.
        services: Names of the Services that they find each other by.
        connection: Airflow's connection to the cluster.
        seconds: Between two looks.
        patience: See `JobWatch`.
    """

    def __init__(
        self,
        namespace: str,
        jobs: list[str],
        services: list[str],
        connection: str,
        seconds: float = 5.0,
        patience: float = 180.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self._namespace, self._jobs, self._services = namespace, tuple(jobs), tuple(services)
        self._connection, self._seconds, self._patience = connection, seconds, patience
        self._ended = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Returns the class's path and what it is made of."""
        return f"{type(self).__module__}.{type(self).__name__}", {
            "namespace": self._namespace,
            "jobs": list(self._jobs),
            "services": list(self._services),
            "connection": self._connection,
            "seconds": self._seconds,
            "patience": self._patience,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Hands on the pods' lines, then yields the end as plain data (`JobEnd`).

        Everything that may take long happens in a thread: the loop is every trigger's, and Airflow's reason for a
        cancellation, which `on_kill` depends on, arrives only where nothing but the loop's own queue is waited for.
        """
        lines: asyncio.Queue[str | None] = asyncio.Queue()
        loop, stop = asyncio.get_running_loop(), threading.Event()
        found: list[dict[str, Any] | BaseException | None] = []
        begun = time.monotonic()

        def say(line: str | None) -> None:
            if not stop.is_set():
                loop.call_soon_threadsafe(lines.put_nowait, line)

        def follow() -> None:
            try:
                found.append(self._follow(say, stop))
            except BaseException as error:
                found.append(error)
            # The executor may tell late that the task's first half has ended. Were the second half at work by then, the
            # scheduler would take it for dead and try the task again.
            stop.wait(max(0.0, begun + _LEAST_LOOKS * self._seconds - time.monotonic()))
            say(None)

        # A thread of its own, and no pool's: it may wait for a line for long, and nobody waits for it at the end.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(follow,), name=self._jobs[0], daemon=True).start()
        try:
            while (line := await lines.get()) is not None:
                self.log.info(line)
        finally:
            stop.set()
        end = found[0]
        if isinstance(end, BaseException):
            raise end
        if end is not None:
            self._ended = True
            yield TriggerEvent(end)  # type: ignore[no-untyped-call]  # Airflow's

    async def on_kill(self) -> None:
        """Removes the Jobs when somebody has marked or cleared the task.

        Airflow calls this as well when a triggerer was out of touch for a while and another one has taken its triggers
        over, so the task's state is asked for.
        """
        if self._ended or not await self._unwanted():
            return
        await asyncio.to_thread(self._remove)
        self.log.info(f"removed the Job {self._jobs[0]}: its task was marked or cleared")

    def _follow(self, say: Callable[[str], None], stop: threading.Event) -> dict[str, Any] | None:
        from elysium.pipeline.job_watch import JobWatch
        from elysium.pipeline.jobs import JobEnd, JobPlace, Unreachable

        try:
            cluster = cluster_of(self._connection, say, self._seconds)
            place = JobPlace(self._namespace, self._jobs, self._services)
            end = JobWatch(cluster, place, patience=self._patience, stop=stop).follow()
        except ElysiumError as error:
            end = JobEnd(False, str(error), again=isinstance(error, Unreachable))
        return None if end is None else dataclasses.asdict(end)

    def _remove(self) -> None:
        from elysium.pipeline.jobs import JobPlace

        place = JobPlace(self._namespace, self._jobs, self._services)
        cluster_of(self._connection, self.log.info, self._seconds).delete(place)

    async def _unwanted(self) -> bool:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        task: Any = self.task_instance
        try:
            states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
                dag_id=task.dag_id, task_ids=[task.task_id], run_ids=[task.run_id], map_index=task.map_index
            )
        except Exception as error:
            # A Job that nobody wants ends at its deadline; one that is wanted and removed costs hours.
            self.log.warning("the state of the task is not known (%s); its Job stays", error)
            return False
        # Mapped tasks are answered with their index behind the name.
        known = states.get(task.run_id, {})
        state = known.get(task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}")
        return state not in _WANTED


def cluster_of(connection: str, say: Any, seconds: float) -> Cluster:
    """Returns the cluster that an Airflow connection names; without one the pod's own, or that of KUBECONFIG.

    Raises:
        UsageError: If there is none.
    """
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from kubernetes.config import ConfigException

    from elysium.pipeline.jobs import Cluster

    hook = KubernetesHook(conn_id=connection)
    try:
        return Cluster(hook.batch_v1_client, hook.core_v1_client, say, seconds)
    except ConfigException as error:
        raise UsageError(f"Airflow's connection {connection} names no cluster: {error}") from error
