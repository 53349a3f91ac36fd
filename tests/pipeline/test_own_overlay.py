"""The overlay that readers copy: whole, theirs in every place, and large enough for what it is for."""

import json
import re

import kubernetes_validate
import pytest
import yaml
from network_ways import passes
from pod_security import containers, violations
from rendered_overlays import (
    IN_FULL,
    K8S,
    MINE,
    ROOT,
    VERSIONS,
    jobs,
    kustomize,
    named,
    of_kind,
    own_overlay,
    pods_of,
    profile_of,
    rendered,
    standing_pods,
)

from elysium.cli import run
from elysium.config import load_settings
from elysium.pipeline.kubernetes import JobRequest, render_work, works
from elysium.pipeline.profile import load_profile

EXAMPLE = K8S / "examples" / MINE
PRESET = EXAMPLE / "preset.yaml"
# What stands for the reader's own.
PLACEHOLDER = re.compile(r"example\.org|your-|111122223333|\.rds\.")
STEP = {"app.kubernetes.io/name": "elysium", "app.kubernetes.io/component": "ingest"}
SERVERS = [{"app.kubernetes.io/name": name} for name in ("mlflow", "airflow")]


def settings_of(overlay, name):
    """Returns a ConfigMap's data."""
    (found,) = [d["data"] for d in of_kind(rendered(overlay), "ConfigMap") if d["metadata"]["name"] == name]
    return found


@pytest.mark.parametrize("path", [path for path in sorted(EXAMPLE.rglob("*")) if path.is_file()], ids=lambda p: p.name)
def test_every_line_that_readers_must_change_says_so(path):
    lines = [line for line in path.read_text().splitlines() if PLACEHOLDER.search(line)]
    assert [line for line in lines if "EDIT" not in line and not line.lstrip().startswith("#")] == []


@pytest.mark.parametrize("in_full", [False, True], ids=["as it is", "in full"])
def test_every_image_is_the_readers(tmp_path, in_full):
    mine = own_overlay(tmp_path, in_full=in_full)
    for path in (mine / "images" / "kustomization.yaml", *mine.glob("profile*.yaml")):
        text = path.read_text().replace("registry.example.org/team/", "registry.lab:5000/a/")
        path.write_text(re.sub(r"(?<=[Tt]ag: )0\.1\.0", "7-abc", text))
    documents = kustomize(mine)
    (data,) = [d["data"] for d in of_kind(documents, "ConfigMap") if d["metadata"]["name"] == "elysium-jobs"]
    profile_file = tmp_path / "profile.yaml"
    profile_file.write_text(data["profile.yaml"])
    request = JobRequest("run-1", "/workspace/run-1", profile=load_profile(profile_file))
    for work in works(request):
        documents += render_work(work, request)
    for folder in ("jobs", "shell"):
        documents += kustomize(mine / folder)
    templates = pods_of(documents)
    assert {"airflow-task", "airflow-scheduler", "elysium-shell", "elysium-training", "elysium-curation"} <= set(
        templates
    )
    images = {container["image"] for template in templates.values() for container in containers(template["spec"])}
    roles = {f"registry.lab:5000/a/elysium-{role}:7-abc" for role in ("orchestrator", "trainer", "curator")}
    assert {image for image in images if "postgres" not in image} == roles
    assert "elysium-orchestrator:0.1.0" not in yaml.safe_dump_all(documents)


def test_shared_claims_have_a_class_and_every_account_pulls_with_the_secret():
    claims = of_kind(rendered(MINE), "PersistentVolumeClaim")
    shared = {claim["metadata"]["name"] for claim in claims if claim["spec"]["accessModes"] == ["ReadWriteMany"]}
    assert {claim["metadata"]["name"] for claim in claims if claim["spec"].get("storageClassName")} == shared
    (postgres,) = of_kind(rendered(MINE), "StatefulSet")
    assert all("storageClassName" not in claim["spec"] for claim in postgres["spec"]["volumeClaimTemplates"])
    secrets = [account["imagePullSecrets"] for account in of_kind(rendered(MINE), "ServiceAccount")]
    assert all(secret == [{"name": "registry"}] for secret in secrets)


def test_nothing_runs_by_the_clock_before_the_reader_says_so():
    settings = settings_of(MINE, "elysium-airflow")
    assert settings["ELYSIUM_RETRAIN_CRON"] == settings["ELYSIUM_EVALUATE_CRON"] == ""


