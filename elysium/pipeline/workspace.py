"""A run's folder: published artifacts with checksums, half-done work, and the settings they belong to.

```
<workspace>/run.json               run id, preset, overrides, resolved settings
<workspace>/raw/ …                 published artifacts, each with `_manifest.json`
<workspace>/.partial/<step>/       what a step has written so far; renamed into place when it is whole
<workspace>/logs/<step>.log        what the step printed
```
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elysium.config import Settings
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.manifest import MANIFEST as MANIFEST
from elysium.pipeline.manifest import FileEntry as FileEntry
from elysium.pipeline.manifest import Manifest as Manifest
from elysium.pipeline.manifest import digest_of as digest_of
from elysium.pipeline.manifest import find_damage as find_damage
from elysium.pipeline.manifest import read_manifest as read_manifest
from elysium.pipeline.manifest import scan as scan
from elysium.pipeline.manifest import sha256 as sha256
from elysium.pipeline.run_info import Run as Run
from elysium.pipeline.run_info import RunInfo as RunInfo
from elysium.pipeline.run_info import now as now
from elysium.pipeline.steps import Step, producer

if TYPE_CHECKING:
    from elysium.pipeline.remote import RemoteWorkspace

logger = logging.getLogger(__name__)

KEY = ".key"


@dataclass(frozen=True)
class Share:
    """A part of a step's work that a process does for itself.

    Attributes:
        index: Which part, from 0.
        count: Parts in all.
    """

    index: int
    count: int

    @property
    def name(self) -> str:
        """Names the part in files of the workspace."""
        return f"share-{self.index}-of-{self.count}"


@dataclass(frozen=True)
class Workspace(Run):
    """One run's folder. Opening it creates nothing.

    Attributes:
        root: Absolute path.
    """

    root: Path

    @classmethod
    def at(cls, uri: str | Path) -> Workspace:
        """Returns the workspace at a path or `file://` URI.

        Raises:
            UsageError: If the scheme is not one that steps can write to.
        """
        text = str(uri)
        if "://" in text and not text.startswith("file://"):
            scheme = text.partition("://")[0]
            raise UsageError(
                f"a workspace is a folder (a mounted volume on a cluster) or, where steps run one by one, a place on "
                f"s3://bucket/prefix/run, got {scheme}:// in {text!r}"
            )
        root = Path(text.removeprefix("file://")).expanduser().resolve()
        if root.exists() and not root.is_dir():
            raise UsageError(f"the workspace {root} is a file; name a folder")
        return cls(root)

    @property
    def uri(self) -> str:
        """The folder's path."""
        return str(self.root)

    @property
    def run_id(self) -> str:
        """Names the run: the folder's own name."""
        return self.root.name

    @property
    def home(self) -> Path:
        """The folder beside the runs that outlives them."""
        return self.root.parent

    def log_path(self, step: str) -> Path:
        """Returns where a runner keeps what a step printed."""
        return self.root / "logs" / f"{step}.log"

    def folder(self, step: Step) -> Path:
        """Returns where the step's artifact is published."""
        return self.root / step.output.folder

    def partial(self, step: Step) -> Path:
        """Returns where the step writes until it is whole."""
        return self.root / ".partial" / step.name

    def manifest(self, step: Step) -> Manifest | None:
        """Returns what the step published, or None; a damaged manifest counts as nothing published."""
        return read_manifest(self.folder(step))

    def location(self, step: Step) -> str:
        """Returns the path of the step's artifact."""
        return str(self.folder(step))

    def read(self, step: Step, name: str) -> bytes | None:
        """Returns a file of what the step published, None if it is not there."""
        path = self.folder(step) / name
        return path.read_bytes() if self.manifest(step) is not None and path.is_file() else None

    def damage(self, step: Step, manifest: Manifest) -> str | None:
        """Returns what is wrong with what the step published, or None; every file is read."""
        return find_damage(self.folder(step), manifest, checksums=True)

    def adapted(self, settings: Settings, step: Step) -> Settings:
        """Returns the settings as a step of this workspace sees them: as they are."""
        return settings

    def inputs(self, step: Step) -> dict[str, Manifest]:
        """Returns the manifests of the step's inputs by artifact name.

        Raises:
            ElysiumError: If one is missing, was refused by its gate, or lost files.
        """
        found = {}
        for name in step.inputs:
            source = producer(name)
            manifest = self.manifest(source)
            again = f"run `elysium step {source.name} --workspace {self.root}` first"
            if manifest is None:
                raise ElysiumError(f"step {step.name} reads {self.folder(source)}, which is not there; {again}")
            if manifest.status != "done":
                raise ElysiumError(f"step {step.name} cannot start: {source.name} refused: {manifest.summary}")
            damage = find_damage(self.folder(source), manifest, checksums=False)
            if damage:
                raise ElysiumError(f"step {step.name} reads {self.folder(source)}, which is damaged: {damage}; {again}")
            found[name] = manifest
        return found

    @contextlib.contextmanager
    def lock(self, step: Step, share: Share | None = None) -> Iterator[None]:
        """Holds the step, or a share of its work, for this process; the lock goes with the process, also on kill -9.

        Processes that do shares do not keep each other out, only those that do the whole step. Processes that an
        earlier one had started, and that have not ended yet, are waited for (`hold_output`).

        Raises:
            ElysiumError: If another living process holds it.
        """
        path = self.root / ".partial" / f"{step.name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        # NFS shares a lock with those alone who may read the file.
        with path.open("a+") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if share is None else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise is_running(step, self.uri) from error
            except OSError as error:
                raise UsageError(
                    f"{path} cannot be locked ({error.strerror}): a workspace needs a file system with locks, such as "
                    "NFS 4; mount it so, or use s3://"
                ) from error
            if share is None:
                _wait_for_holders(self.partial(step))
            yield

    @contextlib.contextmanager
    def working(
        self, step: Step, key: str, inputs: Mapping[str, Manifest], share: Share | None = None
    ) -> Iterator[None]:
        """Sees to it that the partial folder is there and belongs to `key`; what an earlier attempt left is kept.

        Args:
            step: That is locked.
            key: Of its settings and inputs.
            inputs: What it reads; all of that is here.
            share: Which part of the work this process does, if not all.

        Raises:
            ElysiumError: If processes are at work on shares with another key.
        """
        with contextlib.ExitStack() as stack:
            with self.preparing(step):
                prepare(self.partial(step), key, shared=share is not None)
                if share is not None:
                    stack.enter_context(sharing(self.partial(step)))
            yield

    def bring_inputs(self, step: Step, inputs: Mapping[str, Manifest]) -> None:
        """Sees to it that what a step reads is on this machine: it is."""

    @contextlib.contextmanager
    def joining(self, step: Step, key: str, inputs: Mapping[str, Manifest], node: int) -> Iterator[None]:
        """Takes part in a step that another node has locked: all nodes see the same folder, which that one prepares.

        Args:
            step: That several nodes do together.
            key: Of its settings and inputs.
            inputs: What it reads; all of that is here.
            node: Which one this is, from 1.
        """
        yield

    @contextlib.contextmanager
    def preparing(self, step: Step) -> Iterator[None]:
        """Lets one process after the other look at the partial folder and change what it is about."""
        path = self.root / ".partial" / f"{step.name}.preparing"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def publish(self, step: Step, manifest: Manifest) -> None:
        """Writes the manifest into the partial folder and moves the folder into place."""
        write_atomic(self.partial(step) / MANIFEST, manifest.model_dump_json(indent=1))
        self.finish_publishing(step)

    def finish_publishing(self, step: Step) -> None:
        """Moves a whole partial folder into place; what stood there before goes away."""
        for name in step.goes_on_from:
            shutil.rmtree(self.partial(step) / name, ignore_errors=True)
        (self.partial(step) / KEY).unlink(missing_ok=True)
        target = self.folder(step)
        target.parent.mkdir(parents=True, exist_ok=True)
        old = self.root / ".partial" / f"{step.name}.old"
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        self.partial(step).rename(target)
        shutil.rmtree(old, ignore_errors=True)

    def forget(self, step: Step, key: str, node: int = 0) -> None:
        """Removes what is left of the half-done work of a finished step: here that became the artifact.

        Args:
            step: That is finished.
            key: Of its settings and inputs.
            node: Which of several nodes this is; any but the first removes its own alone.
        """

    def _read_run(self) -> bytes | None:
        path = self.root / "run.json"
        return path.read_bytes() if path.exists() else None

    def _write_run(self, content: str) -> None:
        write_atomic(self.root / "run.json", content)


