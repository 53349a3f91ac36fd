"""What lies in `k8s/`: every overlay as it is applied, held against the API's schemas and against our own rules."""

import copy
import functools

import kubernetes_validate
import pytest
import yaml
from pod_security import containers, violations
from rendered_overlays import (
    IN_FULL,
    K8S,
    MINE,
    OVERLAYS,
    VERSIONS,
    jobs,
    key,
    kustomize,
    named,
    of_kind,
    pods,
    profile_of,
    rendered,
    standing_pods,
)

from elysium.config import load_settings
from elysium.pipeline.kubernetes import JobRequest, Work
from elysium.pipeline.profile import load_profile
from elysium.pipeline.steps import STEPS

# No package has the schemas of Kueue (kueue.x-k8s.io/v1beta1): these are the fields of its Go types
# (clusterqueue_types.go, localqueue_types.go, resourceflavor_types.go) that are used here, with the types they have.
# RayJob's are in test_curation_manifests.
KUEUE_FIELDS = {
    "ResourceFlavor": None,
    "LocalQueue": {"clusterQueue": str},
    "ClusterQueue": {
        "namespaceSelector": {"matchLabels": {str: str}},
        "queueingStrategy": str,
        "resourceGroups": [
            {"coveredResources": [str], "flavors": [{"name": str, "resources": [{"name": str, "nominalQuota": str}]}]}
        ],
    },
}
# What the API server of Kubernetes 1.20 serves, as far as it is used here (its CHANGELOG and API reference).
OLD_API = {
    "v1": {
        "ConfigMap",
        "LimitRange",
        "Namespace",
        "PersistentVolumeClaim",
        "ResourceQuota",
        "Service",
        "ServiceAccount",
    },
    "apps/v1": {"Deployment", "StatefulSet"},
    "batch/v1": {"Job"},
    "networking.k8s.io/v1": {"NetworkPolicy"},
    "rbac.authorization.k8s.io/v1": {"Role", "RoleBinding"},
}
_valid = set()


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            kubernetes_validate.utils, "schema_contents", functools.cache(kubernetes_validate.utils.schema_contents)
        )
        yield


def validate(document, version):
    """Checks a document strictly, each only once a version."""
    if (key(document), version) not in _valid:
        kubernetes_validate.validate(document, version, strict=True)
        _valid.add((key(document), version))


def has_shape(value, shape):
    if isinstance(shape, list):
        return isinstance(value, list) and value and all(has_shape(item, shape[0]) for item in value)
    if shape == {str: str}:
        return all(isinstance(word, str) for pair in value.items() for word in pair)
    if isinstance(shape, dict):
        return value.keys() == shape.keys() and all(has_shape(value[name], shape[name]) for name in shape)
    return isinstance(value, shape)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_overlay_is_valid_strictly(overlay, version):
    for document in rendered(overlay):
        group = document["apiVersion"].partition("/")[0]
        if group == "kueue.x-k8s.io":
            shape = KUEUE_FIELDS[document["kind"]]
            assert (
                has_shape(document["spec"], shape) if shape else document.keys() == {"apiVersion", "kind", "metadata"}
            )
        elif group != "ray.io":
            validate(document, version)
    for name, template in standing_pods(overlay).items():
        metadata = {"name": name, "labels": template["metadata"].get("labels", {})}
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}, version)
    for _, manifests in jobs(overlay):
        for manifest in manifests:
            validate(manifest, version)


@pytest.mark.parametrize("path", sorted(K8S.rglob("*.yaml")), ids=lambda path: str(path.relative_to(K8S)))
def test_every_file_is_valid_by_itself(path):
    if path.name.startswith("profile"):
        assert load_profile(path).name == path.parent.name
        return
    if path.name == "preset.yaml":
        load_settings(str(path))
        return
    for document in yaml.safe_load_all(path.read_text()):
        if document["kind"] in ("Kustomization", "Component"):
            parts = [path.parent / name for name in document.get("resources", []) + document.get("components", [])]
            assert all(part.exists() for part in parts), "a kustomization names a file that is not there"
        elif document["apiVersion"].partition("/")[0] not in ("ray.io", "kueue.x-k8s.io", "trainer.kubeflow.org"):
            for version in VERSIONS:
                validate(document, version)


