"""What a plan of curation rests on: figures that were measured, published, given or assumed, each with its source."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from elysium.config import CurateSettings
from elysium.errors import ElysiumError, UsageError

Kind = Literal["measured", "cited", "given", "assumed"]

PAPER_PAIRS, PAPER_SECONDS = 1_270_000, 9.8  # kept pairs, and GPU-seconds for each (PROTOCOL §6)
WEBVID_VIDEOS, WEBVID_HOURS = 10_700_000, 52_000  # as its home page states them
# From benchmarks/results, on two cores of a Xeon; tests/curation/test_curation_plan.py holds them to the files.
# curation.json, milliseconds for a video with stand-ins: in the thread that decodes, and in the other one beside the
# models (scaling, JPEG, files, filters of tracks, and all that is left).
DECODE_MS, STORE_MS = 1156.33, 377.25
VIDEO_SECONDS, VIDEO_FRAMES, VIDEO_MEGABITS = 10, 120, 4.0  # of these videos
FRAME_KB = {"frames": 24.365, "clips": 5.605}  # stored_frames.json: JPEG of quality 95, H.264 of crf 18
RECORD_KB = (3_895_982_141 + 774_234_276) / PAPER_PAIRS / 1000  # track_records.json: a line, and its row in Parquet
LIST_SECONDS = 170.366 / 10_000_000  # curation_listing.json, a video
PUBLISH_SECONDS = 0.282e-3  # curation.json, a record
PER_PAIR, PER_SECOND, PER_SECOND_OF_CORE = "GPU-s a pair", "GPU-s a second of video", "core-s a second of video"
_XEON = "720p, 4 Mbit/s, a core of a Xeon, benchmarks/results/curation.json"


@dataclass(frozen=True)
class Figure:
    """One number that a plan rests on.

    Attributes:
        value: In `unit`.
        unit: As people read it.
        kind: How it is known.
        source: Where from.
    """

    value: float
    unit: str
    kind: Kind
    source: str


@dataclass(frozen=True)
class Basis:
    """The figures of a plan.

    Attributes:
        seconds_per_video: That are decoded.
        pairs_per_video: That are kept.
        models: GPU-seconds of grounding and tracking, for a second of video or for a kept pair: see its unit.
        decoding: Core-seconds for a second of video.
        storing: Core-seconds for a kept pair.
        bit_rate: Of the videos.
        size: Of what is stored for a kept pair.
    """

    seconds_per_video: Figure
    pairs_per_video: Figure
    models: Figure
    decoding: Figure
    storing: Figure
    bit_rate: Figure
    size: Figure

    def gpu_seconds_per_video(self) -> float:
        """Returns what the models take for a video, in seconds of a GPU."""
        of = self.pairs_per_video if self.models.unit == PER_PAIR else self.seconds_per_video
        return self.models.value * of.value


def published(settings: CurateSettings) -> Basis:
    """Returns what is known without any trial: the paper's figures, WebVid's, and those measured on a CPU.

    A pair is taken to have a piece of its own, which errs to the large side: pairs of one piece share its frames.
    """
    frames = min(settings.max_frames, round(settings.frame_rate * WEBVID_HOURS * 3600 / WEBVID_VIDEOS))
    webvid = "WebVid-10M, 10.7 M videos of 52,000 hours (its home page, m-bain.github.io/webvid-dataset)"
    stored = FRAME_KB[settings.store] * frames + RECORD_KB
    return Basis(
        seconds_per_video=Figure(WEBVID_HOURS * 3600 / WEBVID_VIDEOS, "s", "cited", webvid),
        pairs_per_video=Figure(
            PAPER_PAIRS / WEBVID_VIDEOS,
            "pairs a video",
            "assumed",
            "as if the paper's 1.27 M pairs came from all of WebVid-10M; it does not say how many videos were tried",
        ),
        models=Figure(
            PAPER_SECONDS,
            PER_PAIR,
            "cited",
            "paper: 3,456 hours of A100-80G for 1.27 M pairs, with MixFormer where SAM 2 is here; not measured here",
        ),
        decoding=Figure(DECODE_MS / 1000 / VIDEO_SECONDS, PER_SECOND_OF_CORE, "measured", _XEON),
        storing=Figure(
            STORE_MS / 1000 / VIDEO_FRAMES * frames, "core-s a pair", "measured", f"{frames} frames as JPEG; {_XEON}"
        ),
        bit_rate=Figure(VIDEO_MEGABITS, "Mbit/s", "assumed", "that of the benchmark's drawn 720p videos"),
        size=Figure(
            stored,
            "kB a pair",
            "measured",
            f"{frames} frames of built-in clips as {settings.store} and a record; "
            "benchmarks/results/stored_frames.json, track_records.json",
        ),
    )


def measured(basis: Basis, path: Path) -> Basis:
    """Returns the basis with what a file or folder tells in its place.

    Args:
        basis: What is known before.
        path: A file with the JSON of `elysium curate run --dry-run N --json` or of `benchmarks/curation_models.py`, or
            the folder of a curation.

    Raises:
        UsageError: If it is none of these, or nothing in it was decoded.
    """
    if path.is_dir():
        return _from_folder(basis, path)
    found = _read_json(path)
    if "videos_tried" in found:
        return _from_trial(basis, found, path.name)
    if "best_batch" in found:
        return _from_models(basis, found, path.name)
    raise _unknown(path)


def _read_json(path: Path) -> dict[str, Any]:
    """Returns a file's JSON object: benchmarks write one over many lines, commands end with one in a line."""
    try:
        text = path.read_text(encoding="utf-8").strip()
        found = json.loads(text if text.startswith("{\n") else text[text.rfind("\n") + 1 :])
    except (OSError, ValueError) as error:
        raise _unknown(path) from error
    if not isinstance(found, dict):
        raise _unknown(path)
    return found


