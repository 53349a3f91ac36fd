"""Curation in parts on the cluster, with a node drained under it."""

import threading

import pytest
from cluster_runs import manifest_of

# Enough clips that every part is at work when the node goes; small shards, so that there is something to lose.
MANY = ("ingest.num_simulated_train=96", "curate.shard_videos=4")
SHARDS = 4


@pytest.fixture(scope="module")
def listed(run_work, toy_overrides, bucket):
    """A run whose clips are there and were checked."""
    workspace = f"s3://{bucket}/runs/listed"
    for name in ("ingest", "validate-raw"):
        end, _ = run_work(name, workspace, (*toy_overrides, *MANY))
        assert end.complete, end.reason
    return workspace


def test_a_drained_node_loses_and_doubles_nothing(listed, copy_run, run_work, cluster, s3, bucket):
    nodes = [node["metadata"]["name"] for node in cluster.get("nodes")["items"]]
    if len(nodes) < 2:
        pytest.skip("the cluster has one node")
    quiet, drained = (copy_run(listed, name, "raw", "raw_report") for name in ("quiet", "drained"))
    end, _ = run_work("curate", quiet)
    assert end.complete, end.reason

    found = []
    thread = threading.Thread(target=lambda: found.append(run_work("curate", drained, parts=SHARDS)))
    thread.start()
    labels = "elysium.run=drained,app.kubernetes.io/component=curate-parts"

    def running():
        return [pod for pod in cluster.pods(labels) if pod["status"]["phase"] == "Running"]

    cluster.wait_until(lambda: len({pod["spec"]["nodeName"] for pod in running()}) > 1, 400, "parts on two nodes")
    victim = running()[-1]["spec"]["nodeName"]
    try:
        cluster.kubectl(
            *("drain", victim, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=180s"),
            f"--pod-selector={labels}",
        )
    finally:
        cluster.kubectl("uncordon", victim)
    thread.join(900)
    end, _ = found[0]
    assert end.complete, end.reason
    end, _ = run_work("curate", drained)
    assert end.complete, end.reason
    first, second = (manifest_of(s3, bucket, run, "curate") for run in ("quiet", "drained"))
    assert first["files"] == second["files"]
    assert first["metrics"]["clips"] > 90
