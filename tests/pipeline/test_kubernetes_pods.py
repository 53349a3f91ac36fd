"""Work that several pods do, together or apart, on clusters that know Indexed Jobs and on those that do not."""

import pytest
import yaml

from elysium.cli import run
from elysium.errors import UsageError
from elysium.pipeline.kubernetes import JobRequest, Work, job_name, render_part, render_work, works
from elysium.pipeline.profile import JobProfile
from elysium.pipeline.steps import STEPS, step

CURATE, FINETUNE = step("curate"), step("finetune")
NAME = "elysium-run-1-finetune"


def request(**profile):
    return JobRequest("run-1", "/workspace/run-1", profile=JobProfile(**profile))


def pod_of(job):
    return job["spec"]["template"]["spec"]


def container_of(job):
    (container,) = pod_of(job)["containers"]
    return container


def environment(job):
    return {entry["name"]: entry["value"] for entry in container_of(job)["env"]}


def on_nodes(**profile):
    asked = request(nodes=2, **profile)
    return render_work(Work.of(FINETUNE, asked), asked)


def parts(**profile):
    asked = request(shards=3, **profile)
    return render_work(Work.parts_of(CURATE, asked), asked)


def test_a_step_on_several_nodes_is_a_service_and_an_indexed_job():
    service, job = on_nodes()
    assert service["kind"] == "Service"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True, "pods meet before they are ready"
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    assert spec["backoffLimit"] == 2 * FINETUNE.resources.retries, "where one pod is lost, both fail"
    assert container_of(job)["command"][-2:] == ["--nodes", "2"]
    # An Indexed Job's pod has JOB-INDEX for a host name.
    assert pod_of(job)["subdomain"] == service["metadata"]["name"] == job["metadata"]["name"] == NAME
    assert environment(job)["ELYSIUM_RENDEZVOUS"] == f"{NAME}-0.{NAME}:29500"


def test_without_indexed_jobs_each_node_has_a_job_with_the_very_same_container():
    (_, indexed), (service, *jobs) = on_nodes(), on_nodes(indexed=False)
    assert service["kind"] == "Service"
    assert [job["metadata"]["name"] for job in jobs] == [f"{NAME}-0", f"{NAME}-1"]
    for index, job in enumerate(jobs):
        assert "completionMode" not in job["spec"]
        assert job["spec"]["backoffLimit"] == FINETUNE.resources.retries
        assert pod_of(job)["hostname"] == f"{NAME}-{index}"
        assert pod_of(job)["subdomain"] == service["metadata"]["name"]
        container = container_of(job)
        # The one thing that an Indexed Job adds by itself.
        assert container["env"].pop(2) == {"name": "JOB_COMPLETION_INDEX", "value": str(index)}
        assert container == container_of(indexed)


def test_parts_are_an_indexed_job_whose_pods_fail_by_themselves():
    (job,) = parts()
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    assert spec["backoffLimitPerIndex"] == CURATE.resources.retries
    assert "backoffLimit" not in spec
    assert container_of(job)["command"][-2:] == ["--shard", "$(JOB_COMPLETION_INDEX)/3"]
    assert "ELYSIUM_RENDEZVOUS" not in environment(job)


def test_without_indexed_jobs_each_part_has_a_job():
    jobs = parts(indexed=False)
    assert [job["metadata"]["name"] for job in jobs] == [f"elysium-run-1-curate-parts-{index}" for index in range(3)]
    assert [environment(job)["JOB_COMPLETION_INDEX"] for job in jobs] == ["0", "1", "2"]
    assert {tuple(container_of(job)["command"]) for job in jobs} == {tuple(container_of(parts()[0])["command"])}


def test_a_part_can_be_started_by_itself_on_any_cluster():
    asked = request(shards=3)
    work = Work.parts_of(CURATE, asked)
    job = render_part(work, asked, 1)
    assert job["spec"].pop("podFailurePolicy"), "an API that knows Indexed Jobs knows it"
    assert job == parts(indexed=False)[1]
    with pytest.raises(UsageError, match="curate-parts has shards 0 to 2, got 3"):
        render_part(work, asked, 3)


