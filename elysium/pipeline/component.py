"""What a Kubeflow component does: run one step in the workspace, then fill the artifacts that the UI shows."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysium.errors import ElysiumError, GateRefused
from elysium.pipeline.page import self_contained
from elysium.pipeline.runner import run_process
from elysium.pipeline.steps import Step, step
from elysium.pipeline.workspace import Manifest, Workspace, open_workspace, write_atomic

if TYPE_CHECKING:
    from elysium.pipeline.remote import RemoteWorkspace


@dataclass(frozen=True)
class RunArguments:
    """What every component of a run is given.

    Attributes:
        workspace: The run's folder; one that ends in `/` holds a folder for each run, named by `run_id`.
        preset: Of the run.
        overrides: Each `section.key=value`.
        run_id: Kubeflow's id of the run.
    """

    workspace: str
    preset: str
    overrides: Sequence[str]
    run_id: str

    def command(self, name: str, *more: str) -> list[str]:
        """Returns the command line of a step; it runs in the Python that `ELYSIUM_PYTHON` names, else in this one."""
        settings = [part for override in self.overrides for part in ("--set", override)]
        where = ["--workspace", run_workspace(self.workspace, self.run_id), "--preset", self.preset]
        return [*cli(), "step", name, *where, *more, *settings]


def run_component(
    name: str,
    run: RunArguments,
    output: Any,
    page: Any | None = None,
    metrics: Any | None = None,
    reason: str | None = None,
    copy_model: bool = True,
) -> str:
    """Runs the step and describes its result.

    Args:
        name: Of the step.
        run: The run.
        output: Kubeflow's artifact of the step's type. A Model gets the checkpoint's files, an HTML its page, Metrics
            the step's figures; a Dataset, and any Model on S3, stays in the workspace and the artifact is its
            manifest, checksums included.
        page: An HTML artifact for a page beside an output of another type.
        metrics: A Metrics artifact for the figures of a step whose output is of another type.
        reason: File for a gate's own line, also where it refused.
        copy_model: False leaves a Model's files in the workspace; the artifact is the manifest then.

    Returns:
        `done`, or `refused` if the step is a gate and said no: Kubeflow would take an error for one that a retry
        mends, and what builds on the gate is skipped by a condition instead.

    Raises:
        ElysiumError: If the step failed, or one that is no gate refused.
    """
    row = step(name)
    place = open_workspace(run_workspace(run.workspace, run.run_id))
    code, tail = run_process(run.command(name), place.log_path(name), say=print, started=_hand_signals_on)
    manifest = place.manifest(row)
    refused = code == GateRefused.exit_code and manifest is not None
    if code and not (refused and row.gate):
        why = manifest.summary if refused and manifest is not None else _last_line(tail)
        leave_note(place, row, f"exit code {code}: {why}")
        raise ElysiumError(f"step {name} did not finish: exit code {code}: {why}")
    if manifest is None:
        raise ElysiumError(f"step {name} ended well and published nothing in {place.location(row)}")
    leave_note(place, row, None)
    _fill(place, row, manifest, output, copy_model)
    for artifact in (metrics, output if row.output.type == "Metrics" else None):
        if artifact is not None:
            _log_metrics(artifact, manifest)
    if page is not None:
        _copy_page(place, row, Path(page.path))
    if reason is not None:
        path = Path(reason)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(manifest.summary, encoding="utf-8")
    return manifest.status


def run_shard(name: str, run: RunArguments, shard: str) -> str:
    """Does one part of a step that can be divided, and publishes nothing.

    Kubeflow does not retry what is inside a loop (kubeflow/pipelines issue 12389), so the attempts are made here.

    Args:
        name: Of the step.
        run: The run.
        shard: `INDEX/COUNT`.

    Returns:
        The shard.

    Raises:
        ElysiumError: If the last attempt failed, or the first one in a way that a retry does not mend.
    """
    row = step(name)
    place = open_workspace(run_workspace(run.workspace, run.run_id))
    log = place.log_path(f"{name}-{shard.replace('/', '-of-')}")
    for attempt in range(row.resources.retries + 1):
        command = run.command(name, "--shard", shard)
        code, tail = run_process(command, log, say=print, started=_hand_signals_on)
        if code == 0:
            return shard
        if code != 1:
            break
        print(f"attempt {attempt + 1} of {row.resources.retries + 1} at shard {shard} failed")
    leave_note(place, row, f"shard {shard}: exit code {code}: {_last_line(tail)}")
    raise ElysiumError(f"shard {shard} of step {name} did not finish: exit code {code}: {_last_line(tail)}")


def run_workspace(workspace: str, run_id: str) -> str:
    """Returns the run's own folder.

    Example:
        >>> run_workspace("/workspace/runs/", "4f2a")
        '/workspace/runs/4f2a'
        >>> run_workspace("s3://bucket/runs/spring", "4f2a")
        's3://bucket/runs/spring'
    """
    return workspace + run_id if workspace.endswith("/") else workspace


def leave_note(place: Workspace | RemoteWorkspace, row: Step, text: str | None) -> None:
    """Writes down in the workspace why a step failed, for the run's report; None takes it away."""
    try:
        if not isinstance(place, Workspace):
            if text is None:
                place.store.remove([_note(row)])
            else:
                place.store.write(_note(row), text.encode())
        elif text is None:
            (place.root / _note(row)).unlink(missing_ok=True)
        else:
            write_atomic(place.root / _note(row), text)
    except (ElysiumError, OSError) as error:
        # What the step itself ended with counts, and it may well have ended for the same reason.
        print(f"warning: no note could be left in the workspace: {error}")


