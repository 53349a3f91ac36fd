"""Generated 720p video for `benchmarks/curation.py`: drawn scenes in which a man is seen, encoded as the web has them.

Each scene pans over a drawn landscape (noise of all scales); before it a picture floats that shows the built-in clip
`carphone`, three times as large and there and back, so that the embedded grounder finds a face; everything lies under
film grain. 30 frames a second of 1280 x 720 pixels, H.264 High with B-frames at about 4 Mbit/s, no sound: what
video sites hand out. The same number gives the same frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from elysium.data.records import RawClip, write_jsonl
from elysium.data.samples import sample_clips
from elysium.pipeline.workspace import sha256

Image = npt.NDArray[np.uint8]

SIZE, RATE, BITS = (1280, 720), 30, 4_000_000
CAPTION = "A man in a dark suit talks, and a red bow tie is seen."
_MARGIN = 240  # pixels that the landscape is larger by
_GRAIN, _GRAINS = 3.0, 8  # levels, and pictures of grain that take turns


def make_source(folder: Path, files: int, seconds: float, *, entries: int | None = None, side: int = 0) -> Path:
    """Writes video files and a manifest that lists them, and returns the folder.

    Args:
        folder: It is made.
        files: How many different ones.
        seconds: Of each.
        entries: Videos listed; more than files are listed again under other ids.
        side: Scales frames down to so many pixels of their longer side; 0 keeps 1280 x 720.
    """
    (folder / "clips").mkdir(parents=True)
    for number in range(files):
        write_scene(folder / f"clips/{number}.mp4", number, seconds, side)
    digests = [sha256(folder / f"clips/{number}.mp4") for number in range(files)]
    clips = [
        RawClip(
            id=f"scene-{number:05d}",
            path=f"clips/{number % files}.mp4",
            caption=CAPTION,
            source="drawn",
            sha256=digests[number % files],
            split="train",
        )
        for number in range(entries or files)
    ]
    write_jsonl(folder / "manifest.jsonl", clips)
    return folder


def write_scene(path: Path, number: int, seconds: float, side: int = 0) -> None:
    """Writes one scene."""
    size = SIZE if not side else (side, 2 * round(side * SIZE[1] / SIZE[0] / 2))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.bit_rate = BITS * size[0] * size[1] // (SIZE[0] * SIZE[1])
        stream.time_base = Fraction(1, RATE)
        stream.options = {"preset": "faster", "threads": "1", "x264-params": "cpu-independent=1"}
        for image in _scene(number, round(seconds * RATE)):
            if side:
                image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _scene(number: int, count: int) -> Iterator[Image]:
    rng = np.random.default_rng(number)
    width, height = SIZE
    land = _landscape(rng, (height + _MARGIN, width + _MARGIN))
    grains = [np.rint(rng.normal(0, _GRAIN, (height, width, 1))).astype(np.int16) for _ in range(_GRAINS)]
    man = _man()
    angle, first = rng.uniform(0, 2 * np.pi), int(rng.integers(2 * len(man)))
    room = np.array([width - man[0].shape[1], height - man[0].shape[0]])
    for index in range(count):
        turn = angle + 2 * np.pi * index / RATE / 12  # once in 12 seconds
        x, y = np.rint(_MARGIN / 2 * (1 + np.array([np.cos(turn), np.sin(turn)]))).astype(int)
        image = land[y : y + height, x : x + width].copy()
        x, y = np.rint(room / 2 + 60 * np.array([np.sin(turn), np.cos(turn)])).astype(int)
        place = (first + index) % (2 * len(man))
        picture = man[min(place, 2 * len(man) - 1 - place)]
        image[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        yield np.clip(image + grains[index % _GRAINS], 0, 255).astype(np.uint8)


def _landscape(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.int16]:
    """Returns noise of all scales, each as strong as it is coarse, as in pictures of the world."""
    total = np.zeros((*shape, 3))
    for scale in (4, 8, 16, 32, 64, 128, 256):
        rough = rng.normal(0, 1, (shape[0] // scale + 2, shape[1] // scale + 2, 3)) * scale**0.7
        total += cv2.resize(rough, shape[::-1], interpolation=cv2.INTER_CUBIC)
    total = 0.3 * total + 0.7 * total.mean(axis=2, keepdims=True)
    return np.clip(110 + 35 * total / total.std(), 0, 255).astype(np.int16)


@cache
def _man() -> list[npt.NDArray[np.int16]]:
    [clip] = [clip for clip in sample_clips() if clip.id == "carphone"]
    with av.open(str(clip.path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [cv2.resize(frame, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC).astype(np.int16) for frame in frames]
