"""Settings of ElysiumTrack generation: its parts, its filters, and what it writes (PROTOCOL §6)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elysium.config.section import Section


class CurateSettings(Section):
    """Thresholds of ElysiumTrack generation (PROTOCOL §6); the defaults are the paper's."""

    chunker: str = "spacy-rules"
    grounder: str = "opencv"
    tracker: str = "csrt"
    grounding_confidence: float = Field(0.6, ge=0, le=1)
    tracking_confidence: float = Field(0.8, ge=0, le=1)
    min_iou: float = Field(0.3, ge=0, le=1)
    max_drift: float = Field(0.05, gt=0, lt=1, description="tail probability at which the Kalman gate calls a jump")
    min_box_side: float = Field(0.02, gt=0, lt=1, description="share of the frame's side")
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
    # Language: what a caption says.
    spacy_model: str = Field(
        "en_core_web_sm", min_length=1, description="package or folder of the pipeline that the chunker `spacy` uses"
    )
    min_english: float = Field(
        0.5, ge=0, le=1, description="share of its words that a caption needs in English; 0 lets every language pass"
    )
