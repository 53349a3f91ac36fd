"""Training on the cluster: pods that are lost, and pods on two nodes that train together."""

import json
import threading

import pytest
from cluster_runs import LONG, before, has_checkpoint, manifest_of

TOLERANCE = 1e-6
# Steps that any number of processes learn alike from.
SHARED = (
    *LONG,
    "training.finetune.steps=40",
    "training.finetune.save_steps=10",
    "training.finetune.global_batch_size=4",
)


@pytest.fixture(scope="module")
def undisturbed(whole_run, copy_run, run_work, toy_overrides):
    """A run whose finetune nobody disturbed."""
    workspace = copy_run(whole_run[0], "undisturbed", *before("finetune"))
    end, _ = run_work("finetune", workspace, LONG, nodes=1)
    assert end.complete, end.reason
    return workspace


@pytest.fixture(scope="module")
def alone(whole_run, copy_run, run_work):
    """A run whose finetune one process did, with the batches that two will share."""
    workspace = copy_run(whole_run[0], "alone", *before("finetune"))
    end, _ = run_work("finetune", workspace, SHARED, nodes=1)
    assert end.complete, end.reason


@pytest.mark.parametrize("grace", [30, 0], ids=["told-to-stop", "killed"])
def test_a_deleted_pod_costs_nothing(grace, whole_run, undisturbed, copy_run, run_work, cluster, s3, bucket):
    name = f"deleted-{grace}"
    workspace = copy_run(whole_run[0], name, *before("finetune"))
    found = []
    thread = threading.Thread(target=lambda: found.append(run_work("finetune", workspace, LONG, nodes=1)))
    thread.start()
    labels = f"elysium.run={name},app.kubernetes.io/component=finetune"
    cluster.wait_until(lambda: has_checkpoint(s3, bucket, name), 400, "a checkpoint on S3")
    (pod,) = [pod["metadata"]["name"] for pod in cluster.pods(labels)]
    cluster.kubectl(
        "delete", "pod", pod, f"--grace-period={grace}", "--wait=false", *(["--force"] if not grace else [])
    )
    thread.join(900)
    end, said = found[0]
    assert end.complete, end.reason
    assert any("going on" in line for line in said), "the next pod went on from what the first had saved"
    assert [entry["step"] for entry in curve(s3, bucket, name)] == [
        entry["step"] for entry in curve(s3, bucket, "undisturbed")
    ]
    assert losses(s3, bucket, name) == pytest.approx(losses(s3, bucket, "undisturbed"), abs=TOLERANCE)
    model = "model/model.safetensors"
    files = [manifest_of(s3, bucket, run, "finetune")["files"][model]["sha256"] for run in (name, "undisturbed")]
    assert files[0] == files[1]


@pytest.mark.parametrize("zero", [0, 2], ids=["DDP", "DeepSpeed"])
def test_two_pods_on_two_nodes_train_as_one_does(zero, whole_run, alone, copy_run, run_work, cluster, s3, bucket):
    if len(cluster.get("nodes")["items"]) < 2:
        pytest.skip("the cluster has one node")
    name = f"together-{zero}"
    workspace = copy_run(whole_run[0], name, *before("finetune"))
    found = []
    settings = (*SHARED, f"training.finetune.zero_stage={zero}")
    thread = threading.Thread(target=lambda: found.append(run_work("finetune", workspace, settings, nodes=2)))
    thread.start()
    labels = f"elysium.run={name},app.kubernetes.io/component=finetune"
    cluster.wait_until(lambda: has_checkpoint(s3, bucket, name), 400, "a checkpoint on S3")
    pods = [pod for pod in cluster.pods(labels) if pod["status"]["phase"] == "Running"]
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    # Each node has saved its own part; what one loses, both go on from.
    cluster.kubectl("delete", "pod", pods[-1]["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")
    thread.join(900)
    end, said = found[0]
    assert end.complete, end.reason
    assert any("going on from checkpoint-" in line for line in said)
    assert losses(s3, bucket, name) == pytest.approx(losses(s3, bucket, "alone"), abs=1e-3 if zero else TOLERANCE)


def curve(s3, bucket, run):
    """Returns what finetune wrote of its losses."""
    body = s3.get_object(Bucket=bucket, Key=f"runs/{run}/checkpoints/finetune/history.json")["Body"]
    return json.loads(body.read())


def losses(s3, bucket, run):
    """Returns the losses by step."""
    return {entry["step"]: entry["loss"] for entry in curve(s3, bucket, run) if "loss" in entry}
