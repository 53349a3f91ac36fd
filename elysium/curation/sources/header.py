"""What a video's header says, before its decoding is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elysium.config import CurateSettings
from elysium.curation.filters.base import Verdict
from elysium.data.decoding import open_video
from elysium.data.limits import FrameSizeError, Limits, NoVideoError, VideoError

NAME = "header"
_MICROSECOND = 1e-6  # the unit of a container's duration


def limits_of(settings: CurateSettings) -> Limits:
    """Returns how much one video may ask of this machine: a header may lie or say nothing, so decoding checks too."""
    return Limits(max_pixels=settings.max_pixels, max_seconds=settings.max_seconds)


def probe_limits(path: str | Path, settings: CurateSettings) -> Verdict:
    """Returns whether a video is to be decoded; reads its header, and of one that tells no length its first packet.

    The reasons are `too_long` (value and threshold in seconds), `too_large` (of a frame, in pixels), `no_video` (sound
    only, say), `no_frames` and `unreadable`. A video whose header tells no length passes, with no value.

    Args:
        path: The file.
        settings: `max_seconds` and `max_pixels`.
    """
    limits = limits_of(settings)
    try:
        with open_video(path, limits) as (container, stream):
            seconds = _seconds(container, stream)
            if stream.frames == 0 and _is_empty(container, stream):
                return Verdict(NAME, passed=False, reason="no_frames", value=0, threshold=1)
    except FrameSizeError as error:
        message = _without(error, path)
        return Verdict(NAME, False, "too_large", value=error.pixels, threshold=limits.max_pixels, detail=message)
    except NoVideoError as error:
        return Verdict(NAME, False, "no_video", detail=_without(error, path))
    except VideoError as error:
        return Verdict(NAME, False, "unreadable", detail=_without(error, path))
    too_long = seconds is not None and seconds > limits.max_seconds
    value = None if seconds is None else round(seconds, 3)
    return Verdict(NAME, not too_long, "too_long" if too_long else "", value, limits.max_seconds)


def _seconds(container: Any, stream: Any) -> float | None:
    """Returns the length that the header tells, the stream's own before that of the whole file."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration * _MICROSECOND if container.duration else None


def _is_empty(container: Any, stream: Any) -> bool:
    """Returns whether the stream has no packet; what cannot be read is for the decoder to say."""
    try:
        return all(packet.size == 0 for packet in _first(container.demux(stream)))
    except (OSError, ValueError):
        return False


def _first(packets: Any) -> list[Any]:
    packet = next(packets, None)
    return [] if packet is None else [packet]


def _without(error: Exception, path: str | Path) -> str:
    """Returns a message without the folder, which is a scratch one."""
    return str(error).replace(str(path), Path(path).name)
