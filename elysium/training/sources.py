"""Where training samples come from: a run's own track records, and imported data sets, seen as scenes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from elysium.boxes import BoxCodec, FloatArray
from elysium.config import PhaseSettings, TrainingSettings
from elysium.config.training import OWN_TRACKS
from elysium.data.records import TrackRecord, read_jsonl
from elysium.data.sets.store import ROW_GROUP, SetReader
from elysium.data.stored_frames import read_all_stored
from elysium.errors import ElysiumError, UsageError
from elysium.model.frames import resize_frame
from elysium.training.camera import mean_background

if TYPE_CHECKING:
    from elysium.data.sets.schema import SetRecord

Frames = npt.NDArray[np.uint8]
# Of decoded and resized frames that a process keeps: a few thousand clips of nano's.
_KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class Thing:
    """An object that can be asked for.

    Attributes:
        expression: Names it uniquely in the scene's first frames.
        boxes: Normalised, shape `(T, 4)`; not a number where the object is absent.
    """

    expression: str
    boxes: FloatArray


@dataclass(frozen=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Scene:
    """What a record shows and says.

    Attributes:
        name: For messages.
        num_frames: None where only the video tells.
        things: Objects.
        turns: A conversation.
        leads: Whether the first object is the one that the record is about; else it is about all of them alike.
        moves: Whether a moving camera may be played on it.
    """

    name: str
    num_frames: int | None
    things: tuple[Thing, ...] = ()
    turns: tuple[Turn, ...] = ()
    leads: bool = False
    moves: bool = False


class Source(Protocol):
    """Scenes by number, and their frames."""

    @property
    def name(self) -> str:
        """Of the data set."""

    @property
    def codec(self) -> BoxCodec | None:
        """How boxes in the text of turns are written; None where there are none."""

    @property
    def group(self) -> int:
        """How many scenes are read at a time."""

    @property
    def skips(self) -> bool:
        """Whether a scene whose frames cannot be read may be passed over."""

    def __len__(self) -> int: ...

    def scene(self, number: int) -> Scene:
        """Returns a scene."""

    def count(self, number: int) -> int:
        """Returns how many frames a scene has."""

    def frames(self, number: int, chosen: Sequence[int]) -> Frames:
        """Returns some of a scene's frames, `(T, side, side, 3)`.

        Raises:
            ElysiumError: If one cannot be read.
        """

    def background(self, number: int) -> Frames:
        """Returns what a scene that moves shows where no object is, `(side, side, 3)`."""


class TrackSource:
    """A run's own track records (`train.jsonl`), each with those of the same frames.

    Args:
        folder: With `train.jsonl` and the frames that it names.
        side: Pixels that frames are resized to when they are read.

    Raises:
        ElysiumError: If the folder has no training record.
    """

    name = OWN_TRACKS
    codec = None
    group = 1
    # What the snapshot's gate has let pass is whole, or was damaged since.
    skips = False

    def __init__(self, folder: Path, side: int) -> None:
        self._folder = folder
        self._side = side
        self._records = list(read_jsonl(folder / "train.jsonl", TrackRecord))
        self._things = [Thing(record.object_description, np.array(record.box)) for record in self._records]
        self._siblings: dict[tuple[str, ...], list[int]] = {}
        for number, record in enumerate(self._records):
            self._siblings.setdefault(tuple(record.frames), []).append(number)
        self._kept = _KeptFrames(_KEPT_BYTES)

    def __len__(self) -> int:
        return len(self._records)

    def scene(self, number: int) -> Scene:
        """Returns a record's scene; its own object comes first."""
        record = self._records[number]
        others = (other for other in self._siblings[tuple(record.frames)] if other != number)
        things = tuple(self._things[index] for index in (number, *others))
        return Scene(record.id, len(record.frames), things, leads=True, moves=True)

    def count(self, number: int) -> int:
        """Returns how many frames a record has."""
        return len(self._records[number].frames)

    def frames(self, number: int, chosen: Sequence[int]) -> Frames:
        """Returns some of a record's frames."""
        names = self._records[number].frames
        return np.stack(self._kept.take([names[frame] for frame in chosen], self._read))

    def background(self, number: int) -> Frames:
        """Returns the mean of what the frames show outside of all objects' boxes."""
        siblings = self._siblings[tuple(self._records[number].frames)]
        boxes = np.array([self._things[sibling].boxes for sibling in siblings])
        return mean_background(self.frames(number, range(self.count(number))), boxes)

    def _read(self, names: Sequence[str]) -> list[Frames]:
        try:
            frames = read_all_stored([self._folder / name for name in names])
        except OSError as error:
            raise ElysiumError(f"a frame of {self._folder / names[0]} cannot be read: {error}") from error
        return [resize_frame(frame, self._side) for frame in frames]


