"""What the stages of curation found in one video, as it is stored: enough to replay any stage alone."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from elysium.data.records import Split

DIGITS = 6  # of coordinates, confidences and times: below a hundredth of a pixel, and free of float noise

Box = tuple[float, float, float, float]


class Row(BaseModel):
    """A part of the evidence: unknown fields are errors, nothing is changed after it was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VerdictRow(Row):
    """`filters.base.Verdict`, stored."""

    filter: str
    passed: bool
    reason: str = ""
    value: float | None = None
    threshold: float | None = None
    detail: str = ""


class ChunkRow(Row):
    """A noun chunk and what the filters of words said of it."""

    text: str
    head: str
    words: tuple[str, ...]
    verdicts: list[VerdictRow] = []


class FoundRow(Row):
    """One detection."""

    box: Box
    confidence: float


class TrackRow(Row):
    """A track: a box and a confidence for each frame of the piece."""

    boxes: list[Box]
    confidence: list[float]


class CandidateRow(Row):
    """One noun chunk in one piece.

    Attributes:
        text: The chunk's text.
        known: Whether the grounder could find such an object at all.
        first: Detections on the first frame; None if they were not asked for, because a filter said no before.
        middle: On the middle frame.
        last: On the last frame.
        more: On other frames, by their position in the piece; empty unless `check_frames` asks for more than three.
        track: What the tracker gave.
        verdicts: Of the filters, in the order they were asked; the last one is the only one that may have failed.
    """

    text: str
    known: bool = True
    first: list[FoundRow] | None = None
    middle: list[FoundRow] | None = None
    last: list[FoundRow] | None = None
    more: dict[int, list[FoundRow]] = {}
    track: TrackRow | None = None
    verdicts: list[VerdictRow] = []

    @property
    def kept(self) -> bool:
        """Whether every filter said yes, and the tracker was asked."""
        return self.track is not None and all(verdict.passed for verdict in self.verdicts)


class PieceRow(Row):
    """A piece of video: frames of one shot, and what was found in them.

    Attributes:
        vid: Id of the frame sequence, as records name it.
        shot: Number of the shot in its video, from 0.
        split: Which side of the train/evaluation border it lies on.
        indices: Source frame numbers, in time order.
        timestamps: Presentation times in seconds, one a frame.
        size: `(width, height)` of the frames that the models saw.
        looks: Perceptual hashes of some frames, 32 hexadecimal digits each, for finding near-duplicates; of pieces of
            which something was kept.
        verdicts: Of the filters that look at the piece alone.
        candidates: Empty if one of those said no.
        stored: `(width, height)` of the frames that were stored; None if nothing was kept.
    """

    vid: str
    shot: int
    split: Split
    indices: list[int]
    timestamps: list[float]
    size: tuple[int, int]
    looks: list[str] = []
    verdicts: list[VerdictRow] = []
    candidates: list[CandidateRow] = []
    stored: tuple[int, int] | None = None


class VideoRow(Row):
    """All that was found in one video.

    Attributes:
        id: The video's id in the source.
        caption: Its caption.
        sha256: Of the file's bytes; empty if it was never fetched.
        decoder: Name and version of what decoded it; empty if it was never fetched.
        verdicts: Of the filters of captions.
        chunks: Noun chunks of the caption.
        num_shots: Shots between scene cuts.
        pieces: In time order.
        error: Why the video could not be read or finished; empty if it was.
        kind: Of the error, one of few words.
    """

    id: str
    caption: str
    sha256: str = ""
    decoder: str = ""
    verdicts: list[VerdictRow] = []
    chunks: list[ChunkRow] = []
    num_shots: int = 0
    pieces: list[PieceRow] = []
    error: str = ""
    kind: str = ""
