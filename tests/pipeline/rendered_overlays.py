"""What `kubectl apply -k` would send, and the pods that come of it."""

import functools
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from elysium.pipeline.kubernetes import JobRequest, render_work, works
from elysium.pipeline.profile import JobProfile

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
# The overlay that readers copy, as it is; and with all that it offers, for the largest model, on a cluster with Kueue.
MINE, IN_FULL = "mine", "mine-in-full"
OVERLAYS = [*sorted({path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml")} - {MINE}), MINE, IN_FULL]
# The oldest and the newest Kubernetes that we say we support (docs/operations.md).
VERSIONS = ("1.30", "1.37")


def kustomize(folder):
    """Returns the documents of a kustomization."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build"]
    else:
        pytest.skip("needs kubectl (1.27 or newer) or kustomize on PATH; the files themselves are looked at anyway")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return list(yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def own_overlay(folder, *, in_full=False):
    """Returns a copy of the overlay that readers copy, in its place in a copy of `k8s/`.

    Args:
        folder: An empty one.
        in_full: With every component that it offers, on top of the overlay `kueue`.
    """
    mine = shutil.copytree(K8S, folder / "k8s") / "overlays" / MINE
    shutil.copytree(K8S / "examples" / MINE, mine, dirs_exist_ok=True)
    if in_full:
        path = mine / "kustomization.yaml"
        text = re.sub(r"^  # - ([\w-]+)$", r"  - \1", path.read_text(), flags=re.M)
        text = text.replace("../../overlays/gpu ", "../../overlays/kueue ")
        path.write_text(text.replace("- profile.yaml ", "- profile.yaml=profile-7b.yaml "))
    return mine


@functools.cache
def rendered(overlay):
    """Returns the documents of one of our overlays."""
    if overlay not in (MINE, IN_FULL):
        return kustomize(K8S / "overlays" / overlay)
    with tempfile.TemporaryDirectory() as folder:
        return kustomize(own_overlay(Path(folder), in_full=overlay == IN_FULL))


@functools.cache
def profile_of(overlay):
    """Returns the job profile that Airflow finds mounted."""
    (data,) = [d["data"] for d in of_kind(rendered(overlay), "ConfigMap") if d["metadata"]["name"] == "elysium-jobs"]
    return JobProfile.model_validate(yaml.safe_load(data["profile.yaml"]))


@functools.cache
def jobs(overlay):
    """Returns what the runners make under the overlay's profile: one list of manifests for each piece of work."""
    request = JobRequest("run-1", "/workspace/run-1", profile=profile_of(overlay))
    return [(work, render_work(work, request)) for work in works(request)]


def of_kind(documents, *kinds):
    """Returns the documents of these kinds."""
    return [document for document in documents if document["kind"] in kinds]


def named(documents, kind):
    """Returns the names of a kind."""
    return {document["metadata"]["name"] for document in of_kind(documents, kind)}


def standing_pods(overlay):
    """Returns the pod templates of an overlay by name: servers, the executor's, Ray's, Jobs that set something up."""
    return pods_of(rendered(overlay))


def pods_of(documents):
    """Returns the pod templates in documents by name."""
    found = {}
    for document in documents:
        kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec", {})
        if kind in ("Deployment", "StatefulSet", "Job"):
            found[name] = spec["template"]
        elif kind == "Pod":
            found[name] = document
        elif kind == "ConfigMap" and "pod.yaml" in document["data"]:
            found["airflow-task"] = yaml.safe_load(document["data"]["pod.yaml"])
        elif kind == "RayJob":
            cluster = spec["rayClusterSpec"]
            found[f"{name}-submitter"] = spec["submitterPodTemplate"]
            found[f"{name}-head"] = cluster["headGroupSpec"]["template"]
            found |= {f"{name}-{group['groupName']}": group["template"] for group in cluster["workerGroupSpecs"]}
    return found


def pods(overlay):
    """Returns all pod templates by name, with those of the Jobs that runners make."""
    found = dict(standing_pods(overlay))
    for _, manifests in jobs(overlay):
        found |= {job["metadata"]["name"]: job["spec"]["template"] for job in of_kind(manifests, "Job")}
    return found


def key(document):
    """Returns a text that is the same for equal documents."""
    return json.dumps(document, sort_keys=True)