def test_the_first_run_fits_on_a_node_of_8_cores_and_32_gib():
    for _, manifests in jobs(MINE):
        (job,) = of_kind(manifests, "Job")
        limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert float(limits["cpu"]) < 8
        assert float(limits["memory"].removesuffix("Gi")) < 32
        assert int(limits.get("nvidia.com/gpu", 0)) <= 1


def test_the_preset_is_vicuna_7b_with_the_readers_places():
    settings, models = load_settings(str(PRESET)), "/workspace/models"
    theirs = [
        f"ingest.source={settings.ingest.source}",
        f"snapshot.remote={settings.snapshot.remote}",
        f"model.llm.weights={models}/vicuna-7b-v1.5",
        f"model.vision.weights={models}/clip-vit-large-patch14-336",
        f"curate.spacy_model={models}/en_core_web_sm",
        f"curate.grounder_model={models}/grounding-dino-base",
        f"curate.tracker_model={models}/sam2.1-hiera-large",
        "training.sets_folder=/workspace/sets",
        "training.warmup.batch_size=16",
        "training.finetune.sets.tracks=1.0",
    ]
    assert settings == load_settings("vicuna-7b", theirs)
    assert settings.snapshot.remote == "s3://your-bucket/dvc"


@pytest.mark.parametrize(
    ("path", "preset"),
    [(EXAMPLE / "profile-7b.yaml", str(PRESET)), (K8S / "overlays" / "multinode" / "profile.yaml", "vicuna-7b")],
    ids=["one node", "four nodes"],
)
def test_the_largest_model_is_trained_before_its_deadlines(path, preset, capsys):
    profile = load_profile(path)
    for phase in ("warmup", "pretrain", "finetune"):
        asked = profile.resources[phase]
        gpus = asked.gpu * profile.nodes
        batch = ["--set", f"training.warmup.batch_size={128 // gpus}"]
        assert run(["train", "plan", phase, "--preset", preset, *batch, "--gpus", str(gpus), "--json"]) == 0
        hours = sum(part["hours"] for part in json.loads(capsys.readouterr().out).values())
        assert 1.2 * hours < (asked.seconds or 24 * 3600) / 3600, phase


def test_the_large_quota_is_enough_for_32_nodes_and_256_shards():
    (quota,) = of_kind(rendered(IN_FULL), "ResourceQuota")
    (queue,) = of_kind(rendered(IN_FULL), "ClusterQueue")
    most = {
        entry["name"]: entry["nominalQuota"] for entry in queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    }
    hard = quota["spec"]["hard"]
    assert all(number(most[name]) <= number(hard[f"requests.{name}"]) for name in most)
    request = JobRequest(
        "run-1", "/workspace/run-1", profile=profile_of(IN_FULL).model_copy(update={"nodes": 32, "shards": 256})
    )
    for work in works(request):
        (job,) = of_kind(render_work(work, request), "Job")
        pods = job["spec"].get("parallelism", 1)
        assert pods < int(hard["pods"])
        for name, value in job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"].items():
            assert pods * number(value) <= number(most[name]), f"{work.name}: {name}"


def number(quantity):
    """Returns a quantity as a number, memory in GiB."""
    for suffix, factor in (("Gi", 1), ("Ti", 1024)):
        if str(quantity).endswith(suffix):
            return float(str(quantity).removesuffix(suffix)) * factor
    return float(quantity)


def test_who_asks_s3_by_a_role_is_trusted_with_it_and_nobody_else():
    (statement,) = json.loads((K8S / "examples" / "aws" / "trust.json").read_text())["Statement"]
    prefix = "system:serviceaccount:elysium:"
    trusted = {one.removeprefix(prefix) for one in statement["Condition"]["StringEquals"]["ISSUER:sub"]}
    accounts = of_kind(rendered(IN_FULL), "ServiceAccount")
    annotated = {one["metadata"]["name"] for one in accounts if one["metadata"].get("annotations")}
    # Pods of steps have a token of their own making (`web_identity`).
    assert trusted == annotated | {"elysium-step"}
    # The scheduler starts pods and reads nothing; all others with the stores' settings are trusted.
    held = {name: one["spec"] for name, one in standing_pods(IN_FULL).items() if name != "airflow-scheduler"}
    asking = {
        spec["serviceAccountName"]
        for spec in held.values()
        for container in containers(spec)
        if {"configMapRef": {"name": "elysium-stores"}} in container.get("envFrom", [])
    }
    assert asking == annotated


