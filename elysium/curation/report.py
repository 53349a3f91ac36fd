"""What `elysium curate status` and `explain` show, read from a run's files alone."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elysium.curation.outcome import STAGES, Reject
from elysium.data.records import RawClip, TrackRecord, read_jsonl
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.steps import step
from elysium.pipeline.workspace import Workspace


def read_status(folder: Path) -> dict[str, Any]:
    """Returns `state` (`waiting`, `running` or `done`), `clips_done`, `clips`, and the statistics once they are there.

    Args:
        folder: A workspace.

    Raises:
        ElysiumError: If there are no raw clips in it.
    """
    place = Workspace.at(folder)
    clips = _clips(place)
    row = step("curate")
    stats = place.folder(row) / "stats.json"
    parts = place.partial(row) / "parts"
    if parts.is_dir():
        done = sum(1 for path in parts.glob("[!.]*.json"))
        return {"state": "running", "clips_done": done, "clips": len(clips), "stats": None}
    if not stats.is_file():
        return {"state": "waiting", "clips_done": 0, "clips": len(clips), "stats": None}
    read = json.loads(stats.read_text(encoding="utf-8"))
    return {"state": "done", "clips_done": len(clips), "clips": len(clips), "stats": read}


def format_status(status: dict[str, Any]) -> str:
    """Returns the status as text: one line of progress, and the funnel of a finished run."""
    lines = [f"{status['state']}: {status['clips_done']} of {status['clips']} clips"]
    stats = status["stats"]
    if stats is None:
        return lines[0]
    lines.append(f"{stats['num_candidates']} candidates (noun chunk and shot), {stats['num_records']} tracks kept")
    for row in stats["funnel"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in stats["rejects"].get(row["stage"], {}).items())
        passed = f"{row['passed']} of {row['entered']}"
        lines.append(
            f"  {row['stage']:<10} {passed:>16}  {STAGES[row['stage']]}" + (f" (not: {reasons})" if reasons else "")
        )
    for stage in ("decode", "shots", "chunk"):
        for reason, count in stats["rejects"].get(stage, {}).items():
            lines.append(f"before that, {stage}: {reason} {count}")
    kept = ", ".join(f"{name} {count}" for name, count in stats["records"]["by_kind_and_split"].items())
    lines.append(f"kept: {kept or 'nothing'}")
    return "\n".join(lines)


def explain(folder: Path, video: str) -> dict[str, Any]:
    """Returns one clip's way through the stages: the caption, and the fate of every chunk in every frame sequence.

    Raises:
        UsageError: If there is no such clip; the message names the nearest one.
        ElysiumError: If curation has not finished.
    """
    place = Workspace.at(folder)
    clips = {clip.id: clip for clip in _clips(place)}
    if video not in clips:
        close = difflib.get_close_matches(video, clips, n=1, cutoff=0.4) or list(clips)[:1]
        raise UsageError(f"there is no clip {video!r} in {folder}; did you mean {', '.join(close)!r}?")
    tracks = place.folder(step("curate"))
    if not (tracks / "stats.json").is_file():
        raise ElysiumError(f"curation has not finished in {folder}; see `elysium curate status {folder}`")
    rejects = [
        reject for reject in read_jsonl(tracks / "rejects.jsonl", Reject, allow_empty=True) if reject.clip == video
    ]
    records = [
        record
        for name in ("train.jsonl", "evaluation.jsonl")
        for record in read_jsonl(tracks / name, TrackRecord, allow_empty=True)
        if record.metadata.clip == video
    ]
    sequences = sorted({*(reject.shot for reject in rejects if reject.shot), *(record.vid for record in records)})
    return {
        "clip": video,
        "caption": clips[video].caption,
        "whole_clip": [reject.model_dump() for reject in rejects if reject.shot is None],
        "sequences": [
            {
                "vid": vid,
                "kept": [_kept(record) for record in records if record.vid == vid],
                "rejected": [reject.model_dump() for reject in rejects if reject.shot == vid],
            }
            for vid in sequences
        ],
    }


def format_explanation(explanation: dict[str, Any]) -> str:
    """Returns the explanation as text."""
    lines = [f"{explanation['clip']}: {explanation['caption']}"]
    lines += [f"  {_sentence(reject)}" for reject in explanation["whole_clip"]]
    for sequence in explanation["sequences"]:
        lines.append(f"{sequence['vid']}")
        for kept in sequence["kept"]:
            lines.append(
                f"  kept      {kept['expression']!r} ({kept['split']}, {kept['num_frames']} frames from "
                f"{kept['from_seconds']:.2f} to {kept['to_seconds']:.2f} s): "
                f"grounding {_numbers(kept['grounding_confidence'])}, tracking {kept['confidence']:.2f}, "
                f"drift {kept['drift']:.2f}, agreement {_numbers(kept['grounding_iou'])}"
            )
        lines += [f"  {_sentence(reject)}" for reject in sequence["rejected"]]
    return "\n".join(lines)


def _kept(record: TrackRecord) -> dict[str, Any]:
    extra = record.metadata.model_extra or {}
    return {
        "id": record.id,
        "expression": record.object_description,
        "split": record.metadata.split,
        "num_frames": len(record.frames),
        "from_seconds": record.metadata.timestamps[0],
        "to_seconds": record.metadata.timestamps[-1],
        "confidence": record.metadata.confidence,
        **{name: extra[name] for name in ("grounding_confidence", "grounding_iou", "drift")},
    }


def _sentence(reject: dict[str, Any]) -> str:
    what = "" if reject["expression"] is None else f"{reject['expression']!r} "
    number = "" if reject["value"] is None else f", {reject['value']:g} against {reject['threshold']:g}"
    detail = f" ({reject['detail']})" if reject["detail"] else ""
    return f"rejected  {what}at {reject['stage']}: {reject['reason'].replace('_', ' ')}{number}{detail}"


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def _clips(place: Workspace) -> list[RawClip]:
    manifest = place.folder(step("ingest")) / "manifest.jsonl"
    if not manifest.is_file():
        raise ElysiumError(
            f"{place.root} holds no raw clips; name the output of `elysium curate run` or a run's workspace"
        )
    return list(read_jsonl(manifest, RawClip))
