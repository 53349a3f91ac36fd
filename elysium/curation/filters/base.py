"""What a filter is: a name, what it looks at, and a verdict with the number that decided.

A candidate is a noun chunk of a caption in one piece of video. On its way it meets filters at seven levels, in this
order: `caption` (once a video), `chunk` (once a noun chunk), `piece` (once a piece of video), `first` (what the
grounder found on the first frame), `later` (on middle and last frame), `track`, and `kept` (beside the other
candidates of the piece that are still there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from elysium.curation.protocols import Chunk, Detection, Frame, Track
from elysium.data.records import Split

if TYPE_CHECKING:
    from elysium.curation.filters.views import Views

Level = Literal["caption", "chunk", "piece", "first", "later", "track", "kept"]


@dataclass(frozen=True)
class Verdict:
    """What one filter says of one subject.

    Attributes:
        filter: The filter's name.
        passed: Whether the subject goes on.
        reason: What was wrong, one of few words; empty if it passed.
        value: The number that decided, also of a subject that passed; None where there is none.
        threshold: The bound that it was held against.
        detail: What more there is to say to a person.
    """

    filter: str
    passed: bool
    reason: str = ""
    value: float | None = None
    threshold: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class ChunkSubject:
    """A noun chunk, and the chunks of the same caption that come before it."""

    chunk: Chunk
    before: tuple[Chunk, ...] = ()


@dataclass(frozen=True)
class PieceSubject:
    """A piece of video as the models would see it: frames in time order, RGB, of one size."""

    frames: Sequence[Frame]

    @cached_property
    def views(self) -> Views:
        """The frames made small, once for all filters."""
        from elysium.curation.filters.views import Views

        return Views([frame.image for frame in self.frames])


@dataclass(frozen=True)
class FoundSubject:
    """What the grounder found for one chunk.

    Attributes:
        chunk: The chunk.
        first: All detections on the first frame, the most confident first.
        middle: On the middle frame; None at level `first`.
        last: On the last frame; None at level `first`.
        more: On other frames, by their position in the piece, where `check_frames` asks for more than three.
        others: The first-frame detections of the piece's other candidates, by chunk text.
        known: Whether the grounder could find such an object at all.
        split: Which side of the train/evaluation border the piece lies on; None if that is not decided.
    """

    chunk: Chunk
    first: Sequence[Detection]
    middle: Sequence[Detection] | None = None
    last: Sequence[Detection] | None = None
    more: Mapping[int, Sequence[Detection]] = field(default_factory=dict)
    others: Mapping[str, tuple[Chunk, Sequence[Detection]]] = field(default_factory=dict)
    known: bool = True
    split: Split | None = None


@dataclass(frozen=True)
class TrackSubject:
    """A candidate with its track; `others` are the tracks of the piece's other candidates, at level `kept` only."""

    found: FoundSubject
    track: Track
    others: Mapping[str, tuple[Chunk, Track]] = field(default_factory=dict)
