"""Tasks whose steps are Jobs: what becomes of them, on their worker and away from it, with and without trouble."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jobs_api import COMPLETE

from elysium.pipeline.airflow import airflow_environment
from elysium.pipeline.steps import STEPS

SCENES = Path(__file__).with_name("operator_scenarios.py")
NAME = "elysium-retrain-weekly-validate-raw"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """What came of every scene, played once in a process and a home of its own."""
    home = tmp_path_factory.mktemp("worker")
    environment = {**airflow_environment(home), "KUBECONFIG": str(home / "kubeconfig"), "PYTHONPATH": str(Path.cwd())}
    environment |= {"ELYSIUM_START_PATIENCE": "0"}
    command = [sys.executable, str(SCENES), str(home)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_a_task_that_waits_on_its_worker_ends_with_what_its_step_says(scenes):
    assert scenes["waits on its worker"] == {"result": {"summary": "2 clips", "digest": "d"}}
    (container,) = scenes["job"]["spec"]["template"]["spec"]["containers"]
    assert container["command"][:5] == ["elysium", "step", "validate-raw", "--workspace", "/workspace/run-1"]
    assert container["command"][-3:] == ["--set", "seed=3", "--json"]


def test_a_refused_gate_is_a_skip_with_its_reason(scenes):
    assert scenes["refused"]["raised"] == "AirflowSkipException"
    assert "2 clips are black" in scenes["refused"]["text"]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("command", "the Job of candidate is complete, but its result, its last line, is not known"),
        ("workspace not seen", "the Job of validate-raw is complete, but its result, its last line, is not known"),
        ("nothing published", "its manifest is not in s3://bucket/run"),
        ("refused", "its manifest is not in s3://bucket/run"),
        ("another's line", "its manifest is not in s3://bucket/run"),
    ],
)
def test_a_complete_job_without_its_result_is_not_green_and_may_be_tried_again(scenes, what, text):
    assert scenes["without lines"][what]["raised"] == "AirflowException"
    assert text in scenes["without lines"][what]["text"]


def test_the_manifest_says_what_the_lines_would_have_said(scenes):
    result = {"summary": "2 clips", "digest": "d", "metrics": {"clips": 2}}
    assert scenes["without lines"]["done"] == {"result": result}


def test_a_part_has_no_result_of_its_own(scenes):
    assert "result" in scenes["without lines"]["part"]


def test_a_failure_is_final_since_the_job_had_its_retries(scenes):
    assert scenes["failed"]["raised"] == "AirflowFailException"
    assert "ValueError: no" in scenes["failed"]["text"]


def test_a_task_leaves_its_worker_with_names_alone(scenes):
    made = scenes["leaves its worker"]
    assert made["deferred"] == "elysium.pipeline.trigger.JobTrigger"
    assert made["trigger"]["jobs"] == [NAME], "no try number, nothing that changes"
    assert (made["method"], made["kwargs"]) == ("resume", {"phase": 0})
    assert set(made["trigger"]) == {"namespace", "jobs", "services", "connection", "seconds", "patience"}


def test_a_retry_goes_on_with_the_living_job(scenes):
    """apache/airflow 70585."""
    assert scenes["retried"] == scenes["leaves its worker"]
    assert scenes["jobs after a retry"] == [[NAME], [NAME], ["POST"]]


def test_a_trigger_that_crashed_may_be_tried_again_and_its_job_lives(scenes):
    assert scenes["the trigger crashed"]["raised"] == "TaskDeferralError"
    assert scenes["jobs after the trigger crashed"] == [NAME]


def test_a_task_ends_as_its_trigger_says(scenes):
    assert scenes["resumed"] == {"result": {"summary": "2 clips", "digest": "d"}}
    failed = scenes["resumed, failed"]
    assert failed == {"raised": "AirflowFailException", "text": "validate-raw failed: the Job failed"}
    assert scenes["resumed, deleted"]["raised"] == "AirflowException", "a retry makes it anew"


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (503, "AirflowException", "the cluster's API answers 503: busy"),
        (403, "AirflowFailException", "the cluster denies it: jobs is forbidden; the rights are in k8s/base"),
    ],
)
def test_trouble_at_the_beginning_is_retried_only_where_that_may_help(scenes, status, kind, text):
    assert scenes[f"answered {status}"]["raised"] == kind
    assert text in scenes[f"answered {status}"]["text"]


def test_parts_are_done_side_by_side_before_the_step_itself(scenes):
    names = ["elysium-retrain-weekly-curate-parts-0", "elysium-retrain-weekly-curate-parts-1"]
    assert scenes["jobs of parts"] == names
    assert scenes["parts"]["trigger"]["jobs"] == names
    assert scenes["after the parts"]["trigger"]["jobs"] == ["elysium-retrain-weekly-curate"]
    assert scenes["after the parts"]["kwargs"] == {"phase": 1}


def test_a_mapped_part_is_a_job_of_its_own(scenes):
    assert scenes["one part"]["trigger"]["jobs"] == ["elysium-retrain-weekly-curate-parts-1"]
    assert "--shard" in scenes["command of one part"]


def test_a_command_that_is_no_step_is_a_job_too_and_stopped_with_its_task(scenes):
    assert scenes["command"]["trigger"]["jobs"] == ["elysium-retrain-weekly-champion"]
    command = ["elysium", "evaluate", "champion", "--workspace", "/workspace/run-1"]
    assert scenes["command of a command"] == command
    assert scenes["jobs after a kill"] == []


def test_a_run_works_where_the_event_says_or_its_params_or_its_own_name(scenes):
    assert scenes["event"] == ["s3://b/new", "small"]
    assert scenes["scheduled"] == "/workspace/retrain-weekly"
    assert scenes["named"] == "/workspace/run-1"


def test_runs_of_two_dags_with_one_id_share_neither_workspace_nor_jobs(scenes):
    """Such as those that the clock starts at one moment; and elysium_promote has a task that is called like a step."""
    assert scenes["of every DAG"] == {
        f"elysium_{dag}": [f"/workspace/{dag}-weekly", f"elysium-{dag}-weekly-ingest", f"elysium-{dag}-weekly-promote"]
        for dag in ("retrain", "evaluate", "promote")
    }


def test_the_dag_makes_one_job_a_step_in_the_tables_order(jobs_api, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {**airflow_environment(home), "KUBECONFIG": str(jobs_api.kubeconfig(home / "kubeconfig"))}
    environment |= {"PATH": os.environ["PATH"], "ELYSIUM_LOOK_SECONDS": "0.5"}
    jobs_api.ends = dict.fromkeys(range(1, 100), COMPLETE)
    jobs_api.log = ['{"step": "any", "summary": "done", "digest": "d"}']
    conf = {"runner": "kubernetes", "workspace": "/workspace/run-1", "overrides": ["seed=3"]}
    command = [sys.executable, "-m", "airflow"]
    subprocess.run([*command, "db", "migrate"], env=environment, check=True, capture_output=True)
    command += ["dags", "test", "elysium_retrain", "--conf", json.dumps(conf)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert "JobTrigger" in result.stdout + result.stderr, "every task left its worker"
    jobs = list(jobs_api.jobs.values())
    assert [job["metadata"]["labels"]["app.kubernetes.io/component"] for job in jobs] == [row.name for row in STEPS]
    for job in jobs:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        assert container["command"][-5:] == ["--preset", "nano", "--set", "seed=3", "--json"]
