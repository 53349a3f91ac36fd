"""Runs one step of one workspace: skip what is finished, go on with what is half done, publish what is whole."""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from elysium.config import Settings
from elysium.errors import ElysiumError, GateRefused
from elysium.pipeline.steps import Step, StepContext, StepResult, producer, section_values
from elysium.pipeline.versions import code_version
from elysium.pipeline.workspace import (
    KEY,
    MANIFEST,
    Manifest,
    Share,
    Workspace,
    digest_of,
    find_damage,
    now,
    read_manifest,
    scan,
)

if TYPE_CHECKING:
    from elysium.pipeline.meeting import Meeting
    from elysium.pipeline.remote import RemoteWorkspace

AnyWorkspace: TypeAlias = "Workspace | RemoteWorkspace"

logger = logging.getLogger(__name__)

# What a full disk, a spent quota and a file size limit answer; a step must never take these for a bad clip.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        manifest: What is published now.
        skipped: Whether it had been finished before.
    """

    manifest: Manifest
    skipped: bool


def step_key(step: Step, settings: Settings, inputs: dict[str, Manifest], nodes: int = 1) -> str:
    """Returns the digest of all that decides a step's result: its settings and the contents of what it reads.

    Args:
        step: The row of the table.
        settings: The run's.
        inputs: Manifests of what it reads.
        nodes: How many do it together; they decide as processes do (`section_values`).
    """
    return digest_of(
        {
            "step": step.name,
            "settings": section_values(settings, step.sections, nodes),
            "inputs": {name: manifest.digest for name, manifest in inputs.items()},
            "outside": step.outside_digests(settings),
        }
    )


def run_step(workspace: AnyWorkspace, step: Step, settings: Settings, meeting: Meeting | None = None) -> Outcome:
    """Runs `step` unless it is finished for these settings and inputs.

    Args:
        workspace: Where the artifacts are.
        step: The row of the table.
        settings: The run's settings.
        meeting: With other nodes that do it too, where this is the first of them.

    Returns:
        The outcome; its manifest's status is `refused` when the step's gate said no.

    Raises:
        ElysiumError: If an input is missing, another process runs the step, or the step failed in a way it explains.
    """
    adapted = workspace.adapted(settings, step)
    with workspace.lock(step):
        inputs = workspace.inputs(step)
        key = step_key(step, settings, inputs, 1 if meeting is None else meeting.node.count)
        if meeting is not None:
            meeting.key = key
        _adopt_unpublished(workspace, step, key)
        manifest = find_whole(workspace, step, key)
        if manifest is not None:
            workspace.forget(step, key)
            return Outcome(manifest, skipped=True)
        with workspace.working(step, key, inputs):
            manifest = _run(step, step_context(workspace, step, adapted, meeting), key)
        workspace.publish(step, manifest)
        return Outcome(manifest, skipped=False)


def run_share(workspace: AnyWorkspace, step: Step, settings: Settings, share: Share) -> StepResult | None:
    """Does a share of a step's work and publishes nothing; `run_step` finds what is done, and does what is missing.

    Any number of processes may do shares of a step at once, here or on other machines.

    Args:
        workspace: Where the artifacts are.
        step: The row of the table.
        settings: The run's settings.
        share: Which part of the work.

    Returns:
        What the share came to; None if the step is finished.

    Raises:
        UsageError: If the step's work cannot be divided.
        ElysiumError: As of `run_step`, or if another process does the same share.
    """
    work = step.load_share()
    adapted = workspace.adapted(settings, step)
    with workspace.lock(step, share):
        inputs = workspace.inputs(step)
        key = step_key(step, settings, inputs)
        if find_whole(workspace, step, key) is not None:
            return None
        with workspace.working(step, key, inputs, share), _room(step.name, workspace.partial(step)):
            return work(step_context(workspace, step, adapted), share.index, share.count)


def step_context(
    workspace: AnyWorkspace, step: Step, settings: Settings, meeting: Meeting | None = None
) -> StepContext:
    """Returns what a step may know: the one place that says which folders it reads and fills, on any node."""
    return StepContext(
        step=step.name,
        settings=settings,
        inputs={name: workspace.folder(producer(name)) for name in step.inputs},
        output=workspace.partial(step),
        home=workspace.home,
        run_id=workspace.run_id,
        meeting=meeting,
    )


def call_step(step: Step, context: StepContext) -> StepResult:
    """Runs a step's function.

    Raises:
        ElysiumError: If it failed in a way it explains, or for want of space.
    """
    with _room(step.name, context.output):
        return step.load()(context)


def find_finished(workspace: AnyWorkspace, step: Step, key: str) -> Manifest | None:
    """Returns what is published of a step if it is done for this key; whether its files are whole is not looked at."""
    manifest = workspace.manifest(step)
    return manifest if manifest is not None and manifest.key == key and manifest.status == "done" else None


def find_whole(workspace: AnyWorkspace, step: Step, key: str) -> Manifest | None:
    """Returns what is published if there is nothing left to do."""
    manifest = find_finished(workspace, step, key)
    if manifest is None:
        return None
    damage = workspace.damage(step, manifest)
    if damage is not None:
        logger.warning("%s was finished but its output is damaged (%s); running it again", step.name, damage)
        return None
    logger.info("%s is finished: %s", step.name, manifest.summary)
    return manifest


def _run(step: Step, context: StepContext, key: str) -> Manifest:
    started, clock = now(), time.monotonic()
    status: Literal["done", "refused"] = "done"
    try:
        result = call_step(step, context)
    except GateRefused as error:
        status, result = "refused", StepResult(summary=str(error))
    # Both stay until all is published: who is killed before that goes on from them.
    files = scan(context.output, without=(KEY, *step.goes_on_from))
    return Manifest(
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


@contextlib.contextmanager
def _room(name: str, output: Path) -> Iterator[None]:
    """Tells in plain words that there is no room."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise ElysiumError(
                f"step {name}: no space left on the device while writing {error.filename or output} "
                f"({error.strerror}); free some space and run it again: finished work is kept"
            ) from error
        raise


def peak_mib() -> float:
    """Returns the peak resident memory of this process or its largest finished child, MiB."""
    kib = max(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    )
    return kib / 1024 if sys.platform != "darwin" else kib / 1024**2


def _adopt_unpublished(workspace: AnyWorkspace, step: Step, key: str) -> None:
    """Publishes a partial folder that was whole when the process was killed just before the move."""
    partial = workspace.partial(step)
    manifest = read_manifest(partial)
    if manifest is None:
        return
    if manifest.key == key and find_damage(partial, manifest, checksums=True) is None:
        workspace.finish_publishing(step)
    else:
        (partial / MANIFEST).unlink()
