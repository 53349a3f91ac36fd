"""What is followed, and what comes of it: targets, options, states and results of `Tracker`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elysium.boxes import FloatArray
from elysium.errors import UsageError
from elysium.inference.results import FrameResult, PixelBox, Source


@dataclass(frozen=True)
class Target:
    """An object to follow: a box, an expression, or a box with the name it is to be shown under.

    Attributes:
        box: `(x1, y1, x2, y2)` in pixels of the first frame.
        expression: The object's name.
        every: Follows every object that the expression fits, not only one.
    """

    box: PixelBox | None = None
    expression: str | None = None
    every: bool = False

    def __post_init__(self) -> None:
        if self.box is None and not (self.expression and self.expression.strip()):
            raise UsageError("a target needs a box or an expression, got neither")
        if self.every and (self.box is not None or not self.expression):
            raise UsageError(f"following every object needs an expression and no box, got {self}")
        if self.box is not None:
            x1, y1, x2, y2 = self.box
            if not (all(map(math.isfinite, self.box)) and x1 < x2 and y1 < y2):
                raise UsageError(f"a box is X1,Y1,X2,Y2 in pixels with X1 < X2 and Y1 < Y2, got {list(self.box)}")


@dataclass(frozen=True)
class TrackOptions:
    """What goes beyond the paper; all of it is off by default.

    Attributes:
        absent_below: A box of less confidence is not given: the object is said to be absent. Objects with an
            expression are looked for in every frame by itself, see `elysium.inference.presence`.
        zoom_below: Objects smaller than this share of the frame's sides get a second look at a crop in full size.
        max_every: Most objects that one expression is followed for, where every one is.
        max_videos: Videos that are read at once.
        keep_images: Whether results carry the frames.
    """

    absent_below: float | None = None
    zoom_below: float | None = None
    max_every: int = 8
    max_videos: int = 16
    keep_images: bool = False

    def __post_init__(self) -> None:
        for name in ("absent_below", "zoom_below"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise UsageError(f"{name} lies between 0 and 1, got {value}")
        for name in ("max_every", "max_videos"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class ObjectState:
    """Where following one object stands.

    Attributes:
        id: From 1.
        label: What it is shown as.
        expression: Its name, where it has one.
        box: Its last box, normalised; None before there is one.
        lost: Whether it was absent in the last frame.
    """

    id: int
    label: str
    expression: str | None
    box: tuple[float, float, float, float] | None
    lost: bool = False


@dataclass(frozen=True)
class TrackState:
    """Where following a video stands: enough to go on from.

    Attributes:
        frame: The last frame that is done; None before the first.
        objects: What is followed.
    """

    frame: int | None
    objects: tuple[ObjectState, ...]

    def as_json(self) -> dict[str, Any]:
        """Returns plain data that `from_json` reads back exactly."""
        return {"frame": self.frame, "objects": [vars(entry) for entry in self.objects]}

    @staticmethod
    def from_json(data: dict[str, Any]) -> TrackState:
        """Returns the state that `as_json` wrote."""
        objects = [dict(entry) for entry in data["objects"]]
        for entry in objects:
            entry["box"] = None if entry["box"] is None else tuple(entry["box"])
        return TrackState(data["frame"], tuple(ObjectState(**entry) for entry in objects))


@dataclass(eq=False)
class VideoTask:
    """One video and what to follow in it.

    Attributes:
        source: Frames; with a state to go on from, its first frame is the state's.
        targets: At least one.
        state: Where an earlier run stopped.
    """

    source: Source
    targets: Sequence[Target]
    state: TrackState | None = None


@dataclass(frozen=True)
class ClipResult:
    """The new frames of one clip.

    Attributes:
        task: Of which video.
        frames: Results, in order.
        normalised: Of each object, box `(4,)` and confidence in each frame; NaN where it is said to be absent.
        state: Where following stands after them.
    """

    task: VideoTask
    frames: list[FrameResult]
    normalised: list[list[tuple[FloatArray, float]]]
    state: TrackState


@dataclass(frozen=True)
class VideoEnd:
    """A video has been followed to its end, or as far as it can be read.

    Attributes:
        task: Of which video.
        error: What cut it short; the frames before have been yielded.
    """

    task: VideoTask
    error: Exception | None
