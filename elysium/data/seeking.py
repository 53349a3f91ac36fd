"""Finding the key frame to begin decoding at, so that the frames after it keep their exact numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Containers that seek exactly, and codecs of which one packet is one frame.
_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
_CODECS = frozenset({"h264", "hevc", "mjpeg", "prores", "ffv1"})
# After so many more packets no picture comes that is shown before the key frame: decoders hold at most 16.
_REORDERED = 32


@dataclass(frozen=True)
class KeyFrame:
    """A place where decoding can begin.

    Attributes:
        number: Of the frame, from 0.
        pts: Presentation time in the stream's units.
        dts: Decoding time in the stream's units.
    """

    number: int
    pts: int
    dts: int


def keyframe_before(container: Any, stream: Any, number: int) -> KeyFrame | None:
    """Returns the last key frame at or before a frame, found by counting packets; nothing is decoded.

    Only one counts with all earlier packets shown before it and all later ones after it: then as many frames come
    before it as packets. The container stands behind it afterwards: see `seek`.

    Args:
        container: PyAV's, at its beginning.
        stream: The video stream.
        number: The frame wanted, from 0.

    Returns:
        None where packets may not be frames, or there is no such key frame but the first: decode from the beginning.
    """
    import av

    if container.format.name not in _CONTAINERS or stream.codec_context.name not in _CODECS:
        return None
    best: KeyFrame | None = None
    candidate: KeyFrame | None = None
    count, latest = 0, None
    try:
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            if packet.pts is None or packet.dts is None or packet.is_discard or packet.is_corrupt:
                return None
            if candidate is not None and packet.pts <= candidate.pts:
                candidate = None
            if count > number + _REORDERED:
                break
            if packet.is_keyframe and count <= number and (latest is None or packet.pts > latest):
                best, candidate = candidate or best, KeyFrame(count, packet.pts, packet.dts)
            latest = packet.pts if latest is None else max(latest, packet.pts)
            count += 1
    except (av.FFmpegError, OSError, ValueError):
        return None  # whoever decodes the frames says what is wrong with them
    found = candidate or best
    return found if found is not None and found.number > 0 else None


def seek(container: Any, stream: Any, key: KeyFrame) -> None:
    """Moves to a key frame; that the next frame is this one is left to the caller to see."""
    # MP4 is indexed by decoding time, Matroska by presentation time.
    container.seek(key.dts if container.format.name.startswith("mov") else key.pts, stream=stream, backward=True)
