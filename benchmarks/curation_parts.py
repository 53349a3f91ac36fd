"""Stand-ins for curation's models that take a stated time, and a stop watch that says what a run's time went to.

The stand-ins do nothing else: they sleep, as a process does that waits for a GPU. Named to curation as
`curation_parts:grounder` and `curation_parts:tracker`, they find every phrase on every frame, each in a place of its
own, and follow it there, so that every video goes all the way. Their pace is the slowest that row G5 of the GPU
measurements allows, one GPU-second for 10 s of video: of 120 frames in two pieces, six are searched (50 ms each)
and 120 are followed (5.8 ms each, all objects together).
"""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from elysium.config import CurateSettings
from elysium.curation.protocols import Detection, Frame, Query, Track

GROUND, TRACK = 0.050, 0.7 / 120  # seconds a frame


def grounder(settings: CurateSettings) -> StandInGrounder:
    """Returns the grounder; it has no settings."""
    return StandInGrounder(GROUND)


def tracker(settings: CurateSettings) -> StandInTracker:
    """Returns the tracker; it has no settings."""
    return StandInTracker(TRACK)


def free_grounder(settings: CurateSettings) -> StandInGrounder:
    """Returns one that takes no time."""
    return StandInGrounder(0.0)


def free_tracker(settings: CurateSettings) -> StandInTracker:
    """Returns one that takes no time."""
    return StandInTracker(0.0)


class StandInGrounder:
    """Finds every phrase.

    Args:
        seconds: That a frame takes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def knows(self, phrase: str) -> bool:
        """Returns that it does."""
        return True

    def ground(self, frame: Frame, phrases: Sequence[str]) -> list[Detection]:
        """Returns one detection a phrase, none of which overlap."""
        time.sleep(self._seconds)
        return [
            Detection(phrase, (0.1 + 0.2 * place, 0.3, 0.25 + 0.2 * place, 0.7), 0.9)
            for place, phrase in enumerate(phrases[:4])
        ]

    def ground_batch(self, queries: Sequence[Query]) -> list[list[Detection]]:
        """Returns what `ground` does for each."""
        return [self.ground(query.frame, query.phrases) for query in queries]


class StandInTracker:
    """Stays where it is put.

    Args:
        seconds: That a frame takes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def track(self, frames: Sequence[Frame], box: Sequence[float]) -> Track:
        """Returns the box on every frame."""
        return self.track_objects(frames, [box])[0]

    def track_objects(self, frames: Sequence[Frame], boxes: Sequence[Sequence[float]]) -> list[Track]:
        """Returns each box on every frame."""
        time.sleep(self._seconds * len(frames))
        return [Track(np.tile(np.array(box), (len(frames), 1)), np.full(len(frames), 0.9)) for box in boxes]


class Watch:
    """Tells what time went to: each function that is watched has what passes in it and in none that it calls.

    Attributes:
        wall: Seconds by label.
        cpu: Of these, the processor's in the thread that called.
        calls: Times by label.
    """

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._local = threading.local()
        self._undo: list[tuple[Any, str, Any]] = []

    @contextmanager
    def timed(self, label: str) -> Iterator[None]:
        """Counts the time in the block as the label's, but for what is counted inside it."""
        stack = self._stack()
        self._settle(stack)
        stack.append(label)
        try:
            yield
        finally:
            self._settle(stack)
            stack.pop()

    def function(self, owner: Any, name: str, label: str) -> None:
        """Watches a function or method from now on."""
        real = getattr(owner, name)

        @functools.wraps(real)
        def watched(*arguments: Any, **keywords: Any) -> Any:
            self.calls[label] += 1
            with self.timed(label):
                return real(*arguments, **keywords)

        self._replace(owner, name, watched)

    def generator(self, owner: Any, name: str, label: str) -> None:
        """Watches a function whose result is iterated over: the time until each item comes."""
        real = getattr(owner, name)

        @functools.wraps(real)
        def watched(*arguments: Any, **keywords: Any) -> Iterator[Any]:
            items = real(*arguments, **keywords)
            while True:
                with self.timed(label):
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                self.calls[label] += 1
                yield item

        self._replace(owner, name, watched)

    def stop(self) -> None:
        """Puts everything back."""
        while self._undo:
            setattr(*self._undo.pop())

    def _replace(self, owner: Any, name: str, watched: Callable[..., Any]) -> None:
        self._undo.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, watched)

    def _stack(self) -> list[Any]:
        if not hasattr(self._local, "stack"):
            self._local.stack, self._local.since = [], (time.perf_counter(), time.thread_time())
        stack: list[Any] = self._local.stack
        return stack

    def _settle(self, stack: list[Any]) -> None:
        now, before = (time.perf_counter(), time.thread_time()), self._local.since
        self._local.since = now
        if stack:
            self.wall[stack[-1]] += now[0] - before[0]
            self.cpu[stack[-1]] += now[1] - before[1]


def watch_curation(watch: Watch) -> None:
    """Watches what curation does in one process; what is in none of the labels' functions is the rest."""
    import cv2

    from elysium.curation import blocks, curation, engine, fetcher, graph, judging, pieces, publishing, shards
    from elysium.curation.dataset import media
    from elysium.curation.filters import looks
    from elysium.data import decoding

    watch.generator(decoding.FrameReader, "_decode", "codec: decoding")
    watch.function(decoding.DecodedFrame, "image", "codec: conversion")
    watch.function(media, "fit", "codec: scaling")
    watch.function(cv2, "imencode", "codec: JPEG")
    watch.function(graph, "ground_all", "models: grounding")
    watch.function(graph, "track_all", "models: tracking")
    watch.function(fetcher, "fetch_video", "hashing")
    watch.function(blocks, "probe_limits", "headers")
    watch.function(blocks, "read_caption", "captions")
    watch.function(pieces.CutDetector, "change", "scene cuts")
    watch.function(graph, "run_filters", "filters of pieces")
    watch.function(judging, "run_filters", "filters of tracks")
    for name in ("judge_first", "judge_later", "judge_tracks", "found_rows", "track_row"):
        watch.function(graph, name, "judging")
    watch.function(looks, "looks", "hashes of pictures")
    watch.function(blocks, "store_piece", "writing pictures")
    watch.function(shards.ShardStore, "write_block", "blocks")
    watch.function(shards.ShardStore, "publish", "shards")
    watch.function(curation, "publish", "data set")
    watch.function(publishing, "write_card", "card")
    watch.function(publishing, "write_contact_sheet", "contact sheet")
    watch.function(engine.PartsShelf, "make_all", "making the parts")
