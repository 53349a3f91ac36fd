"""The configuration tree: one section a concern, presets in YAML, overrides by `--set section.key=value`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from elysium.errors import UsageError

Part = Literal["vision", "selector", "projector", "llm"]
PHASES: tuple[str, ...] = ("warmup", "pretrain", "finetune")


class Section(BaseModel):
    """A part of the tree: unknown keys are errors, values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class IngestSettings(Section):
    """Where raw clips come from, and how many simulated ones the built-in source makes."""

    source: str = Field(
        "builtin", description="`builtin`, a folder, a CSV/JSONL of path-or-URL and caption, or s3://bucket/prefix"
    )
    num_simulated_train: int = Field(96, ge=0)
    num_simulated_evaluation: int = Field(24, ge=0)
    simulated_frames: int = Field(24, ge=2, description="frames of a simulated clip")
    simulated_side: int = Field(128, ge=32, description="pixels; simulated clips are square")
    s3_endpoint: str | None = Field(None, description="URL of an S3 server; None is AWS")
    max_clip_mib: int = Field(512, ge=1, description="a clip larger than this is refused")
    allow_private_hosts: bool = Field(False, description="lets URLs point to private addresses")


class RawQualitySettings(Section):
    """What the raw gate asks of clips."""

    min_clips: int = Field(1, ge=1)
    min_seconds: float = Field(0.5, gt=0)
    max_seconds: float = Field(600, gt=0)
    min_frame_rate: float = Field(1, gt=0)
    max_frame_rate: float = Field(240, gt=0)
    min_side: int = Field(32, ge=1, description="pixels")
    max_bad_share: float = Field(0.1, ge=0, le=1, description="share of clips that may fail a rule")


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
    evaluation_share: float = Field(0.34, ge=0, lt=1, description="share of each real video, its end, that is held out")


class TrackQualitySettings(Section):
    """What the tracks gate asks of records."""

    min_train_records: int = Field(8, ge=0)
    min_evaluation_records: int = Field(2, ge=0)
    min_box_side: float = Field(0.01, ge=0, lt=1)
    min_words: int = Field(1, ge=1)
    max_words: int = Field(20, ge=1)
    max_reject_share: float = Field(0.98, gt=0, le=1, description="of all candidates, for all reasons together")
    max_reason_share: float = Field(0.95, gt=0, le=1, description="of all candidates, for any one reason")


class SnapshotSettings(Section):
    """Where data versions are kept."""

    remote: str | None = Field(None, description="folder or s3://…; None is `dvc-remote` beside the runs")
    s3_endpoint: str | None = None


class VisionSettings(Section):
    """The visual encoder. Where weights are named, sizes that a preset states are checked against them."""

    weights: str | None = Field(None, description="folder or hub id of pre-trained weights; None starts anew")
    model_type: str = Field("clip_vision_model", description="as in transformers' config.json")
    image_size: int = Field(64, ge=8)
    patch_size: int = Field(8, ge=1)
    hidden_size: int = Field(96, ge=8)
    intermediate_size: int | None = Field(None, ge=8, description="None is four times hidden_size")
    num_hidden_layers: int = Field(4, ge=2)
    num_attention_heads: int = Field(4, ge=1)
    feature_layer: int = Field(-2, description="whose hidden states are used; -2 is the paper's")
    normalisation: Literal["clip", "siglip", "imagenet"] = Field("clip", description="mean and deviation of pixels")
    config: dict[str, Any] = Field({}, description="more of the architecture's own configuration")


class LlmSettings(Section):
    """The language model. Where weights are named, sizes that a preset states are checked against them."""

    weights: str | None = Field(None, description="folder or hub id of pre-trained weights; None starts anew")
    tokenizer: str | None = Field(None, description="folder or hub id; None is the weights' own, or the nano tokenizer")
    model_type: str = Field("llama", description="as in transformers' config.json")
    vocab_size: int | None = Field(None, ge=2, description="None is as many as the tokenizer needs")
    hidden_size: int = Field(160, ge=8)
    intermediate_size: int | None = Field(None, ge=8, description="None is four times hidden_size")
    num_hidden_layers: int = Field(5, ge=1)
    num_attention_heads: int = Field(4, ge=1)
    num_key_value_heads: int | None = Field(None, ge=1, description="None is as many as num_attention_heads")
    max_position_embeddings: int = Field(1024, ge=64)
    tie_word_embeddings: bool = False
    config: dict[str, Any] = Field(
        # Weights of a few hundred rows: with the usual 0.02 of wide models, attention starts uniform and stays so long.
        {"initializer_range": 0.08},
        description="more of the architecture's own configuration",
    )


