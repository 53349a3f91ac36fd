"""The listing: every video of a source with its number, written once, read a shard at a time.

```
<folder>/listing/listing.json         what it was made from, how many videos, its digest
<folder>/listing/part-00000.parquet   the videos, in the source's order
<folder>/listing/ids.npy              hashes of the ids, sorted, and the numbers of their videos
```
It appears when it is whole; a killed one is begun again. Ten million videos take memory for some hashes only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from elysium.config import IngestSettings
from elysium.curation.sources.origin import AddressSum, Origin, check_origin, origin_of
from elysium.curation.sources.tasks import COLUMNS, VideoTask
from elysium.data.naming import hash_all
from elysium.data.sets.schema import import_pyarrow
from elysium.data.sources import BUILTIN, ClipReference, batched, list_clips, source_list
from elysium.data.storage import name_of, scheme_of
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.workspace import publish_folder, write_atomic

if TYPE_CHECKING:
    import pyarrow.parquet as pq

logger = logging.getLogger(__name__)

FOLDER = "listing"
_MANIFEST, _IDS = "listing.json", "ids.npy"
_FORMAT = 1
_GROUP = 1024  # videos that reading one of them decodes
_PART = 64 * _GROUP  # videos a file: its directory is read with every shard
_LOG_EVERY = 1_000_000


class _Manifest(BaseModel):
    """What a listing says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    origin: Origin
    num_videos: int
    shard_videos: int
    digest: str
    sizes: dict[str, int]