class SetSource:
    """A data set that `elysium data import` wrote.

    Args:
        name: Of the set in the mixture.
        folder: Of the import.
        side: Pixels that frames are resized to when they are read.
        root: Where pictures and videos are, if not where they were at the import.

    Raises:
        ElysiumError: If there is no import in the folder.
    """

    skips = True
    group = ROW_GROUP

    def __init__(self, name: str, folder: Path, side: int, root: str | None = None) -> None:
        self.name = name
        self._side = side
        self._records = SetReader(folder, root)
        self.codec: BoxCodec | None = self._records.codec

    def __len__(self) -> int:
        return len(self._records)

    def scene(self, number: int) -> Scene:
        """Returns a record's scene."""
        record = self._records[number]
        count = len(record.frames) or len(record.timestamps) or None
        # What is never there cannot be asked for.
        known = (thing for thing in record.objects if any(thing.boxes))
        things = tuple(Thing(thing.expression, _boxes(thing.boxes)) for thing in known)
        turns = tuple(Turn(turn.question, turn.answer) for turn in record.turns)
        return Scene(f"{record.id} of {self.name}", count, things, turns)

    def count(self, number: int) -> int:
        """Returns how many frames a record has; reads its video's packets where nothing else tells."""
        from elysium.data.sets.frames import count_frames

        return count_frames(self._records[number], self._records.root)

    def frames(self, number: int, chosen: Sequence[int]) -> Frames:
        """Returns some of a record's frames."""
        from elysium.data.sets.frames import read_frames

        record: SetRecord = self._records[number]
        return np.stack(
            [resize_frame(frame, self._side) for frame in read_frames(record, self._records.root, list(chosen))]
        )

    def background(self, number: int) -> Frames:
        """Is of no scene here: none moves."""
        raise ElysiumError(f"{self.name} has no scene that a moving camera may be played on, and {number} was asked")


class _KeptFrames:
    """Frames that were read before, as many as a size allows; the oldest in use go first."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: OrderedDict[str, Frames] = OrderedDict()
        self._bytes = 0

    def take(self, names: Sequence[str], read: Callable[[Sequence[str]], list[Frames]]) -> list[Frames]:
        """Returns frames by name; those that are not here are read together: a clip of several is opened once."""
        missing = [name for name in dict.fromkeys(names) if name not in self._held]
        if missing:
            self._held.update(zip(missing, fresh := read(missing), strict=True))
            self._bytes += sum(frame.nbytes for frame in fresh)
        for name in names:
            self._held.move_to_end(name)
        found = [self._held[name] for name in names]
        while self._bytes > self._most and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return found


def open_sources(data: Path | None, phase: PhaseSettings, training: TrainingSettings, side: int) -> list[Source]:
    """Opens the data sets that a phase's samples come from, in the order of their names.

    Args:
        data: Folder with the run's own track records; None if the phase has no use for them.
        phase: Whose `sets` name them.
        training: Says where imports are.
        side: Pixels that frames are resized to.

    Raises:
        UsageError: If the phase learns from the run's own tracks, and there is no folder.
        ElysiumError: If a set is missing or damaged, or there is no training record.
    """
    names = sorted(name for name, weight in phase.sets.items() if weight > 0)
    if data is None and OWN_TRACKS in names:
        raise UsageError(
            f"the phase learns from {OWN_TRACKS} too: name their folder with --data, e.g. RUN/snapshot/data"
        )
    return [
        TrackSource(data, side)
        if data is not None and name == OWN_TRACKS
        else SetSource(name, Path(training.sets_folder) / name, side, training.image_roots.get(name))
        for name in names
    ]


def _boxes(boxes: Sequence[Sequence[float] | None]) -> FloatArray:
    absent = (np.nan,) * 4
    return np.array([absent if box is None else box for box in boxes], dtype=np.float64)
