"""The whole DAG as Jobs, driven by an Airflow outside the cluster, over a workspace on S3."""

import json
import os
import shlex
import subprocess

import pytest
from cluster_runs import DAG, LONG, ROWS, before, has_checkpoint, manifest_of

from elysium.pipeline.steps import STEPS


def test_every_step_is_done_and_every_task_green(whole_run, cluster, s3, bucket):
    _, tasks = whole_run
    assert {name: task["state"] for name, task in tasks.items() if name in ROWS} == dict.fromkeys(ROWS, "success")
    for row in STEPS:
        manifest = manifest_of(s3, bucket, "whole", row.name)
        assert manifest["status"] == "done", row.name
        for name, entry in manifest["files"].items():
            head = s3.head_object(Bucket=bucket, Key=f"runs/whole/{row.output.folder}/{name}")
            assert head["ContentLength"] == entry["size"], name


def test_a_job_ran_for_every_step_and_none_twice(whole_run, cluster):
    jobs = cluster.jobs("elysium.run=retrain-whole")
    for row in STEPS:
        names = [name for name in jobs if name.startswith(f"elysium-retrain-whole-{row.name}")]
        assert names, row.name
        for name in names:
            assert jobs[name]["status"].get("succeeded") == 1, name
            assert not jobs[name]["status"].get("failed"), name


def test_the_log_of_a_task_is_what_the_pod_said(whole_run, airflow):
    said = airflow.task_log(DAG, "whole", "finetune")
    assert "6 steps of" in said


def test_the_decision_says_why(whole_run, s3, bucket):
    decision = json.loads(s3.get_object(Bucket=bucket, Key="runs/whole/promotion/decision.json")["Body"].read())
    assert decision["summary"]


def test_no_secret_in_any_log(whole_run, airflow, cluster):
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    assert secret not in cluster.logs("elysium.run=retrain-whole")
    for row in STEPS:
        assert secret not in airflow.task_log(DAG, "whole", row.name)


def test_clearing_a_finished_task_skips_its_work(whole_run, airflow, s3, bucket):
    before = manifest_of(s3, bucket, "whole", "validate-raw")
    body = {"dry_run": False, "dag_run_id": "whole", "task_ids": ["validate-raw"], "only_failed": False}
    tries = airflow.tasks(DAG, "whole")["validate-raw"]["try_number"]
    airflow.call("PATCH", f"/dags/{DAG}", {"is_paused": False})
    airflow.call("POST", f"/dags/{DAG}/clearTaskInstances", body)
    airflow.wait_for_task(DAG, "whole", "validate-raw", ("success",), 300)
    assert airflow.tasks(DAG, "whole")["validate-raw"]["try_number"] == tries + 1
    assert manifest_of(s3, bucket, "whole", "validate-raw") == before
    assert "finished before" in airflow.task_log(DAG, "whole", "validate-raw")


def test_marking_a_running_task_removes_its_job(whole_run, airflow, cluster, copy_run, s3, bucket):
    workspace = copy_run(whole_run[0], "marked", *before("finetune"))
    airflow.start(DAG, "marked", {"workspace": workspace, "runner": "kubernetes", "overrides": list(LONG)})
    cluster.wait_until(lambda: has_checkpoint(s3, bucket, "marked"), 600, "finetune to be at work")
    airflow.call("PATCH", f"/dags/{DAG}", {"is_paused": True})
    airflow.call("PATCH", f"/dags/{DAG}/dagRuns/marked/taskInstances/finetune", {"new_state": "failed"})
    labels = "elysium.run=retrain-marked,app.kubernetes.io/component=finetune"
    cluster.wait_until(lambda: not cluster.jobs(labels), 120, "the marked task's Jobs to go")
    cluster.wait_until(lambda: not cluster.pods(labels), 120, "their pods to go")


def test_an_api_server_that_restarts_fails_nothing(whole_run, airflow, cluster, copy_run, s3, bucket):
    command = os.environ.get("ELYSIUM_CLUSTER_RESTART_API")
    if not command:
        pytest.skip("ELYSIUM_CLUSTER_RESTART_API names no command that takes the API server away for a while")
    workspace = copy_run(whole_run[0], "restarted", *before("finetune"))
    airflow.start(DAG, "restarted", {"workspace": workspace, "runner": "kubernetes", "overrides": list(LONG)})
    cluster.wait_until(lambda: has_checkpoint(s3, bucket, "restarted"), 600, "finetune to be at work")
    subprocess.run(shlex.split(command), check=True)
    tasks = airflow.wait(DAG, "restarted", 1200)
    assert tasks["finetune"]["state"] == "success"
    assert tasks["finetune"]["try_number"] == 1
    for name, job in cluster.jobs("elysium.run=retrain-restarted,app.kubernetes.io/component=finetune").items():
        assert not job["status"].get("failed"), name