class Listing:
    """The videos of a source, in shards of consecutive ones. It is small, and may be handed to other processes.

    Args:
        folder: The one that holds `listing/`.

    Attributes:
        folder: The listing's own.
        num_videos: All of them, those with a problem too.
        shard_videos: Videos a shard; the last may have fewer.
        digest: SHA-256 of all that is listed; local folders are left out of it, so that it is the same wherever a
            source lies.

    Raises:
        ElysiumError: If there is none, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        manifest = _read_manifest(self.folder)
        if manifest is None:
            raise ElysiumError(f"{self.folder} holds no listing; run `elysium curate run` first")
        self.num_videos, self.shard_videos = manifest.num_videos, manifest.shard_videos
        self.digest = manifest.digest

    @property
    def num_shards(self) -> int:
        """How many shards the videos make."""
        return -(-self.num_videos // self.shard_videos)

    def shard(self, index: int) -> list[VideoTask]:
        """Returns the videos of one shard, and reads little more than them.

        Raises:
            IndexError: If there is no such shard.
            ElysiumError: If the listing is damaged.
        """
        if not 0 <= index < self.num_shards:
            raise IndexError(f"{self.folder} has {self.num_shards} shards, there is no number {index}")
        first = index * self.shard_videos
        return self.tasks(first, min(first + self.shard_videos, self.num_videos))

    def tasks(self, first: int, stop: int) -> list[VideoTask]:
        """Returns the videos from number `first` to before `stop`."""
        found: list[VideoTask] = []
        while first < stop:
            part, start = divmod(first, _PART)
            end = min(_PART, start + stop - first)
            found += self._read(part, start, end)
            first += end - start
        return found

    def find(self, video_id: str) -> VideoTask:
        """Returns the video of an id.

        Raises:
            UsageError: If there is none; the message names one that is nearly so.
        """
        task = self._lookup([video_id])
        if task is None:
            near = self._near(video_id)
            hint = f"; did you mean {near!r}?" if near else ""
            raise UsageError(f"there is no video {video_id!r} among the {self.num_videos} of {self.folder}{hint}")
        return task

    def _lookup(self, ids: Sequence[str]) -> VideoTask | None:
        """Returns the first video that has one of the ids."""
        known = np.load(self.folder / _IDS, mmap_mode="r")
        hashes = hash_all(ids)
        for place, value, wanted in zip(np.searchsorted(known[0], hashes), hashes, ids, strict=True):
            while place < self.num_videos and known[0, place] == value:
                number = int(known[1, place])
                (task,) = self.tasks(number, number + 1)
                if task.id == wanted:
                    return task
                place += 1
        return None

    def _near(self, wanted: str) -> str | None:
        """Returns an id that differs in one place, or one that contains what is wanted."""
        from elysium.curation.sources.nearest import one_edit_away

        task = self._lookup(one_edit_away(wanted))
        if task is not None:
            return task.id
        if len(wanted) < 3:
            return None
        for part in range(-(-self.num_videos // _PART)):
            with self._damage(part):
                ids = self._open(part).read(columns=["id"], use_threads=False)["id"].to_pylist()
            found = next((video_id for video_id in ids if wanted in video_id), None)
            if found is not None:
                return str(found)
        return None

    def _read(self, part: int, start: int, end: int) -> list[VideoTask]:
        groups = range(start // _GROUP, -(-end // _GROUP))
        with self._damage(part):
            table = self._open(part).read_row_groups(list(groups), use_threads=False)
            columns = table.slice(start - groups[0] * _GROUP, end - start).to_pydict()
        first = part * _PART + start
        rows = zip(*(columns[name] for name in COLUMNS), strict=True)
        tasks = []
        for number, (video_id, uri, caption, source, *rest) in enumerate(rows, start=first):
            tasks.append(VideoTask(video_id, uri, caption, uri if source is None else source, *rest, number=number))
        return tasks

    def _open(self, part: int) -> pq.ParquetFile:
        with self._damage(part):
            pa = import_pyarrow()
            return pa.parquet.ParquetFile(self.folder / _part_name(part), page_checksum_verification=True)

    @contextlib.contextmanager
    def _damage(self, part: int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise ElysiumError(_damaged(self.folder, f"{_part_name(part)}: {error}")) from error


def make_listing(settings: IngestSettings, folder: Path, *, shard_videos: int) -> Listing:
    """Returns the listing in `folder`, which is made if it is not there.

    Processes that call this at once wait for the first one.

    Args:
        settings: Names the source.
        folder: Of the whole run; it is made.
        shard_videos: Videos a shard, at least 1.

    Raises:
        UsageError: If the source cannot be listed, or is not the one that was listed here before, or has changed, or
            the shards were of another size.
        FetchError: If a server fails.
        ElysiumError: If the listing is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / f".{FOLDER}.lock"):
        manifest = _read_manifest(folder / FOLDER)
        if manifest is None:
            _make(settings, folder / FOLDER, shard_videos)
        else:
            check_origin(manifest.origin, settings, folder / FOLDER)
            if manifest.shard_videos != shard_videos:
                raise UsageError(
                    f"{folder} was begun with {manifest.shard_videos} videos a shard, got {shard_videos}: keep to "
                    f"{manifest.shard_videos}, or name another output folder"
                )
    return Listing(folder)


def _make(settings: IngestSettings, folder: Path, shard_videos: int) -> None:
    """Makes the listing; nothing is left of one that fails."""
    made: list[Path] = []

    def write(scratch: Path) -> None:
        made.append(scratch)
        _write(settings, scratch, shard_videos)

    try:
        publish_folder(folder, write)
    except BaseException as error:
        for scratch in made:
            shutil.rmtree(scratch, ignore_errors=True)
        if isinstance(error, OSError | sqlite3.OperationalError):
            reason = getattr(error, "strerror", None) or error
            raise ElysiumError(
                f"the listing {folder} cannot be written: {reason}; make room there and run the same command again"
            ) from error
        raise


