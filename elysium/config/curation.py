"""Settings of ElysiumTrack generation: its parts, its filters, and what it writes (PROTOCOL §6)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elysium.config.section import Section

# Every filter of `elysium.curation.filters.registry`, in its order.
_FILTERS = (
    "plural_word",
    "virtual_word",
    "length",
    "cut",
    "dissolve",
    "motion",
    "bars",
    "overlay",
    "vocabulary",
    "first_frame",
    "unique",
    "distinct",
    "middle_frame",
    "last_frame",
    "confidence",
    "drift",
    "agreement_middle",
    "agreement_last",
    "agreement",
    "tiny_box",
    "full_box",
    "one_expression",
)


class CurateSettings(Section):
    """Thresholds of ElysiumTrack generation (PROTOCOL §6); the defaults are the paper's."""

    # Parts.
    chunker: str = "spacy-rules"
    grounder: str = "opencv"
    tracker: str = "csrt"
    # Filters: which are asked, and their thresholds (`elysium.curation.filters`).
    filters: tuple[str, ...] = Field(
        _FILTERS, description="names of the filters that are asked; or with a minus each, those that are not"
    )
    grounding_confidence: float = Field(0.6, ge=0, le=1)
    tracking_confidence: float = Field(0.8, ge=0, le=1)
    min_iou: float = Field(0.3, ge=0, le=1)
    min_mean_iou: float = Field(
        0.55, ge=0, le=1, description="mean IoU of track and grounding on the searched frames after the first"
    )
    check_frames: int = Field(
        3,
        ge=3,
        le=32,
        description="frames of a piece that objects are searched on; the paper's three are always among them",
    )
    max_drift: float = Field(0.05, gt=0, lt=1, description="tail probability at which the Kalman gate calls a jump")
    min_box_side: float = Field(0.02, gt=0, lt=1, description="share of the frame's side")
    max_box_area: float = Field(0.9, gt=0, le=1, description="share of the frame that the median box may cover")
    unique_in: Literal["all", "evaluation"] = Field(
        "all", description="whose expressions must fit one object only on the first frame: all, or the evaluation split"
    )
    same_object_iou: float = Field(
        0.5,
        gt=0,
        le=1,
        description="IoU from which two expressions' boxes, or the mean from which their tracks, are one",
    )
    max_cut: float = Field(
        0.3, ge=0, le=2, description="drop of two neighbouring frames' correlation, less twice that of those around"
    )
    max_mixture: float = Field(
        0.65, ge=0, le=1, description="share of changed places at which a frame mixes an earlier and a later one alike"
    )
    min_motion: float = Field(
        3.0, ge=0, le=255, description="grey levels by which the most changing part of the frame changes at least"
    )
    max_bars: float = Field(0.03, ge=0, lt=1, description="share of the frame that black bars may cover")
    max_text: float = Field(0.004, ge=0, le=1, description="share of the frame that overlaid text may cover")
    text_contrast: float = Field(
        40.0, gt=0, le=255, description="grey levels by which overlaid text differs from what is around it"
    )
    # Pieces.
    scene_threshold: float = Field(27.0, gt=0, description="mean HSV change between frames that is called a cut")
    min_frames: int = Field(4, ge=2, description="frames that a track needs at least; shorter shots are dropped")
    max_frames: int = Field(64, ge=2, description="frames kept of a shot; longer shots are cut into several")
    frame_rate: float = Field(12.0, gt=0, description="frames a second that are kept of real clips")
    max_side: int = Field(384, ge=32, description="pixels; larger frames are scaled down before they are stored")
    split_by: Literal["video", "time"] = Field(
        "video",
        description="what is held out of real videos whose source names no split: some of them whole, told by their "
        "content; or the end of each shot, which looks like its beginning",
    )
    evaluation_share: float = Field(0.34, ge=0, lt=1, description="share of real videos, or of each, that is held out")
    evaluation_frames: int = Field(
        16, ge=2, description="frames kept of a held-out shot of real video; longer ones are cut into several"
    )
