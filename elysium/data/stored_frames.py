"""Frames as track records name them: a picture file, or one frame of a clip, as in `clips/00004/v12.mp4#7`.

A clip is an MP4 that holds the frames of one sequence and nothing else; the number behind `#` counts them from 0. Key
frames are few frames apart in it, so that single frames are cheap; times are in the record, not in the clip.
"""

from __future__ import annotations

import functools
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from elysium.data.limits import Limits, VideoError
from elysium.data.pictures import Image, read_picture
from elysium.errors import ElysiumError

_IN_CLIP = re.compile(r"(?P<file>.+\.mp4)#(?P<number>\d+)")
# Of frames that a thread keeps decoded: those around the last ones that were asked for, which come with them.
_KEPT_BYTES = 1 << 26


def split_name(path: str | Path) -> tuple[Path, int | None]:
    """Returns the file that a frame is in, and its number there; None for a picture of its own.

    Example:
        >>> split_name("clips/00004/v12.mp4#7")
        (PosixPath('clips/00004/v12.mp4'), 7)
        >>> split_name("frames/v12/000007.jpg")
        (PosixPath('frames/v12/000007.jpg'), None)
    """
    found = _IN_CLIP.fullmatch(str(path))
    return (Path(path), None) if found is None else (Path(found["file"]), int(found["number"]))


def read_stored(path: str | Path, max_pixels: int | None = None) -> Image:
    """Returns one frame as `(height, width, 3)`, uint8, RGB.

    Of a clip, the frames between the same two key frames are kept for a while: reading one after the other decodes
    each once.

    Args:
        path: As a record names it, below the data's folder.
        max_pixels: Refuses a larger one.

    Raises:
        ValueError: If it is a picture that cannot be read; the message does not name the file.
        VideoError: If it is in a clip that cannot be read, or has no such frame; the message names both.
    """
    file, number = split_name(path)
    if number is None:
        return read_picture(file, max_pixels)
    return _kept.frames.take(file, number, max_pixels)


def read_all_stored(paths: Sequence[str | Path], max_pixels: int | None = None) -> list[Image]:
    """Returns several frames; each clip among them is opened once, and only what is needed of it is decoded.

    Raises:
        ElysiumError: If one cannot be read; the message names it.
    """
    wanted: dict[Path, set[int]] = {}
    places = [split_name(path) for path in paths]
    for file, number in places:
        if number is not None:
            wanted.setdefault(file, set()).add(number)
    found = {file: decode_clip(file, numbers, max_pixels) for file, numbers in wanted.items()}
    return [_picture(file, max_pixels) if number is None else found[file][number] for file, number in places]


def is_stored(path: str | Path) -> bool:
    """Returns whether a frame is there: the picture's file, or a clip that has so many frames."""
    file, number = split_name(path)
    if number is None:
        return file.is_file()
    try:
        changed = file.stat().st_mtime_ns
    except OSError:
        return False
    return number < _count(file, changed)


def count_stored(file: Path) -> int:
    """Returns how many frames a file holds: those of a clip, 1 of anything else."""
    return _count(file, file.stat().st_mtime_ns) if file.suffix == ".mp4" else 1


def stored_bytes(path: str | Path) -> bytes:
    """Returns bytes that are the same for the same frame of the same file content; empty where there is no file."""
    file, number = split_name(path)
    if not file.is_file():
        return b""
    return file.read_bytes() if number is None else _digest(file, file.stat().st_mtime_ns) + b"#%d" % number


def decode_clip(file: Path, numbers: Collection[int], max_pixels: int | None = None) -> dict[int, Image]:
    """Returns frames of a clip by their numbers.

    Args:
        file: The clip; its packets are held in memory, so no long video.
        numbers: Which frames.
        max_pixels: Refuses a larger one.

    Raises:
        VideoError: If the clip cannot be read, or has no such frame; the message names both.
    """
    return {number: frame.to_ndarray(format="rgb24") for number, frame in _decode(file, numbers, max_pixels)}


