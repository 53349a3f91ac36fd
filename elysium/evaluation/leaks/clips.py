"""The clips of both sides, whatever they come from: names they go by, and frames that are read when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from elysium.data.pictures import Image
from elysium.data.records import TrackRecord, read_jsonl
from elysium.data.stored_frames import split_name
from elysium.errors import UsageError

if TYPE_CHECKING:
    from elysium.data.sets.schema import SetRecord

Frame = str | Path | Image | Callable[[], Image]


@dataclass(frozen=True)
class VideoFrames:
    """The frames of a record that has a video file; nothing is read yet.

    Attributes:
        record: With the video.
        root: What its path is relative to.
    """

    record: SetRecord
    root: str

    @property
    def path(self) -> Path:
        """The video file."""
        return Path(self.root) / str(self.record.video)

    def count(self) -> int:
        """Returns how many frames there are; as `elysium.data.sets.frames.count_frames`."""
        from elysium.data.sets.frames import count_frames

        return count_frames(self.record, self.root)

    def read(self, chosen: Sequence[int]) -> list[Image]:
        """Returns some of them; as `elysium.data.sets.frames.read_frames`."""
        from elysium.data.sets.frames import read_frames

        return read_frames(self.record, self.root, chosen)


@dataclass(frozen=True)
class Clip:
    """A sequence, a picture or a video that a model is measured on, or was trained on.

    Attributes:
        id: Of the record, the sequence or the question; messages name it.
        video: Name of what the frames are of. Several clips may share it. None where the set gives none, or one that
            means nothing elsewhere.
        frames: In time order: picture files, arrays of shape `(height, width, 3)`, uint8, RGB, or functions that return
            one; or those of a video file.
        dataset: Name of the set that `id` and `video` belong to: the same name in another set is another thing. None
            is any set.
        simulated: Name of the simulated clip, which may be on one side only; None for real video.
        content: SHA-256 of the source video file, if known.
        span: First and last moment of the clip in that file, in seconds.
    """

    id: str
    video: str | None
    frames: Sequence[Frame] | VideoFrames
    dataset: str | None = None
    simulated: str | None = None
    content: str | None = None
    span: tuple[float, float] = (0.0, 0.0)


def of_track(record: TrackRecord, folder: Path) -> Clip:
    """Returns the clip of a track record.

    Args:
        record: The record.
        folder: What its frame paths are relative to.
    """
    metadata = record.metadata
    return Clip(
        id=record.id,
        video=record.vid,
        frames=[folder / name for name in record.frames],
        simulated=metadata.clip if metadata.kind == "simulated" else None,
        content=metadata.content_sha256,
        span=(min(metadata.timestamps), max(metadata.timestamps)),
    )


def of_set_record(record: SetRecord, root: str) -> Clip:
    """Returns the clip of an imported record; its video is named by the video's or picture's file, or their folder.

    Args:
        record: The record.
        root: What its paths are relative to; `SetReader.root`.
    """
    if record.video is not None:
        return Clip(record.id, PurePosixPath(record.video).stem, VideoFrames(record, root), record.dataset)
    file, number = split_name(record.frames[0])
    name = file.stem if len(record.frames) == 1 or number is not None else file.parent.name
    return Clip(record.id, name or None, [Path(root) / frame for frame in record.frames], record.dataset)


def training_clips(source: Path, root: str | None = None) -> Iterator[Clip]:
    """Yields what was trained on, record by record, without holding it in memory.

    Args:
        source: A snapshot's data folder with `train.jsonl`, or the folder or file of an import.
        root: Where an import's pictures are, if not where they were then.

    Raises:
        UsageError: If it is neither.
        ElysiumError: If it is damaged.
    """
    kind, path = find_list(source)
    if kind == "tracks":
        for record in read_jsonl(path, TrackRecord):
            yield of_track(record, path.parent)
    else:
        from elysium.data.sets.store import SetReader

        records = SetReader(path, root)
        for found in records:
            yield of_set_record(found, records.root)


def find_list(source: Path) -> tuple[str, Path]:
    """Returns `tracks` or `set`, and the file that lists the records.

    Raises:
        UsageError: If there is none.
    """
    from elysium.data.sets.store import DATA

    for kind, path in (("tracks", source / "train.jsonl"), ("set", source / DATA), ("set", source)):
        if path.is_file():
            return kind, path
    raise UsageError(
        f"{source} is no training data: a folder with train.jsonl (RUN/snapshot/data) or {DATA} (an import) is needed"
    )