class ModelSettings(Section):
    """The model that training starts from."""

    init_from: str | None = Field(
        None,
        description="a checkpoint to start from: a folder, or `nano`, which Elysium carries; None builds one of the "
        "parts below",
    )
    vision: VisionSettings = VisionSettings()
    llm: LlmSettings = LlmSettings()
    selector: Literal["gated", "mixed", "strided", "concat", "cross_attention", "none"] = "gated"
    num_visual_tokens: int = Field(
        12, ge=1, description="kept of each frame's patches; 12 of 64 is the paper's 108/576"
    )
    share_visual_tokens: bool = Field(False, description="one budget for a clip's frames, spent where it is needed")
    position_ids: Literal["packed", "grid"] = Field("packed", description="grid keeps each token's place in its frame")
    coordinate_scale: int = Field(100, ge=10)
    coordinate_maximum: int = Field(99, ge=9)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        size, patch = self.vision.image_size, self.vision.patch_size
        if size % patch:
            raise ValueError(f"vision.image_size {size} is not a multiple of vision.patch_size {patch}")
        patches = (size // patch) ** 2
        if self.num_visual_tokens > patches:
            raise ValueError(f"num_visual_tokens {self.num_visual_tokens} exceeds the {patches} patches of a frame")
        if self.share_visual_tokens and self.selector != "gated":
            raise ValueError(f"share_visual_tokens needs the selector gated, got {self.selector}")
        for name, part in (("vision", self.vision), ("llm", self.llm)):
            if part.hidden_size % part.num_attention_heads:
                raise ValueError(
                    f"{name}.hidden_size {part.hidden_size} is not a multiple of {name}.num_attention_heads "
                    f"{part.num_attention_heads}"
                )
        if self.coordinate_maximum > self.coordinate_scale:
            raise ValueError(
                f"coordinate_maximum {self.coordinate_maximum} exceeds coordinate_scale {self.coordinate_scale}"
            )
        return self


class Schedule(Section):
    """How long and how fast something is trained."""

    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    batch_size: int = Field(16, ge=1, description="samples that a process takes at once")
    global_batch_size: int | None = Field(
        None,
        ge=1,
        description="samples of a step over all processes: what they do not take at once is accumulated; None is one "
        "batch a process",
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(
        0, description="what DeepSpeed divides among processes: 1 the optimiser's state, 2 gradients too, 3 weights too"
    )
    offload: Literal["none", "optimizer", "all"] = Field(
        "none", description="what is held on the CPU instead of the GPU: the optimiser's state, or the weights too"
    )
    activation_checkpointing: bool = Field(
        False, description="compute layers again in the backward pass, for a third more computing and far less memory"
    )
    loader_workers: int = Field(0, ge=0, description="that make batches in the background, for each process")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="decay of AdamW's second moment")
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_loss_jump: float = Field(
        10.0,
        gt=1,
        description="a loss so many times the median of the last steps (or 0.1, if that is more) stops the phase",
    )
    logging_steps: int = Field(10, ge=1)
    save_steps: int = Field(50, ge=1, description="a resumable checkpoint every so many steps")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="what is computed in; weights stay float32; auto is bfloat16 on a GPU and float32 on a CPU"
    )
    compile: bool = Field(False, description="compile the model first, which takes a while; a CPU needs a C++ compiler")

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        least = {"none": 0, "optimizer": 1, "all": 3}[self.offload]
        if self.zero_stage < least:
            raise ValueError(
                f"offload={self.offload} needs zero_stage {least} or more, got {self.zero_stage}: it is DeepSpeed that "
                "moves what it divides"
            )
        if self.zero_stage and self.compile:
            raise ValueError(f"compile cannot be together with zero_stage={self.zero_stage}; set one of them off")
        return self


