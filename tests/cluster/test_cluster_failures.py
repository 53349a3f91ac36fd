"""What goes wrong on a cluster, and the one sentence about it in the task's log."""

import contextlib

import pytest
import yaml
from cluster_runs import DAG

QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "nothing-more"},
    "spec": {"hard": {"count/pods": "0"}},
}


@pytest.fixture
def changed(profile, profile_file):
    """Gives Airflow another job profile for a while: it is read when a task begins."""

    @contextlib.contextmanager
    def change(**values):
        before = profile_file.read_text()
        profile_file.write_text(yaml.safe_dump({**yaml.safe_load(before), **values}))
        try:
            yield
        finally:
            profile_file.write_text(before)

    return change


@pytest.fixture
def failing(airflow, bucket, toy_overrides):
    """Runs the DAG to its failure in the first step; returns the task's log."""

    def run(name, workspace=None):
        conf = {
            "workspace": workspace or f"s3://{bucket}/runs/{name}",
            "preset": "nano",
            "overrides": list(toy_overrides),
            "runner": "kubernetes",
        }
        airflow.start(DAG, name, conf)
        airflow.wait_for_task(DAG, name, "ingest", ("failed", "up_for_retry"), 500)
        log = airflow.task_log(DAG, name, "ingest")
        airflow.end(DAG, name)
        return log

    return run


def test_a_wrong_image(failing, changed, cluster):
    with changed(tag="no-such-tag"):
        log = failing("wrong-image")
    assert one_sentence(log, "elysium-curator:no-such-tag cannot be had")


def test_an_exceeded_quota(failing, cluster):
    cluster.apply(QUOTA)
    try:
        log = failing("exceeded-quota")
    finally:
        cluster.kubectl("delete", "resourcequota", "nothing-more")
    assert one_sentence(log, "exceeded quota: nothing-more")


def test_missing_credentials(failing, changed):
    with changed(stores_secret="no-such-secret"):
        log = failing("missing-secret")
    assert one_sentence(log, "credentials")


def test_an_s3_server_that_does_not_answer(failing, changed, cluster, stores):
    values = {**stores, "AWS_ENDPOINT_URL": "http://192.0.2.1:9"}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wrong-stores"}, "stringData": values})
    with changed(stores_secret="wrong-stores"):
        log = failing("unreachable-s3")
    assert one_sentence(log, "192.0.2.1:9")


def test_a_denied_permission(failing, accounts, airflow_kubeconfig):
    before = airflow_kubeconfig.read_text()
    airflow_kubeconfig.write_text(accounts("elysium-step"))
    try:
        log = failing("denied")
    finally:
        airflow_kubeconfig.write_text(before)
    assert one_sentence(log, "the cluster denies it")


def one_sentence(log, words):
    """Returns the lines with these words, each without a stack trace around it."""
    assert "Traceback" not in log, log[-3000:]
    found = [line for line in log.splitlines() if words in line]
    assert found, log[-3000:]
    return found
