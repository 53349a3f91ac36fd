"""Resumable checkpoints copied to where they outlive the machine: beside the local ones, while training goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import queue
import threading
from collections.abc import Sequence
from pathlib import Path

from elysium.config import PhaseSettings, Settings
from elysium.data.storage import Entry, WritableStorage, writable_storage
from elysium.errors import ElysiumError
from elysium.pipeline.workspace import publish_folder, sha256
from elysium.training.checkpoints import COMPLETE, KEPT, checkpoint_step, newest_checkpoint
from elysium.training.outside import digests

logger = logging.getLogger(__name__)

_MOST_BYTES = 1 << 50


def mirror_uri(settings: Settings, name: str, phase: PhaseSettings, data: Path | None) -> str | None:
    """Returns where a phase's checkpoints are copied to; None where they are not.

    What decides the weights is in the address, so that no run goes on from another one's state.

    Args:
        settings: With `checkpoints.mirror`.
        name: Of the phase.
        phase: Its settings.
        data: With `train.jsonl`, if the phase learns from it.
    """
    root = settings.checkpoints.mirror
    if root is None:
        return None
    if not root.endswith("://"):
        root = root.rstrip("/")
    facts = {
        "model": settings.model.model_dump(mode="json"),
        "phase": phase.model_dump(mode="json", exclude={"tail"}),
        "seed": settings.seed,
        "data": None if data is None else sha256(data / "train.jsonl"),
        "reads": digests(settings, name.removesuffix("-tail"), starts=True),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return f"{root}/{name}-{digest}"


class Mirror:
    """Copies checkpoints to a folder or to S3, one after the other, in a thread.

    A checkpoint's list of files is copied last: without it, nothing of it is used. Where the copy is slower than the
    training, checkpoints in between are left out. What fails is said, and training goes on.

    Args:
        uri: `s3://bucket/prefix` or a folder.
        storage: Of the URI.

    Attributes:
        uri: As given.
    """

    def __init__(self, uri: str, storage: WritableStorage) -> None:
        self.uri = uri
        self._storage = storage
        self._waiting: queue.Queue[Path | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    @staticmethod
    def of(uri: str, s3_endpoint: str | None) -> Mirror:
        """Returns the mirror at a URI.

        Raises:
            UsageError: If it is neither a folder nor S3.
        """
        return Mirror(uri, writable_storage(uri, s3_endpoint=s3_endpoint))

    def send(self, checkpoint: Path) -> None:
        """Copies a whole checkpoint, some time soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="elysium-mirror", daemon=True)
            self._thread.start()
        self._waiting.put(checkpoint)

    def close(self) -> None:
        """Returns when the newest checkpoint has been copied."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def fetch(self, folder: Path) -> None:
        """Brings the newest whole checkpoint to a folder, if it is newer than those there.

        Raises:
            ElysiumError: If what is there cannot be listed or brought: better than to train everything again unseen.
        """
        newest = newest_checkpoint(folder)
        local = -1 if newest is None else checkpoint_step(newest)
        for step, entries in sorted(self._whole().items(), reverse=True):
            if step <= local:
                return
            logger.info("fetching checkpoint-%d from %s", step, self.uri)
            self._bring(entries, folder / f"checkpoint-{step}")
            # One that was damaged on its way is removed, and the one before is tried.
            if newest_checkpoint(folder) == folder / f"checkpoint-{step}":
                return

    def _bring(self, entries: Sequence[Entry], target: Path) -> None:
        def write(scratch: Path) -> None:
            for entry in entries:
                self._storage.fetch(entry.uri, scratch / _inner(entry), _MOST_BYTES)

        publish_folder(target, write)

    def _work(self) -> None:
        over = False
        while not over:
            given = [self._waiting.get()]
            while not self._waiting.empty():
                given.append(self._waiting.get())
            over = None in given
            newest = next((path for path in reversed(given) if path is not None), None)
            if newest is not None:
                try:
                    self._copy(newest)
                except (ElysiumError, OSError) as error:
                    logger.warning("%s was not copied to %s: %s", newest.name, self.uri, error)

    def _copy(self, checkpoint: Path) -> None:
        files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != COMPLETE]
        for path in [*files, checkpoint / COMPLETE]:
            inner = path.relative_to(checkpoint).as_posix()
            self._storage.store(path, f"{self.uri}/{checkpoint.name}/{inner}")
        for step, entries in sorted(self._whole().items())[:-KEPT]:
            logger.debug("checkpoint-%d is let go", step)
            # Its list first: what is left of it is then no checkpoint.
            for entry in sorted(entries, key=lambda entry: _inner(entry) != COMPLETE):
                self._storage.remove(entry.uri)

    def _whole(self) -> dict[int, list[Entry]]:
        """Returns the files of each checkpoint that has its list."""
        found: dict[int, list[Entry]] = {}
        for entry in self._storage.list_files(self.uri):
            name, _, _ = entry.name.partition("/")
            if name.startswith("checkpoint-") and name.removeprefix("checkpoint-").isdigit():
                found.setdefault(int(name.removeprefix("checkpoint-")), []).append(entry)
        return {step: entries for step, entries in found.items() if any(_inner(entry) == COMPLETE for entry in entries)}


def _inner(entry: Entry) -> str:
    return entry.name.partition("/")[2]
