"""Shards: a part of the source's videos whose results are published at once, and stay what they are.

```
work/00012/003.json          rows of a finished block, while the shard is worked on
work/00012/media/…           frames of its kept tracks
frames/00012/<vid>/…         the same, once the shard is published (or clips/00012/<vid>.mp4)
shards/00012/ledger.parquet  one outcome a video
shards/00012/evidence.parquet, records.parquet, rejects.parquet, manifest.json
```
The folder below `shards/` appears last, by one rename: it says that the shard is done. Equal videos, settings and
versions give equal bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from elysium.config import CurateSettings
from elysium.curation.blocks import Block
from elysium.curation.dataset.media import media_place
from elysium.curation.evidence import VideoRow
from elysium.curation.outcome import Reject
from elysium.curation.results import LedgerRow, failed_stage, ledger_row, records_of, rejects_of
from elysium.curation.sources.tasks import VideoTask
from elysium.curation.summary import Counts
from elysium.curation.tables import LEDGER, RECORDS, REJECTS, read_rows, write_rows
from elysium.pipeline.workspace import sha256, write_atomic

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
WORK = "work"
SHARDS = "shards"
_ROWS = TypeAdapter(list[VideoRow])


class MediaEntry(BaseModel):
    """Frames of one piece: how many files, their bytes, and a checksum over all of them in order of name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: int
    bytes: int
    sha256: str


