"""Scenes with the trigger, in one process as a triggerer is one: importing Airflow takes longer than all of them.

Prints one JSON object: scene to what came of it.
"""

import asyncio
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from airflow.models import Connection
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk._shared.module_loading import import_string
from jobs_api import BACKOFF, COMPLETE, JobsApi, pod

from elysium.pipeline.kubernetes import JobRequest, render_job
from elysium.pipeline.steps import step
from elysium.pipeline.trigger import JobTrigger

MANIFEST = render_job(step("validate-raw"), JobRequest("run", "/workspace/run"))
NAME = MANIFEST["metadata"]["name"]
STATES = "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_task_states"


def made(config):
    """Returns a trigger as a triggerer makes it: from what Airflow's database holds of another one."""
    path, kwargs = JobTrigger("elysium", [NAME], [], "kubernetes_default", seconds=0.01).serialize()
    trigger = import_string(path)(**json.loads(json.dumps(kwargs)))
    trigger.task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)
    return trigger


def wait(api, conditions, pods):
    api.jobs.clear()
    api.make(MANIFEST)
    api.looks, api.ends, api.pods = 0, {2: conditions}, pods
    trigger, said = made(api), []

    async def first():
        with mock.patch.object(type(trigger), "log", SimpleNamespace(info=said.append)):
            return await anext(trigger.run(), None)

    event = asyncio.run(first())
    return {"event": json.loads(event.model_dump_json())["payload"], "said": said}


def shut_down(api):
    """A triggerer that stops cancels its triggers without telling them why."""
    api.jobs.clear()
    api.make(MANIFEST)
    api.looks, api.ends, api.pods = 0, {}, [pod("Running")]
    trigger = made(api)

    async def run():
        task = asyncio.create_task(anext(trigger.run(), None))
        while ("GET", "log") not in api.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            await trigger.cleanup()

    api.asked.clear()
    asyncio.run(run())
    left = NAME in api.jobs and "DELETE" not in api.methods()
    return left


def cancelled_early(api):
    """A user's cancellation while the cluster is still being signed in to; returns the reason that Airflow gets."""
    trigger, late = made(api), threading.Event()

    async def run():
        task = asyncio.create_task(anext(trigger.run(), None))
        await asyncio.sleep(0.05)
        task.cancel("user-action")
        try:
            await task
        except asyncio.CancelledError as error:
            return list(error.args)
        finally:
            late.set()

    with mock.patch("elysium.pipeline.trigger.cluster_of", side_effect=lambda *_: late.wait(10)):
        return asyncio.run(run())


def kill(api, states, index=-1):
    """What Airflow does when its trigger's task waits for it no more; returns whether the Job was removed."""
    api.jobs.clear()
    api.make(MANIFEST)
    trigger = made(api)
    trigger.task_instance.map_index = index

    def asked(**question):
        assert question == {"dag_id": "d", "task_ids": ["t"], "run_ids": ["r"], "map_index": index}
        if states is None:
            raise RuntimeError("the API server is away")
        return {"r": states}

    with mock.patch(STATES, asked):
        asyncio.run(trigger.on_kill())
    return NAME not in api.jobs


def main():
    KubernetesHook.get_connection = classmethod(lambda cls, name: Connection(conn_id=name))
    with JobsApi().serving() as api:
        api.kubeconfig(Path(sys.argv[1]))
        found = {
            "complete": wait(api, COMPLETE, [pod("Running")]),
            "failed": wait(api, BACKOFF, [pod("Failed", code=1)]),
            "left by a triggerer that stops": shut_down(api),
            "cancelled early": cancelled_early(api),
            "gone on with": wait(api, COMPLETE, [pod("Running")])["event"]["complete"],
            "removed": {
                "marked failed": kill(api, {"t": "failed"}),
                "marked success": kill(api, {"t": "success"}),
                "cleared": kill(api, {"t": None}),
                "mapped, marked failed": kill(api, {"t_3": "failed"}, 3),
                "another triggerer's": kill(api, {"t": "deferred"}),
                "runs again": kill(api, {"t": "running"}),
                "not known": kill(api, None),
            },
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
