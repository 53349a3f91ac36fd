"""One clip from file to records: read it, cut it, judge its chunks, store the frames of what was kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from elysium.config import CurateSettings
from elysium.curation.outcome import ClipOutcome, Reject
from elysium.curation.protocols import Chunk, Frame
from elysium.curation.registry import PartsShelf
from elysium.curation.shots import Piece, plan_pieces, read_timeline
from elysium.curation.stages import Accepted, Rejection, judge_chunks, judge_piece
from elysium.data.records import RawClip, TrackMetadata, TrackRecord
from elysium.data.video import decoder, iterate_video
from elysium.errors import ElysiumError, UsageError

_WORKING_SIDE = 1024  # pixels; detectors and tracker never see larger frames
_JPEG_QUALITY = 95
_DIGITS = 6  # of coordinates and times in records: below a hundredth of a pixel, and free of float noise


@dataclass(frozen=True)
class _Stored:
    """Where a piece's frames are: paths relative to the output folder, and the size they were stored in."""

    paths: list[str]
    size: tuple[int, int]


def curate_clip(clip: RawClip, folder: Path, output: Path, settings: CurateSettings) -> ClipOutcome:
    """Returns what one clip gives; frames of kept tracks are written below `output/frames`.

    A clip that cannot be read gives one reject with the error, and none of its earlier pieces.

    Args:
        clip: The clip.
        folder: What its paths are relative to.
        output: Folder of the tracks artifact.
        settings: Thresholds and parts.

    Raises:
        UsageError: If the settings name a part that does not exist.
        OSError: If frames cannot be written.
    """
    try:
        return _curate(clip, folder, output, settings)
    except UsageError:
        raise
    except (ElysiumError, ValueError, cv2.error) as error:
        message = str(error).replace(f"{folder}{os.sep}", "").strip()
        reject = Reject(
            clip=clip.id,
            shot=None,
            expression=None,
            stage="decode",
            reason="unreadable",
            value=None,
            threshold=None,
            detail=message.splitlines()[0] if message else type(error).__name__,
        )
        return ClipOutcome(clip=clip.id, num_shots=0, num_pieces=0, num_chunks=0, records=[], rejects=[reject])


def _curate(clip: RawClip, folder: Path, output: Path, settings: CurateSettings) -> ClipOutcome:
    parts = PartsShelf(settings).parts_for(clip, folder)
    chunks = parts.chunker.chunk(clip.caption)
    candidates, dropped = judge_chunks(chunks, settings)
    rejects = [_reject(clip, None, chunk.text, rejection) for chunk, rejection in dropped]
    if not chunks:
        rejects.append(_reject(clip, None, None, Rejection("chunk", "no_chunk", 0, 1)))
    annotated = clip.annotations is not None
    timeline = read_timeline(_frames(folder / clip.path))
    pieces = plan_pieces(timeline, settings, split=clip.split, every_frame=annotated)
    records: list[TrackRecord] = []
    searched = _read_pieces(folder / clip.path, pieces) if candidates else iter(())
    for number, (piece, frames) in enumerate(searched):
        vid = f"{clip.id}_{number:03d}"
        if len(frames) < settings.min_frames:
            too_short = Rejection("shots", "too_short", len(frames), settings.min_frames)
            rejects.append(_reject(clip, vid, None, too_short))
            continue
        kept = []
        for chunk, verdict in judge_piece(frames, candidates, parts, settings):
            if isinstance(verdict, Accepted):
                kept.append((chunk, verdict))
            else:
                rejects.append(_reject(clip, vid, chunk.text, verdict))
        if kept:
            stored = _store(frames, vid, output, settings.max_side)
            records += [_record(clip, piece, frames, vid, stored, index, *entry) for index, entry in enumerate(kept)]
    return ClipOutcome(
        clip=clip.id,
        num_shots=len({piece.shot for piece in pieces}),
        num_pieces=len(pieces),
        num_chunks=len(chunks),
        records=records,
        rejects=rejects,
    )


def _frames(path: Path) -> Iterator[Frame]:
    for index, frame in enumerate(iterate_video(path)):
        yield Frame(_fit(frame.image, _WORKING_SIDE), index, frame.timestamp)


def _read_pieces(path: Path, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, list[Frame]]]:
    """Yields each piece with its frames; only one piece is in memory at a time."""
    waiting = iter(pieces)
    piece = next(waiting, None)
    frames: list[Frame] = []
    wanted = set(piece.indices) if piece else set()
    for frame in _frames(path):
        if frame.index not in wanted:
            continue
        frames.append(frame)
        if piece is not None and frame.index == piece.indices[-1]:
            yield piece, frames
            piece, frames = next(waiting, None), []
            wanted = set(piece.indices) if piece else set()


def _fit(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Returns the image, scaled down where its longer side exceeds `side`."""
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _store(frames: Sequence[Frame], vid: str, output: Path, side: int) -> _Stored:
    folder = output / "frames" / vid
    folder.mkdir(parents=True, exist_ok=True)
    paths, size = [], (0, 0)
    for position, frame in enumerate(frames):
        image = _fit(frame.image, side)
        size = (image.shape[1], image.shape[0])
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        path = folder / f"{position:06d}.jpg"
        # Written by hand: OpenCV's own writer answers a full disk with silence.
        path.write_bytes(data.tobytes())
        paths.append(path.relative_to(output).as_posix())
    return _Stored(paths, size)


def _record(
    clip: RawClip,
    piece: Piece,
    frames: Sequence[Frame],
    vid: str,
    stored: _Stored,
    number: int,
    chunk: Chunk,
    accepted: Accepted,
) -> TrackRecord:
    metadata = TrackMetadata.model_validate(
        {
            "content_sha256": clip.sha256,
            "timestamps": [round(frame.timestamp, _DIGITS) for frame in frames],
            "decoder": decoder(),
            "caption": clip.caption,
            "clip": clip.id,
            "split": piece.split,
            "kind": "real" if clip.annotations is None else "simulated",
            "confidence": round(float(accepted.track.confidence.min()), _DIGITS),
            "shot": piece.shot,
            "frame_indices": list(piece.indices),
            "grounding_confidence": [round(value, _DIGITS) for value in accepted.groundings],
            "grounding_iou": [round(value, _DIGITS) for value in accepted.overlaps],
            "drift": round(accepted.drift, _DIGITS),
            "licence": clip.licence,
        }
    )
    return TrackRecord(
        source=clip.source,
        id=f"{vid}_{number:02d}",
        vid=vid,
        metadata=metadata,
        frames=stored.paths,
        object_class=chunk.head,
        box=[(x1, y1, x2, y2) for x1, y1, x2, y2 in accepted.track.boxes.round(_DIGITS).tolist()],
        object_description=chunk.text,
        frame_size=stored.size,
    )


def _reject(clip: RawClip, shot: str | None, expression: str | None, rejection: Rejection) -> Reject:
    return Reject(
        clip=clip.id,
        shot=shot,
        expression=expression,
        stage=rejection.stage,
        reason=rejection.reason,
        value=None if rejection.value is None else round(float(rejection.value), _DIGITS),
        threshold=None if rejection.threshold is None else round(float(rejection.threshold), _DIGITS),
        detail=rejection.detail,
    )