def _unknown(path: Path) -> UsageError:
    return UsageError(
        f"--from {path}: neither what `elysium curate run … --dry-run 100 --json` or benchmarks/curation_models.py "
        "printed nor a folder that `elysium curate run` works in"
    )


def _from_trial(basis: Basis, found: dict[str, Any], name: str) -> Basis:
    tried, seconds, tracks = found["videos_tried"], found["seconds_of_video"], found["tracks"]
    if not seconds:
        raise UsageError(f"--from {name}: none of its {tried} videos was decoded; try more, or others")
    stages, device = found.get("stage_seconds"), found.get("device", "cpu")
    source = f"{name}: the first {tried} videos tried"
    changed = {
        "seconds_per_video": Figure(seconds / tried, "s", "measured", source),
        "pairs_per_video": Figure(tracks / tried, "pairs a video", "measured", source),
    }
    if stages:
        changed["decoding"] = Figure(stages["decode"] / seconds, PER_SECOND_OF_CORE, "measured", source)
    if stages and device != "cpu":
        spent = stages.get("ground", 0.0) + stages.get("track", 0.0)
        changed["models"] = Figure(spent / seconds, PER_SECOND, "measured", f"{source} on {device}")
    if stages and tracks:
        changed["storing"] = Figure(stages.get("store", 0.0) / tracks, "core-s a pair", "measured", source)
    if tracks and "stored_bytes" in found:
        size = Figure(found["stored_bytes"] / tracks / 1000, "kB a pair", "measured", f"{source}, rejects included")
        changed["size"] = size
    return replace(basis, **changed)


def _from_models(basis: Basis, found: dict[str, Any], name: str) -> Basis:
    best = min(found["rows"], key=lambda row: row["gpu_seconds_per_video"])
    source = f"{name}: random weights, every piece followed to its end, batch {best['batch']}, on {found['device']}"
    if found["device"] == "cpu":
        raise UsageError(f"--from {name}: was measured without a GPU, and says nothing of one")
    spent = best["gpu_seconds_per_video"] / found["video"]["seconds"]
    return replace(basis, models=Figure(spent, PER_SECOND, "measured", source))


def _from_folder(basis: Basis, path: Path) -> Basis:
    from elysium.curation.status import read_status

    try:
        status = read_status(path)
    except ElysiumError as error:
        raise UsageError(f"--from {path}: {error}") from error
    stats, done = status["stats"], status["videos_done"]
    if not stats["seconds"]:
        raise UsageError(f"--from {path}: no video was decoded in it yet")
    source = f"{path.name}: {done} of {status['videos']} videos done"
    return replace(
        basis,
        seconds_per_video=Figure(stats["seconds"] / done, "s", "measured", source),
        pairs_per_video=Figure(stats["num_records"] / done, "pairs a video", "measured", source),
    )