def _picture(file: Path, max_pixels: int | None) -> Image:
    try:
        return read_picture(file, max_pixels)
    except ValueError as error:
        raise ElysiumError(f"the picture {file} cannot be read: {error}") from error


class _KeptFrames:
    """Decoded frames, the oldest in use go first."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Path, int, int], Image] = OrderedDict()
        self._bytes = 0

    def take(self, file: Path, number: int, max_pixels: int | None) -> Image:
        try:
            changed = file.stat().st_mtime_ns
        except OSError as error:
            raise VideoError(f"{file} cannot be read: {error.strerror}") from error
        key = (file, changed, number)
        if key not in self._held:
            for near, frame in _decode(file, [number], max_pixels, whole=True):
                image = self._held[file, changed, near] = frame.to_ndarray(format="rgb24")
                self._bytes += image.nbytes
        image = self._held[key]
        self._held.move_to_end(key)
        while self._bytes > _KEPT_BYTES and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return image


class _Kept(threading.local):
    """One store a thread: none waits for another, and a fork cannot take a lock with it."""

    def __init__(self) -> None:
        self.frames = _KeptFrames()


_kept = _Kept()


def _decode(
    file: Path, numbers: Collection[int], max_pixels: int | None, *, whole: bool = False
) -> Iterator[tuple[int, Any]]:
    """Yields frames with their numbers; with `whole` all those between the key frames around the wanted ones."""
    from elysium.data.decoding import open_video, reason

    limits = Limits() if max_pixels is None else Limits(max_pixels=max_pixels)
    wanted = set(numbers)
    with open_video(file, limits) as (container, stream):
        stream.thread_type = "NONE"  # a clip is too short for threads to pay
        try:
            packets = [packet for packet in container.demux(stream) if packet.size and packet.pts is not None]
            places = {pts: number for number, pts in enumerate(sorted(packet.pts for packet in packets))}
            if not all(0 <= number < len(places) for number in wanted):
                raise VideoError(f"{file} has no frame {max(wanted)}: it has {len(places)}")
            for group in _groups(packets):
                held = {places[packet.pts] for packet in group}
                needed = held if whole and held & wanted else held & wanted
                if not needed:
                    continue
                last = max(needed)
                for frame in _pictures(stream.codec_context, group):
                    number = places[frame.pts]
                    if frame.is_corrupt:
                        raise VideoError(f"{file}: frame {number} is damaged")
                    limits.check_size(frame.width, frame.height, f"{file}: frame {number}")
                    if number in needed:
                        wanted.discard(number)
                        yield number, frame
                    if number >= last and needed.isdisjoint(wanted):
                        break
                stream.codec_context.flush_buffers()
        except VideoError:
            raise
        except (OSError, ValueError, KeyError) as error:
            raise VideoError(f"{file}: frame {min(wanted, default=0)} cannot be decoded: {reason(error)}") from error
    if wanted:
        raise VideoError(f"{file}: frame {min(wanted)} cannot be decoded")


def _groups(packets: Sequence[Any]) -> Iterator[list[Any]]:
    """Yields the packets from each key frame to the next."""
    group: list[Any] = []
    for packet in packets:
        if packet.is_keyframe and group:
            yield group
            group = []
        group.append(packet)
    if group:
        yield group


def _pictures(codec: Any, packets: Sequence[Any]) -> Iterator[Any]:
    for packet in packets:
        yield from codec.decode(packet)
    yield from codec.decode(None)


@functools.lru_cache(maxsize=256)
def _count(file: Path, changed: int) -> int:
    from elysium.data.decoding import open_video

    try:
        with open_video(file) as (container, stream):
            return sum(1 for packet in container.demux(stream) if packet.size and packet.pts is not None)
    except (VideoError, OSError, ValueError):
        return 0


@functools.lru_cache(maxsize=256)
def _digest(file: Path, changed: int) -> bytes:
    import hashlib

    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()
