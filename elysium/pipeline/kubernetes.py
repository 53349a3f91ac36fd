"""Work as Kubernetes Jobs, from the one template in `k8s/`: a step of the table, its parts, or another command."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

import elysium
from elysium.errors import UsageError
from elysium.pipeline.job_troubles import FINAL_CODES
from elysium.pipeline.profile import MOST_PODS, JobProfile
from elysium.pipeline.steps import STEPS, Resources, Role, Step

_LONGEST_LABEL = 63
# Jobs of one pod have names of this length too, so that all of a run look alike.
_LONGEST_NAME = _LONGEST_LABEL - len(f"-{MOST_PODS - 1}")
_SCRATCH_GIB = 20


@dataclass(frozen=True)
class JobRequest:
    """Which run the Jobs are for, and where they run.

    Attributes:
        run_id: Names the run; a Job's name depends on it and the work alone, so that a retry finds the living Job.
        workspace: The run's folder as the pods see it: below the mounted volume `/workspace`, or on `s3://`.
        preset: Of the run.
        overrides: Each `section.key=value`.
        profile: Of the cluster.
    """

    run_id: str
    workspace: str
    preset: str = "nano"
    overrides: tuple[str, ...] = ()
    profile: JobProfile = field(default_factory=JobProfile)


@dataclass(frozen=True)
class Work:
    """What pods are to do: one pod, several that work together (nodes), or several that work apart (shards).

    Attributes:
        name: Names the Job beside the run, and its component label.
        role: Which image.
        resources: Of each pod, before the profile cuts them.
        command: What every pod runs, all of it. Kubernetes puts the pod's number for `$(JOB_COMPLETION_INDEX)`, which
            each of several pods has in its environment.
        nodes: Number of pods that work together; they find the first by `ELYSIUM_RENDEZVOUS`.
        shards: Number of pods that work apart.
    """

    name: str
    role: Role
    resources: Resources
    command: tuple[str, ...]
    nodes: int = 1
    shards: int = 1

    def __post_init__(self) -> None:
        if self.nodes > 1 and self.shards > 1:
            raise ValueError(f"{self.name}: pods work together or apart, got nodes={self.nodes}, shards={self.shards}")

    @classmethod
    def of(cls, row: Step, request: JobRequest) -> Work:
        """Returns a step of the table, on as many nodes as the profile says if it can spread."""
        nodes = request.profile.nodes if row.multi_node else 1
        spread = ("--nodes", str(nodes)) if nodes > 1 else ()
        return cls(row.name, row.role, row.resources, (*_step_command(row, request), *spread), nodes=nodes)

    @classmethod
    def parts_of(cls, row: Step, request: JobRequest, shards: int | None = None) -> Work:
        """Returns the parts of a step, which publish nothing: `Work.of` the step does, afterwards.

        Args:
            row: A step that can be done in parts.
            request: The run.
            shards: How many parts; None takes the profile's number.

        Raises:
            UsageError: If the step cannot be done in parts.
        """
        count = request.profile.shards if shards is None else shards
        if row.share is None:
            raise UsageError(f"step {row.name} cannot be done in parts")
        if not 1 <= count <= MOST_PODS:
            raise UsageError(f"a step is done in 1 to {MOST_PODS} parts, got {count}")
        command = (*_step_command(row, request), "--shard", f"$(JOB_COMPLETION_INDEX)/{count}")
        return cls(f"{row.name}-parts", row.role, row.resources, command, shards=count)


def works(request: JobRequest) -> list[Work]:
    """Returns all the work of a run, in the order in which it is done; parts only where the profile has several."""
    found = []
    for row in STEPS:
        if row.share and request.profile.shards > 1:
            found.append(Work.parts_of(row, request))
        found.append(Work.of(row, request))
    return found


def render_work(work: Work, request: JobRequest) -> list[dict[str, Any]]:
    """Returns the manifests of one piece of work, in the order in which they are made.

    That is a Job; for several nodes a headless Service and an Indexed Job; and where the profile says `indexed: false`,
    a Job for each node or shard instead of the Indexed one.

    Raises:
        UsageError: If the template is not here, or the pods cannot see the workspace.
    """
    if work.nodes == work.shards == 1 or request.profile.indexed:
        return _render(work, request, None)
    return [manifest for index in range(_pods(work)) for manifest in _render(work, request, index)]


def render_part(work: Work, request: JobRequest, index: int) -> dict[str, Any]:
    """Returns the Job of one shard alone, whatever the profile says: for runners that start each by itself.

    Raises:
        UsageError: As `render_work`, or if there is no such shard.
    """
    if work.nodes > 1 or not 0 <= index < work.shards:
        raise UsageError(f"{work.name} has shards 0 to {work.shards - 1}, got {index}")
    (job,) = _render(work, request, index)
    return job


def render_job(row: Step, request: JobRequest) -> dict[str, Any]:
    """Returns the Job manifest of a step that one pod does."""
    return render_work(Work.of(row, request), request)[-1]


def write_manifests(request: JobRequest, folder: Path) -> list[Path]:
    """Writes a file for each piece of work, numbered in their order, and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, work in enumerate(works(request), start=1):
        path = folder / f"{number:02}-{work.name}.yaml"
        path.write_text(yaml.safe_dump_all(render_work(work, request), sort_keys=False), encoding="utf-8")
        paths.append(path)
    return paths


