"""A workspace on S3: steps work in a folder of this machine, bring their inputs, and put what they made where it lasts.

```
s3://bucket/prefix/<run>/run.json, raw/…, tracks/…        as in a folder; `_manifest.json` is written last
s3://bucket/prefix/<run>/.partial/<step>/                 half-done work and leases
s3://bucket/prefix/dvc-remote/                            beside the runs, because it outlives them
<scratch>/<digest of s3://bucket/prefix>/<run>/           the folder of this machine; may be lost at any time
```
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from elysium.config import Settings
from elysium.data.object_transfer import Damaged, download, inside, upload
from elysium.data.objects import Missing, ObjectStore
from elysium.data.storage import split_s3
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.manifest import parse_manifest
from elysium.pipeline.remote_keeper import SECONDS, Keeper
from elysium.pipeline.remote_lease import WHOLE, Lease, Rhythm
from elysium.pipeline.remote_machine import endpoint, machine_name, save_seconds, scratch_folder
from elysium.pipeline.remote_partial import Partial, forget, node_part
from elysium.pipeline.run_info import Run
from elysium.pipeline.steps import Step, producer
from elysium.pipeline.workspace import (
    MANIFEST,
    Manifest,
    Share,
    Workspace,
    is_about,
    is_running,
    prepare,
    read_manifest,
    sharing,
    write_atomic,
)
from elysium.stopping import stoppable

logger = logging.getLogger(__name__)

_PARTIAL = ".partial"


class RemoteWorkspace(Run):
    """One run on S3. Opening it reads and writes nothing.

    Args:
        store: Everything below the run's address.
        mirror: The same run's folder on this machine.
        rhythm: How leases are kept.
        seconds: Between two copies of half-done work.
    """

    def __init__(
        self, store: ObjectStore, mirror: Workspace, rhythm: Rhythm | None = None, seconds: float = SECONDS
    ) -> None:
        self.store, self.mirror = store, mirror
        self._rhythm, self._seconds = rhythm or Rhythm(), seconds
        self._leases: dict[str, Lease] = {}

    @classmethod
    def at(cls, uri: str) -> RemoteWorkspace:
        """Returns the workspace at `s3://bucket/prefix/run`, with its folder below `ELYSIUM_SCRATCH`.

        `ELYSIUM_SAVE_SECONDS` says how often half-done work is copied.

        Raises:
            UsageError: If the URI names no run of a bucket, or the environment holds no number.
        """
        uri = uri.rstrip("/")
        bucket, key = split_s3(uri)
        parts = key.split("/")
        if not key or not all(parts) or any(part in (".", "..") for part in parts):
            raise UsageError(f"a workspace on S3 is s3://bucket/prefix/run, got {uri!r}")
        above = f"s3://{bucket}/{'/'.join(parts[:-1])}".rstrip("/")
        # Buckets of one name are others on other servers.
        digest = hashlib.sha256(f"{endpoint() or ''} {above}".encode()).hexdigest()[:16]
        return cls(ObjectStore(uri), Workspace(scratch_folder() / digest / parts[-1]), seconds=save_seconds())

    @property
    def uri(self) -> str:
        """The address, `s3://bucket/prefix/run`."""
        return self.store.uri

    @property
    def run_id(self) -> str:
        """Names the run: the last part of the address."""
        return self.mirror.run_id

    @property
    def home(self) -> Path:
        """A folder of this machine for what steps keep beside the runs and can do without."""
        return self.mirror.home

    def log_path(self, step: str) -> Path:
        """Returns where a runner on this machine keeps what a step printed."""
        return self.mirror.log_path(step)

    def location(self, step: Step) -> str:
        """Returns the URI of the step's artifact."""
        return f"{self.uri}/{step.output.folder}"

    def folder(self, step: Step) -> Path:
        """Returns where the step's artifact is on this machine, while a step that reads it is at work."""
        return self.mirror.folder(step)

    def partial(self, step: Step) -> Path:
        """Returns where the step writes on this machine."""
        return self.mirror.partial(step)

    def manifest(self, step: Step) -> Manifest | None:
        """Returns what the step published, or None."""
        return parse_manifest(self.store.read(f"{step.output.folder}/{MANIFEST}"))

    def read(self, step: Step, name: str) -> bytes | None:
        """Returns a small file of what the step published, None if it is not there."""
        manifest = self.manifest(step)
        entry = None if manifest is None else manifest.files.get(name)
        if entry is None:
            return None
        content = self.store.read(f"{step.output.folder}/{name}")
        if content is None or hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ElysiumError(
                f"{self.location(step)}/{name} is not what was published; run `elysium step {step.name} --workspace "
                f"{self.uri}` again"
            )
        return content

    def damage(self, step: Step, manifest: Manifest) -> str | None:
        """Returns what is wrong with what the step published, or None; objects are listed, not read."""
        there = self.store.listed(f"{step.output.folder}/")
        for name, entry in manifest.files.items():
            stored = there.get(f"{step.output.folder}/{name}")
            if stored is None:
                return f"{name} is missing"
            if stored.size != entry.size:
                return f"{name} has {stored.size} bytes instead of {entry.size}"
        return None

    def adapted(self, settings: Settings, step: Step) -> Settings:
        """Returns the settings as a step of this workspace sees them: what lies beside the runs is on servers.

        Raises:
            UsageError: If the step needs the registry, and no server is named.
        """
        server = settings.registry.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or None
        needs = step.output.type == "Model" or "registry" in step.sections
        if needs and not (server or "").startswith(("http://", "https://")):
            raise UsageError(
                f"step {step.name} needs the registry, and beside a workspace on S3 there is none: give the MLflow "
                f"server's URL in registry.tracking_uri or MLFLOW_TRACKING_URI, got {server!r}"
            )
        changed: dict[str, Any] = {"registry": settings.registry.model_copy(update={"tracking_uri": server})}
        if settings.snapshot.remote is None:
            remote = f"{self.uri.rpartition('/')[0]}/dvc-remote"
            at = settings.snapshot.s3_endpoint or endpoint()
            changed["snapshot"] = settings.snapshot.model_copy(update={"remote": remote, "s3_endpoint": at})
        return settings.model_copy(update=changed)

    def inputs(self, step: Step) -> dict[str, Manifest]:
        """Returns the manifests of the step's inputs by artifact name.

        Raises:
            ElysiumError: If one is missing, or was refused by its gate.
        """
        found = {}
        for name in step.inputs:
            source = producer(name)
            manifest = self.manifest(source)
            if manifest is None:
                raise ElysiumError(
                    f"step {step.name} reads {self.location(source)}, which is not there; {self._again(source)}"
                )
            if manifest.status != "done":
                raise ElysiumError(f"step {step.name} cannot start: {source.name} refused: {manifest.summary}")
            found[name] = manifest
        return found

    @contextlib.contextmanager
    def lock(self, step: Step, share: Share | None = None) -> Iterator[None]:
        """Holds the step, or a share of its work, for this process, here and on S3.

        A dead owner's lease on another machine is waited out, for less than a minute.

        Raises:
            ElysiumError: If another living process holds it.
        """
        part = WHOLE if share is None else share.name
        with self.mirror.lock(step, share), self._alone(step, part):
            place = f"{_PARTIAL}/{step.name}/lease-"
            lease = Lease(self.store, place, part, machine_name(self.home), self._rhythm)
            try:
                with lease.held():
                    self._leases[step.name] = lease
                    yield
            except BlockingIOError as error:
                raise is_running(step, self.uri) from error
            finally:
                self._leases.pop(step.name, None)

    @contextlib.contextmanager
    def working(
        self, step: Step, key: str, inputs: Mapping[str, Manifest], share: Share | None = None, node: int = 0
    ) -> Iterator[None]:
        """Brings inputs and half-done work, and saves the latter while the block runs and at its end.

        What the whole step wrote is published instead, where it did not fail.

        Args:
            step: That is locked; by node 0, where several nodes do it together.
            key: Of its settings and inputs.
            inputs: What it reads.
            share: Which part of the work this process does, if not all.
            node: Which of several nodes this is, that each save what they write.

        Raises:
            ElysiumError: If S3 fails, or an input is damaged.
            Stopped: After SIGTERM or SIGINT, when what was done is saved.
        """
        part = share.name if share is not None else node_part(node) if node else WHOLE
        folder, lease = self.partial(step), self._leases.get(step.name)

        def concerns(name: str) -> bool:
            return share is None or step.concerns(name, share.index, share.count)

        partial = Partial(self.store, f"{_PARTIAL}/{step.name}/", folder, part, concerns if share else None)
        with contextlib.ExitStack() as stack:
            with self.mirror.preparing(step):
                begun = is_about(folder, key)
                prepare(folder, key, shared=share is not None)
                if share is not None:
                    stack.enter_context(sharing(folder))
                partial.bring(key, begun=begun)
            self.bring_inputs(step, inputs)
            keeper = Keeper(partial, key, self._seconds, allowed=lambda: lease is None or not lease.lost.is_set())
            with keeper.at_work(), stoppable():
                yield
            if share is not None:
                # Nothing else of it is published: what is not saved would be lost with this machine.
                keeper.save_all()

    def bring_inputs(self, step: Step, inputs: Mapping[str, Manifest]) -> None:
        """Brings what a step reads to this machine; what is here already stays.

        Raises:
            ElysiumError: If S3 fails, or an input is damaged.
        """
        for name, manifest in inputs.items():
            self.bring(producer(name), manifest, reader=step.name)

    @contextlib.contextmanager
    def joining(self, step: Step, key: str, inputs: Mapping[str, Manifest], node: int) -> Iterator[None]:
        """Takes part in a step that another node has locked: this one has a folder of its own, and saves it too.

        Args:
            step: That several nodes do together.
            key: Of its settings and inputs.
            inputs: What it reads.
            node: Which one this is, from 1.
        """
        with self.working(step, key, inputs, node=node):
            yield

    def publish(self, step: Step, manifest: Manifest) -> None:
        """Puts what the step wrote in its place, the manifest last."""
        write_atomic(self.partial(step) / MANIFEST, manifest.model_dump_json(indent=1))
        self.finish_publishing(step)

    def finish_publishing(self, step: Step) -> None:
        """Publishes a whole partial folder; what stood there before goes away.

        Raises:
            ElysiumError: If another process took the step over, or S3 fails.
        """
        folder, place = self.partial(step), step.output.folder
        manifest = read_manifest(folder)
        if manifest is None:
            raise ElysiumError(f"{folder} has no manifest; run the step again")
        lease = self._leases.get(step.name)
        if lease is not None and not lease.is_mine():
            raise ElysiumError(f"another process took over step {step.name} in {self.uri}: nothing was published here")
        self.store.remove([f"{place}/{MANIFEST}"])
        there = self.store.listed(f"{place}/")
        files = {f"{place}/{name}": (folder / name, entry) for name, entry in manifest.files.items()}
        moved = upload(self.store, files, there)
        self.store.write(f"{place}/{MANIFEST}", manifest.model_dump_json(indent=1).encode())
        self.store.remove(name for name in there if name not in files and name != f"{place}/{MANIFEST}")
        logger.info(
            "%s: %d files (%.1f MiB) put, %d were there",
            self.location(step),
            moved.files,
            moved.bytes / 2**20,
            moved.kept,
        )
        self.forget(step, manifest.key)
        self.mirror.finish_publishing(step)

    def forget(self, step: Step, key: str, node: int = 0) -> None:
        """Removes what is left on S3 of the half-done work of a finished step.

        Args:
            step: That is finished; locked by this process where it is the first node.
            key: Of its settings and inputs.
            node: Which of several nodes this is; any but the first removes its own alone.
        """
        forget(self.store, f"{_PARTIAL}/{step.name}/", key, node)

    def bring(self, source: Step, manifest: Manifest, *, reader: str) -> None:
        """Makes the folder of an artifact on this machine what its manifest says; what is right stays.

        Args:
            source: That published it.
            manifest: Of the artifact.
            reader: Who reads it, for messages.

        Raises:
            ElysiumError: If it is damaged, or S3 fails.
        """
        folder, place = self.folder(source), source.output.folder
        with self._alone(source, "bringing", wait=True):
            (folder / MANIFEST).unlink(missing_ok=True)
            files = {f"{place}/{name}": (inside(folder, name), entry) for name, entry in manifest.files.items()}
            for path in [path for path in folder.rglob("*") if path.is_file()]:
                if path.relative_to(folder).as_posix() not in manifest.files:
                    path.unlink()
            try:
                moved = download(self.store, files)
            except Missing as error:
                raise ElysiumError(
                    f"step {reader} reads {self.location(source)}, which is damaged: {error}; {self._again(source)}"
                ) from error
            except Damaged as error:
                # Only whoever reads it all can tell, which the step that made it does not do again.
                raise ElysiumError(
                    f"step {reader} cannot read {error}; remove {self.location(source)}/{MANIFEST} and "
                    f"{self._again(source)}"
                ) from error
            write_atomic(folder / MANIFEST, manifest.model_dump_json(indent=1))
        logger.info(
            "%s: %d files (%.1f MiB) brought, %d were here",
            self.location(source), moved.files, moved.bytes / 2**20, moved.kept,
        )  # fmt: skip

    def _read_run(self) -> bytes | None:
        self.store.check()
        return self.store.read("run.json")

    def _write_run(self, content: str) -> None:
        self.store.write("run.json", content.encode())

    def _again(self, source: Step) -> str:
        return f"run `elysium step {source.name} --workspace {self.uri}` first"

    @contextlib.contextmanager
    def _alone(self, step: Step, what: str, *, wait: bool = False) -> Iterator[None]:
        """Holds something of a step for this process, among those of this machine."""
        path = self.mirror.root / _PARTIAL / f"{step.name}.{what}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise is_running(step, self.uri) from error
            yield
