"""The overlay `local` on its own: one command brings up servers that retrain without anything outside the cluster."""

import json
from dataclasses import replace

import pytest
import yaml
from cluster_access import ROOT
from cluster_deployment import write_deployment
from cluster_runs import DAG, ROWS

from elysium.pipeline.steps import STEPS

SERVERS = ["airflow-api-server", "airflow-dag-processor", "airflow-scheduler", "airflow-triggerer", "mlflow"]


@pytest.fixture(scope="module")
def local(cluster, tmp_path_factory):
    """The overlay, applied with `kubectl apply -k` in a namespace of its own; its servers are ready."""
    place = replace(cluster, namespace=f"{cluster.namespace}-local")
    folder = tmp_path_factory.mktemp("local")
    overlay = ROOT / "k8s" / "overlays" / "local"
    profile = yaml.safe_load((overlay / "profile.yaml").read_text())
    profile |= {"namespace": place.namespace, "registry": place.registry, "tag": place.tag}
    profile |= {"max_memory_gib": 3, "shared_memory_gib": 0.25, "scratch_gib": 4}
    # Runs of the schedule would come in between.
    unscheduled = {"ELYSIUM_RETRAIN_CRON": "", "ELYSIUM_EVALUATE_CRON": ""}
    write_deployment(folder, place, overlay, maps={"elysium-airflow": unscheduled}, profile=profile)
    place.kubectl("apply", "-k", str(folder))
    for name in SERVERS:
        place.kubectl("rollout", "status", f"deployment/{name}", "--timeout=900s")
    yield place
    place.kubectl("delete", "namespace", place.namespace, "--wait=false", check=False)


def airflow(place, *arguments):
    """Runs Airflow's command line where its scheduler is, and returns what it printed as JSON."""
    printed = place.kubectl("exec", "deployment/airflow-scheduler", "-c", "scheduler", "--", "airflow", *arguments)
    # Warnings come before it.
    return json.loads(printed[printed.index("[{") :]) if "json" in arguments else printed


def test_its_airflow_has_all_dags(local):
    listed = {dag["dag_id"] for dag in airflow(local, "dags", "list", "-o", "json")}
    assert listed == {"elysium_retrain", "elysium_curate", "elysium_evaluate", "elysium_promote"}


def test_its_airflow_retrains_on_its_volume_and_registers_in_its_mlflow(local, toy_overrides):
    conf = {
        "workspace": "/workspace/inside",
        "preset": "nano",
        "overrides": list(toy_overrides),
        "runner": "kubernetes",
    }
    airflow(local, "dags", "unpause", DAG)
    airflow(local, "dags", "trigger", DAG, "--run-id", "inside", "--conf", json.dumps(conf))
    states = {}

    def ended():
        listed = airflow(local, "tasks", "states-for-dag-run", DAG, "inside", "-o", "json")
        states.update({task["task_id"]: task["state"] for task in listed})
        return all(states.get(name) in ("success", "failed", "upstream_failed", "skipped") for name in ROWS)

    local.wait_until(ended, 1700, "the end of the run")
    assert {name: states[name] for name in ROWS} == dict.fromkeys(ROWS, "success")
    jobs = local.jobs()
    assert {job["metadata"]["labels"]["app.kubernetes.io/component"] for job in jobs.values()} >= set(ROWS)
    assert len(STEPS) <= len(jobs)
    said = local.kubectl("exec", "deployment/mlflow", "--", "ls", "-R", "/artifacts")
    assert "answers-" in said or "MLmodel" in said
