"""`elysium curate explain`: one video's path through the stages, in words and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elysium.curation.evidence import CandidateRow, PieceRow, VerdictRow, VideoRow
from elysium.curation.judging import all_passed
from elysium.curation.locating import Curation
from elysium.curation.outcome import Reject
from elysium.curation.publishing import REJECTS_FILE
from elysium.curation.results import ledger_row, rejects_of
from elysium.curation.sharing import finished
from elysium.curation.sources.tasks import VideoTask


def explain(curation: Curation, video: str) -> dict[str, Any]:
    """Returns one video's way through the stages: the caption, and the fate of every chunk in every piece.

    Raises:
        UsageError: If there is no such video; the message names the nearest one.
    """
    shard, row = curation.find(video)
    outcome = ledger_row(VideoTask(number=0, id=row.id, uri="", caption=row.caption, source=""), row)
    left_out = _left_out(curation, video) if outcome.num_tracks else []
    refused = {(reject.shot, reject.expression) for reject in left_out}
    rejects = [*rejects_of(row), *left_out]
    return {
        "clip": video,
        "caption": row.caption,
        "shard": shard,
        "outcome": "rejected" if refused and len(refused) == outcome.num_tracks else outcome.outcome,
        "whole_clip": [reject.model_dump() for reject in rejects if reject.shot is None],
        "sequences": [
            {
                "vid": piece.vid,
                "split": piece.split,
                "num_frames": len(piece.indices),
                "from_seconds": piece.timestamps[0],
                "to_seconds": piece.timestamps[-1],
                "passed": _numbers(piece.verdicts),
                "kept": [
                    _kept(candidate)
                    for candidate in piece.candidates
                    if candidate.kept and (piece.vid, candidate.text) not in refused
                ],
                "rejected": [_rejected(reject, piece) for reject in rejects if reject.shot == piece.vid],
            }
            for piece in row.pieces
        ],
    }


def format_explanation(explanation: dict[str, Any]) -> str:
    """Returns the explanation as text."""
    lines = [f"{explanation['clip']} ({explanation['outcome']}): {explanation['caption']}"]
    lines += [f"  {_sentence(reject)}" for reject in explanation["whole_clip"]]
    for sequence in explanation["sequences"]:
        lines.append(
            f"{sequence['vid']} ({sequence['split']}, {sequence['num_frames']} frames from "
            f"{sequence['from_seconds']:.2f} to {sequence['to_seconds']:.2f} s){_listed(sequence['passed'])}"
        )
        for kept in sequence["kept"]:
            lines.append(f"  kept      {kept['expression']!r}{_listed(kept['passed'])}")
        for reject in sequence["rejected"]:
            lines.append(f"  {_sentence(reject)}{_listed(reject.get('passed', {}), 'after')}")
    return "\n".join(lines)


def draw_explanation(row: VideoRow, images: dict[int, Any], path: Path) -> None:
    """Draws the pieces of a video: first, middle and last frame of each, with what was found and followed there.

    Args:
        row: What was found.
        images: Frames by number in the video, each an RGB picture as an array; those that are missing stay grey.
        path: The PNG to write.
    """
    from elysium.curation.explain_picture import draw

    draw(row, images, path)


def frames_shown(piece: PieceRow) -> list[int]:
    """Returns the numbers in the video of the frames that a picture shows: first, middle and last."""
    return [piece.indices[0], piece.indices[len(piece.indices) // 2], piece.indices[-1]]


def _left_out(curation: Curation, video: str) -> list[Reject]:
    """Returns which of a video's tracks the data set does without; none while there is no data set."""
    stats = finished(curation.store, curation.plan.num_shards)
    if stats is None or "dataset" not in stats["rejects"]:
        return []
    with (curation.root / REJECTS_FILE).open(encoding="utf-8") as file:
        # There may be millions of others.
        lines = [line for line in file if video in line and '"dataset"' in line]
    rejects = [Reject.model_validate_json(line) for line in lines]
    return [reject for reject in rejects if reject.clip == video and reject.stage == "dataset"]


def _kept(candidate: CandidateRow) -> dict[str, Any]:
    return {"expression": candidate.text, "passed": _numbers(candidate.verdicts)}


def _rejected(reject: Reject, piece: PieceRow) -> dict[str, Any]:
    found = [row for row in piece.candidates if row.text == reject.expression]
    passed = _numbers([verdict for verdict in found[0].verdicts if verdict.passed]) if found else {}
    return {**reject.model_dump(), "passed": passed}


def _numbers(verdicts: Sequence[VerdictRow]) -> dict[str, list[float | None]]:
    """Returns by filter the number that decided and the bound it was held against."""
    if not all_passed(verdicts):
        return {}
    return {verdict.filter: [verdict.value, verdict.threshold] for verdict in verdicts}


def _listed(passed: dict[str, list[float | None]], word: str = "with") -> str:
    shown = [f"{name} {value:.3g}" for name, (value, _) in passed.items() if value is not None]
    return f"; {word} {', '.join(shown)}" if shown else ""


def _sentence(reject: dict[str, Any]) -> str:
    what = "" if reject["expression"] is None else f"{reject['expression']!r} "
    number = "" if reject["value"] is None else f", {reject['value']:g} against {reject['threshold']:g}"
    detail = f" ({reject['detail']})" if reject["detail"] else ""
    return f"rejected  {what}at {reject['stage']}: {reject['reason'].replace('_', ' ')}{number}{detail}"
