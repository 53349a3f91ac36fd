"""Step `validate-tracks`: are the records sound, and is what the model is measured on new to it?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from elysium.data.records import TrackRecord
from elysium.data.stored_frames import is_stored
from elysium.errors import ElysiumError
from elysium.pipeline.steps import StepContext, StepResult
from elysium.quality.gate import Suite, check
from elysium.quality.leaks import find_leaks
from elysium.quality.rules import leak_rules, reason_rules, record_rules, total_rules

_SPLITS = ("train", "evaluation")


def run(context: StepContext) -> StepResult:
    """Fills the output with the report on `tracks/`.

    Raises:
        GateRefused: If a rule is broken.
        ElysiumError: If a file is missing.
    """
    folder, settings = context.inputs["tracks"], context.settings.validate_tracks
    records = pd.concat([_measure(folder, split) for split in _SPLITS], ignore_index=True)
    reasons = count_reasons(folder / "rejects.jsonl")
    num_rejects = sum(reasons.values())
    candidates = len(records) + num_rejects
    shares = pd.DataFrame({"id": list(reasons), "share": [count / candidates for count in reasons.values()]}).astype(
        {"id": "object", "share": "float64"}
    )
    counts = {split: int((records["split"] == split).sum()) for split in _SPLITS}
    totals = pd.DataFrame([{"id": "all", **counts, "reject_share": num_rejects / candidates if candidates else 0.0}])
    valid = [record for record in records["record"] if record is not None]
    leaks = find_leaks(valid, folder)
    suites = [
        Suite("track-totals", totals, "tables", total_rules(settings)),
        Suite("track-records", records.drop(columns=["record"]), "records", record_rules(settings)),
        Suite("track-leaks", leaks, "evaluation records", leak_rules()),
        Suite("track-rejects", shares, "reasons", reason_rules(settings)),
    ]
    figures: dict[str, Any] = {
        "training records": counts["train"],
        "evaluation records": counts["evaluation"],
        "frame sequences": len({record.vid for record in valid}),
        "rejected candidates": num_rejects,
        "Rejected candidates by reason": dict(reasons.most_common()),
    }
    verdict = check("Tracks", suites, context.output, figures)
    verdict.refuse_if_failed("tracks_report/index.html")
    return StepResult(
        summary=f"{counts['train']} training and {counts['evaluation']} evaluation records keep all "
        f"{len(verdict.findings)} rules; {num_rejects} of {candidates} candidates were rejected",
        metrics={
            "train_records": counts["train"],
            "evaluation_records": counts["evaluation"],
            "rejects": num_rejects,
        },
    )


def count_reasons(path: Path) -> Counter[str]:
    """Returns how often each reason rejected a candidate, as `stage: reason`.

    Raises:
        ElysiumError: If the file is missing or a line is not a reject with stage and reason.
    """
    counts: Counter[str] = Counter()
    for number, text in _lines(path):
        try:
            entry = json.loads(text)
            counts[f"{entry['stage']}: {entry['reason']}"] += 1
        except (ValueError, KeyError, TypeError) as error:
            raise ElysiumError(
                f"{path}, line {number} is not a reject with stage and reason; run curate again"
            ) from error
    return counts


def _measure(folder: Path, split: str) -> pd.DataFrame:
    """Returns one row a line of a split's file, read leniently so that each rule can say what is wrong with it."""
    rows = [_row(text, f"{split}.jsonl:{number}", split, folder) for number, text in _lines(folder / f"{split}.jsonl")]
    numbers = (
        "num_frames", "num_boxes", "num_timestamps", "lowest", "highest", "smallest_side", "words", "frames_missing",
    )  # fmt: skip
    columns = ["id", "line", "split", "said_split", "problem", "record", *numbers]
    types = {**dict.fromkeys(columns, "object"), **dict.fromkeys(numbers, "float64")}
    return pd.DataFrame(rows, columns=columns).astype(types)


def _row(text: str, line: str, split: str, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"id": line, "line": line, "split": split, "problem": None, "record": None}
    try:
        content = json.loads(text)
    except ValueError as error:
        return {**row, "problem": f"not JSON: {error}"}
    if not isinstance(content, dict):
        return {**row, "problem": f"not an object but {type(content).__name__}"}
    try:
        row["record"] = TrackRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        row["problem"] = f"{'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"
    metadata = content.get("metadata") if isinstance(content.get("metadata"), dict) else {}
    frames, description = content.get("frames"), content.get("object_description")
    row["id"] = str(content.get("id") or line)
    row["said_split"] = metadata.get("split") if metadata else None
    row["num_frames"] = _length(frames)
    row["num_boxes"] = _length(content.get("box"))
    row["num_timestamps"] = _length(metadata.get("timestamps")) if metadata else None
    row["words"] = len(description.split()) if isinstance(description, str) else None
    if isinstance(frames, list):
        row["frames_missing"] = sum(not is_stored(folder / str(name)) for name in frames)
    boxes = _boxes(content.get("box"))
    if boxes is not None:
        row["lowest"], row["highest"] = float(boxes.min()), float(boxes.max())
        row["smallest_side"] = float((boxes[:, 2:] - boxes[:, :2]).min())
    return row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise ElysiumError(f"{path} does not exist; run curate again")
    with path.open(encoding="utf-8") as file:
        yield from enumerate(file, start=1)


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, list) else None


def _boxes(value: Any) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    try:
        boxes = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return boxes if boxes.ndim == 2 and boxes.shape[1] == 4 and len(boxes) and np.isfinite(boxes).all() else None
