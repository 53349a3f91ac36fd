"""What tracking gives, frame by frame, and what it reads: the plain data between sources, engine and writers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import supervision

Image = npt.NDArray[np.uint8]
PixelBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class SourceFrame:
    """One frame of a source.

    Attributes:
        index: Number of the frame in the video itself, from 0; with a stride or a range not every number comes.
        timestamp: Presentation time in seconds.
        image: Shape `(height, width, 3)`, uint8, RGB, upright.
    """

    index: int
    timestamp: float
    image: Image


@dataclass(frozen=True)
class SourceInfo:
    """What is known of a source before its frames are read.

    Attributes:
        name: What result files are called after, without suffix.
        frame_rate: Frames a second that will come, stride included.
        num_frames: How many will come, as far as the file tells; None where nobody knows.
        live: Whether frames come at their own pace and late ones are dropped.
    """

    name: str
    frame_rate: float
    num_frames: int | None
    live: bool = False


class Source(Protocol):
    """Frames from a file, a folder, a camera or a stream: the seam between the engine and where video comes from."""

    @property
    def info(self) -> SourceInfo:
        """What is known before reading."""

    def __iter__(self) -> Iterator[SourceFrame]:
        """Yields the frames in order, once; memory does not grow with their number.

        Raises:
            VideoError: If a frame cannot be decoded; the message names it. The frames before have been yielded.
        """

    def close(self) -> None:
        """Lets go of files, threads and connections; may be called at any time and twice."""


@dataclass(frozen=True)
class TrackedObject:
    """One object in one frame.

    Attributes:
        id: Of the object, from 1, the same in all frames.
        label: Its expression; `object N` for one given by a box alone.
        box: `(x1, y1, x2, y2)` in pixels of the frame as shown; None where the object is said to be absent.
        confidence: In [0, 1], the model's own for this box; 1 for a box that was given.
        visible: False where the object is said to be absent.
    """

    id: int
    label: str
    box: PixelBox | None
    confidence: float
    visible: bool = True


@dataclass(frozen=True)
class FrameResult:
    """All objects of one frame.

    Attributes:
        frame: Number of the frame in the video itself, from 0.
        timestamp: Presentation time in seconds.
        size: Width and height in pixels.
        objects: In order of their ids.
        image: The frame, where it was asked for.
    """

    frame: int
    timestamp: float
    size: tuple[int, int]
    objects: tuple[TrackedObject, ...]
    image: Image | None = None

    def as_lines(self) -> list[dict[str, Any]]:
        """Returns one plain object per tracked object, the lines of the JSONL format.

        Example:
            >>> found = TrackedObject(1, "a red car", (10.0, 20.0, 30.5, 40.0), 0.91)
            >>> FrameResult(7, 0.28, (640, 360), (found,)).as_lines()[0]["box"]
            [10.0, 20.0, 30.5, 40.0]
        """
        return [
            {
                "frame": self.frame,
                "timestamp": round(self.timestamp, 6),
                "object": found.id,
                "label": found.label,
                "box": None if found.box is None else [round(value, 2) for value in found.box],
                "confidence": round(found.confidence, 4),
                "visible": found.visible,
            }
            for found in self.objects
        ]

    def to_detections(self) -> supervision.Detections:
        """Returns the visible objects as `supervision.Detections`: boxes, confidence, tracker ids, labels in `data`."""
        import supervision

        shown = [found for found in self.objects if found.box is not None]
        return supervision.Detections(
            xyxy=np.array([found.box for found in shown], dtype=np.float32).reshape(-1, 4),
            confidence=np.array([found.confidence for found in shown], dtype=np.float32),
            class_id=np.zeros(len(shown), dtype=int),
            tracker_id=np.array([found.id for found in shown], dtype=int),
            data={"class_name": np.array([found.label for found in shown], dtype=str)},
        )