class TowerSettings(Schedule):
    """Teaching a vision tower by itself, on frames of simulated clips of its own (docs/training.md)."""

    steps: int = Field(6000, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    batch_size: int = Field(64, ge=1)
    adam_beta2: float = Field(0.98, gt=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    logging_steps: int = Field(100, ge=1)
    save_steps: int = Field(500, ge=1)
    num_clips: int = Field(8000, ge=1)
    num_held_out_clips: int = Field(100, ge=1)
    clip_frames: int = Field(24, ge=2)
    clip_interval: int = Field(3, ge=1, description="every so many frames of a clip are shown")
    coordinate_deviation: float = Field(1.5, gt=0, description="of a box side's target, in hundredths of the frame")


class TailSettings(Section):
    """How a phase ends: more steps, with a schedule of their own. What is not said here is as in the phase."""

    steps: int = Field(ge=1)
    learning_rate: float | None = Field(None, gt=0)
    learning_rates: dict[Part, float] | None = None
    mixture: dict[str, float] | None = None
    batch_size: int | None = Field(None, ge=1)
    global_batch_size: int | None = Field(None, ge=1)
    clip_frames: tuple[int, int] | None = None
    clip_interval: tuple[int, int] | None = None
    num_visual_tokens: int | None = Field(None, ge=1)


class PhaseSettings(Schedule):
    """One training phase (PROTOCOL §4)."""

    trains: tuple[Part, ...] = ("vision", "selector", "projector", "llm")
    mixture: dict[str, float] = Field(description="weights of the tasks: sot, rsot, rec, reg, video-reg, vqa")
    clip_frames: tuple[int, int] = Field((2, 8), description="fewest and most frames of a clip, drawn uniformly")
    clip_interval: tuple[int, int] = Field((1, 60), description="smallest and largest interval, drawn uniformly")
    questions: int = Field(1, ge=1, description="asked about each set of frames; they share it, unseen by each other")
    coordinate_smoothing: float = Field(
        0.0, ge=0, description="standard deviation of a coordinate's target, in steps of the box text; 0 is exact"
    )
    history_noise: float = Field(
        0.0,
        ge=0,
        description="how far the boxes of earlier frames, as the model reads them, drift from the truth a frame: "
        "standard deviation in steps of the box text; 0 shows it the truth",
    )
    camera_motion: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of samples that are seen by a camera which moves on, so that objects are cut off, leave and "
        "come back; where an object is gone, the model learns to be sure of no box",
    )
    num_visual_tokens: int | None = Field(None, ge=1, description="kept of each frame; None is the model's own")
    learning_rates: dict[Part, float] = Field({}, description="of parts that do not learn at learning_rate")
    tail: TailSettings | None = Field(
        None, description="more steps at the end, of longer clips, say (paper: 32 frames)"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        from elysium.prompts import Task

        known = {task.value for task in Task}
        for name, weight in self.mixture.items():
            if name not in known:
                raise ValueError(f"mixture names the task {name!r}; the tasks are {', '.join(sorted(known))}")
            if weight < 0:
                raise ValueError(f"mixture gives {name!r} the weight {weight}; a weight is 0 or more")
        if not sum(self.mixture.values()) > 0:
            raise ValueError("mixture has no task with a weight above 0")
        if not self.trains:
            raise ValueError("trains is empty: name at least one of vision, selector, projector, llm")
        for part, rate in self.learning_rates.items():
            if part not in self.trains:
                raise ValueError(
                    f"learning_rates names {part}, which the phase does not train; trains has {self.trains}"
                )
            if not rate > 0:
                raise ValueError(
                    f"learning_rates gives {part} {rate}; a rate is above 0, and what is not to learn is "
                    "left out of trains"
                )
        if self.camera_motion and not self.coordinate_smoothing:
            raise ValueError(
                f"camera_motion={self.camera_motion} needs coordinate_smoothing above 0: only a loss that knows "
                "numbers can teach that none of them is likely"
            )
        for name in ("clip_frames", "clip_interval"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name} needs 1 <= fewest <= most, got {[low, high]}")
        if self.tail is not None:
            self.parts()
        return self

    def parts(self) -> tuple[PhaseSettings, ...]:
        """Returns the phase without its tail, and the tail as a phase of its own if there is one."""
        whole = self.model_dump(exclude={"tail"})
        tails = [] if self.tail is None else [{**whole, **self.tail.model_dump(exclude_none=True)}]
        return tuple(PhaseSettings.model_validate(part) for part in [whole, *tails])


class TrainingSettings(Section):
    """The three phases, what may come before them, and what they share."""

    tower: TowerSettings = TowerSettings()
    warmup: PhaseSettings
    pretrain: PhaseSettings
    finetune: PhaseSettings
    threads: int = Field(2, ge=1, description="CPU threads of torch")


class EvaluateSettings(Section):
    """What is measured, and on how much of it."""

    clip_frames: int = Field(8, ge=2, description="frames asked about at once; neighbouring clips share one")
    max_frames: int = Field(16, ge=2, description="frames of an evaluation sequence")
    max_sequences: int = Field(40, ge=1, description="sequences a task; the first ones by id")
    batch_size: int = Field(16, ge=1)
    bootstrap_samples: int = Field(2000, ge=100)


class PromoteSettings(Section):
    """Which policy decides."""

    policy: str | None = Field(None, description="a YAML file; None is the project's mlflow/promotion.yaml")


class RegistrySettings(Section):
    """The MLflow server."""

    tracking_uri: str | None = Field(None, description="None is a SQLite file `mlflow/mlflow.db` beside the runs")
    experiment: str = "elysium"
    model_name: str = "elysium"


class CheckpointSettings(Section):
    """Where the state of training outlives its machine; no step's result depends on it."""

    mirror: str | None = Field(
        None, description="a folder or s3://bucket/prefix that resumable checkpoints are copied to and fetched from"
    )
    s3_endpoint: str | None = Field(None, description="URL of the mirror's S3 server; None is AWS")


class Settings(Section):
    """All settings of a run.

    Example:
        >>> load_settings("nano", ["training.finetune.steps=3"]).training.finetune.steps
        3
    """

    seed: int = Field(7, ge=0, description="seeds training, sampling and bootstrap; the simulated clips have their own")
    ingest: IngestSettings = IngestSettings()
    validate_raw: RawQualitySettings = RawQualitySettings()
    curate: CurateSettings = CurateSettings()
    validate_tracks: TrackQualitySettings = TrackQualitySettings()
    snapshot: SnapshotSettings = SnapshotSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings
    evaluate: EvaluateSettings = EvaluateSettings()
    promote: PromoteSettings = PromoteSettings()
    registry: RegistrySettings = RegistrySettings()
    checkpoints: CheckpointSettings = CheckpointSettings()


def preset_names() -> list[str]:
    """Returns the names of the presets that the package carries."""
    folder = resources.files("elysium") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_settings(preset: str = "nano", overrides: Sequence[str] = ()) -> Settings:
    """Returns a preset's settings with overrides applied.

    Args:
        preset: Name of a preset, or the path of a YAML file of the same form.
        overrides: Each `section.key=value`; the value is read as YAML.

    Raises:
        UsageError: If the preset does not exist, or a key or value is not valid; the message names it and the
            nearest valid one.
    """
    return parse_settings(apply_overrides(_read_preset(preset), overrides))


def apply_overrides(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Returns `tree`, changed in place, with each `section.key=value` applied.

    Raises:
        UsageError: If an override is not of that form.
    """
    for override in overrides:
        _apply(tree, override)
    return tree


def parse_settings(tree: dict[str, Any]) -> Settings:
    """Returns `tree` as settings.

    Raises:
        UsageError: As `load_settings`.
    """
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise UsageError("; ".join(_explain(entry) for entry in error.errors())) from error


def _read_preset(preset: str) -> dict[str, Any]:
    if preset.endswith((".yaml", ".yml")):
        path = Path(preset)
        if not path.is_file():
            raise UsageError(f"the preset file {preset} does not exist")
        text = path.read_text(encoding="utf-8")
    elif preset in preset_names():
        text = (resources.files("elysium") / "presets" / f"{preset}.yaml").read_text(encoding="utf-8")
    else:
        raise UsageError(f"there is no preset {preset!r}{_nearest(preset, preset_names())}")
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"the preset {preset} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UsageError(f"the preset {preset} must be a mapping of sections, got {type(tree).__name__}")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    if not sign or not key.strip():
        raise UsageError(f"--set takes key=value, got {override!r}; for example training.finetune.steps=100")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"the value of --set {override!r} is not valid YAML: {error}") from error
    *sections, last = key.strip().split(".")
    for name in sections:
        child = tree.setdefault(name, {})
        if not isinstance(child, dict):
            raise UsageError(f"--set {override!r}: {name} is a value, not a section")
        tree = child
    tree[last] = value


def _explain(entry: Any) -> str:
    location = [part for part in entry["loc"] if isinstance(part, str)]
    where = ".".join(map(str, entry["loc"])) or "the settings"
    if entry["type"] == "extra_forbidden":
        section = _section(location[:-1])
        names = list(section.model_fields) if section else []
        return f"unknown setting {where!r}{_nearest(location[-1], names, location[:-1])}"
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "missing":
        return f"the setting {where} is missing"
    shown = entry["input"]
    return f"{where}: {message}" + ("" if isinstance(shown, dict) else f", got {shown!r}")


def _section(path: Sequence[str]) -> type[BaseModel] | None:
    model: type[BaseModel] = Settings
    for name in path:
        field = model.model_fields.get(name)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        model = field.annotation
    return model


def _nearest(name: str, names: Sequence[str], prefix: Sequence[str] = ()) -> str:
    if not names:
        return ""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {'.'.join([*prefix, close[0]])!r}?"
    return f"; valid here: {', '.join(names)}"
