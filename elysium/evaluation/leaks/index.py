"""What training data is known by, as columns of numbers: a few hundred bytes a clip, in files that are mapped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from elysium.evaluation.leaks.clips import Clip, VideoFrames
from elysium.evaluation.leaks.looking import Looks, digest

# Names and contents are digests, 0 where there is none; `clip` is the row of a clip.
CLIP = np.dtype([("video", "<u8"), ("simulated", "<u8"), ("content", "<u8"), ("start", "<f8"), ("end", "<f8")])
RECORD = np.dtype([("id", "<u8"), ("clip", "<u4")])
FRAME = np.dtype([("clip", "<u4"), ("number", "<u4"), ("file", "<u8"), ("hash", "<u8", (2,)), ("flat", "?")])
INFORMATION = "index.json"
_COLUMNS = {"clips": CLIP, "records": RECORD, "frames": FRAME, "names": np.dtype("u1"), "ends": np.dtype("<i8")}
_SMALL = 1 << 20  # bytes of a file that is read rather than mapped

Columns = npt.NDArray[Any]


@dataclass(frozen=True)
class TrainingIndex:
    """Training clips, their records' ids and some of their frames.

    Attributes:
        dataset: That ids and videos belong to; None is any.
        clips: One row a clip: records that show the same frames are one.
        records: One row a record.
        frames: One row a frame that was looked at.
        names: Ids of the clips' first records, one after the other, as bytes.
        ends: Where each of these ends.
        num_unread: Clips whose frames could not be read, and that are known by name only.
    """

    dataset: str | None
    clips: Columns
    records: Columns
    frames: Columns
    names: Columns
    ends: Columns
    num_unread: int = 0

    def name(self, row: int) -> str:
        """Returns the id of a clip's first record."""
        begin = int(self.ends[row - 1]) if row else 0
        return bytes(self.names[begin : int(self.ends[row])]).decode()

    def save(self, folder: Path) -> None:
        """Writes the columns into a new folder."""
        folder.mkdir(parents=True)
        for name in _COLUMNS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        information = {"dataset": self.dataset, "num_unread": self.num_unread}
        (folder / INFORMATION).write_text(json.dumps(information) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TrainingIndex:
        """Returns what was saved; large columns stay in the file until they are looked at."""
        columns = {}
        for name in _COLUMNS:
            path = folder / f"{name}.npy"
            columns[name] = np.load(path, mmap_mode="r" if path.stat().st_size > _SMALL else None)
        return cls(**columns, **json.loads((folder / INFORMATION).read_text(encoding="utf-8")))

    @classmethod
    def join(cls, parts: Sequence[TrainingIndex]) -> TrainingIndex:
        """Returns the parts as one; their rows are numbered through already."""
        columns: dict[str, Columns] = {
            name: np.concatenate([np.zeros(0, kind), *(getattr(part, name) for part in parts)])
            for name, kind in _COLUMNS.items()
        }
        lengths = [len(part.names) for part in parts]
        shifts = np.repeat(np.cumsum([0, *lengths])[:-1], [len(part.ends) for part in parts])
        columns["ends"] = columns["ends"] + shifts
        dataset = parts[0].dataset if parts else None
        return cls(**columns, dataset=dataset, num_unread=sum(part.num_unread for part in parts))


@dataclass(frozen=True)
class Batch:
    """Some of the training clips.

    Attributes:
        first: Row of the first one.
        clips: Those that were not met before.
        records: The rows of `RECORD` that came with them, also of clips before.
    """

    first: int
    clips: list[Clip]
    records: Columns

    def columns(self, frames: Columns, num_unread: int = 0) -> TrainingIndex:
        """Returns the part of the index that the batch makes.

        Args:
            frames: As of the index.
            num_unread: Likewise.
        """
        facts = [(digest(clip.video), digest(clip.simulated), digest(clip.content), *clip.span) for clip in self.clips]
        names = [clip.id.encode() for clip in self.clips]
        return TrainingIndex(
            dataset=self.clips[0].dataset if self.clips else None,
            clips=np.array(facts, dtype=CLIP),
            records=self.records,
            frames=frames,
            names=np.frombuffer(b"".join(names), dtype="u1"),
            ends=np.cumsum([len(name) for name in names], dtype="<i8"),
            num_unread=num_unread,
        )


def batches(clips: Iterable[Clip], size: int) -> Iterator[Batch]:
    """Yields clips, so many at a time; records of the same frames become one clip.

    Holds about 100 bytes a clip.
    """
    rows: dict[int, int] = {}
    fresh: list[Clip] = []
    records: list[tuple[int, int]] = []
    first = 0
    for clip in clips:
        key = frames_key(clip)
        row = rows.setdefault(key, first + len(fresh))
        if row == first + len(fresh):
            fresh.append(clip)
        records.append((digest(clip.id), row))
        if len(fresh) == size:
            yield Batch(first, fresh, np.array(records, dtype=RECORD))
            first, fresh, records = first + size, [], []
    if records:
        yield Batch(first, fresh, np.array(records, dtype=RECORD))


def frames_key(clip: Clip) -> int:
    """Returns what is equal for clips of the same frame files; another number for each that has none."""
    if isinstance(clip.frames, VideoFrames):
        return digest(f"{clip.frames.path}\n{clip.frames.record.timestamps}")
    if all(isinstance(frame, str | Path) for frame in clip.frames):
        return digest("\n".join(map(str, clip.frames)))
    return digest(f"id {clip.id}")


def frame_rows(row: int, looks: Looks) -> Columns:
    """Returns the rows of a clip's frames."""
    rows = np.zeros(len(looks.numbers), dtype=FRAME)
    rows["clip"], rows["number"], rows["file"] = row, looks.numbers, looks.files
    rows["hash"], rows["flat"] = looks.hashes, looks.flat
    return rows
