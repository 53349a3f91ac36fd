"""What curation says of each clip: the records that were kept, and for every rejected candidate why."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Stage = Literal[
    "fetch",
    "decode",
    "models",
    "caption",
    "chunk",
    "shots",
    "grounding",
    "tracking",
    "drift",
    "agreement",
    "size",
    "kept",
    "dataset",
]

# In the order a video and its candidates pass them, and what each asks, for people.
STAGES: dict[Stage, str] = {
    "fetch": "the video can be had",
    "decode": "it can be read to its end",
    "models": "the parts work on it",
    "caption": "there is a caption, in English",
    "chunk": "the noun names one visible thing",
    "shots": "the piece is long enough and shows a scene that moves",
    "grounding": "found on first, middle and last frame, once and only once on the first",
    "tracking": "followed with confidence on every frame",
    "drift": "the box never jumps",
    "agreement": "track and grounding agree on middle and last frame",
    "size": "the box is neither tiny nor the whole frame",
    "kept": "no other expression is for the same object",
    "dataset": "no other video of the data set looks the same",
}

# A candidate is dropped at one of these; before them a video, a word of its caption or a whole piece was.
CANDIDATE_STAGES: tuple[Stage, ...] = ("grounding", "tracking", "drift", "agreement", "size", "kept", "dataset")


class Reject(BaseModel):
    """One line of `rejects.jsonl`: a candidate that was dropped, and the number that decided.

    Attributes:
        clip: The raw clip's id.
        shot: The frame sequence's id, as records name it in `vid`; None where the whole clip or caption is meant.
        expression: The noun chunk; None where no single one is meant.
        stage: Where it was dropped.
        filter: The name of the filter that did; empty where none did.
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
    filter: str = ""
    reason: str
    value: float | None
    threshold: float | None
    detail: str = ""
