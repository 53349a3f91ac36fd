"""What curation says of each clip: the records that were kept, and for every rejected candidate why."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from elysium.data.records import TrackRecord

Stage = Literal["decode", "shots", "chunk", "grounding", "tracking", "drift", "agreement", "size"]

# In the order a candidate passes them, and what each asks, for people.
STAGES: dict[Stage, str] = {
    "decode": "the clip can be read",
    "shots": "the shot is long enough",
    "chunk": "the noun names one visible thing",
    "grounding": "found on first, middle and last frame, once and only once on the first",
    "tracking": "followed with confidence on every frame",
    "drift": "the box never jumps",
    "agreement": "track and grounding agree on middle and last frame",
    "size": "the box is large enough on every frame",
}


class Reject(BaseModel):
    """One line of `rejects.jsonl`: a candidate that was dropped, and the number that decided.

    Attributes:
        clip: The raw clip's id.
        shot: The frame sequence's id, as records name it in `vid`; None where the whole clip or caption is meant.
        expression: The noun chunk; None where no single one is meant.
        stage: Which filter dropped it.
        reason: What was wrong, one of few words.
        value: The number that decided.
        threshold: The bound it missed.
        detail: What more there is to say to a person, for example the error of an unreadable clip.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip: str
    shot: str | None
    expression: str | None
    stage: Stage
    reason: str
    value: float | None
    threshold: float | None
    detail: str = ""


class ClipOutcome(BaseModel):
    """All that curation found in one clip.

    Attributes:
        clip: The raw clip's id.
        num_shots: Shots between scene cuts.
        num_pieces: Frame sequences that were searched.
        num_chunks: Noun chunks of the caption.
        records: What was kept, in the order of frame sequences and chunks.
        rejects: What was dropped, in the order of stages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip: str
    num_shots: int
    num_pieces: int
    num_chunks: int
    records: list[TrackRecord]
    rejects: list[Reject]