def read_note(place: Workspace | RemoteWorkspace, row: Step) -> str | None:
    """Returns why a step failed, None where it left no word."""
    if not isinstance(place, Workspace):
        content = place.store.read(_note(row))
        return None if content is None else content.decode()
    path = place.root / _note(row)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def cli() -> list[str]:
    """Returns how to start the `elysium` command: Kubeflow's environment may be another one than the step's."""
    return [os.environ.get("ELYSIUM_PYTHON", sys.executable), "-m", "elysium.cli"]


def _note(row: Step) -> str:
    return f"logs/{row.name}.failure"


def _fill(place: Workspace | RemoteWorkspace, row: Step, manifest: Manifest, output: Any, copy_model: bool) -> None:
    output.metadata.update(
        step=row.name,
        status=manifest.status,
        summary=manifest.summary,
        digest=manifest.digest,
        code=manifest.code,
        folder=place.location(row),
        files=len(manifest.files),
        mib=round(sum(entry.size for entry in manifest.files.values()) / 2**20, 1),
        seconds=manifest.seconds,
    )
    target = Path(output.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if row.output.type == "Model":
        output.metadata["framework"] = "transformers"
    if row.output.type == "Model" and copy_model and isinstance(place, Workspace):
        shutil.copytree(place.folder(row) / "model", target, dirs_exist_ok=True)
    elif row.output.type == "HTML":
        _copy_page(place, row, target)
    else:
        target.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")


def _copy_page(place: Workspace | RemoteWorkspace, row: Step, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    page = place.read(row, str(row.output.html))
    # A gate that refuses early may have no page yet.
    text = "<p>There is no page.</p>" if page is None else page.decode()
    target.write_text(self_contained(text, lambda name: _beside(place, row, name), place.location(row)), "utf-8")


def _beside(place: Workspace | RemoteWorkspace, row: Step, name: str) -> bytes | None:
    return None if ".." in Path(name).parts or Path(name).is_absolute() else place.read(row, name)


def _log_metrics(artifact: Any, manifest: Manifest) -> None:
    for metric, value in manifest.metrics.items():
        if isinstance(value, int | float):
            artifact.log_metric(metric, float(value))
    Path(artifact.path).parent.mkdir(parents=True, exist_ok=True)
    if not Path(artifact.path).exists():
        Path(artifact.path).write_text(manifest.model_dump_json(include={"metrics"}), encoding="utf-8")


def _last_line(tail: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(tail) if line.strip()), "it printed nothing")


def _hand_signals_on(process: subprocess.Popen[str]) -> None:
    """Lets the step save what it has when its pod is told to end; without this only this process would hear of it."""
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
