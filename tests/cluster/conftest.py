"""The namespace, the bucket, the job profile and the Airflow that the cluster's tests share."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow_here import AirflowHere, airflow_here
from cluster_access import ROOT, Cluster, missing_settings
from cluster_deployment import write_deployment
from cluster_runs import DAG

from elysium import __version__
from elysium.pipeline.job_watch import run_job
from elysium.pipeline.jobs import Cluster as JobCluster
from elysium.pipeline.jobs import JobEnd
from elysium.pipeline.kubernetes import JobRequest, Work, render_work
from elysium.pipeline.profile import JobProfile, load_profile
from elysium.pipeline.steps import step

TOY = Path(__file__).parents[1] / "toy.yaml"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says of every test here that it needs a cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A namespace of its own on the cluster; it goes with the tests unless ELYSIUM_CLUSTER_KEEP is set."""
    reason = missing_settings()
    if reason is not None:
        pytest.skip(reason)
    named = os.environ.get("ELYSIUM_CLUSTER_NAMESPACE")
    found = Cluster(
        kubeconfig=Path(os.environ["KUBECONFIG"]),
        namespace=named or f"elysium-test-{secrets.token_hex(3)}",
        registry=os.environ.get("ELYSIUM_CLUSTER_REGISTRY", ""),
        tag=os.environ.get("ELYSIUM_CLUSTER_TAG", __version__),
        s3=os.environ["ELYSIUM_CLUSTER_S3"],
    )
    yield found
    if not os.environ.get("ELYSIUM_CLUSTER_KEEP"):
        found.kubectl("delete", "namespace", found.namespace, "--wait=false", check=False)


@pytest.fixture(scope="session")
def overlay(cluster: Cluster) -> Path:
    """The overlay for this cluster's version."""
    name = "local" if cluster.server >= (1, 30) else "kubernetes-1.20"
    return ROOT / "k8s" / "overlays" / name


@pytest.fixture(scope="session")
def profile(cluster: Cluster, overlay: Path) -> JobProfile:
    """The overlay's job profile in this namespace, all workspaces on S3, pods small enough for two on a small node."""
    return load_profile(overlay / "profile.yaml").model_copy(
        update={
            "namespace": cluster.namespace,
            "registry": cluster.registry,
            "tag": cluster.tag,
            "volume": None,
            "max_cpu": 0.7,
            "max_memory_gib": 3.0,
            "shared_memory_gib": 0.25,
            "scratch_gib": 4.0,
        }
    )


@pytest.fixture(scope="session")
def profile_file(profile: JobProfile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile as Airflow reads it."""
    path = tmp_path_factory.mktemp("profile") / "profile.yaml"
    path.write_text(yaml.safe_dump(profile.model_dump(mode="json", by_alias=True)))
    return path


@pytest.fixture(scope="session")
def s3(cluster: Cluster) -> Any:
    """A client of the S3 server."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=cluster.s3,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@pytest.fixture(scope="session")
def bucket(cluster: Cluster, s3: Any) -> str:
    """A bucket of its own, named after the namespace; it stays for people to look at."""
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=cluster.namespace)
    return cluster.namespace


@pytest.fixture(scope="session")
def stores(cluster: Cluster, bucket: str) -> dict[str, str]:
    """What pods need to reach the S3 server: the content of the secret `elysium-stores`."""
    return {
        "AWS_ENDPOINT_URL": cluster.s3,
        "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        "AWS_DEFAULT_REGION": "us-east-1",
        # Tests disturb steps that last a minute.
        "ELYSIUM_SAVE_SECONDS": "3",
    }


