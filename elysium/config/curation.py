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
    # How frames are stored, and how the data set is written.
    store: Literal["frames", "clips"] = Field(
        "frames", description="one JPEG a frame, or one H.264 file for all frames of a piece: a fifth of the bytes"
    )
    jpeg_quality: int = Field(95, ge=1, le=100)
    clip_crf: int = Field(18, ge=0, le=51, description="x264's constant rate factor; smaller is better and larger")
    clip_key_frames: int = Field(8, ge=1, description="frames from one key frame of a clip to the next")
    rows_per_file: int = Field(50_000, ge=1, description="records in one Parquet file of the data set")
    split_by: Literal["video", "time"] = Field(
        "video",
        description="what is held out of real videos whose source names no split: some of them whole, told by their "
        "content; or the end of each shot, which looks like its beginning",
    )
    evaluation_share: float = Field(
        0.34,
        ge=0,
        lt=1,
        description="share of real videos, or of each, that is held out; of very many videos choose one that gives a "
        "few times num_evaluation_videos: the rest go to train, cut into evaluation_frames",
    )
    num_evaluation_videos: int = Field(
        500, ge=0, description="videos that stay held out when the data set is published; the others go to train"
    )
    evaluation_frames: int = Field(
        16, ge=2, description="frames kept of a held-out shot of real video; longer ones are cut into several"
    )
