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
import datetime
import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from elysium.config import Settings, apply_overrides, load_settings, parse_settings
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.steps import Step, producer

logger = logging.getLogger(__name__)

MANIFEST = "_manifest.json"


class FileEntry(BaseModel):
    """Size in bytes and SHA-256 of one file of an artifact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    sha256: str


class Manifest(BaseModel):
    """What a published artifact says of itself.

    Attributes:
        step: Who wrote it.
        status: `done`, or `refused` by a quality gate (readable, but nothing may build on it).
        key: Digest of the settings and inputs it was made from.
        digest: Digest of its files, the same for the same content.
        files: Relative path to size and checksum.
        summary: The step's own line.
        metrics: The step's own figures.
        started: UTC, ISO 8601.
        seconds: Wall time of the attempt that finished it.
        peak_mib: Peak resident memory of that attempt's process, MiB.
        code: Version of the code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    status: Literal["done", "refused"]
    key: str
    digest: str
    files: dict[str, FileEntry]
    summary: str
    metrics: dict[str, float | int | str | bool | None]
    started: str
    seconds: float
    peak_mib: float
    code: str


class RunInfo(BaseModel):
    """`run.json`: what the run was asked to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    created: str
    preset: str
    overrides: list[str]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Workspace:
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
                f"a workspace is a folder (a mounted volume on a cluster), got {scheme}:// in {text!r}; "
                "data and DVC remotes may lie on s3://, see ingest.source and snapshot.remote"
            )
        root = Path(text.removeprefix("file://")).expanduser().resolve()
        if root.exists() and not root.is_dir():
            raise UsageError(f"the workspace {root} is a file; name a folder")
        return cls(root)

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

    def create(self, preset: str, overrides: list[str]) -> Settings:
        """Writes `run.json` for a new run and returns its settings.

        Raises:
            UsageError: If preset or overrides are not valid; nothing is written then.
        """
        return self._write_run(preset, overrides, load_settings(preset, overrides))

    def info(self) -> RunInfo | None:
        """Returns the content of `run.json`, or None where no run has begun.

        Raises:
            ElysiumError: If the file is not readable as such.
        """
        path = self.root / "run.json"
        if not path.exists():
            return None
        try:
            return RunInfo.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ElysiumError(f"{path} is damaged; delete it and name the preset and settings again") from error

    def settings(self, preset: str | None = None, overrides: tuple[str, ...] = (), *, keep: bool = False) -> Settings:
        """Returns the run's settings, those of a new run where none has begun.

        Args:
            preset: For a new run; on an existing one it must be the run's own.
            overrides: Applied over the run's own settings.
            keep: Writes the overrides into the run, so that later steps see them too.
        """
        info = self.info()
        if info is None:
            return self.create(preset or "nano", list(overrides))
        if preset is not None and preset != info.preset:
            raise UsageError(
                f"the run in {self.root} was begun with the preset {info.preset!r}, got {preset!r}; "
                "use another workspace, or --set for single settings"
            )
        settings = parse_settings(info.settings)
        if not overrides:
            return settings
        settings = parse_settings(apply_overrides(settings.model_dump(mode="json"), overrides))
        if keep:
            self._write_run(info.preset, [*info.overrides, *overrides], settings, created=info.created)
        return settings

    def folder(self, step: Step) -> Path:
        """Returns where the step's artifact is published."""
        return self.root / step.output.folder

    def partial(self, step: Step) -> Path:
        """Returns where the step writes until it is whole."""
        return self.root / ".partial" / step.name

    def manifest(self, step: Step) -> Manifest | None:
        """Returns what the step published, or None; a damaged manifest counts as nothing published."""
        return read_manifest(self.folder(step))

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
    def lock(self, step: Step) -> Iterator[None]:
        """Holds the step for this process; the lock goes with the process, also on kill -9.

        Processes that an earlier one had started, and that have not ended yet, are waited for (`hold_output`).

        Raises:
            ElysiumError: If another living process holds it.
        """
        path = self.root / ".partial" / f"{step.name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ElysiumError(
                    f"another process is running step {step.name} in {self.root}; wait for it or stop it"
                ) from error
            _wait_for_holders(self.partial(step))
            yield

    def publish(self, step: Step, manifest: Manifest) -> None:
        """Writes the manifest into the partial folder and moves the folder into place."""
        write_atomic(self.partial(step) / MANIFEST, manifest.model_dump_json(indent=1))
        self.finish_publishing(step)

    def finish_publishing(self, step: Step) -> None:
        """Moves a whole partial folder into place; what stood there before goes away."""
        target = self.folder(step)
        target.parent.mkdir(parents=True, exist_ok=True)
        old = self.root / ".partial" / f"{step.name}.old"
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        self.partial(step).rename(target)
        shutil.rmtree(old, ignore_errors=True)

    def _write_run(self, preset: str, overrides: list[str], settings: Settings, created: str | None = None) -> Settings:
        self.root.mkdir(parents=True, exist_ok=True)
        info = RunInfo(
            run_id=self.run_id,
            created=created or now(),
            preset=preset,
            overrides=overrides,
            settings=settings.model_dump(mode="json"),
        )
        write_atomic(self.root / "run.json", info.model_dump_json(indent=1))
        return settings


def read_manifest(folder: Path) -> Manifest | None:
    """Returns the manifest in `folder`, or None where there is none that can be read."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def scan(folder: Path) -> dict[str, FileEntry]:
    """Returns size and checksum of every file below `folder` but the manifest, sorted by path."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != MANIFEST:
            files[name] = FileEntry(size=path.stat().st_size, sha256=sha256(path))
    return files


def find_damage(folder: Path, manifest: Manifest, *, checksums: bool) -> str | None:
    """Returns what is wrong with a published folder, or None.

    Args:
        folder: The published folder.
        manifest: Its manifest.
        checksums: Compares contents too, not only sizes.
    """
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry.size:
            return f"{name} has {path.stat().st_size} bytes instead of {entry.size}"
        if checksums and sha256(path) != entry.sha256:
            return f"{name} has another checksum"
    return None


def digest_of(value: Any) -> str:
    """Returns the SHA-256 of plain data in canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _wait_for_holders(output: Path) -> None:
    if not _holders(output).exists():
        return
    with _holders(output).open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            logger.warning("waiting for the processes of an earlier attempt at %s to end", output.name)
            fcntl.flock(file, fcntl.LOCK_EX)


def _holders(output: Path) -> Path:
    return output.with_name(f"{output.name}.processes")


def now() -> str:
    """Returns the current time, UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
