"""Scenes with the operators on Kubernetes, in one process: importing Airflow takes longer than all of them.

Prints one JSON object: scene to what came of it.
"""

import datetime
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from airflow.models import Connection
from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk.exceptions import TaskDeferred
from jobs_api import BACKOFF, COMPLETE, POLICY, JobsApi, pod
from object_server import KEYS, serving

from elysium.pipeline import trigger
from elysium.pipeline.dag_runs import place_of
from elysium.pipeline.manifest import Manifest
from elysium.pipeline.operators import CommandOperator, StepOperator

PARAMS = {"workspace": "/workspace/run-1", "preset": "nano", "overrides": ["seed=3"], "runner": "kubernetes"}
CONTEXT = {"params": PARAMS, "run_id": "weekly", "ti": SimpleNamespace(dag_id="elysium_retrain")}
END = {"complete": True, "reason": "done", "exit_code": 0, "tail": ["done"], "again": False}


def outcome(call):
    """Returns what a task ends with, as plain data."""
    try:
        return {"result": call()}
    except TaskDeferred as deferred:
        path, kwargs = deferred.trigger.serialize()
        return {"deferred": path, "trigger": kwargs, "method": deferred.method_name, "kwargs": deferred.kwargs}
    except Exception as error:
        return {"raised": type(error).__name__, "text": str(error)}


def step(name="validate-raw", **options):
    return StepOperator(task_id=name, step=name, **options)


def fresh(api, **state):
    """Empties the cluster; every Job that is made ends at the second look, unless told otherwise."""
    api.jobs.clear()
    api.asked.clear()
    api.answers.clear()
    api.looks, api.ends, api.pods, api.log = 0, {2: COMPLETE}, [pod()], ["one", '{"summary": "2 clips", "digest": "d"}']
    for name, value in state.items():
        setattr(api, name, value)
    return api


def resumed(operator, event, phase=0, **params):
    context = {**CONTEXT, "params": {**PARAMS, **params}}
    return outcome(lambda: operator.resume_execution("resume", {"event": {**END, **event}, "phase": phase}, context))


def without_lines(objects):
    """Jobs that are complete, and of whose last lines nothing is known; `raw_report` is what validate-raw publishes."""
    command = CommandOperator(task_id="candidate", command=["registry", "candidate", "--json"])
    manifest = Manifest(
        step="validate-raw", status="done", key="k", digest="d", files={}, summary="2 clips", metrics={"clips": 2},
        started="2026-01-01T00:00:00Z", seconds=1.0, peak_mib=1.0, code="1",
    )  # fmt: skip
    there = {"workspace": "s3://bucket/run"}
    found = {"command": resumed(command, {"tail": ["a warning"]}), "workspace not seen": resumed(step(), {"tail": []})}
    found["nothing published"] = resumed(step(), {"tail": []}, **there)
    for status in ("refused", "done"):
        text = manifest.model_copy(update={"status": status}).model_dump_json()
        objects.put("run/raw_report/_manifest.json", text.encode())
        found[status] = resumed(step(), {"tail": []}, **there)
    found["another's line"] = resumed(step(), {"tail": ['{"summary": "x", "digest": "e"}']}, **there)
    found["part"] = resumed(step("curate", shard="1/2"), {"tail": []}, **there)
    return found


def play(api, home):
    found = {}
    run = lambda operator: outcome(lambda: operator.execute(CONTEXT))  # noqa: E731
    fresh(api)
    found["waits on its worker"] = run(step(deferrable=False))
    found["job"] = next(iter(api.jobs.values()))
    fresh(api, ends={2: POLICY}, pods=[pod("Failed", code=3)], log=["refused: 2 clips are black"])
    found["refused"] = run(step(deferrable=False))
    fresh(api, ends={2: BACKOFF}, pods=[pod("Failed", code=1)], log=["ValueError: no"])
    found["failed"] = run(step(deferrable=False))
    fresh(api, ends={})
    found["leaves its worker"] = run(step())
    living = list(api.jobs)
    found["retried"] = run(step())
    found["jobs after a retry"] = [living, list(api.jobs), api.methods("jobs")]
    found["the trigger crashed"] = outcome(lambda: step().resume_execution("__fail__", {"error": "x"}, CONTEXT))
    found["jobs after the trigger crashed"] = list(api.jobs)
    found["resumed"] = resumed(step(), {"tail": ["one", '{"summary": "2 clips", "digest": "d"}']})
    found["resumed, failed"] = resumed(step(), {"complete": False, "exit_code": 1, "reason": "the Job failed"})
    found["resumed, deleted"] = resumed(step(), {"complete": False, "exit_code": None, "again": True})
    with serving() as objects:
        os.environ |= {**KEYS, "AWS_ENDPOINT_URL": objects.address}
        found["without lines"] = without_lines(objects)
    for status in (503, 403):
        fresh(api).answers["POST", "jobs"] = [(status, "jobs is forbidden" if status == 403 else "busy")]
        found[f"answered {status}"] = run(step())
    (home / "profile.yaml").write_text("shards: 2\nindexed: false\ngpu: false\n")
    os.environ["ELYSIUM_JOB_PROFILE"] = str(home / "profile.yaml")
    fresh(api)
    curate = step("curate")
    found["parts"] = run(curate)
    found["jobs of parts"] = sorted(api.jobs)
    found["after the parts"] = resumed(curate, {})
    fresh(api)
    found["one part"] = run(step("curate", shard="1/2"))
    found["command of one part"] = next(iter(api.jobs.values()))["spec"]["template"]["spec"]["containers"][0]["command"]
    fresh(api)
    command = CommandOperator(task_id="champion", command=["evaluate", "champion", "", "--workspace", "{workspace}"])
    found["command"] = run(command)
    found["command of a command"] = next(iter(api.jobs.values()))["spec"]["template"]["spec"]["containers"][0][
        "command"
    ]
    command.on_kill()
    found["jobs after a kill"] = list(api.jobs)
    del os.environ["ELYSIUM_JOB_PROFILE"]
    at = datetime.datetime(2026, 1, 1)
    events = {"tracks": [SimpleNamespace(timestamp=at, extra={"workspace": "s3://b/new", "preset": "small"})]}
    started = {**CONTEXT, "params": {**PARAMS, "workspace": ""}, "triggering_asset_events": events}
    found["event"] = [place_of(started).workspace, place_of(started).preset]
    found["scheduled"] = place_of({**started, "triggering_asset_events": {}}).workspace
    found["named"] = place_of({**started, "params": PARAMS}).workspace
    found["of every DAG"] = {}
    for dag in ("elysium_retrain", "elysium_evaluate", "elysium_promote"):
        context = {**started, "triggering_asset_events": {}, "ti": SimpleNamespace(dag_id=dag)}
        fresh(api)
        outcome(lambda: step("ingest").execute(context))  # noqa: B023 - called at once
        outcome(lambda: CommandOperator(task_id="promote", command=["registry", "approve"]).execute(context))  # noqa: B023
        found["of every DAG"][dag] = [place_of(context).workspace, *api.jobs]
    return found


def main():
    home = Path(sys.argv[1])
    KubernetesHook.get_connection = classmethod(lambda cls, name: Connection(conn_id=name))
    usual = trigger.cluster_of
    trigger.cluster_of = lambda connection, say, seconds=0.01: usual(connection, say, 0.01)
    with JobsApi().serving() as api:
        api.kubeconfig(home / "kubeconfig")
        print(json.dumps(play(api, home)))


if __name__ == "__main__":
    main()
