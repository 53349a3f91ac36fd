"""Looking at the frames of clips: which ones, what they look like, and what their files hold."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elysium.data.limits import Limits
from elysium.data.pictures import Image, read_grey
from elysium.data.stored_frames import read_stored, split_name, stored_bytes
from elysium.errors import ElysiumError
from elysium.evaluation.leaks.clips import Clip, Frame, VideoFrames
from elysium.evaluation.leaks.fingerprint import SIDE, Hashes, fingerprints, mirrored

# Frames of a training clip: few, for there are millions of clips, but one of every so many, so that a piece of a long
# one is seen too. Of an evaluation clip more: whichever frames were taken for training, one of these is close.
_EVERY = 16
_TRAINING, _EVALUATION = (5, 32), (16, 64)

_MAX_THREADS = 16

Numbers = npt.NDArray[np.uint64]
Choose = Callable[[int], list[int]]


@dataclass(frozen=True)
class Looks:
    """What some frames of a clip look like.

    Attributes:
        numbers: Of the frames, from 0, shape `(n,)`.
        files: What `digest` says of each frame's file, or of the video's; 0 for frames without one.
        hashes: Shape `(n, 2)`.
        mirrored: The same with left and right exchanged.
        flat: Whether a frame shows too little to be told from others.
    """

    numbers: Numbers
    files: Numbers
    hashes: Hashes
    mirrored: Hashes
    flat: npt.NDArray[np.bool_]


def of_training(count: int) -> list[int]:
    """Returns the numbers of the frames that are looked at of a training clip of so many.

    Example:
        >>> of_training(24), len(of_training(300)), of_training(1)
        ([2, 7, 12, 16, 21], 19, [0])
    """
    return _spread(count, *_TRAINING)


def of_evaluation(count: int) -> list[int]:
    """Returns the numbers of the frames that are looked at of an evaluation clip of so many."""
    return _spread(count, *_EVALUATION)


def look(clip: Clip, choose: Choose) -> Looks:
    """Returns what some of a clip's frames look like.

    Args:
        clip: The clip.
        choose: Says which frames of how many.

    Raises:
        ElysiumError: If a frame cannot be read; the message names clip and frame.
    """
    try:
        if isinstance(clip.frames, VideoFrames):
            numbers = choose(clip.frames.count())
            with clip.frames.path.open("rb") as file:
                content = hashlib.file_digest(file, functools.partial(hashlib.blake2b, digest_size=8)).digest()
            read = [(read_grey(image, SIDE), content) for image in clip.frames.read(numbers)]
        else:
            numbers = choose(len(clip.frames))
            read = [_read(clip.frames[number]) for number in numbers]
    except (ElysiumError, ValueError, OSError) as error:
        raise ElysiumError(f"{clip.id}: a frame cannot be read: {error}") from error
    greys = np.array([grey for grey, _ in read], dtype=np.uint8).reshape(-1, SIDE, SIDE)
    hashes, flat = fingerprints(greys)
    return Looks(
        numbers=np.array(numbers, dtype=np.uint64),
        files=np.array([_number(content) for _, content in read], dtype=np.uint64),
        hashes=hashes,
        mirrored=fingerprints(mirrored(greys))[0],
        flat=flat,
    )


def look_at_all(clips: Sequence[Clip], choose: Choose) -> Iterator[Looks | ElysiumError]:
    """Yields what each clip looks like, in their order, or why it cannot be read."""

    def attempt(clip: Clip) -> Looks | ElysiumError:
        try:
            return look(clip, choose)
        except ElysiumError as error:
            return error

    # Decoding and resizing let other threads run.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS)) as pool:
        warnings.simplefilter("ignore")  # broken EXIF and large pictures are no news
        yield from pool.map(attempt, clips)


def file_digests(clip: Clip) -> list[int]:
    """Returns what `digest` says of the files of all of a clip's frames; 0 for those that are not there."""
    if isinstance(clip.frames, VideoFrames):
        raise TypeError(f"{clip.id} has no files of frames")
    return [digest(stored_bytes(frame)) if isinstance(frame, str | Path) else 0 for frame in clip.frames]


def digest(content: bytes | str | None) -> int:
    """Returns 64 bits that stand for a text or a file's content; never 0, but for None and the empty text."""
    if not content:
        return 0
    return _number(hashlib.blake2b(content.encode() if isinstance(content, str) else content, digest_size=8).digest())


def _number(content: bytes) -> int:
    return (int.from_bytes(content, "little") or 1) if content else 0


def _read(frame: Frame) -> tuple[Image, bytes]:
    """Returns a frame's brightness, and the digest of its file, if it has one."""
    limit = Limits().max_pixels
    if isinstance(frame, str | Path):
        file, number = split_name(frame)
        content = stored_bytes(frame) if number is not None else file.read_bytes()
        picture = io.BytesIO(content) if number is None else read_stored(frame, limit)
        try:
            return read_grey(picture, SIDE, limit), hashlib.blake2b(content, digest_size=8).digest()
        except ValueError as error:
            raise ValueError(f"{frame}: {error}") from error
    return read_grey(frame() if callable(frame) else frame, SIDE, limit), b""


def _spread(count: int, least: int, most: int) -> list[int]:
    """Returns numbers in the middle of equal parts: of every 16 frames one, within bounds."""
    wanted = min(count, max(least, min(most, -(-count // _EVERY))))
    return [(2 * part + 1) * count // (2 * wanted) for part in range(wanted)]
