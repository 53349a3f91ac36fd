"""Step `validate-raw`: are the clips worth curating?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from elysium.config import RawQualitySettings
from elysium.data.records import RawClip, read_jsonl
from elysium.data.video import VideoError, iterate_video, probe
from elysium.pipeline.steps import StepContext, StepResult
from elysium.pipeline.workspace import sha256
from elysium.quality.gate import Rule, Suite, check


def run(context: StepContext) -> StepResult:
    """Fills the output with the report on `raw/`.

    Raises:
        GateRefused: If a rule is broken by more clips than `validate_raw.max_bad_share` allows.
        ElysiumError: If the manifest is missing, empty or not valid.
    """
    raw = context.inputs["raw"]
    clips = list(read_jsonl(raw / "manifest.jsonl", RawClip))
    table = measure(clips, raw)
    splits = table["split"].value_counts().sort_index()
    minutes = round(float(table["seconds"].sum()) / 60, 2)
    figures = {
        "clips": len(clips),
        "simulated": sum(clip.annotations is not None for clip in clips),
        "minutes": minutes,
        "frames": int(table["frames"].sum()),
        "Clips by split": {str(name): int(count) for name, count in splits.items()},
    }
    suite = Suite("raw-clips", table, "clips", rules(context.settings.validate_raw))
    verdict = check("Raw clips", [suite], context.output, figures)
    verdict.refuse_if_failed("raw_report/index.html")
    num_bad = len({name for finding in verdict.findings for name in finding.all_bad})
    return StepResult(
        summary=f"{len(clips)} clips keep all {len(verdict.findings)} rules"
        + (f"; {num_bad} single clips break one, within the share allowed" if num_bad else ""),
        metrics={"clips": len(clips), "bad_clips": num_bad, "minutes": minutes},
    )


def measure(clips: Sequence[RawClip], folder: Path) -> pd.DataFrame:
    """Returns one row a clip: what its file is like, every frame decoded.

    Args:
        clips: The manifest.
        folder: What paths in it are relative to.

    Returns:
        Columns `id`, `split`, `caption` (stripped), `sha256` (the manifest's), `sha256_found`, `problem` (None where
        all frames decode), `seconds`, `frame_rate`, `short_side` (pixels), `frames`; measures are missing where the
        file cannot be decoded.
    """
    rows: list[dict[str, Any]] = []
    for clip in clips:
        path = folder / clip.path
        row: dict[str, Any] = {
            "id": clip.id,
            "split": clip.split or "decided later",
            "caption": clip.caption.strip(),
            "sha256": clip.sha256,
            "sha256_found": sha256(path) if path.is_file() else None,
            "problem": None,
            "seconds": None,
            "frame_rate": None,
            "short_side": None,
            "frames": None,
        }
        try:
            info = probe(path)
            frames = sum(1 for _ in iterate_video(path))
            row.update(
                seconds=info.duration,
                frame_rate=info.frame_rate,
                short_side=min(info.width, info.height),
                frames=frames,
            )
        except VideoError as error:
            row["problem"] = str(error).replace(f"{folder}/", "")
        rows.append(row)
    numbers = dict.fromkeys(("seconds", "frame_rate", "short_side", "frames"), "float64")
    return pd.DataFrame(rows).astype({"problem": "object", "sha256_found": "object", **numbers})


def rules(settings: RawQualitySettings) -> list[Rule]:
    """Returns what is asked of clips; each may be broken by the share `max_bad_share` of them."""
    mostly = 1 - settings.max_bad_share
    between = "ExpectColumnValuesToBeBetween"
    return [
        Rule(
            "enough-clips",
            "ExpectTableRowCountToBeBetween",
            {"min_value": settings.min_clips},
            f"at least {settings.min_clips} clips",
            "name a source with more clips in ingest.source",
        ),
        Rule(
            "unique-id",
            "ExpectColumnValuesToBeUnique",
            {"column": "id"},
            "no two clips have the same id",
            "run ingest again",
        ),
        Rule(
            "decodable",
            "ExpectColumnValuesToBeNull",
            {"column": "problem", "mostly": mostly},
            "every frame can be decoded",
            "replace or remove these files at the source and run ingest again",
        ),
        Rule(
            "checksum",
            "ExpectColumnPairValuesToBeEqual",
            {
                "column_A": "sha256",
                "column_B": "sha256_found",
                "ignore_row_if": "either_value_is_missing",
            },
            "each file is the one that the manifest was written for",
            "a file changed after ingest: run ingest again",
        ),
        Rule(
            "duration",
            between,
            {
                "column": "seconds",
                "min_value": settings.min_seconds,
                "max_value": settings.max_seconds,
                "mostly": mostly,
            },
            f"a clip lasts {settings.min_seconds:g} to {settings.max_seconds:g} s",
            "cut or drop these clips, or change validate_raw.min_seconds or max_seconds",
        ),
        Rule(
            "frame-rate",
            between,
            {
                "column": "frame_rate",
                "min_value": settings.min_frame_rate,
                "max_value": settings.max_frame_rate,
                "mostly": mostly,
            },
            f"{settings.min_frame_rate:g} to {settings.max_frame_rate:g} frames a second",
            "re-encode or drop these clips, or change validate_raw.min_frame_rate or max_frame_rate",
        ),
        Rule(
            "resolution",
            between,
            {"column": "short_side", "min_value": settings.min_side, "mostly": mostly},
            f"the shorter side has at least {settings.min_side} pixels",
            "drop these clips or change validate_raw.min_side",
        ),
        Rule(
            "caption",
            "ExpectColumnValueLengthsToBeBetween",
            {"column": "caption", "min_value": 1, "mostly": mostly},
            "a clip has a caption",
            "write captions for these clips at the source; nothing can be curated without",
        ),
        Rule(
            "duplicate-content",
            "ExpectColumnValuesToBeUnique",
            {"column": "sha256_found", "mostly": mostly},
            "no two clips have the same content",
            "remove the copies at the source",
        ),
    ]
