"""Frames to ask one question about: the first, or some evenly spread over a source."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from elysium.errors import UsageError
from elysium.inference.choice import ReadOptions
from elysium.inference.engine import Engine
from elysium.inference.results import Image
from elysium.inference.sources import open_source
from elysium.model.frames import spread

logger = logging.getLogger(__name__)


def first_frame(uri: str, read: ReadOptions) -> Image:
    """Returns the first frame of a source.

    Raises:
        UsageError: If it has none.
    """
    source = open_source(uri, read)
    try:
        for frame in source:
            return frame.image
    finally:
        source.close()
    raise UsageError(f"{uri} holds no frame")


def as_many_as_fit(
    engine: Engine, clip: list[Image], question: Callable[[int], str], max_tokens: int, *, quiet: bool = False
) -> list[Image]:
    """Returns as many frames of a clip, evenly spread, as the model's context takes.

    Args:
        engine: With the model.
        clip: All frames that are to be shown.
        question: Returns the prompt for a number of frames.
        max_tokens: Of the answer.
        quiet: Leaves it to the caller to tell that some are left out.
    """
    fit = engine.most_frames(question, len(clip), max_tokens)
    if fit < len(clip) and not quiet:
        logger.info("%d frames are shown, as many as the model takes", fit)
    return [clip[place] for place in spread(len(clip), fit)]


def spread_frames(uri: str, read: ReadOptions, count: int) -> list[Image]:
    """Returns frames evenly spread over a source, at least one.

    Raises:
        UsageError: If it has none, or is live and has no end.
    """
    source = open_source(uri, read)
    try:
        if source.info.live and read.stop is None:
            raise UsageError(f"{uri} is live and has no end; say with --stop N how many frames are meant")
        length = source.info.num_frames
        images: list[Image] = []
        if length is not None:
            wanted = set(spread(length, count))
            images = [frame.image for number, frame in enumerate(source) if number in wanted]
        if length is None or len(images) < min(length, count):
            images = _thin_out((frame.image for frame in source), count)
    finally:
        source.close()
    if not images:
        raise UsageError(f"{uri} holds no frame")
    return images


def _thin_out(images: Iterable[Image], count: int) -> list[Image]:
    """Returns about evenly spread images of a sequence of unknown length; the first is among them."""
    kept: list[Image] = []
    step = 1
    for number, image in enumerate(images):
        if number % step:
            continue
        kept.append(image)
        if len(kept) >= 4 * count:
            kept, step = kept[::2], 2 * step
    return [kept[place] for place in spread(len(kept), count)]
