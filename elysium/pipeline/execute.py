"""Runs one step of one workspace: skip what is finished, go on with what is half done, publish what is whole."""

from __future__ import annotations

import errno
import logging
import resource
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from elysium.config import Settings
from elysium.errors import ElysiumError, GateRefused
from elysium.pipeline.steps import Step, StepContext, StepResult, producer, section_values
from elysium.pipeline.versions import code_version
from elysium.pipeline.workspace import (
    MANIFEST,
    Manifest,
    Workspace,
    digest_of,
    find_damage,
    now,
    read_manifest,
    scan,
    write_atomic,
)

logger = logging.getLogger(__name__)

# What a full disk, a spent quota and a file size limit answer; a step must never take these for a bad clip.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KEY = ".key"


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        manifest: What is published now.
        skipped: Whether it had been finished before.
    """

    manifest: Manifest
    skipped: bool


def step_key(step: Step, settings: Settings, inputs: dict[str, Manifest]) -> str:
    """Returns the digest of all that decides a step's result: its settings and the contents of what it reads."""
    return digest_of(
        {
            "step": step.name,
            "settings": section_values(settings, step.sections),
            "inputs": {name: manifest.digest for name, manifest in inputs.items()},
            "outside": step.outside_digests(settings),
        }
    )


def run_step(workspace: Workspace, step: Step, settings: Settings) -> Outcome:
    """Runs `step` unless it is finished for these settings and inputs.

    Args:
        workspace: Where the artifacts are.
        step: The row of the table.
        settings: The run's settings.

    Returns:
        The outcome; its manifest's status is `refused` when the step's gate said no.

    Raises:
        ElysiumError: If an input is missing, another process runs the step, or the step failed in a way it explains.
    """
    with workspace.lock(step):
        inputs = workspace.inputs(step)
        key = step_key(step, settings, inputs)
        _adopt_unpublished(workspace, step, key)
        manifest = workspace.manifest(step)
        if manifest is not None and manifest.key == key and manifest.status == "done":
            damage = find_damage(workspace.folder(step), manifest, checksums=True)
            if damage is None:
                logger.info("%s is finished: %s", step.name, manifest.summary)
                return Outcome(manifest, skipped=True)
            logger.warning("%s was finished but its output is damaged (%s); running it again", step.name, damage)
        _prepare(workspace.partial(step), key)
        context = StepContext(
            step=step.name,
            settings=settings,
            inputs={name: workspace.folder(producer(name)) for name in step.inputs},
            output=workspace.partial(step),
            home=workspace.home,
            run_id=workspace.run_id,
        )
        return Outcome(_run(workspace, step, context, key), skipped=False)


def _run(workspace: Workspace, step: Step, context: StepContext, key: str) -> Manifest:
    started, clock = now(), time.monotonic()
    status: Literal["done", "refused"] = "done"
    try:
        result = step.load()(context)
    except GateRefused as error:
        status, result = "refused", StepResult(summary=str(error))
    except OSError as error:
        if error.errno in NO_SPACE:
            raise ElysiumError(
                f"step {step.name}: no space left on the device while writing {error.filename or context.output} "
                f"({error.strerror}); free some space and run it again: finished work is kept"
            ) from error
        raise
    (context.output / _KEY).unlink(missing_ok=True)
    files = scan(context.output)
    manifest = Manifest(
        step=step.name,
        status=status,
        key=key,
        digest=digest_of({name: entry.sha256 for name, entry in files.items()}),
        files=files,
        summary=result.summary,
        metrics=result.metrics,
        started=started,
        seconds=round(time.monotonic() - clock, 3),
        peak_mib=round(peak_mib(), 1),
        code=code_version(),
    )
    workspace.publish(step, manifest)
    return manifest


def peak_mib() -> float:
    """Returns the peak resident memory of this process or its largest finished child, MiB."""
    kib = max(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    )
    return kib / 1024 if sys.platform != "darwin" else kib / 1024**2


def _adopt_unpublished(workspace: Workspace, step: Step, key: str) -> None:
    """Publishes a partial folder that was whole when the process was killed just before the move."""
    partial = workspace.partial(step)
    manifest = read_manifest(partial)
    if manifest is None:
        return
    if manifest.key == key and find_damage(partial, manifest, checksums=True) is None:
        workspace.finish_publishing(step)
    else:
        shutil.rmtree(partial)


def _prepare(partial: Path, key: str) -> None:
    """Leaves a partial folder that belongs to `key`: the one a killed process left, or a new, empty one."""
    marker = partial / _KEY
    if marker.is_file() and marker.read_text(encoding="utf-8") == key:
        logger.info("going on with what an earlier attempt left in %s", partial)
        (partial / MANIFEST).unlink(missing_ok=True)
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_atomic(marker, key)