def test_a_broken_manifest_would_be_found():
    broken = copy.deepcopy(yaml.safe_load((K8S / "base" / "storage.yaml").read_text()))
    broken["spec"]["accessMode"] = broken["spec"].pop("accessModes")
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(broken, VERSIONS[0])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_would_be_admitted_under_the_restricted_profile(overlay):
    found = {name: violations(template["spec"]) for name, template in pods(overlay).items()}
    assert {name: lines for name, lines in found.items() if lines} == {}
    (namespace,) = of_kind(rendered(overlay), "Namespace")
    modes = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    assert namespace["metadata"]["labels"].items() >= modes.items()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"hostNetwork": True}, "hostNetwork is shared"),
        ({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, "volume x is a hostPath"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "a may run as root"),
        ({"securityContext": {"runAsNonRoot": True}}, "a has the seccomp profile None"),
        ({"initContainers": [{"name": "i"}]}, "i keeps capabilities"),
    ],
)
def test_a_pod_that_breaks_the_profile_would_be_found(change, found):
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    good = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "securityContext": security}],
    }
    assert violations(good) == []
    assert found in violations({**good, **change})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"privileged": True}, "a is privileged"),
        ({"allowPrivilegeEscalation": True}, "a may gain privileges"),
        ({"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}, "a adds CHOWN"),
        ({"capabilities": {"drop": ["NET_RAW"]}}, "a keeps capabilities"),
        ({"runAsUser": 0}, "a runs as root"),
        ({"runAsNonRoot": False}, "a may run as root"),
        ({"seccompProfile": {"type": "Unconfined"}}, "a has the seccomp profile Unconfined"),
        ({"procMount": "Unmasked"}, "a sees all of /proc"),
    ],
)
def test_a_container_that_breaks_the_profile_would_be_found(change, found):
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, **change}
    pod = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
    assert found in violations({**pod, "containers": [{"name": "a", "securityContext": security}]})


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_has_a_pinned_image_a_read_only_root_and_bounds(overlay):
    profile = profile_of(overlay)
    ours = {profile.image(role) for role in ("orchestrator", "trainer", "curator")}
    for name, template in pods(overlay).items():
        for container in containers(template["spec"]):
            place = f"{name}/{container['name']}"
            image = container["image"]
            # One registry and tag for the servers here and for the Jobs that the profile's reader makes.
            assert image in ours if "elysium-" in image else image.startswith("docker.io/library/postgres:17."), place
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, place
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys() & resources["limits"].keys(), place
            for what, asked in resources["requests"].items():
                assert amount(asked) <= amount(resources["limits"][what]), place
            mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert "/tmp" in mounts, f"{place} has no place to write to"
        for volume in template["spec"]["volumes"]:
            # Without a bound one pod could fill the node's disk.
            assert "emptyDir" not in volume or volume["emptyDir"].get("sizeLimit"), f"{name}/{volume['name']}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_servers_are_asked_how_they_are_and_are_replaced_one_by_one(overlay):
    for document in of_kind(rendered(overlay), "Deployment", "StatefulSet"):
        spec, name = document["spec"], document["metadata"]["name"]
        (container,) = spec["template"]["spec"]["containers"]
        assert {"startupProbe", "livenessProbe"} <= container.keys(), name
        # Who answers requests gets none before it is ready.
        selectors = [service["spec"].get("selector") for service in of_kind(rendered(overlay), "Service")]
        served = [selector for selector in selectors if selector and selects(selector, spec["template"])]
        assert bool(served) <= ("readinessProbe" in container), name
        strategy = spec.get("strategy") or spec["updateStrategy"]
        claims = [
            volume.get("persistentVolumeClaim", {}).get("claimName") for volume in spec["template"]["spec"]["volumes"]
        ]
        assert strategy["type"] == ("Recreate" if "mlflow-artifacts" in claims else "RollingUpdate"), name
        assert strategy.get("rollingUpdate", {}).get("maxUnavailable", 0) == 0, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_named_is_there(overlay):
    documents = rendered(overlay)
    for name, template in pods(overlay).items():
        spec = template["spec"]
        assert spec["serviceAccountName"] in named(documents, "ServiceAccount"), name
        assert {spec["priorityClassName"]} <= named(documents, "PriorityClass") if "priorityClassName" in spec else True
        volumes = spec["volumes"]
        claims = {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v}
        assert claims <= named(documents, "PersistentVolumeClaim"), name
        maps = {v["configMap"]["name"] for v in volumes if "configMap" in v}
        for container in containers(spec):
            maps |= {
                source["configMapRef"]["name"] for source in container.get("envFrom", []) if "configMapRef" in source
            }
        assert maps <= named(documents, "ConfigMap"), name
    for document in of_kind(documents, "Service"):
        # One that stands for a server elsewhere has no pods.
        selector = document["spec"].get("selector")
        assert any(selects(selector, template) for template in standing_pods(overlay).values()) if selector else True
    for document in of_kind(documents, "PodDisruptionBudget"):
        selector = document["spec"]["selector"]["matchLabels"]
        assert any(selects(selector, template) for template in standing_pods(overlay).values())
    assert {document["metadata"].get("namespace", "elysium") for document in documents} == {"elysium"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_largest_work_fits_beside_the_servers(overlay):
    documents = rendered(overlay)
    (quota,) = of_kind(documents, "ResourceQuota")
    (limits,) = of_kind(documents, "LimitRange")
    hard = {name.removeprefix("requests."): amount(value) for name, value in quota["spec"]["hard"].items()}
    most = {name: amount(value) for name, value in limits["spec"]["limits"][0]["max"].items()}
    servers = {}
    for document in of_kind(documents, "Deployment", "StatefulSet"):
        # One more than there are, while a version is rolled out.
        add(servers, document["spec"]["template"], document["spec"]["replicas"] + 1)
    alone = of_kind(documents, "Job")
    # Those that are applied by themselves, where the nodes are for them.
    alone += (
        of_kind(kustomize(K8S / "jobs"), "Job") if profile_of(overlay).nodes > 1 and profile_of(overlay).gpu else []
    )
    for work, manifests in [*jobs(overlay), *(("by itself", [job]) for job in alone)]:
        asked = dict(servers)
        for job in of_kind(manifests, "Job"):
            add(asked, job["spec"]["template"], job["spec"].get("parallelism", 1))
        assert {name for name in asked if asked[name] > hard.get(name, 0)} == set(), f"{work}: {asked} of {hard}"
    for template in pods(overlay).values():
        for container in containers(template["spec"]):
            assert all(amount(container["resources"]["limits"][name]) <= most[name] for name in most)
    claims = of_kind(documents, "PersistentVolumeClaim")
    claims += [claim for s in of_kind(documents, "StatefulSet") for claim in s["spec"]["volumeClaimTemplates"]]
    assert len(claims) <= hard["persistentvolumeclaims"]
    assert sum(amount(claim["spec"]["resources"]["requests"]["storage"]) for claim in claims) <= hard["storage"]


def test_one_node_needs_no_shared_file_system_and_no_gpu():
    for overlay in ("local", "kubernetes-1.20"):
        for claim in of_kind(rendered(overlay), "PersistentVolumeClaim"):
            assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
        for name, template in pods(overlay).items():
            for container in containers(template["spec"]):
                assert container["resources"]["limits"].keys() == {"cpu", "memory"}, name


def test_gpu_steps_ask_for_gpus_and_tolerate_their_nodes():
    for overlay in ("gpu", "multinode", "kueue"):
        for work, manifests in jobs(overlay):
            pod = of_kind(manifests, "Job")[0]["spec"]["template"]["spec"]
            assert pod["priorityClassName"] == "elysium-training"
            if work.resources.gpu:
                assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
                assert int(pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]) >= 1


