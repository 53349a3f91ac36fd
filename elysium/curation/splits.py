"""Which real videos are held out for evaluation: whole ones, told by their content."""

from __future__ import annotations

from collections.abc import Sequence

from elysium.config import CurateSettings
from elysium.data.records import RawClip, Split

_DIGITS = 16  # of a checksum, in hex


def decide_splits(clips: Sequence[RawClip], settings: CurateSettings) -> list[RawClip]:
    """Returns the clips, with a split for each real one whose source names none.

    A video is held out whole, for another part of it looks like the rest, and if its content, seen as a number in
    [0, 1), is below `evaluation_share`: so it stays on its side however many others come or go, and a model that was
    trained before has not seen it. Only where that leaves a side without any video, the one nearest to it goes there.

    Args:
        clips: All clips of the manifest.
        settings: With `split_by: time` nothing is decided here.
    """
    open_clips = [clip for clip in clips if clip.split is None and clip.annotations is None]
    if settings.split_by == "time" or not open_clips:
        return list(clips)
    ranked = sorted({_number(clip) for clip in open_clips})
    num_held_out = sum(number < settings.evaluation_share for number in ranked)
    if settings.evaluation_share > 0 and len(ranked) > 1:
        num_held_out = min(max(num_held_out, 1), len(ranked) - 1)
    held_out = set(ranked[:num_held_out])
    return [
        clip
        if clip.split is not None or clip.annotations is not None
        else clip.model_copy(update={"split": "evaluation" if _number(clip) in held_out else "train"})
        for clip in clips
    ]


def _number(clip: RawClip) -> float:
    return float(int(clip.sha256[:_DIGITS], 16) / 16**_DIGITS)


def split_of(sha256: str, settings: CurateSettings, num_videos: int) -> Split | None:
    """Returns the side of a video whose source names none, told by its content; None where the time decides."""
    if settings.split_by == "time":
        return None
    return "evaluation" if int(sha256[:_DIGITS], 16) / 16**_DIGITS < settings.evaluation_share else "train"
