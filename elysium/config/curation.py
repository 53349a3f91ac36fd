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

    # Models: whose weights find and follow, where they run, and how sure they are.
    device: str = Field("auto", description="of the models, as torch names it; `auto` is the first GPU, or the CPU")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="that the models compute in; `auto` is bfloat16 on a GPU and float32 on a CPU"
    )
    grounder_model: str = Field(
        "IDEA-Research/grounding-dino-base",
        description="Grounding DINO's weights: a folder, or NAME or NAME@REVISION on the Hugging Face hub",
    )
    grounder_batch: int = Field(8, ge=1, description="frames that pass the grounder at once")
    grounder_side: int = Field(
        800, ge=32, description="pixels that a frame's shorter side is scaled to; the longer one is at most 5/3 of it"
    )
    grounder_score: Literal["max", "mean"] = Field(
        "max", description="how the scores of a phrase's tokens become its confidence; `grounding_confidence` is in it"
    )
    grounder_floor: float = Field(0.1, ge=0, le=1, description="confidence below which nothing is recorded")
    grounder_nms: float = Field(
        0.7, gt=0, le=1, description="IoU from which two boxes of one phrase are one detection, the surer one"
    )
    tracker_model: str = Field(
        "facebook/sam2.1-hiera-large",
        description="SAM 2's weights: a folder, or NAME or NAME@REVISION on the Hugging Face hub",
    )
    tracker_batch: int = Field(8, ge=1, description="frames that pass SAM 2's image encoder at once")
    tracker_score: Literal["product", "object"] = Field(
        "product", description="SAM 2's confidence: its object score, times the IoU that it predicts or alone"
    )
    tracker_command: str = Field(
        "", description="of the tracker `command`, with {frames}, {box} and {output}, which stand for files and a box"
    )
    tracker_timeout: float = Field(600.0, gt=0, description="seconds that `tracker_command` may take for one object")
