"""The step table as Kubernetes Jobs, from the one template in `k8s/`."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

import elysium
from elysium import __version__
from elysium.errors import UsageError
from elysium.pipeline.steps import STEPS, Step

NAMESPACE = "elysium"
_LONGEST_NAME = 63


@dataclass(frozen=True)
class JobRequest:
    """Which run the Jobs are for.

    Attributes:
        run_id: Names the run; a Job's name depends on it and the step alone, so that a retry finds the living Job.
        workspace: The run's folder as the pods see it, below the mounted volume `/workspace`.
        preset: Of the run.
        overrides: Each `section.key=value`.
        registry: Prefix of the images' names, ending in `/` where there is one.
        tag: Of the images.
    """

    run_id: str
    workspace: str
    preset: str = "nano"
    overrides: tuple[str, ...] = ()
    registry: str = ""
    tag: str = __version__


def render_job(row: Step, request: JobRequest) -> dict[str, Any]:
    """Returns the Job manifest of one step.

    Raises:
        UsageError: If the template is not here, or the workspace is not on the mounted volume.
    """
    if not request.workspace.startswith("/workspace/"):
        raise UsageError(f"on Kubernetes the workspace lies below /workspace, got {request.workspace!r}")
    settings = [part for override in request.overrides for part in ("--set", override)]
    text = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False).from_string(  # noqa: S701 - YAML, not HTML
        _template()
    )
    rendered = text.render(
        step=row,
        name=job_name(request.run_id, row),
        namespace=NAMESPACE,
        run_label=_label(request.run_id),
        image=f"{request.registry}elysium-{row.role}:{request.tag}",
        command=["elysium", "step", row.name, "--workspace", request.workspace, "--preset", request.preset, *settings],
    )
    manifest: dict[str, Any] = yaml.safe_load(rendered)
    return manifest


def write_manifests(request: JobRequest, folder: Path) -> list[Path]:
    """Writes one Job a step, numbered in the table's order, and returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, row in enumerate(STEPS, start=1):
        path = folder / f"{number:02}-{row.name}.yaml"
        path.write_text(yaml.safe_dump(render_job(row, request), sort_keys=False), encoding="utf-8")
        paths.append(path)
    return paths


def job_name(run_id: str, row: Step) -> str:
    """Returns the name of a step's Job, a valid DNS label.

    Example:
        >>> from elysium.pipeline.steps import step
        >>> job_name("manual__2026-11-01T10:00", step("validate-raw"))
        'elysium-manual-2026-11-01t10-00-validate-raw'
    """
    room = _LONGEST_NAME - len(f"elysium--{row.name}")
    run = re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")
    if len(run) > room:
        # Two long ids may end alike; their Jobs must not.
        run = f"{hashlib.sha256(run_id.encode()).hexdigest()[:8]}-{run[9 - room :].strip('-')}"
    return f"elysium-{run}-{row.name}"


def _label(run_id: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")[-_LONGEST_NAME:].strip("-")


def _template() -> str:
    folder = Path(os.environ.get("ELYSIUM_K8S", Path(elysium.__file__).resolve().parents[1] / "k8s"))
    path = folder / "job.yaml.j2"
    if not path.is_file():
        raise UsageError(f"the Job template is not at {path}: run from a checkout, or name its folder in ELYSIUM_K8S")
    return path.read_text(encoding="utf-8")
