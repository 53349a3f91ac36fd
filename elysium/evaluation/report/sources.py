"""What a report is made from: the published folders, and how far each step has come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from elysium.pipeline.steps import STEPS
from elysium.pipeline.workspace import Manifest, Workspace

_TAIL = 12


@dataclass(frozen=True)
class StepState:
    """How far one step has come.

    Attributes:
        name: Of the step.
        state: `unfinished` where a step has begun and published nothing.
        manifest: What it published.
        tail: The last lines it printed, for an unfinished step.
    """

    name: str
    state: Literal["done", "refused", "unfinished", "not run"]
    manifest: Manifest | None = None
    tail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """What a report may read.

    Attributes:
        folders: Artifact name to its folder; what is missing is told on the page.
        run_id: Of the run.
        docs: Prefix of links to other artifacts, relative to where the page lies.
        run: Content of `run.json`, if there is one.
        steps: How far each step has come; empty for a page that one step makes of its own inputs.
        seed: Of the resampling behind the intervals; the run's own, so that the page says what the decision says.
        bootstrap_samples: Number of resamples.
    """

    folders: Mapping[str, Path]
    run_id: str
    docs: str = "../"
    run: dict[str, Any] = field(default_factory=dict)
    steps: tuple[StepState, ...] = ()
    seed: int = 0
    bootstrap_samples: int = 2000


def workspace_sources(root: Path) -> Sources:
    """Returns what the run in a workspace has published so far.

    Raises:
        ElysiumError: If `run.json` is damaged.
    """
    workspace = Workspace.at(root)
    info = workspace.info()
    states = tuple(_state(workspace, row.name) for row in STEPS)
    folders = {row.output.name: workspace.folder(row) for row in STEPS if workspace.manifest(row) is not None}
    if info is None:
        return Sources(folders, workspace.run_id, docs="", steps=states)
    settings = info.settings
    return Sources(
        folders,
        workspace.run_id,
        docs="",
        run=info.model_dump(mode="json"),
        steps=states,
        seed=settings.get("seed", Sources.seed),
        bootstrap_samples=settings.get("evaluate", {}).get("bootstrap_samples", Sources.bootstrap_samples),
    )


def read(sources: Sources, artifact: str, name: str) -> Any:
    """Returns a JSON file of an artifact, an empty mapping where it is not there."""
    path = file_of(sources, artifact, name)
    return {} if path is None else json.loads(path.read_text(encoding="utf-8"))


def file_of(sources: Sources, artifact: str, name: str) -> Path | None:
    """Returns a file of an artifact, or None where it is not there."""
    path = sources.folders[artifact] / name if artifact in sources.folders else None
    return path if path is not None and path.is_file() else None


def _state(workspace: Workspace, name: str) -> StepState:
    row = next(row for row in STEPS if row.name == name)
    manifest = workspace.manifest(row)
    if manifest is not None:
        return StepState(name, manifest.status, manifest)
    if not workspace.partial(row).is_dir():
        return StepState(name, "not run")
    log = workspace.log_path(name)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return StepState(name, "unfinished", tail=tuple(lines[-_TAIL:]))