def test_rights_on_the_bucket_are_those_that_steps_need():
    statements = json.loads((K8S / "examples" / "aws" / "rights.json").read_text())["Statement"]
    granted = {action for statement in statements for action in [statement["Action"]] if isinstance(action, str)}
    granted |= {action for one in statements if not isinstance(one["Action"], str) for action in one["Action"]}
    page = (ROOT / "docs" / "cluster" / "s3.md").read_text()
    assert granted == set(re.findall(r"`(s3:\w+)`", page))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_shell_is_admitted_and_sees_what_steps_see(version):
    (shell,) = kustomize(K8S / "tools")
    kubernetes_validate.validate(shell, version, strict=True)
    assert violations(shell["spec"]) == []
    assert shell["spec"]["automountServiceAccountToken"] is False
    (step,) = jobs("gpu")[0][1]
    pod = step["spec"]["template"]["spec"]
    assert shell["spec"]["serviceAccountName"] == pod["serviceAccountName"]
    (ours,), (theirs,) = shell["spec"]["containers"], pod["containers"]
    assert ours["envFrom"] == theirs["envFrom"]
    assert {"name": "workspace", "mountPath": "/workspace"} in ours["volumeMounts"]
    policies = of_kind(rendered("gpu"), "NetworkPolicy")
    labels = shell["metadata"]["labels"]
    assert passes(policies, labels, "Egress", 443, None)
    assert passes(policies, labels, "Egress", 5000, SERVERS[0])


def test_standing_jobs_wait_and_are_chosen_by_their_group():
    documents = kustomize(EXAMPLE / "jobs")
    for document in documents:
        assert document["metadata"]["labels"]["elysium.group"] in ("training", "curation")
        assert violations(document["spec"]["template"]["spec"]) == [] if document["kind"] == "Job" else True
    assert all(job["spec"]["suspend"] for job in of_kind(documents, "Job"))
    (curation,) = [job for job in of_kind(documents, "Job") if job["metadata"]["name"] == "elysium-curation"]
    command = curation["spec"]["template"]["spec"]["containers"][0]["command"]
    assert [word for word in command if word.startswith("--source=")] == ["--source=s3://your-bucket/videos.csv"]
    assert len(command) == len({word.partition("=")[0] if "--set" not in word else word for word in command})


def test_people_come_in_by_names_that_the_servers_know():
    hosts = {}
    services = {one["metadata"]["name"]: one for one in of_kind(rendered(IN_FULL), "Service")}
    for ingress in of_kind(rendered(IN_FULL), "Ingress"):
        (rule,) = ingress["spec"]["rules"]
        (path,) = rule["http"]["paths"]
        service = path["backend"]["service"]
        assert service["port"]["name"] in {port["name"] for port in services[service["name"]]["spec"]["ports"]}
        assert [rule["host"]] == ingress["spec"]["tls"][0]["hosts"]
        assert any(name.endswith("/auth-url") for name in ingress["metadata"]["annotations"]), "MLflow has no log-in"
        hosts[service["name"]] = rule["host"]
    assert settings_of(IN_FULL, "elysium-airflow")["AIRFLOW__API__BASE_URL"] == f"https://{hosts['airflow']}"
    known = settings_of(IN_FULL, "elysium-mlflow")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert known == [*settings_of(MINE, "elysium-mlflow")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(","), hosts["mlflow"]]


def test_a_managed_postgres_takes_the_place_of_ours():
    documents = rendered(IN_FULL)
    assert not of_kind(documents, "StatefulSet")
    assert "postgres" not in named(documents, "PodDisruptionBudget")
    (service,) = [one for one in of_kind(documents, "Service") if one["metadata"]["name"] == "postgres"]
    assert service["spec"]["type"] == "ExternalName"
    for server in SERVERS:
        assert passes(of_kind(documents, "NetworkPolicy"), server, "Egress", 5432, None)
        assert not passes(of_kind(rendered(MINE), "NetworkPolicy"), server, "Egress", 5432, None)
    assert not passes(of_kind(documents, "NetworkPolicy"), STEP, "Egress", 5432, None)


def test_an_s3_server_on_another_port_is_reached_by_those_who_ask_it():
    for sender in (STEP, *SERVERS):
        assert passes(of_kind(rendered(IN_FULL), "NetworkPolicy"), sender, "Egress", 9000, None)
        assert not passes(of_kind(rendered(MINE), "NetworkPolicy"), sender, "Egress", 9000, None)
    assert not passes(
        of_kind(rendered(IN_FULL), "NetworkPolicy"), {"app.kubernetes.io/name": "x"}, "Egress", 9000, None
    )
