from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from elysium.errors import UsageError
from elysium.pipeline.kubernetes import JobRequest, job_name, render_job, write_manifests
from elysium.pipeline.steps import STEPS, step

ROOT = Path(__file__).parents[2]
# The oldest and the newest Kubernetes that we say we support, and one between.
VERSIONS = ("1.30", "1.33", "1.37")
REQUEST = JobRequest("manual__2026-11-01T10:00:00+00:00", "/workspace/run-1", overrides=("seed=3",))


def manifests():
    for path in sorted((ROOT / "k8s").rglob("*.yaml")):
        for number, document in enumerate(yaml.safe_load_all(path.read_text())):
            yield pytest.param(path, document, id=f"{path.relative_to(ROOT)}-{number}")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_every_job_is_valid(row, version):
    kubernetes_validate.validate(render_job(row, REQUEST), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("path", "document"), list(manifests()))
def test_every_manifest_is_valid(path, document, version):
    if document["kind"] == "Kustomization":
        resources = [path.parent / name for name in document["resources"]]
        assert all(resource.exists() for resource in resources), "a kustomization names a file that is not there"
        return
    if document["kind"] == "RayJob":
        return  # test_curation_manifests looks at it
    kubernetes_validate.validate(document, version, strict=True)


def test_a_broken_manifest_would_be_found():
    job = render_job(step("ingest"), REQUEST)
    job["spec"]["template"]["spec"]["containers"][0]["resourcez"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSIONS[0], strict=True)


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_a_job_asks_for_what_the_table_says(row):
    job = render_job(row, REQUEST)
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["backoffLimit"] == row.resources.retries
    assert spec["activeDeadlineSeconds"] == row.resources.seconds
    assert pod["terminationGracePeriodSeconds"] == row.resources.grace_seconds
    limits = {"cpu": str(row.resources.cpu), "memory": f"{row.resources.memory_gib}Gi"}
    if row.resources.gpu:
        limits["nvidia.com/gpu"] = str(row.resources.gpu)
    assert container["resources"] == {"requests": limits, "limits": limits}
    assert container["image"].startswith(f"elysium-{row.role}:")
    assert container["command"] == [
        *("elysium", "step", row.name, "--workspace", "/workspace/run-1", "--preset", "nano", "--set", "seed=3")
    ]


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_pods_keep_to_the_restricted_profile(row):
    pod = render_job(row, REQUEST)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_a_refused_gate_and_bad_usage_are_not_tried_again():
    rules = render_job(step("validate-raw"), REQUEST)["spec"]["podFailurePolicy"]["rules"]
    fail = next(rule for rule in rules if rule["action"] == "FailJob")
    assert fail["onExitCodes"]["values"] == [2, 3]


def test_names_depend_on_run_and_step_alone_and_fit_a_dns_label():
    names = {job_name("x" * 200, row) for row in STEPS}
    assert len(names) == len(STEPS)
    assert all(len(name) <= 63 for name in names)
    assert render_job(step("ingest"), REQUEST)["metadata"]["name"] == job_name(REQUEST.run_id, step("ingest"))


def test_airflow_may_do_nothing_but_start_jobs_and_read_logs():
    documents = list(yaml.safe_load_all((ROOT / "k8s" / "base" / "rbac.yaml").read_text()))
    (role,) = [document for document in documents if document["kind"] == "Role"]
    assert not [document for document in documents if document["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    verbs = {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}
    assert verbs.keys() == {"jobs", "jobs/status", "pods", "pods/log"}
    assert verbs["jobs"] == {"create", "get", "list", "watch", "delete"}
    assert not {"create", "delete", "patch", "update"} & (verbs["pods"] | verbs["pods/log"])


def test_a_workspace_off_the_volume_is_refused():
    with pytest.raises(UsageError, match="below /workspace, got '/home/me'"):
        render_job(step("ingest"), JobRequest("x", "/home/me"))


def test_manifests_are_written_in_the_tables_order(tmp_path):
    paths = write_manifests(REQUEST, tmp_path)
    assert [path.stem[3:] for path in sorted(paths)] == [row.name for row in STEPS]


def test_long_run_ids_that_end_alike_have_jobs_of_their_own():
    names = {job_name(f"{letter}{'x' * 100}", step("warmup")) for letter in "ab"}
    assert len(names) == 2
    assert all(len(name) == 63 for name in names)


def test_a_run_named_by_a_number_keeps_a_label_that_is_text():
    job = render_job(step("ingest"), JobRequest("20261101", "/workspace/20261101"))
    kubernetes_validate.validate(job, VERSIONS[0], strict=True)
    assert job["metadata"]["labels"]["elysium.run"] == "20261101"
