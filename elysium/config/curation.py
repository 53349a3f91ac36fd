"""Settings of ElysiumTrack generation: its parts, its filters, and what it writes (PROTOCOL §6)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from elysium.config.section import Section

# Every filter of `elysium.curation.filters.registry`, in its order.
_FILTERS = (
    "empty",
    "not_english",
    "negated",
    "plural_word",
    "virtual_word",
    "place_word",
    "mass_word",
    "bare_word",
    "proper_name",
    "repeated",
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
        2.0, ge=0, le=255, description="grey levels by which the most changing part of the frame changes at least"
    )
    max_bars: float = Field(0.03, ge=0, lt=1, description="share of the frame that black bars may cover")
    max_text: float = Field(0.004, ge=0, le=1, description="share of the frame that overlaid text may cover")
    text_contrast: int = Field(
        40, ge=1, le=255, description="grey levels by which overlaid text differs from what is around it"
    )
    # Pieces.
    scene_threshold: float = Field(
        27.0, gt=0, le=254, description="mean HSV change between frames that is called a cut"
    )
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
    # How the work is divided
    shard_videos: int = Field(
        256, ge=1, description="videos of a shard: what is published at once, and what one machine does alone"
    )
    batch_videos: int = Field(8, ge=1, description="videos of a block: what a crash costs at most")
    batch_pieces: int = Field(4, ge=1, description="pieces of a block that the models see together")
    # Language: what a caption says.
    spacy_model: str = Field(
        "en_core_web_sm", min_length=1, description="package or folder of the pipeline that the chunker `spacy` uses"
    )
    min_english: float = Field(
        0.5, ge=0, le=1, description="share of its words that a caption needs in English; 0 lets every language pass"
    )
    # What a source video may ask of this machine.
    max_seconds: float = Field(600, gt=0, description="a longer video is not decoded")
    max_pixels: int = Field(7680 * 4320, ge=1024, description="a video of larger frames is not decoded")

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

    # The data set as a whole.
    duplicate_bits: int = Field(
        12,
        ge=-1,
        le=20,
        description="bits of 128 in which frames of near-duplicate videos differ at most; the later one is left out; "
        "-1 keeps all",
    )
    sheet_tracks: int = Field(100, ge=0, description="tracks on the contact sheet; 0 makes none")