def job_name(run_id: str, name: str, index: int | None = None) -> str:
    """Returns the name of a Job, a valid DNS label: of the work, or of one of its pods where each has a Job.

    Args:
        run_id: Of the run.
        name: Of the work: a step's, say.
        index: Of the pod.

    Example:
        >>> job_name("manual__2026-11-01T10:00", "validate-raw")
        'elysium-manual-2026-11-01t10-00-validate-raw'
        >>> job_name("manual__2026-11-01T10:00", "finetune", 1)
        'elysium-manual-2026-11-01t10-00-finetune-1'
        >>> job_name("retrain-scheduled__2026-11-01T02:00:00+00:00", "finetune", 1)
        'elysium-retrain-scheduled-2026-11-01t02-0-4feef335-finetune-1'
    """
    run = _shortened(run_id, _LONGEST_NAME - len(f"elysium--{name}"))
    return f"elysium-{run}-{name}" + ("" if index is None else f"-{index}")


def _render(work: Work, request: JobRequest, index: int | None) -> list[dict[str, Any]]:
    profile = request.profile
    _check_workspace(request.workspace, profile)
    resources = profile.resources_of(work.name.removesuffix("-parts"), work.resources)
    # Those of GPU nodes come with the GPU.
    tolerations: list[dict[str, Any]] = [
        taint.model_dump(by_alias=True, exclude_none=True) for taint in profile.tolerations
    ]
    if resources.gpu:
        taint = {"key": profile.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}
        tolerations += [] if taint in tolerations else [taint]
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701 - YAML, not HTML
    text = environment.from_string(_template()).render(
        work=work,
        profile=profile,
        resources=resources,
        limits=profile.limits(resources),
        tolerations=tolerations,
        name=job_name(request.run_id, work.name, index),
        group=job_name(request.run_id, work.name),
        run_label=_shortened(request.run_id, _LONGEST_LABEL),
        index=index,
        pods=_pods(work),
        indexed=index is None and _pods(work) > 1,
        final_codes=FINAL_CODES,
        scratch=f"{profile.scratch_gib or _SCRATCH_GIB:g}Gi",
        shared_memory=f"{profile.shared_memory_gib:g}Gi",
    )
    return list(yaml.safe_load_all(text))


def _pods(work: Work) -> int:
    return max(work.nodes, work.shards)


def _check_workspace(workspace: str, profile: JobProfile) -> None:
    if workspace.startswith("s3://"):
        return
    if not workspace.startswith("/workspace/"):
        raise UsageError(f"on Kubernetes the workspace lies below /workspace, or on s3://, got {workspace!r}")
    if profile.volume is None:
        raise UsageError(
            f"the job profile {profile.name} mounts no volume, so the workspace lies on s3://, got {workspace!r}"
        )


def _step_command(row: Step, request: JobRequest) -> Sequence[str]:
    settings = [part for override in request.overrides for part in ("--set", override)]
    return ["elysium", "step", row.name, "--workspace", request.workspace, "--preset", request.preset, *settings]


def _shortened(run_id: str, room: int) -> str:
    """Returns a run's id as a part of a label: how it begins, and a digest where that is not all of it."""
    run = re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")
    if len(run) <= room:
        return run
    # Two long ids may begin alike; their Jobs must not.
    return f"{run[: room - 9].strip('-')}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def _template() -> str:
    folder = Path(os.environ.get("ELYSIUM_K8S", Path(elysium.__file__).resolve().parents[1] / "k8s"))
    path = folder / "job.yaml.j2"
    if not path.is_file():
        raise UsageError(f"the Job template is not at {path}: run from a checkout, or name its folder in ELYSIUM_K8S")
    return path.read_text(encoding="utf-8")
