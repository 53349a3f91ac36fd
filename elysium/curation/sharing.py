"""Several processes at one curation: who does which share, which of them makes the data set, and how they know.

Locks go with the process that holds them, also by kill -9. On a file system that several machines see they must reach
across machines, as those of NFS 4, CephFS and Lustre (mounted with `flock`) do.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from elysium import __version__
from elysium.curation.shards import MANIFEST, WORK, ShardStore
from elysium.errors import ElysiumError
from elysium.pipeline.workspace import sha256, write_atomic

logger = logging.getLogger(__name__)

PUBLISHED = "published.json"
_PUBLISHING = ".publish.lock"
_CLAIMING = ".claim.lock"
_TRIES, _PAUSE = 5, 0.05  # `curate status` looks at a lock by holding it for a moment
_DATA = ("*.jsonl", "*.index", "ledger.parquet", "parquet/*.parquet")


class Published(BaseModel):
    """What a data set was made from: where this agrees with the shards, there is nothing left to do.

    Attributes:
        version: Of Elysium.
        shards: Digest of the shards' manifests.
        files: Bytes of each file of the data set.
        stats: What `stats.json` holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    shards: str
    files: dict[str, int]
    stats: dict[str, Any]


@contextlib.contextmanager
def alone(root: Path, index: int, count: int) -> Iterator[None]:
    """Holds a share of a curation's work.

    Raises:
        ElysiumError: If another process holds it, or one that has shards in common with it.
    """
    for attempt in range(_TRIES):
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_held(_share(root, index, count), wait=False))
                free = not _overlapping(root, index, count)
            except BlockingIOError:
                free = False
            if free:
                yield
                return
        if attempt < _TRIES - 1:
            time.sleep(_PAUSE)
    raise ElysiumError(
        f"another process is at work on shards of {root} that are this one's, too: wait for it, or stop it; "
        "machines that share the work give --shard the same count everywhere"
    )


@contextlib.contextmanager
def claiming(root: Path) -> Iterator[None]:
    """Lets one process after the other say what a folder's curation is about."""
    with _held(root / WORK / _CLAIMING, wait=True):
        yield


def is_held(root: Path, but: tuple[int, int] | None = None) -> bool:
    """Returns whether a process is at work on a curation, on any share but one."""
    mine = None if but is None else _share(root, *but)
    return any(_is_locked(path) for path in _locks(root) if path != mine)


def missing_shards(store: ShardStore, num_shards: int) -> list[int]:
    """Returns the shards that nobody has published yet.

    The folder is listed first: opening it makes a network file system ask its server, where looking for one name could
    be answered from what this machine remembers. Without that, the two processes that finish last could each miss the
    other's shard, and neither would make the data set.
    """
    there = set(store.published())
    return [shard for shard in range(num_shards) if shard not in there or store.manifest(shard) is None]


def make_data_set(
    store: ShardStore, num_shards: int, publish: Callable[[ShardStore, int], dict[str, Any]]
) -> dict[str, Any]:
    """Makes the data set, unless it is there already, and returns its statistics.

    Processes that finish together call this together: the first one works, the others wait and find it done.

    Args:
        store: The shards, all published.
        num_shards: How many there are.
        publish: Makes it.
    """
    root = store.root
    with _held(root / WORK / _PUBLISHING, wait=True):
        digest = _digest(store, num_shards)
        done = _published(root, digest)
        stats = done.stats if done is not None and done.version == __version__ else None
        if stats is None:
            for left in root.glob(".dataset.*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
            (root / PUBLISHED).unlink(missing_ok=True)
            stats = publish(store, num_shards)
            done = Published(version=__version__, shards=digest, files=_sizes(root), stats=stats)
            write_atomic(root / PUBLISHED, done.model_dump_json(indent=1))
        _clear(root)
    return stats


def finished(store: ShardStore, num_shards: int) -> dict[str, Any] | None:
    """Returns the statistics of the data set if it is there, and made of the shards that are there now."""
    try:
        done = _published(store.root, _digest(store, num_shards))
    except FileNotFoundError:  # a shard that is missing
        return None
    return None if done is None else done.stats


def _published(root: Path, digest: str) -> Published | None:
    try:
        done = Published.model_validate_json((root / PUBLISHED).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    same = done.shards == digest and done.files == _sizes(root)
    with contextlib.suppress(FileNotFoundError, ValueError):
        # What stands for the whole is as it was written, too.
        if same and json.loads((root / "stats.json").read_bytes()) == done.stats:
            return done
    return None


def _sizes(root: Path) -> dict[str, int]:
    found = {path for pattern in _DATA for path in root.glob(pattern) if path.name != "reviews.jsonl"}
    return {path.relative_to(root).as_posix(): path.stat().st_size for path in sorted(found)}


def _digest(store: ShardStore, num_shards: int) -> str:
    whole = hashlib.sha256()
    for shard in range(num_shards):
        whole.update(sha256(store.folder(shard) / MANIFEST).encode())
    return whole.hexdigest()


def _clear(root: Path) -> None:
    """Removes what is only needed during the work, unless somebody is at work again."""
    with contextlib.ExitStack() as stack:
        try:
            for path in _locks(root):
                stack.enter_context(_held(path, wait=False))
        except BlockingIOError:
            return
        shutil.rmtree(root / WORK, ignore_errors=True)


@contextlib.contextmanager
def _held(path: Path, *, wait: bool) -> Iterator[None]:
    """Holds a file.

    Raises:
        BlockingIOError: If another process does, and this one is not to wait.
    """
    told = False
    while True:
        with _opened(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                if not told:
                    logger.info("waiting for another process at work on %s", path.parent.parent)
                told = True
                fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held it before may have removed it: then another process may hold another file of its name.
            if _is_at(file, path):
                yield
                return


def _opened(path: Path) -> IO[bytes]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the folder was removed meanwhile
            return path.open("ab")


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def _locks(root: Path) -> list[Path]:
    return sorted((root / WORK).glob(".share-*.lock"))


def _overlapping(root: Path, index: int, count: int) -> bool:
    """Returns whether a process holds another share that has a shard in common with this one."""
    mine = _share(root, index, count)
    for path in _locks(root):
        its_index, its_count = map(int, path.stem.removeprefix(".share-").split("-of-"))
        if path != mine and (index - its_index) % math.gcd(count, its_count) == 0 and _is_locked(path):
            return True
    return False


def _share(root: Path, index: int, count: int) -> Path:
    return root / WORK / f".share-{index}-of-{count}.lock"
