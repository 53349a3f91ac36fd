"""The pictures of a record: from files, or straight from its video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elysium.data.decoding import decode_file
from elysium.data.limits import Limits
from elysium.data.pictures import Image
from elysium.data.sets.schema import SetRecord
from elysium.data.stored_frames import read_all_stored
from elysium.errors import ElysiumError

# A rounded timestamp still finds its frame: half the time between two frames at 120 a second.
_SLACK = 1 / 240


def count_frames(record: SetRecord, root: str | Path) -> int:
    """Returns how many frames a record has: pictures, timestamps, or frames counted in its video's packets.

    Raises:
        ElysiumError: If the video cannot be read.
    """
    if record.video is None or record.timestamps:
        return len(record.frames) or len(record.timestamps)
    from elysium.data.video import probe

    return probe(Path(root) / record.video).num_frames


def read_frames(
    record: SetRecord, root: str | Path, chosen: Sequence[int], limits: Limits | None = None
) -> list[Image]:
    """Returns some of a record's frames, each of shape `(height, width, 3)`, uint8, RGB.

    Args:
        record: With pictures or a video.
        root: What its paths are relative to; `SetReader.root`.
        chosen: Numbers of the frames, from 0: of its pictures; of its timestamps where it has some for a video, each
            being the frame shown at that time (the last one for a time after the end); else of the video's frames.
        limits: How much a picture or a video may ask of this machine; None takes the defaults.

    Raises:
        ElysiumError: If a picture or the video cannot be read, or has no frame of a chosen number.
    """
    if record.video is None:
        return read_all_stored(
            [Path(root) / record.frames[number] for number in chosen], (limits or Limits()).max_pixels
        )
    path = Path(root) / record.video
    if record.timestamps:
        return _at_times(path, [record.timestamps[number] for number in chosen], limits)
    return _by_number(path, chosen, limits)


def _by_number(path: Path, chosen: Sequence[int], limits: Limits | None) -> list[Image]:
    wanted, found = set(chosen), {}
    last = max(wanted, default=-1)
    for decoded in decode_file(path, limits, start=min(wanted, default=0)):
        if decoded.number in wanted:
            found[decoded.number] = decoded.image()
        if decoded.number >= last:
            break
    missing = sorted(wanted - found.keys())
    if missing:
        raise ElysiumError(f"{path} has no frame {missing[0]}")
    return [found[number] for number in chosen]


def _at_times(path: Path, times: Sequence[float], limits: Limits | None) -> list[Image]:
    """Returns the last frame that begins at or before each time."""
    order = sorted(range(len(times)), key=times.__getitem__)
    found: dict[int, Image] = {}
    shown = None
    for decoded in decode_file(path, limits):
        while order and shown is not None and decoded.timestamp > times[order[0]] + _SLACK:
            found[order.pop(0)] = shown.image()
        if not order:
            break
        shown = decoded
    for place in order:
        if shown is not None:
            found[place] = shown.image()
    return [found[place] for place in range(len(times))]
