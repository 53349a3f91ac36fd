"""What a cluster is like, said once: the job profile that every Job is rendered for.

What the pipeline is like stands in the step table. A profile is a YAML file beside the overlay that it belongs to; the
environment variable `ELYSIUM_JOB_PROFILE` names it where no `--profile` does.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from elysium import __version__
from elysium.config.section import Section
from elysium.errors import UsageError
from elysium.pipeline.steps import STEPS, Resources

VARIABLE = "ELYSIUM_JOB_PROFILE"
# Names of Jobs keep room for an index of so many digits.
MOST_PODS = 1000


class Toleration(Section):
    """A taint of nodes that pods put up with, as Kubernetes writes it."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = Field(None, alias="tolerationSeconds")


class StepResources(Section):
    """What one step asks for on this cluster, where that is not what the table says."""

    cpu: float | None = Field(None, gt=0)
    memory_gib: float | None = Field(None, gt=0)
    gpu: int | None = Field(None, ge=0)
    seconds: int | None = Field(None, ge=1)
    retries: int | None = Field(None, ge=0)
    grace_seconds: int | None = Field(None, ge=0)
    keep_seconds: int | None = Field(None, ge=0)


class JobProfile(Section):
    """A cluster, as the Jobs on it see it."""

    name: str = Field("default", min_length=1, description="shown in messages")
    namespace: str = Field("elysium", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    registry: str = Field("", description="prefix of the images' names, ending in /")
    tag: str = Field(__version__, min_length=1, description="of the images")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    gpu: bool = Field(True, description="false: no step asks for a GPU, whatever the table says")
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1, description="what the device plugin calls a GPU")
    max_cpu: float | None = Field(None, gt=0, description="cores; a step that asks for more is cut to this")
    max_memory_gib: float | None = Field(None, gt=0, description="a step that asks for more is cut to this")
    resources: dict[str, StepResources] = Field(
        default_factory=dict, description="by step, what it asks for instead of the table's figures; then it is cut"
    )
    nodes: int = Field(1, ge=1, le=MOST_PODS, description="pods of a step that can spread over several nodes")
    shards: int = Field(1, ge=1, le=MOST_PODS, description="parts that curation is divided into")
    indexed: bool = Field(
        True, description="false: a Job for each rank or shard and no podFailurePolicy, for Kubernetes before 1.24"
    )
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    priority_class: str | None = None
    queue: str | None = Field(None, description="Kueue's LocalQueue; Jobs are made suspended, and it starts them")
    shared_memory_gib: float = Field(8, gt=0, description="of /dev/shm, counted as the pod's memory")
    scratch_gib: float | None = Field(None, gt=0, description="most that a pod may write to /tmp; None: 20")
    volume: str | None = Field("elysium-workspace", description="claim mounted at /workspace; None: all is on s3://")
    stores_secret: str = Field("elysium-stores", min_length=1, description="credentials, where there are any")
    stores_config: str = Field("elysium-stores", min_length=1, description="ConfigMap of plain values, where it is")
    web_identity: str | None = Field(None, description="audience of a service account token that S3 is asked with")
    role_arn: str | None = Field(None, description="role that such a token is exchanged for; None: in stores_config")
    rendezvous_port: int = Field(29500, ge=1024, le=65535, description="where pods that train together meet")
    labels: dict[str, str] = Field(default_factory=dict, description="of all that is rendered")
    annotations: dict[str, str] = Field(default_factory=dict, description="of Jobs and pods")

    @field_validator("resources")
    @classmethod
    def _names_steps(cls, value: dict[str, StepResources]) -> dict[str, StepResources]:
        names = [row.name for row in STEPS]
        for name in value:
            if name not in names:
                raise ValueError(f"there is no step {name!r}; the steps are {', '.join(names)}")
        return value

    def image(self, role: str) -> str:
        """Returns the image of a role.

        Example:
            >>> JobProfile(registry="registry.example.org/team/", tag="1").image("trainer")
            'registry.example.org/team/elysium-trainer:1'
        """
        return f"{self.registry}elysium-{role}:{self.tag}"

    def resources_of(self, name: str, resources: Resources) -> Resources:
        """Returns what a step asks for here: the table's figures, unless this profile has others, cut to its nodes.

        Args:
            name: Of the step.
            resources: The table's.

        Example:
            >>> laptop = JobProfile(gpu=False, max_cpu=2, max_memory_gib=6)
            >>> cut = laptop.resources_of("curate", Resources(cpu=8, memory_gib=4, gpu=1))
            >>> cut.cpu, cut.memory_gib, cut.gpu
            (2.0, 4, 0)
        """
        chosen = self.resources.get(name, StepResources()).model_dump(exclude_none=True)
        asked = replace(resources, **chosen)
        return replace(
            asked,
            cpu=min(asked.cpu, self.max_cpu or asked.cpu),
            memory_gib=min(asked.memory_gib, self.max_memory_gib or asked.memory_gib),
            gpu=asked.gpu if self.gpu else 0,
        )

    def limits(self, resources: Resources) -> dict[str, str]:
        """Returns resources in the API's words; requests and limits are the same.

        Example:
            >>> JobProfile().limits(Resources(cpu=8, memory_gib=64, gpu=1))
            {'cpu': '8', 'memory': '64Gi', 'nvidia.com/gpu': '1'}
        """
        limits = {"cpu": f"{resources.cpu:g}", "memory": f"{resources.memory_gib:g}Gi"}
        if resources.gpu:
            limits[self.gpu_resource] = str(resources.gpu)
        return limits


def load_profile(path: str | Path | None = None) -> JobProfile:
    """Returns the profile in a file.

    Args:
        path: The file; None takes the one that `ELYSIUM_JOB_PROFILE` names, and the defaults where none is named.

    Raises:
        UsageError: If the file is not there, or a key or value in it is not valid.
    """
    path = path or os.environ.get(VARIABLE)
    if not path:
        return JobProfile()
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UsageError(f"the job profile {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"the job profile {path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UsageError(f"the job profile {path} must be a mapping, got {type(tree).__name__}")
    try:
        return JobProfile.model_validate(tree)
    except ValidationError as error:
        raise UsageError(f"the job profile {path}: " + "; ".join(map(_explain, error.errors()))) from error


def _explain(entry: Any) -> str:
    *parents, last = entry["loc"]
    where = ".".join(map(str, entry["loc"]))
    if entry["type"] != "extra_forbidden":
        return f"{where}: {entry['msg'].removeprefix('Value error, ')}, got {entry['input']!r}"
    models: dict[Any, type[Section]] = {"resources": StepResources, "tolerations": Toleration}
    model = models[parents[0]] if parents else JobProfile
    near = difflib.get_close_matches(str(last), model.model_fields, n=1, cutoff=0.5)
    return f"unknown key {where!r}" + (f"; did you mean {near[0]!r}?" if near else "")
