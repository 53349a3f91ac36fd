"""The configuration tree: one section a concern, presets in YAML, overrides by `--set section.key=value`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, PositiveInt, ValidationError

from elysium.config.curation import CurateSettings
from elysium.config.engine import EngineSettings
from elysium.config.model import LlmSettings, ModelSettings, VisionSettings
from elysium.config.section import Section
from elysium.config.training import PHASES, Part, PhaseSettings, Schedule, TailSettings, TowerSettings, TrainingSettings
from elysium.errors import UsageError

__all__ = [
    "PHASES",
    "CheckpointSettings",
    "CurateSettings",
    "EngineSettings",
    "EvaluateSettings",
    "IngestSettings",
    "LlmSettings",
    "ModelSettings",
    "Part",
    "PhaseSettings",
    "PromoteSettings",
    "RawQualitySettings",
    "RegistrySettings",
    "Schedule",
    "Section",
    "Settings",
    "SnapshotSettings",
    "TailSettings",
    "TowerSettings",
    "TrackQualitySettings",
    "TrainingSettings",
    "VisionSettings",
    "apply_overrides",
    "load_settings",
    "parse_settings",
    "preset_names",
]


class IngestSettings(Section):
    """Where raw clips come from, and how many simulated ones the built-in source makes."""

    source: str = Field(
        "builtin",
        description="`builtin`, a folder, a CSV/JSONL (or .gz) of path-or-URL and caption, a raw artifact's folder, or "
        "s3://bucket/prefix",
    )
    num_simulated_train: int = Field(96, ge=0)
    num_simulated_evaluation: int = Field(24, ge=0)
    simulated_frames: int = Field(24, ge=2, description="frames of a simulated clip")
    simulated_side: int = Field(128, ge=32, description="pixels; simulated clips are square")
    s3_endpoint: str | None = Field(None, description="URL of an S3 server; None is AWS")
    max_clip_mib: int = Field(512, ge=1, description="a clip larger than this is refused")
    allow_private_hosts: bool = Field(False, description="lets URLs point to private addresses")
    retries: int = Field(5, ge=0, description="further attempts at a transfer that failed in a way that passes")
    retry_seconds: float = Field(120, ge=0, description="after the first failure, within which an attempt may begin")
    transfer_seconds: float = Field(600, ge=0, description="that one file may take in all; 0 sets no limit")
    max_failures_in_a_row: int = Field(
        20, ge=1, description="videos whose servers fail one after the other, after which the run stops"
    )


class RawQualitySettings(Section):
    """What the raw gate asks of clips."""

    min_clips: int = Field(1, ge=1)
    min_seconds: float = Field(0.5, gt=0)
    max_seconds: float = Field(600, gt=0)
    min_frame_rate: float = Field(1, gt=0)
    max_frame_rate: float = Field(240, gt=0)
    min_side: int = Field(32, ge=1, description="pixels")
    max_bad_share: float = Field(0.1, ge=0, le=1, description="share of clips that may fail a rule")


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


class EvaluateSettings(Section):
    """What is measured, and on how much of it."""

    clip_frames: int = Field(8, ge=2, description="frames asked about at once; neighbouring clips share one")
    max_frames: int = Field(16, ge=2, description="frames of an evaluation sequence")
    max_sequences: int = Field(40, ge=1, description="sequences a task; the first ones by id")
    batch_size: int = Field(16, ge=1)
    bootstrap_samples: int = Field(2000, ge=100)
    baselines: tuple[Literal["static_box", "frame_by_frame", "csrt"], ...] = Field(
        ("static_box", "frame_by_frame", "csrt"), description="what is measured beside the model, where it applies"
    )
    caption_metrics: tuple[Literal["meteor", "cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"], ...] = Field(
        ("meteor", "cider"), description="of descriptions, beside exact match and head noun; METEOR needs Java"
    )
    device: str = Field("auto", description="as torch names it; auto is the first GPU, or the CPU")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    processes: PositiveInt | Literal["auto"] = Field(
        "auto", description="that share the items; auto is one for each GPU of the machine"
    )
    allow_leaks: bool = Field(False, description="measures also clips that are in training, and says so in the result")


class PromoteSettings(Section):
    """Which policy decides."""

    policy: str | None = Field(None, description="a YAML file; None is the project's mlflow/promotion.yaml")


class RegistrySettings(Section):
    """The MLflow server."""

    tracking_uri: str | None = Field(
        None, description="None is a server in MLFLOW_TRACKING_URI, else SQLite in `mlflow/mlflow.db` beside the runs"
    )
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
    engine: EngineSettings = EngineSettings()
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
