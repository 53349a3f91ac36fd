"""What the pod of a Kubeflow task asks of the cluster: the step table's resources, cut to the job profile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kfp import kubernetes

from elysium.pipeline.profile import JobProfile
from elysium.pipeline.steps import Resources

USER = 10001
# Kubeflow takes single keys and no whole secret. A key in both would give one variable two sources, which is not valid.
SECRET_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "ELYSIUM_NOTIFY_URL",
)
CONFIG_KEYS = (
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_S3_ENDPOINT_URL",
)
_BACKOFF = 60
_SCRATCH_GIB = 20


def set_up(task: Any, name: str, asked: Resources, profile: JobProfile, mount: bool, on_cluster: bool) -> None:
    """Gives a task its resources, its retries and its place on the cluster.

    Args:
        task: Kubeflow's task.
        name: Of the step, or of its parts.
        asked: What the step asks for, before the profile cuts it.
        profile: The cluster.
        mount: Whether the workspace lies on the profile's volume.
        on_cluster: A run without a cluster has no pods, and tries nothing twice.
    """
    task.set_display_name(name)
    # Steps skip finished work by their own checksums. Kubeflow's cache does not see the workspace: it would skip a step
    # of a new run whose workspace is empty.
    task.set_caching_options(False)
    resources = profile.resources_of(name.removesuffix("-parts"), asked)
    limits = profile.limits(resources)
    task.set_cpu_request(limits["cpu"]).set_cpu_limit(limits["cpu"])
    task.set_memory_request(limits["memory"]).set_memory_limit(limits["memory"])
    if resources.gpu:
        task.set_accelerator_type(profile.gpu_resource).set_accelerator_limit(resources.gpu)
    if not on_cluster:
        return
    if resources.retries:
        _retry(task, resources)
    task.set_env_variable("HOME", "/tmp")  # noqa: S108 - the pod's own
    kubernetes.set_timeout(task, resources.seconds)
    kubernetes.set_image_pull_policy(task, profile.pull_policy)
    # What else the restricted profile asks for (no privilege escalation, no capabilities, RuntimeDefault seccomp)
    # Kubeflow's own compiler writes into every pod; the API takes no more than these three.
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    _mount(task, profile, mount)
    kubernetes.use_secret_as_env(task, profile.stores_secret, {key: key for key in SECRET_KEYS}, optional=True)
    kubernetes.use_config_map_as_env(task, profile.stores_config, {key: key for key in CONFIG_KEYS}, optional=True)
    _schedule(task, name, profile, gpu=bool(resources.gpu))


def not_carried(profile: JobProfile) -> Iterator[str]:
    """Yields a line for every setting of the profile that Kubeflow's API has no place for."""
    if profile.priority_class:
        yield f"priority_class {profile.priority_class}: Kubeflow's tasks have none; make it the namespace's default"
    if profile.web_identity:
        yield "web_identity: annotate the service account that Kubeflow's runs use instead"
    if profile.nodes > 1:
        yield f"nodes {profile.nodes}: a task of Kubeflow is one pod; it trains on the GPUs of one node"


def _retry(task: Any, resources: Resources) -> None:
    # Argo counts the time for retries from the start of the first attempt: with Kubeflow's default of an hour, a step
    # that ran for longer would never be tried again (argoproj/argo-workflows pull request 16855).
    waits = sum(_BACKOFF * 2**attempt for attempt in range(resources.retries))
    window = resources.seconds * (resources.retries + 1) + waits
    task.set_retry(resources.retries, f"{_BACKOFF}s", backoff_factor=2, backoff_max_duration=f"{window}s")


def _mount(task: Any, profile: JobProfile, mount: bool) -> None:
    if mount:
        kubernetes.mount_pvc(task, pvc_name=profile.volume, mount_path="/workspace")
    scratch = f"{profile.scratch_gib or _SCRATCH_GIB:g}Gi"
    kubernetes.empty_dir_mount(task, "elysium-scratch", "/tmp", size_limit=scratch)  # noqa: S108 - the pod's own
    shared = f"{profile.shared_memory_gib:g}Gi"
    kubernetes.empty_dir_mount(task, "elysium-shared-memory", "/dev/shm", "Memory", shared)  # noqa: S108


def _schedule(task: Any, name: str, profile: JobProfile, gpu: bool) -> None:
    labels = {
        **profile.labels,
        "app.kubernetes.io/name": "elysium",
        "app.kubernetes.io/component": name,
        "app.kubernetes.io/part-of": "elysium-retrain",
    }
    if profile.queue:
        labels["kueue.x-k8s.io/queue-name"] = profile.queue
    for key, value in labels.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in profile.annotations.items():
        kubernetes.add_pod_annotation(task, key, value)
    for key, value in profile.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in profile.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
    if gpu and not any(toleration.key == profile.gpu_resource for toleration in profile.tolerations):
        kubernetes.add_toleration(task, key=profile.gpu_resource, operator="Exists", effect="NoSchedule")