def test_a_run_is_the_table_with_parts_before_the_step_that_publishes_them():
    names = [row.name for row in STEPS]
    assert [work.name for work in works(request())] == names
    names.insert(names.index("curate"), "curate-parts")
    found = works(request(shards=3, nodes=2))
    assert [work.name for work in found] == names
    assert [work.name for work in found if work.nodes > 1] == [row.name for row in STEPS if row.multi_node]


def test_only_what_can_be_divided_is(capsys):
    with pytest.raises(UsageError, match="step ingest cannot be done in parts"):
        Work.parts_of(step("ingest"), request(shards=2))


def test_host_names_fit_a_label_and_are_of_their_run():
    names = [job_name("scheduled__2026-11-01T00:00:00+00:00", row.name, index) for row in STEPS for index in (0, 999)]
    assert all(len(name) <= 63 and "2026-11-01t00-00-00-00-00" in name for name in names)


def test_a_queue_starts_the_job_and_no_pod_is_its_own():
    _, job = on_nodes(queue="gpus")
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]


def test_a_token_for_the_storage_alone_is_mounted_where_the_profile_says_so():
    asked = request(web_identity="sts.amazonaws.com", role_arn="arn:aws:iam::1:role/elysium")
    (job,) = render_work(Work.of(CURATE, asked), asked)
    pod = pod_of(job)
    assert pod["automountServiceAccountToken"] is False
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "web-identity"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "sts.amazonaws.com"
    (mount,) = [mount for mount in container_of(job)["volumeMounts"] if mount["name"] == "web-identity"]
    path = f"{mount['mountPath']}/{source['serviceAccountToken']['path']}"
    assert environment(job)["AWS_WEB_IDENTITY_TOKEN_FILE"] == path
    assert environment(job)["AWS_ROLE_ARN"] == "arn:aws:iam::1:role/elysium"


def test_the_stores_are_named_and_never_written_down():
    (job,) = render_work(Work.of(CURATE, request()), request())
    config, secret = container_of(job)["envFrom"]
    assert config == {"configMapRef": {"name": "elysium-stores", "optional": True}}
    assert secret == {"secretRef": {"name": "elysium-stores", "optional": True}}


def test_what_is_on_s3_needs_no_volume():
    asked = JobRequest("1", "s3://bucket/runs/1", profile=JobProfile(volume=None, scratch_gib=500))
    (job,) = render_work(Work.of(CURATE, asked), asked)
    assert "/workspace" not in {mount["mountPath"] for mount in container_of(job)["volumeMounts"]}
    (scratch,) = [volume for volume in pod_of(job)["volumes"] if volume["name"] == "scratch"]
    assert scratch["emptyDir"] == {"sizeLimit": "500Gi"}
    with pytest.raises(UsageError, match="mounts no volume, so the workspace lies on s3://, got '/workspace/1'"):
        render_work(Work.of(CURATE, asked), JobRequest("1", "/workspace/1", profile=asked.profile))


def test_manifests_are_written_for_the_cluster_of_a_profile(tmp_path, capsys):
    profile = tmp_path / "profile.yaml"
    profile.write_text("{name: lab, shards: 2, nodes: 2, indexed: false, registry: registry.example.org/, tag: '7'}")
    command = ["pipeline", "manifests", "--workspace", "/workspace/run-1", "--set", "seed=3", "--profile", str(profile)]
    assert run([*command, "--output", str(tmp_path / "jobs")]) == 0
    paths = sorted((tmp_path / "jobs").iterdir())
    assert [str(path) for path in paths] == capsys.readouterr().out.splitlines()
    kinds = {path.stem: [manifest["kind"] for manifest in yaml.safe_load_all(path.read_text())] for path in paths}
    assert kinds["03-curate-parts"] == ["Job", "Job"]
    assert kinds["04-curate"] == ["Job"]
    assert kinds["09-finetune"] == ["Service", "Job", "Job"]
    job = yaml.safe_load(paths[0].read_text())
    assert container_of(job)["image"] == "registry.example.org/elysium-curator:7"
    assert container_of(job)["command"][-2:] == ["--set", "seed=3"]