@pytest.fixture(scope="session")
def deployed(
    cluster: Cluster, overlay: Path, stores: dict[str, str], bucket: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The whole overlay, applied with `kubectl apply -k`; returns the folder that it was applied from."""
    folder = tmp_path_factory.mktemp("overlay")
    destination = {"MLFLOW_ARTIFACTS_DESTINATION": f"s3://{bucket}/mlflow"}
    write_deployment(folder, cluster, overlay, maps={"elysium-mlflow": destination}, stores=stores)
    cluster.kubectl("apply", "-k", str(folder))
    return folder


@pytest.fixture(scope="session")
def accounts(cluster: Cluster, deployed: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Returns the content of a kubeconfig with a service account's token and nothing else."""

    def kubeconfig(account: str) -> str:
        tree = yaml.safe_load(cluster.kubeconfig.read_text())
        tree["users"] = [{"name": account, "user": {"token": cluster.token(account)}}]
        tree["contexts"] = [{"name": "x", "context": {"cluster": tree["clusters"][0]["name"], "user": account}}]
        tree["current-context"] = "x"
        return yaml.safe_dump(tree)

    return kubeconfig


@pytest.fixture(scope="session")
def airflow_kubeconfig(accounts: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Airflow is let in with: its own service account, so that every test proves its rights are enough."""
    path = tmp_path_factory.mktemp("kube") / "config"
    path.write_text(accounts("elysium-airflow"))
    return path


@pytest.fixture(scope="session")
def airflow(
    airflow_kubeconfig: Path, profile_file: Path, stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowHere]:
    """A whole Airflow outside the cluster."""
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(airflow_kubeconfig)}}
    environment = {
        **stores,
        "ELYSIUM_JOB_PROFILE": str(profile_file),
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection),
    }
    with airflow_here(tmp_path_factory.mktemp("airflow"), environment) as server:
        yield server


@pytest.fixture(scope="session")
def toy_overrides() -> tuple[str, ...]:
    """The settings of the end-to-end tests as overrides, on the model of `nano`: the images hold no test's preset."""
    tree = yaml.safe_load(TOY.read_text())
    del tree["model"]
    return tuple(_flat(tree))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:

    for key, value in tree.items():
        if isinstance(value, Mapping) and key != "mixture":
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"


@pytest.fixture(scope="session")
def run_work(cluster: Cluster, profile: JobProfile, deployed: Path) -> Callable[..., tuple[JobEnd, list[str]]]:
    """Runs a step of a workspace, or its parts, as Jobs as Airflow does; returns how it ended and what was said."""
    from kubernetes import client, config

    api = config.new_client_from_config(str(cluster.kubeconfig))

    def run(
        name: str, workspace: str, overrides: tuple[str, ...] = (), *, parts: int | None = None, **changes: Any
    ) -> tuple[JobEnd, list[str]]:
        request = JobRequest(
            run_id=workspace.rsplit("/", 1)[-1],
            workspace=workspace,
            overrides=overrides,
            profile=profile.model_copy(update=changes),
        )
        row, said = step(name), []
        work = Work.of(row, request) if parts is None else Work.parts_of(row, request, parts)
        jobs = JobCluster(client.BatchV1Api(api), client.CoreV1Api(api), say=said.append, seconds=1.0)
        return run_job(jobs, render_work(work, request), patience=30.0), said

    return run


@pytest.fixture(scope="session")
def copy_run(s3: Any, bucket: str) -> Callable[..., str]:
    """Copies what a run on S3 has of some folders into a new run, and returns its URI."""

    def copy(source: str, name: str, *folders: str) -> str:
        prefix, target = source.removeprefix(f"s3://{bucket}/") + "/", f"runs/{name}/"
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                rest = entry["Key"].removeprefix(prefix)
                if rest == "run.json" or rest.startswith(tuple(f"{folder}/" for folder in folders)):
                    s3.copy_object(Bucket=bucket, Key=target + rest, CopySource={"Bucket": bucket, "Key": entry["Key"]})
        return f"s3://{bucket}/{target.rstrip('/')}"

    return copy


@pytest.fixture(scope="session")
def whole_run(
    cluster: Cluster, deployed: Path, airflow: AirflowHere, bucket: str, toy_overrides: tuple[str, ...]
) -> tuple[str, dict[str, dict[str, Any]]]:
    """A run of all steps that Airflow drove: its workspace's URI and its tasks."""
    cluster.kubectl("rollout", "status", "deployment/mlflow", "--timeout=600s")
    workspace = f"s3://{bucket}/runs/whole"
    conf = {"workspace": workspace, "preset": "nano", "overrides": list(toy_overrides), "runner": "kubernetes"}
    airflow.start(DAG, "whole", conf)
    return workspace, airflow.wait(DAG, "whole", 1500)