def test_several_nodes_means_indexed_jobs_for_the_steps_that_can_spread():
    spread = {row.name for row in STEPS if row.multi_node}
    for work, manifests in jobs("multinode"):
        (job,) = of_kind(manifests, "Job")
        pods = {**dict.fromkeys(spread, 4), "curate-parts": 8}.get(work.name, 1)
        assert job["spec"].get("completions", 1) == pods
        assert len(of_kind(manifests, "Service")) == (work.name in spread)


def test_kueue_changes_nothing_but_who_starts_jobs():
    assert profile_of("kueue") == profile_of("multinode").model_copy(update={"name": "kueue", "queue": "elysium"})
    before = {key(document) for document in rendered("multinode")}
    added = [document for document in rendered("kueue") if key(document) not in before]
    assert {document["kind"] for document in added} == {"ConfigMap", "ResourceFlavor", "ClusterQueue", "LocalQueue"}
    assert named(added, "LocalQueue") == {profile_of("kueue").queue}
    (queue,) = of_kind(added, "ClusterQueue")
    (quota,) = of_kind(rendered("kueue"), "ResourceQuota")
    for resource in queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]:
        # Servers need a part of the quota: what Kueue admits must never be refused.
        assert amount(resource["nominalQuota"]) <= amount(quota["spec"]["hard"][f"requests.{resource['name']}"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_can_be_applied_again_and_with_another_image(overlay):
    # The template of a Job cannot be changed, so what an overlay holds of them is gone when it is done.
    assert all(job["spec"]["ttlSecondsAfterFinished"] < 3600 for job in of_kind(rendered(overlay), "Job"))


def test_the_oldest_api_is_asked_for_nothing_that_it_does_not_serve():
    for document in rendered("kubernetes-1.20"):
        assert document["kind"] in OLD_API[document["apiVersion"]]
    assert profile_of("kubernetes-1.20").indexed is False
    for work, manifests in jobs("kubernetes-1.20"):
        made = of_kind(manifests, "Job")
        assert len(made) == max(work.nodes, work.shards)
        assert not [job for job in made if "completionMode" in job["spec"]]


def test_each_overlay_says_in_its_profile_what_its_jobs_are_like():
    for overlay in OVERLAYS:
        assert profile_of(overlay).name == {"ray": "gpu", IN_FULL: MINE}.get(overlay, overlay)
    row = next(row for row in STEPS if row.name == "finetune")
    assert Work.of(row, JobRequest("x", "/workspace/x", profile=profile_of("local"))).nodes == 1


def selects(selector, template):
    return template["metadata"].get("labels", {}).items() >= selector.items()


def add(total, template, count):
    """Adds what `count` pods ask for; init containers ask for no more than the others here."""
    total["pods"] = total.get("pods", 0) + count
    for container in template["spec"]["containers"]:
        for name, value in container["resources"]["requests"].items():
            total[name] = total.get(name, 0) + count * amount(value)


def amount(quantity):
    """Returns a quantity of the API as a number."""
    for suffix, factor in {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "m": 0.001}.items():
        if str(quantity).endswith(suffix):
            return float(str(quantity).removesuffix(suffix)) * factor
    return float(quantity)
