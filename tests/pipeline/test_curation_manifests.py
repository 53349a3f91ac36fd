"""Curation on Kubernetes: the Indexed Job over shards, and the RayJob that runs the same command."""

import shlex
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from elysium import cli
from elysium.config import load_settings

ROOT = Path(__file__).parents[2]
OVERLAYS = ROOT / "k8s" / "overlays"
JOB = yaml.safe_load((ROOT / "k8s" / "jobs" / "curation-job.yaml").read_text())
RAY_JOB = yaml.safe_load((OVERLAYS / "ray" / "curation-rayjob.yaml").read_text())
CLUSTER = RAY_JOB["spec"]["rayClusterSpec"]
GROUPS = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}
TEMPLATES = {
    "job": JOB["spec"]["template"],
    "submitter": RAY_JOB["spec"]["submitterPodTemplate"],
    "head": CLUSTER["headGroupSpec"]["template"],
    **{name: group["template"] for name, group in GROUPS.items()},
}

# The schema of RayJob (ray.io/v1) is in no package: these are its fields that are used here, as KubeRay's
# rayjob_types.go and raycluster_types.go declare them, with their types; the pods inside are validated as pods.
RAY_FIELDS = {
    "job": {
        "suspend": bool,
        "submissionMode": str,
        "shutdownAfterJobFinishes": bool,
        "ttlSecondsAfterFinished": int,
        "activeDeadlineSeconds": int,
        "backoffLimit": int,
        "entrypoint": str,
        "submitterPodTemplate": dict,
        "rayClusterSpec": dict,
    },
    "cluster": {"rayVersion": str, "headGroupSpec": dict, "workerGroupSpecs": list},
    "head": {"rayStartParams": dict, "template": dict},
    "workers": {
        "groupName": str,
        "replicas": int,
        "minReplicas": int,
        "maxReplicas": int,
        "rayStartParams": dict,
        "template": dict,
    },
}


def words_of(place, index=0):
    """Returns the arguments of `elysium` as the container runs it."""
    if place == "ray":
        words = shlex.split(RAY_JOB["spec"]["entrypoint"])
    else:
        (container,) = JOB["spec"]["template"]["spec"]["containers"]
        words = [word.replace("$(JOB_COMPLETION_INDEX)", str(index)) for word in container["command"]]
    assert words[0] == "elysium"
    return words[1:]


def settings_of(words):
    return load_settings("vicuna-7b", [word.removeprefix("--set=") for word in words if word.startswith("--set=")])


@pytest.mark.parametrize("place", ["job", "ray"])
def test_the_command_can_be_parsed_and_its_settings_exist(place):
    words = words_of(place)
    with cli.cli.make_context("elysium", list(words)) as context:
        curate = cli.cli.get_command(context, "curate")
        run = curate.commands["run"]
        parsed = run.make_context("run", words[2:]).params
    assert parsed["output"].startswith("/workspace/")
    assert parsed["preset"] == "vicuna-7b"
    settings = settings_of(words)
    for name in ("spacy_model", "grounder_model", "tracker_model"):
        assert getattr(settings.curate, name).startswith("/workspace/models/")


def test_the_pods_share_all_shards_among_them():
    spec = JOB["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    shares = []
    for index in range(spec["completions"]):
        (option,) = [word for word in words_of("job", index) if word.startswith("--shard=")]
        shares.append(option.removeprefix("--shard="))
    assert shares == [f"{index}/{spec['completions']}" for index in range(spec["completions"])]


def test_bad_usage_fails_the_job_at_once_and_other_failures_are_tried_again():
    spec = JOB["spec"]
    (fail,) = [rule for rule in spec["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    assert fail["onExitCodes"]["values"] == [2]
    assert fail["onExitCodes"]["containerName"] == spec["template"]["spec"]["containers"][0]["name"]
    assert spec["backoffLimitPerIndex"] > 0
    assert spec["activeDeadlineSeconds"] > 0
    assert spec["ttlSecondsAfterFinished"] > 0


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("version", ["1.30", "1.33", "1.37"])
def test_every_pod_is_valid(name, version):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": TEMPLATES[name]["spec"]}
    kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_pod_keeps_to_the_restricted_profile(name):
    pod = TEMPLATES[name]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["image"].startswith("elysium-curator:")
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "submitter"])
def test_every_pod_that_works_knows_the_stores_and_their_credentials(name):
    stores = {"name": "elysium-stores", "optional": True}
    assert TEMPLATES[name]["spec"]["containers"][0]["envFrom"] == [{"configMapRef": stores}, {"secretRef": stores}]


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "submitter"])
def test_every_pod_that_works_sees_the_same_volume_and_has_room_for_videos(name):
    pod = TEMPLATES[name]["spec"]
    claims = {volume["name"]: volume.get("persistentVolumeClaim") for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert claims[mounts["/workspace"]] == {"claimName": "elysium-workspace"}
    assert {"/tmp", "/dev/shm"} <= mounts.keys()
    assert pod["terminationGracePeriodSeconds"] > 20  # stopping.py's patience


def test_the_ray_job_has_the_fields_of_its_kind():
    assert (RAY_JOB["apiVersion"], RAY_JOB["kind"]) == ("ray.io/v1", "RayJob")
    parts = {"job": [RAY_JOB["spec"]], "cluster": [CLUSTER], "head": [CLUSTER["headGroupSpec"]]}
    for name, found in {**parts, "workers": CLUSTER["workerGroupSpecs"]}.items():
        for part in found:
            assert {field: type(value) for field, value in part.items()} == RAY_FIELDS[name]


def test_models_fit_on_the_gpus_and_decoders_ask_for_none():
    engine = settings_of(words_of("ray")).engine
    limits = {name: group["template"]["spec"]["containers"][0]["resources"]["limits"] for name, group in GROUPS.items()}
    gpus = GROUPS["models"]["replicas"] * int(limits["models"]["nvidia.com/gpu"])
    assert 2 * engine.model_workers * engine.gpus_per_worker == gpus  # as many track as ground
    assert "nvidia.com/gpu" not in limits["decode"]
    assert {"--engine=ray", "--address=auto"} <= set(words_of("ray"))


def test_the_ray_of_image_and_cluster_is_one():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"ray=={CLUSTER['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()
    assert extras["ray-node"] == ["elysium[ray]", f"ray[default]=={CLUSTER['rayVersion']}"]
    assert "ray-node" in (ROOT / "components" / "Dockerfile.curator").read_text()
