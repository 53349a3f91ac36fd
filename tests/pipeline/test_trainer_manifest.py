"""Training under Kubeflow Trainer: the same command and pods as the standing training Job.

The schemas of `trainer.kubeflow.org/v1alpha1` are in no package: FIELDS are those that are used here, as Trainer's
trainjob_types.go and trainingruntime_types.go and JobSet's jobset_types.go declare them, with their types. The pods
inside are validated as pods.
"""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from elysium import cli

ROOT = Path(__file__).parents[2]
RUNTIME, JOB = yaml.safe_load_all((ROOT / "k8s" / "trainer" / "trainjob.yaml").read_text())
STANDING = ROOT / "k8s" / "jobs" / "training-job.yaml"
TRAINING = next(one for one in yaml.safe_load_all(STANDING.read_text()) if one["kind"] == "Job")
NODE = RUNTIME["spec"]["template"]["spec"]["replicatedJobs"][0]
POD = NODE["template"]["spec"]["template"]

FIELDS = {
    "TrainJob": (JOB["spec"], {"suspend": bool, "runtimeRef": dict, "trainer": dict}),
    "RuntimeRef": (JOB["spec"]["runtimeRef"], {"apiGroup": str, "kind": str, "name": str}),
    "Trainer": (JOB["spec"]["trainer"], {"numNodes": int, "numProcPerNode": int, "command": list}),
    "TrainingRuntime": (RUNTIME["spec"], {"mlPolicy": dict, "template": dict}),
    "MLPolicy": (RUNTIME["spec"]["mlPolicy"], {"numNodes": int, "torch": dict}),
    "TorchMLPolicySource": (RUNTIME["spec"]["mlPolicy"]["torch"], {"numProcPerNode": int}),
    "JobSetTemplateSpec": (RUNTIME["spec"]["template"], {"spec": dict}),
    "JobSetSpec": (RUNTIME["spec"]["template"]["spec"], {"failurePolicy": dict, "replicatedJobs": list}),
    "FailurePolicy": (RUNTIME["spec"]["template"]["spec"]["failurePolicy"], {"maxRestarts": int}),
    "ReplicatedJob": (NODE, {"name": str, "template": dict}),
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_those_that_trainer_declares(name):
    found, fields = FIELDS[name]
    assert {field: type(value) for field, value in found.items()} == fields


def test_job_and_runtime_belong_together():
    assert {one["apiVersion"] for one in (RUNTIME, JOB)} == {"trainer.kubeflow.org/v1alpha1"}
    reference = JOB["spec"]["runtimeRef"]
    assert (reference["kind"], reference["name"]) == (RUNTIME["kind"], RUNTIME["metadata"]["name"])
    assert JOB["metadata"]["namespace"] == RUNTIME["metadata"]["namespace"]
    # By these names Trainer finds the pods that it gives command, nodes and rendezvous.
    assert NODE["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    assert (NODE["name"], POD["spec"]["containers"][0]["name"]) == ("node", "node")


@pytest.mark.parametrize("version", ["1.30", "1.33", "1.37"])
def test_its_pods_are_pods(version):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node", "namespace": "elysium"}, "spec": POD["spec"]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "node"}, "spec": NODE["template"]["spec"]}
    for manifest in (pod, job):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_its_pods_are_those_of_the_standing_job():
    theirs, ours = TRAINING["spec"]["template"]["spec"], POD["spec"]
    for field in ("securityContext", "tolerations", "serviceAccountName", "priorityClassName"):
        assert ours[field] == theirs[field]
    assert [volume["name"] for volume in ours["volumes"]] == [volume["name"] for volume in theirs["volumes"]]
    container, standing = ours["containers"][0], theirs["containers"][0]
    for field in ("image", "resources", "securityContext", "volumeMounts"):
        assert container[field] == standing[field]


def test_it_runs_what_the_standing_job_runs():
    trainer, policy = JOB["spec"]["trainer"], RUNTIME["spec"]["mlPolicy"]
    standing = TRAINING["spec"]["template"]["spec"]["containers"][0]["command"]
    # What torchrun is told there, Trainer puts into its environment here.
    told = [word for word in standing if not word.startswith(("--nnodes", "--nproc", "--rdzv"))]
    assert trainer["command"] == told
    assert f"--nnodes={trainer['numNodes']}" in standing
    assert f"--nproc-per-node={trainer['numProcPerNode']}" in standing
    assert (policy["numNodes"], policy["torch"]["numProcPerNode"]) == (trainer["numNodes"], trainer["numProcPerNode"])


def test_the_command_says_what_the_command_line_takes(capsys):
    words = JOB["spec"]["trainer"]["command"]
    assert cli.run([*words[words.index("elysium.cli") + 1 :], "--help"]) == 0
    assert "Train one phase" in capsys.readouterr().out