def _write(settings: IngestSettings, folder: Path, shard_videos: int) -> None:
    """Fills a folder with the listing."""
    pa = import_pyarrow()
    folder.mkdir(parents=True)
    origin = origin_of(settings)
    root = _root(settings)
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    digest, addresses, hashes, number = hashlib.sha256(), AddressSum(), [], 0
    sizes: dict[str, int] = {}
    for part, references in enumerate(batched(list_clips(settings, folder), _PART)):
        path = folder / _part_name(part)
        with pa.parquet.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for start in range(0, len(references), _GROUP):
                rows = references[start : start + _GROUP]
                writer.write_table(pa.table(_columns(rows), schema=schema), row_group_size=_GROUP)
                digest.update("".join(_stated(row, root) for row in rows).encode())
        addresses.add([reference.uri for reference in references])
        hashes.append(hash_all([reference.id for reference in references]))
        sizes[path.name] = path.stat().st_size
        number += len(references)
        if number // _LOG_EVERY > (number - len(references)) // _LOG_EVERY:
            logger.info("%d videos are listed", number)
    _write_ids(folder / _IDS, hashes)
    sizes[_IDS] = (folder / _IDS).stat().st_size
    if origin_of(settings, content=False).version != origin.version:
        raise UsageError(f"{origin.source} was changed while it was listed; run the same command again")
    manifest = _Manifest(
        format=_FORMAT,
        origin=origin if source_list(settings) or settings.source == BUILTIN else _with_files(origin, addresses),
        num_videos=number,
        shard_videos=shard_videos,
        digest=digest.hexdigest(),
        sizes=sizes,
    )
    write_atomic(folder / _MANIFEST, manifest.model_dump_json(indent=1))
    logger.info("%d videos are listed, in %d shards", number, -(-number // shard_videos))


def _with_files(origin: Origin, addresses: AddressSum) -> Origin:
    return origin.model_copy(update={"files": addresses.value})


def _columns(rows: Sequence[ClipReference]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    # Most often the source is the address, which need not be there twice.
    columns["source"] = [None if row.source == row.uri else row.source for row in rows]
    return columns


def _stated(row: ClipReference, root: str) -> str:
    """Returns what the digest is made of: a local file by its place below the source, else by its name."""
    uri = row.uri
    if not scheme_of(uri):
        uri = uri.removeprefix(root) if root and uri.startswith(root) else name_of(uri)
    rest = (row.sha256, row.split, row.annotations and name_of(row.annotations), row.problem)
    return "\x1f".join([row.id, uri, row.caption, row.source, row.licence, *(text or "" for text in rest)]) + "\x1e"


def _root(settings: IngestSettings) -> str:
    """Returns the local folder that the source's own files are in, with a slash; empty if there is none."""
    if settings.source == BUILTIN or scheme_of(settings.source) not in ("", "file"):
        return ""
    found = source_list(settings)
    folder = Path(found).parent if found else Path(settings.source.removeprefix("file://")).expanduser().absolute()
    return f"{folder}{os.sep}"


def _write_ids(path: Path, hashes: list[Any]) -> None:
    joined = np.concatenate(hashes)
    hashes.clear()
    order = np.argsort(joined, kind="stable")
    known = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint64, shape=(2, len(joined)))
    known[0], known[1] = joined[order], order
    known.flush()


def _read_manifest(folder: Path) -> _Manifest | None:
    """Returns what a listing says of itself; None where there is none.

    Raises:
        ElysiumError: If it is damaged.
    """
    try:
        manifest = _Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ElysiumError(_damaged(folder, f"{_MANIFEST} cannot be read")) from error
    for name, size in manifest.sizes.items():
        path = folder / name
        actual = path.stat().st_size if path.is_file() else 0
        if actual != size:
            raise ElysiumError(_damaged(folder, f"{name} has {actual} bytes instead of {size}"))
    return manifest


def _damaged(folder: Path, how: str) -> str:
    return f"the listing {folder} is damaged ({how}); delete that folder and run the same command again"


def _part_name(part: int) -> str:
    return f"part-{part:05d}.parquet"


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds a file for this process; the lock goes with the process, also on kill -9."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            logger.info("waiting for another process that lists the source")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
