import kubernetes_validate
import pytest

from elysium.errors import UsageError
from elysium.pipeline.dag_runs import run_name
from elysium.pipeline.kubernetes import JobRequest, Work, job_name, render_job, render_work, write_manifests
from elysium.pipeline.profile import JobProfile
from elysium.pipeline.steps import STEPS, step

# The oldest and the newest Kubernetes that we say we support, and one between.
VERSIONS = ("1.30", "1.33", "1.37")
# A cluster that has everything, and one that knows no Indexed Jobs.
LARGE = JobProfile(
    nodes=4,
    shards=8,
    node_selector={"nvidia.com/gpu.product": "H200"},
    tolerations=[
        {"key": "batch", "operator": "Equal", "value": "true", "effect": "NoExecute", "tolerationSeconds": 60}
    ],
    priority_class="elysium-training",
    queue="gpus",
    volume=None,
    web_identity="sts.amazonaws.com",
    role_arn="arn:aws:iam::123456789012:role/elysium",
    labels={"team": "vision"},
    annotations={"example.org/cost": "7"},
)
OLD = JobProfile(nodes=2, shards=3, indexed=False, gpu=False, max_cpu=2, max_memory_gib=6)
REQUEST = JobRequest("manual__2026-11-01T10:00:00+00:00", "/workspace/run-1", overrides=("seed=3",))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_every_job_is_valid(row, version):
    kubernetes_validate.validate(render_job(row, REQUEST), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("profile", "workspace"), [(LARGE, "s3://runs/1"), (OLD, "/workspace/1")])
def test_jobs_of_several_pods_are_valid(profile, workspace, version):
    request = JobRequest("run", workspace, profile=profile)
    spread = [Work.parts_of(step("curate"), request), Work.of(step("finetune"), request)]
    kinds = []
    for manifest in (manifest for work in spread for manifest in render_work(work, request)):
        kubernetes_validate.validate(manifest, version, strict=True)
        kinds.append(manifest["kind"])
    assert kinds == (["Job", "Service", "Job"] if profile.indexed else [*3 * ["Job"], "Service", *2 * ["Job"]])


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
    assert spec["ttlSecondsAfterFinished"] == row.resources.keep_seconds
    limits = {"cpu": str(row.resources.cpu), "memory": f"{row.resources.memory_gib}Gi"}
    if row.resources.gpu:
        limits["nvidia.com/gpu"] = str(row.resources.gpu)
    assert container["resources"] == {"requests": limits, "limits": limits}
    assert container["image"].startswith(f"elysium-{row.role}:")
    assert container["command"] == [
        *("elysium", "step", row.name, "--workspace", "/workspace/run-1", "--preset", "nano", "--set", "seed=3")
    ]


@pytest.mark.parametrize("profile", [JobProfile(), LARGE, OLD], ids=["default", "large", "old"])
@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_pods_keep_to_the_restricted_profile(row, profile):
    pod = render_job(row, JobRequest("run", "/workspace/1" if profile.volume else "s3://b/1", profile=profile))
    pod = pod["spec"]["template"]["spec"]
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
    fail, ignore = rules
    assert (fail["action"], fail["onExitCodes"]["values"]) == ("FailJob", [2, 3])
    # What was moved from its node is no failure of its own; what ended by a signal counts as usual.
    assert (ignore["action"], ignore["onPodConditions"]) == ("Ignore", [{"type": "DisruptionTarget", "status": "True"}])


def test_names_depend_on_run_and_step_alone_and_fit_a_dns_label():
    names = {job_name("x" * 200, row.name, index) for row in STEPS for index in (None, 0, 999)}
    assert len(names) == 3 * len(STEPS)
    assert all(len(name) <= 63 for name in names)
    assert render_job(step("ingest"), REQUEST)["metadata"]["name"] == job_name(REQUEST.run_id, "ingest")


def test_a_workspace_off_the_volume_is_refused():
    with pytest.raises(UsageError, match="below /workspace, or on s3://, got '/home/me'"):
        render_job(step("ingest"), JobRequest("x", "/home/me"))


def test_manifests_are_written_in_the_tables_order(tmp_path):
    paths = write_manifests(REQUEST, tmp_path)
    assert [path.stem[3:] for path in sorted(paths)] == [row.name for row in STEPS]


@pytest.mark.parametrize("ids", [("a" + "x" * 100, "b" + "x" * 100), ("x" * 100 + "a", "x" * 100 + "b")])
def test_long_run_ids_that_begin_or_end_alike_have_jobs_of_their_own(ids):
    names = {job_name(run_id, "warmup", 999) for run_id in ids}
    assert len(names) == 2
    assert all(len(name) == 63 for name in names)


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_a_job_is_of_its_dag_for_all_to_see_also_where_the_run_id_is_long(row):
    run_id = "manual__2026-11-01T10:00:00.123456+00:00_aB3dE6gH"
    names = {job_name(run_name(dag, run_id), row.name, 999) for dag in ("elysium_evaluate", "elysium_retrain")}
    assert [name.split("-")[:3] for name in sorted(names)] == [
        ["elysium", "evaluate", "manual"],
        ["elysium", "retrain", "manual"],
    ]
    assert all(len(name) <= 63 and name.endswith(f"-{row.name}-999") for name in names)


def test_a_run_named_by_a_number_keeps_a_label_that_is_text():
    job = render_job(step("ingest"), JobRequest("20261101", "/workspace/20261101"))
    kubernetes_validate.validate(job, VERSIONS[0], strict=True)
    assert job["metadata"]["labels"]["elysium.run"] == "20261101"
