"""The seams of curation: who names objects, who finds them and who follows them, whatever is installed (DESIGN §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray
from elysium.errors import ElysiumError


@dataclass(frozen=True)
class Frame:
    """One frame of a source video.

    Attributes:
        image: Shape `(h, w, 3)`, uint8, RGB.
        index: Position in the source video in decoding order, from 0; frames that were not sampled count too.
        timestamp: Presentation time in seconds.
    """

    image: npt.NDArray[np.uint8]
    index: int
    timestamp: float


@dataclass(frozen=True)
class Chunk:
    """One noun chunk of a caption.

    Attributes:
        text: As it is asked for and recorded, its first letter lower case unless it is a name or an abbreviation.
        head: The noun that says what it is, lower case.
        words: All words, lower case.
    """

    text: str
    head: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Detection:
    """One place where a phrase was found.

    Attributes:
        phrase: The phrase, as it was asked for.
        box: Normalised `(x1, y1, x2, y2)` in [0, 1].
        confidence: In [0, 1].
    """

    phrase: str
    box: tuple[float, float, float, float]
    confidence: float


@dataclass(frozen=True)
class Track:
    """One object through a sequence of frames.

    Attributes:
        boxes: Shape `(T, 4)`, normalised `(x1, y1, x2, y2)` in [0, 1]; zeros where the object was lost.
        confidence: Shape `(T,)`, in [0, 1].
    """

    boxes: FloatArray
    confidence: FloatArray


@dataclass(frozen=True)
class Query:
    """One frame, and what is looked for in it.

    Attributes:
        frame: The frame.
        phrases: Noun chunks of one caption, each once.
    """

    frame: Frame
    phrases: tuple[str, ...]


class Chunker(Protocol):
    """Names the objects of a caption."""

    def chunk(self, caption: str) -> list[Chunk]:
        """Returns the noun chunks of `caption` in its order, also those that later filters drop."""


class Grounder(Protocol):
    """Finds objects by name in one frame."""

    def knows(self, phrase: str) -> bool:
        """Returns whether such an object could be found at all."""

    def ground(self, frame: Frame, phrases: Sequence[str]) -> list[Detection]:
        """Returns every detection of any of the phrases, the most confident first for each phrase."""


class Tracker(Protocol):
    """Follows an object from a box."""

    def track(self, frames: Sequence[Frame], box: Sequence[float]) -> Track:
        """Returns the track of the object that `box` (normalised, `(4,)`) shows in the first of `frames`."""


@runtime_checkable
class BatchGrounder(Grounder, Protocol):
    """A grounder that is faster with several frames at once."""

    def ground_batch(self, queries: Sequence[Query]) -> list[list[Detection]]:
        """Returns what `ground` would for each query; how many pass the model at once is the grounder's matter."""


@runtime_checkable
class MultiTracker(Tracker, Protocol):
    """A tracker that is faster with several objects of one clip at once."""

    def track_objects(self, frames: Sequence[Frame], boxes: Sequence[Sequence[float]]) -> list[Track]:
        """Returns what `track` would for each box."""


def ground_all(grounder: Grounder, queries: Sequence[Query]) -> list[list[Detection]]:
    """Returns the detections of each query, all at once where the grounder can; one without phrases costs nothing."""
    asked = [query for query in queries if query.phrases]
    if isinstance(grounder, BatchGrounder):
        found = grounder.ground_batch(asked) if asked else []
    else:
        found = [grounder.ground(query.frame, query.phrases) for query in asked]
    if len(found) != len(asked):
        raise ElysiumError(f"the grounder answered {len(found)} of {len(asked)} queries")
    answers = iter(found)
    return [next(answers) if query.phrases else [] for query in queries]


def track_all(tracker: Tracker, frames: Sequence[Frame], boxes: Sequence[Sequence[float]]) -> list[Track]:
    """Returns the track of each box of the first frame, all at once where the tracker can."""
    if not boxes:
        return []
    if isinstance(tracker, MultiTracker):
        tracks = tracker.track_objects(frames, boxes)
    else:
        tracks = [tracker.track(frames, box) for box in boxes]
    if len(tracks) != len(boxes):
        raise ElysiumError(f"the tracker gave {len(tracks)} tracks for {len(boxes)} boxes")
    return [_checked(track, len(frames)) for track in tracks]


def _checked(track: Track, num_frames: int) -> Track:
    """Returns a track that is one: whoever wrote the tracker, its mistakes end here and with a name."""
    boxes, confidence = np.asarray(track.boxes, dtype=np.float64), np.asarray(track.confidence, dtype=np.float64)
    if boxes.shape != (num_frames, 4) or confidence.shape != (num_frames,):
        raise ElysiumError(
            f"a track of {num_frames} frames has boxes of shape ({num_frames}, 4) and a confidence of shape "
            f"({num_frames},), the tracker gave {boxes.shape} and {confidence.shape}"
        )
    if not (np.isfinite(boxes).all() and np.isfinite(confidence).all()):
        raise ElysiumError("the tracker gave a box or a confidence that is not finite; a lost object has zeros")
    return Track(np.clip(boxes, 0.0, 1.0), np.clip(confidence, 0.0, 1.0))
