"""What a Kubeflow component does: run one step in the workspace, then fill the artifacts that the UI shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from elysium.errors import ElysiumError
from elysium.pipeline.steps import step
from elysium.pipeline.workspace import MANIFEST, Workspace


def run_component(
    name: str, workspace: str, preset: str, overrides: list[str], output: Any, page: Any | None = None
) -> None:
    """Runs the step and describes its result.

    Args:
        name: Of the step.
        workspace: The run's folder on the shared volume.
        preset: Of the run.
        overrides: Each `section.key=value`.
        output: Kubeflow's artifact of the step's type. A Model gets the checkpoint's files, an HTML its page, Metrics
            the step's figures; a Dataset stays in the workspace and the artifact is its manifest, checksums included.
        page: An HTML artifact for a page beside an output of another type.

    Raises:
        ElysiumError: If the step failed, or its gate refused.
    """
    row = step(name)
    place = Workspace.at(workspace)
    settings = [part for override in overrides for part in ("--set", override)]
    # Kubeflow's environment holds no torch; where the two are apart, this names the other one's Python.
    python = os.environ.get("ELYSIUM_PYTHON", sys.executable)
    command = [python, "-m", "elysium.cli", "step", name, "--workspace", str(place.root), "--preset", preset, *settings]
    code = subprocess.run(command, check=False).returncode
    manifest = place.manifest(row)
    if code or manifest is None:
        why = manifest.summary if code == 3 and manifest is not None else f"exit code {code}"
        raise ElysiumError(f"step {name} did not finish: {why}")
    folder = place.folder(row)
    output.metadata.update(
        summary=manifest.summary,
        digest=manifest.digest,
        code=manifest.code,
        folder=str(folder),
        files=len(manifest.files),
    )
    target = Path(output.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if row.output.type == "Model":
        shutil.copytree(folder / "model", target, dirs_exist_ok=True)
    elif row.output.type == "HTML":
        shutil.copyfile(folder / str(row.output.html), target)
    else:
        shutil.copyfile(folder / MANIFEST, target)
    if row.output.type == "Metrics":
        for metric, value in manifest.metrics.items():
            if isinstance(value, int | float):
                output.log_metric(metric, float(value))
    if page is not None:
        Path(page.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / str(row.output.html), page.path)