class ShardManifest(BaseModel):
    """What a published shard consists of.

    Attributes:
        shard: Its number.
        counts: What became of its videos.
        files: Bytes and SHA-256 of each file beside the manifest.
        media: By name of the piece.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shard: int
    counts: Counts
    files: dict[str, tuple[int, str]]
    media: dict[str, MediaEntry]


class ShardStore:
    """The shards of one curation.

    Attributes:
        root: Folder of the curation.
        settings: Its settings.
    """

    def __init__(self, root: Path, settings: CurateSettings) -> None:
        self.root, self.settings = root, settings

    def published(self) -> list[int]:
        """Returns the numbers of all shards that are there, whole or not."""
        folder = self.root / SHARDS
        return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()) if folder.is_dir() else []

    def has_work(self) -> bool:
        """Returns whether anything is finished, be it one block."""
        return bool(self.published()) or next((self.root / WORK).glob("*/*.json"), None) is not None

    def is_whole(self, shard: int) -> bool:
        """Returns whether a shard is published and none of its tables was cut short; `damage` looks closer."""
        manifest = self.manifest(shard)
        if manifest is None:
            return False
        folder = self.folder(shard)
        for name, (size, _) in manifest.files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                logger.warning("%s is damaged (%s): the shard is made again", folder, name)
                return False
        return True

    def damage(self, shard: int, *, checksums: bool = False) -> str | None:
        """Returns what is wrong with a published shard or its frames, None if nothing is."""
        manifest = self.manifest(shard)
        if manifest is None:
            return f"shard {shard}: it has no manifest"
        for name, (size, digest) in manifest.files.items():
            path = self.folder(shard) / name
            if not path.is_file() or path.stat().st_size != size or (checksums and sha256(path) != digest):
                return f"{path} is missing or not what was written"
        media = self.placed(shard)
        for vid, entry in manifest.media.items():
            found = media_entry(_media_files(media, vid), checksum=checksums)
            if found != (entry if checksums else entry.model_copy(update={"sha256": ""})):
                return f"the frames of {vid} in {media} are missing or not what was written"
        return None

    def manifest(self, shard: int) -> ShardManifest | None:
        """Returns a shard's manifest, None if it is not there or cannot be read."""
        try:
            return ShardManifest.model_validate_json((self.folder(shard) / MANIFEST).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValidationError):
            return None

    def folder(self, shard: int) -> Path:
        """Returns where a shard is published."""
        return self.root / SHARDS / f"{shard:05d}"

    def work(self, shard: int) -> Path:
        """Returns where a shard is worked on."""
        return self.root / WORK / f"{shard:05d}"

    def media(self, shard: int) -> Path:
        """Returns where a shard's frames go while it is worked on: a folder that is laid out as the root is."""
        return self.work(shard) / "media"

    def placed(self, shard: int) -> Path:
        """Returns where a published shard's frames are."""
        return self.root / media_place(shard, self.settings)

    def _settled(self, shard: int) -> Path:
        """Returns where the same are while it is worked on."""
        return self.media(shard) / media_place(shard, self.settings)

    def begin(self, shard: int) -> None:
        """Makes a shard's place, and clears what a killed publishing or a damaged shard left."""
        shutil.rmtree(self.folder(shard), ignore_errors=True)
        shutil.rmtree(self._unpublished(shard), ignore_errors=True)
        placed = self.placed(shard)
        if placed.is_dir():
            # Killed between the two renames of publishing: the frames are whole, only in the other place.
            if self.work(shard).is_dir() and not self._settled(shard).exists():
                self._settled(shard).parent.mkdir(parents=True, exist_ok=True)
                placed.rename(self._settled(shard))
            else:
                shutil.rmtree(placed)
        self._settled(shard).mkdir(parents=True, exist_ok=True)

    def write_block(self, block: Block, rows: Sequence[VideoRow]) -> None:
        """Writes a finished block down; its frames have been written before."""
        write_atomic(self._block(block), _ROWS.dump_json(list(rows)).decode())

    def read_block(self, block: Block) -> list[VideoRow] | None:
        """Returns a block's rows if an earlier attempt finished it and its frames are there."""
        try:
            rows = _ROWS.validate_json(self._block(block).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        stored = [piece.vid for row in rows for piece in row.pieces if piece.stored is not None]
        if not all(_media_files(self._settled(block.shard), vid) for vid in stored):
            return None
        return rows

    def reopen(self, shard: int, blocks: Sequence[Block]) -> bool:
        """Takes a published shard back into work if a video of it could not be fetched; its other blocks stay done."""
        rows = list(self.evidence(shard))
        if not any(_not_fetched(row) for row in rows):
            return False
        for block in blocks:
            own, rows = rows[: len(block.tasks)], rows[len(block.tasks) :]
            if not any(_not_fetched(row) for row in own):
                self.write_block(block, own)
        self.folder(shard).rename(self._unpublished(shard))
        return True

    def forget(self, shard: int, kinds: Container[str]) -> None:
        """Removes blocks of an unfinished shard in which fetching failed in one of some ways: they are done again."""
        for path, rows in self.unfinished_blocks(shard):
            if any(_not_fetched(row) and row.kind in kinds for row in rows):
                path.unlink()

    def publish(self, shard: int, tasks: Sequence[VideoTask], rows: Sequence[VideoRow]) -> ShardManifest:
        """Makes a shard's tables and puts them and its frames in their place.

        Args:
            shard: Its number.
            tasks: Its videos.
            rows: What was found in each.

        Raises:
            OSError: If they cannot be written; the same call later ends well.
        """
        folder = self._unpublished(shard)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        records = [
            (task, record)
            for task, row in zip(tasks, rows, strict=True)
            for record in records_of(task, row, shard, self.settings)
        ]
        ledger = [ledger_row(task, row) for task, row in zip(tasks, rows, strict=True)]
        rejects = [reject for row in rows for reject in rejects_of(row)]
        counts = Counts()
        counts.add_videos(ledger)
        for reject in rejects:
            counts.add_reject(reject)
        for _, record in records:
            counts.add_record(record)
        looks = {piece.vid: piece.looks for row in rows for piece in row.pieces}
        write_rows(folder / "ledger.parquet", LEDGER, [row.model_dump() for row in ledger])
        write_rows(
            folder / "evidence.parquet",
            {"number": "int64", "id": "string", "evidence": "string"},
            [
                {"number": task.number, "id": task.id, "evidence": row.model_dump_json(exclude_defaults=True)}
                for task, row in zip(tasks, rows, strict=True)
            ],
        )
        write_rows(
            folder / "records.parquet",
            RECORDS,
            [
                {
                    "number": task.number,
                    "id": record.id,
                    "vid": record.vid,
                    "sha256": record.metadata.content_sha256,
                    "split": record.metadata.split,
                    "looks": looks[record.vid],
                    "record": record.model_dump_json(),
                }
                for task, record in records
            ],
        )
        write_rows(folder / "rejects.parquet", REJECTS, [reject.model_dump() for reject in rejects])
        manifest = ShardManifest(
            shard=shard,
            counts=counts,
            files={path.name: (path.stat().st_size, sha256(path)) for path in sorted(folder.iterdir())},
            media=self._settle_media(shard, rows),
        )
        write_atomic(folder / MANIFEST, manifest.model_dump_json())
        placed = self.placed(shard)
        placed.parent.mkdir(parents=True, exist_ok=True)
        self._settled(shard).rename(placed)
        folder.rename(self.folder(shard))
        shutil.rmtree(self.work(shard), ignore_errors=True)
        return manifest

    def unfinished_blocks(self, shard: int) -> Iterator[tuple[Path, list[VideoRow]]]:
        """Yields the blocks that are finished of a shard that is not, with their files."""
        for path in sorted(self.work(shard).glob("[0-9]*.json")):
            try:
                yield path, _ROWS.validate_json(path.read_bytes())
            except (FileNotFoundError, ValidationError):
                continue  # the shard was published meanwhile, or the machine died while writing

    def unfinished(self, shard: int) -> Iterator[VideoRow]:
        """Yields what was found so far in the videos of a shard that is not published."""
        for _, rows in self.unfinished_blocks(shard):
            yield from rows

    def count(self, shard: int, rows: Sequence[VideoRow]) -> Counts:
        """Returns the counts of some videos of a shard."""
        counts = Counts()
        for row in rows:
            task = VideoTask(number=0, id=row.id, uri="", caption=row.caption, source="")
            counts.add_videos([ledger_row(task, row)])
            for reject in rejects_of(row):
                counts.add_reject(reject)
            for record in records_of(task, row, shard, self.settings):
                counts.add_record(record)
        return counts

    def ledger(self, shard: int) -> list[LedgerRow]:
        """Returns the outcomes of a published shard's videos, in order."""
        return [LedgerRow.model_validate(row) for row in read_rows(self.folder(shard) / "ledger.parquet")]

    def evidence(self, shard: int) -> Iterator[VideoRow]:
        """Yields what was found in each video of a published shard, in order."""
        for row in read_rows(self.folder(shard) / "evidence.parquet"):
            yield VideoRow.model_validate_json(row["evidence"])

    def records(self, shard: int, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Returns the rows of a published shard's table of records."""
        return list(read_rows(self.folder(shard) / "records.parquet", columns))

    def rejects(self, shard: int) -> Iterator[Reject]:
        """Yields what was dropped in a published shard."""
        for row in read_rows(self.folder(shard) / "rejects.parquet"):
            yield Reject.model_validate(row)

    def _settle_media(self, shard: int, rows: Sequence[VideoRow]) -> dict[str, MediaEntry]:
        """Removes frames that no row names, and returns what the others consist of."""
        stored = {piece.vid for row in rows for piece in row.pieces if piece.stored is not None}
        media = self._settled(shard)
        for path in list(media.iterdir()):
            if path.name.partition(".")[0] not in stored or path.name.endswith(".tmp"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return {vid: media_entry(_media_files(media, vid)) for vid in sorted(stored)}

    def _unpublished(self, shard: int) -> Path:
        return self.root / SHARDS / f".{shard:05d}.tmp"

    def _block(self, block: Block) -> Path:
        return self.work(block.shard) / f"{block.number:03d}.json"


def _not_fetched(row: VideoRow) -> bool:
    return bool(row.error) and failed_stage(row) == "fetch"


def media_entry(files: Sequence[Path], *, checksum: bool = True) -> MediaEntry:
    """Returns what some files consist of; without a checksum only their sizes are looked at."""
    digest = hashlib.sha256()
    for path in files if checksum else ():
        digest.update(path.read_bytes())
    return MediaEntry(
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
        sha256=digest.hexdigest() if checksum else "",
    )


def _media_files(media: Path, vid: str) -> list[Path]:
    folder = media / vid
    if folder.is_dir():
        return [Path(entry.path) for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)]
    clip = media / f"{vid}.mp4"
    return [clip] if clip.is_file() else []