def open_workspace(uri: str | Path) -> Workspace | RemoteWorkspace:
    """Returns the workspace at a path, a `file://` URI or `s3://bucket/prefix/run`; nothing is read or made yet.

    Raises:
        UsageError: If it is neither a folder nor a place on S3 that a run can have.
    """
    if str(uri).startswith("s3://"):
        from elysium.pipeline.remote import RemoteWorkspace

        return RemoteWorkspace.at(str(uri))
    return Workspace.at(uri)


def is_running(step: Step, where: str) -> ElysiumError:
    """Returns what to raise where another process holds a step."""
    return ElysiumError(f"another process is running step {step.name} in {where}; wait for it or stop it")


def prepare(partial: Path, key: str, *, shared: bool = False) -> None:
    """Leaves a partial folder that belongs to `key`: the one a killed process left, or a new, empty one.

    Args:
        partial: The folder.
        key: Of settings and inputs.
        shared: Several processes may be at work in it.

    Raises:
        ElysiumError: If it belongs to another key, and processes are at work in it.
    """
    if is_about(partial, key):
        logger.info("going on with what an earlier attempt left in %s", partial)
        (partial / MANIFEST).unlink(missing_ok=True)
        return
    if shared and _is_joined(partial):
        raise ElysiumError(
            f"other processes are at work on shares of {partial.name} with other settings or inputs; wait for them or "
            "stop them"
        )
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_atomic(partial / KEY, key)


def is_about(partial: Path, key: str) -> bool:
    """Returns whether a partial folder holds work of that key."""
    marker = partial / KEY
    return marker.is_file() and marker.read_text(encoding="utf-8") == key


@contextlib.contextmanager
def sharing(partial: Path) -> Iterator[None]:
    """Says for as long as it lasts that a process does a share of what the folder is about."""
    with _shares(partial).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def publish_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Makes a folder that is either whole or not there: `write` fills a scratch one, which then takes its place."""
    scratch = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    write(scratch)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def write_atomic(path: Path, text: str) -> None:
    """Writes a file so that readers see either the old content or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def hold_output(output: Path) -> None:
    """Keeps new attempts at a step from its output folder until this process has ended, also by kill -9.

    For processes that the step's own process starts: its lock goes with it, and they may take a moment longer.

    Args:
        output: Of the step's context.
    """
    fcntl.flock(os.open(_holders(output), os.O_RDWR | os.O_CREAT, 0o644), fcntl.LOCK_SH)


def _is_joined(partial: Path) -> bool:
    if not _shares(partial).exists():
        return False
    with _shares(partial).open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _shares(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.shares")


def _wait_for_holders(output: Path) -> None:
    if not _holders(output).exists():
        return
    with _holders(output).open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("waiting for the processes of an earlier attempt at %s to end", output.name)
            fcntl.flock(file, fcntl.LOCK_EX)


def _holders(output: Path) -> Path:
    return output.with_name(f"{output.name}.processes")
