"""Simulated clips, a grounder and a tracker that err in stated ways: what the filters of curation are measured on.

The truth is the simulator's: clips of 24 frames with two to five objects, of which some hide, leave or enter. The
errors, all drawn from seeds made of clip, candidate and frame:

- *Captions* name every object; every fourth caption also names one that is not there.
- *Pieces*: one in twenty goes over into another clip by a dissolve of 6 to 10 frames, one in twenty by a cut between
  clips so alike that `shots` does not see it.
- *Grounder*: finds an object that is seen to at least 0.3 with probability 0.99. Every side of its box errs by a normal
  error of 4 % of the box's size, in one detection of twenty by 20 %. With probability 0.08 it also finds the phrase at
  another object, or where nothing is. For 3 phrases of 100 it means another object of the clip, on every frame alike.
  Its confidence is a logistic curve of how right the box is (IoU with the truth of what it means), with normal noise,
  half of it the phrase's own: it exceeds 0.6 with probability 0.99 at IoU 0.85, 0.73 at 0.5, and 0.05 at 0.
- *Tracker*: follows what its first box shows, or the background where that is nothing, with an error of its own (3 % of
  the size, correlated over time) on top of the first box's; where the object leaves, it stays. In 40 of 100 tracks it
  fails, from a frame in the middle half on: `drift`, it slides off, by 2 to 8 % of the frame's side a frame in steady
  direction; `swap`, it goes over to another object, within three frames; `stuck`, it stays where it is; `scale`, its
  box grows or shrinks to twice or half its sides until the last frame; `jump`, it goes elsewhere for good, at once.
- *Its confidence* is `0.55 + 0.45 q` with noise: of the whole track (normal, 0.035) and of each frame (0.015). `q` is
  the IoU with what it should follow, as far as it knows: a share, drawn evenly from 0 to 1 for each track, of its
  failure it does not notice. So a failing track is often sure of itself, and an honest one sometimes is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray, iou
from elysium.curation.filters.base import FoundSubject, PieceSubject
from elysium.curation.protocols import Chunk, Detection, Frame, Track
from elysium.curation.shots import scene_change
from elysium.data.simulator import FRAME_RATE, SimulatedClip, simulate

Failure = Literal["none", "drift", "swap", "stuck", "scale", "jump"]
Box = tuple[float, float, float, float]

NUM_FRAMES = 24
_VERSION = 1  # changes with the model: it is part of every seed
_PHANTOM, _DISSOLVE, _CUT = 0.25, 0.05, 0.05
_UNSEEN_CUT = 27.0  # `scene_threshold`
_SEEN = 0.3
_BAD_BOX_ERROR = 0.2
_LOGITS = (-0.9, 3.6)  # of confidence: at IoU 0, per IoU
_LOGIT_NOISE = 0.55  # of each phrase, and once more of each detection
_JITTER, _MEMORY = 0.03, 0.8
_FAILURES: tuple[Failure, ...] = ("drift", "swap", "stuck", "scale", "jump")
_FRAME_NOISE = 0.015


@dataclass(frozen=True)
class Errors:
    """How much grounder and tracker err; the defaults are what the figures are quoted for.

    Attributes:
        found: Probability that the grounder finds an object that is there.
        box: Standard deviation of a side's error, in sizes of the box.
        bad_box: Share of detections whose error is 20 % instead.
        elsewhere: Probability of one more detection, where the object is not.
        confused: Share of phrases for which it means another object.
        failing: Share of tracks that fail.
        unsure: Standard deviation of a track's confidence, of the whole track.
    """

    found: float = 0.99
    box: float = 0.04
    bad_box: float = 0.05
    elsewhere: float = 0.08
    confused: float = 0.03
    failing: float = 0.4
    unsure: float = 0.035


@dataclass(frozen=True)
class Candidate:
    """One phrase in one clip.

    Attributes:
        clip: Number of the clip.
        chunk: The phrase.
        truth: The object's boxes, shape `(T, 4)`, zeros where it is not in the frame.
        seen: The share of it that is seen, shape `(T,)`.
        failure: What the tracker does wrong.
    """

    clip: int
    chunk: Chunk
    truth: FloatArray
    seen: FloatArray
    failure: Failure


@dataclass(frozen=True)
class Piece:
    """A clip as curation sees it, and what is true of it."""

    number: int
    frames: list[Frame]
    candidates: list[Candidate]
    transition: Literal["none", "dissolve", "cut"]
    errors: Errors

    @cached_property
    def subject(self) -> PieceSubject:
        """For the filters of pieces."""
        return PieceSubject(self.frames)


def make_pieces(count: int, errors: Errors = Errors(), first_seed: int = 50_000, side: int = 96) -> list[Piece]:
    """Returns simulated pieces with their candidates; always the same ones.

    Args:
        count: How many.
        errors: Of grounder and tracker.
        first_seed: Of the simulator; the default is far from those of the built-in samples.
        side: Pixels.
    """
    clips = [simulate(first_seed + number, NUM_FRAMES, side) for number in range(count)]
    return [_make_piece(number, clips, errors) for number in range(count)]


def ground(piece: Piece, place: int, index: int) -> list[Detection]:
    """Returns what the grounder answers, the most confident first.

    Args:
        piece: Where.
        place: Of the candidate in the piece.
        index: Of the frame.
    """
    candidate, errors = piece.candidates[place], piece.errors
    rng = _rng(piece.number, place, 1, index)
    others = [other for other in piece.candidates if other is not candidate and other.seen[index] >= _SEEN]
    steady = _rng(piece.number, place, 2)
    meant = candidate
    if steady.random() < errors.confused and len(piece.candidates) > 1:
        meant = piece.candidates[(place + 1 + steady.integers(len(piece.candidates) - 1)) % len(piece.candidates)]
    liked, found = steady.normal(0, _LOGIT_NOISE), []
    if meant.seen[index] >= _SEEN and rng.random() < errors.found:
        box = _shaken(meant.truth[index], errors, rng)
        found.append(_detection(candidate, box, float(iou(box, meant.truth[index])), liked, rng))
    if rng.random() < errors.elsewhere:
        if others and rng.random() < 0.6:
            box = _shaken(others[rng.integers(len(others))].truth[index], errors, rng)
        else:
            corner, size = rng.uniform(0, 0.7, 2), rng.uniform(0.1, 0.3, 2)
            box = np.concatenate([corner, corner + size])
        found.append(_detection(candidate, box, float(iou(box, candidate.truth[index])), liked, rng))
    return sorted(found, key=lambda detection: -detection.confidence)


def subject_of(piece: Piece, place: int, more: Sequence[int] = ()) -> FoundSubject:
    """Returns what is found of a candidate on first, middle and last frame, beside the others of its piece.

    Args:
        piece: Where.
        place: Of the candidate in the piece.
        more: Other frames that are searched.
    """
    middle, last = NUM_FRAMES // 2, NUM_FRAMES - 1
    return FoundSubject(
        chunk=piece.candidates[place].chunk,
        first=ground(piece, place, 0),
        middle=ground(piece, place, middle),
        last=ground(piece, place, last),
        more={index: ground(piece, place, index) for index in more},
        others={
            other.chunk.text: (other.chunk, ground(piece, number, 0))
            for number, other in enumerate(piece.candidates)
            if number != place
        },
    )


def track(piece: Piece, place: int, box: Sequence[float]) -> Track:
    """Returns the tracker's answer.

    Args:
        piece: Where.
        place: Of the candidate in the piece.
        box: Where it starts.
    """
    candidate, rng = piece.candidates[place], _rng(piece.number, place, 3)
    targets = [other for other in piece.candidates if other.seen[0] >= _SEEN]
    shared = [float(iou(other.truth[0], box)) for other in targets]
    start = np.asarray(box, dtype=np.float64)
    best = int(np.argmax(shared)) if shared else 0
    if shared and shared[best] >= 0.2:
        followed = _carried(targets[best].truth)
        others = [_carried(other.truth) for number, other in enumerate(targets) if number != best]
    else:
        followed, others = np.tile(start, (NUM_FRAMES, 1)), []
    boxes = _relative(followed, start, rng)
    boxes = _failing(boxes, candidate.failure, others, rng)
    boxes = boxes.clip(0, 1)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.005).clip(0, 1)
    boxes[:, :2] = np.minimum(boxes[:, :2], boxes[:, 2:] - 0.005)
    unaware = rng.random()
    quality = 1 - (1 - unaware) * (1 - iou(boxes, followed))
    honest = iou(boxes, followed) if candidate.failure == "none" else quality
    noise = rng.normal(0, piece.errors.unsure) + rng.normal(0, _FRAME_NOISE, NUM_FRAMES)
    return Track(boxes, np.clip(0.55 + 0.45 * honest + noise, 0, 1))


def is_correct(candidate: Candidate, boxes: FloatArray) -> bool:
    """Returns whether the mean IoU with the truth is 0.7 or more; a frame without the object counts as 0."""
    return float(iou(boxes, candidate.truth).mean()) >= 0.7


def _make_piece(number: int, clips: Sequence[SimulatedClip], errors: Errors) -> Piece:
    clip, rng = clips[number], _rng(number, 0, 0)
    images, transition, end = clip.frames, "none", NUM_FRAMES
    draw, start = rng.random(), int(rng.integers(8, 15))
    if draw < _DISSOLVE:
        other = clips[int(rng.integers(len(clips)))]
        images, end, transition = _dissolved(clip.frames, other.frames, start, int(rng.integers(6, 11)))
    elif draw < _DISSOLVE + _CUT:
        alike = [
            other
            for other in clips
            if other is not clip and scene_change(clip.frames[start - 1], other.frames[start]) < _UNSEEN_CUT
        ]
        if alike:
            other = alike[int(rng.integers(len(alike)))]
            images = np.concatenate([clip.frames[:start], other.frames[start:]])
            end, transition = start, "cut"
    candidates = [
        _candidate(number, place, item.expression, _array(item.boxes, end), np.array(item.visibility), errors)
        for place, item in enumerate(clip.annotations.objects)
    ]
    if rng.random() < _PHANTOM:
        items = clips[int(rng.integers(len(clips)))].annotations.objects
        phrase = items[int(rng.integers(len(items)))].expression
        if phrase not in {candidate.chunk.text for candidate in candidates}:
            nothing = np.zeros((NUM_FRAMES, 4))
            candidates.append(_candidate(number, len(candidates), phrase, nothing, np.zeros(NUM_FRAMES), errors))
    frames = [Frame(image, index, index / FRAME_RATE) for index, image in enumerate(images)]
    return Piece(number, frames, candidates, transition, errors)


def _candidate(clip: int, place: int, phrase: str, truth: FloatArray, seen: FloatArray, errors: Errors) -> Candidate:
    words = tuple(phrase.lower().split())
    rng = _rng(clip, place, 4)
    failure: Failure = _FAILURES[rng.integers(len(_FAILURES))] if rng.random() < errors.failing else "none"
    seen = np.where((truth[:, 2] > truth[:, 0]), seen, 0.0)
    return Candidate(clip, Chunk(phrase, words[-1], words), truth, seen, failure)


def _dissolved(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], start: int, length: int
) -> tuple[npt.NDArray[np.uint8], int, Literal["dissolve"]]:
    """Returns the mixed frames, and the first frame that shows more of the second clip."""
    weights = np.clip((np.arange(len(first)) - start + 1) / (length + 1), 0, 1)[:, None, None, None]
    mixed = np.rint(first * (1 - weights) + second * weights).astype(np.uint8)
    return mixed, start + length // 2, "dissolve"


def _array(boxes: Sequence[Box | None], end: int) -> FloatArray:
    """Returns boxes as an array, zeros where there is none or from frame `end` on."""
    return np.array([box if box is not None and index < end else (0.0,) * 4 for index, box in enumerate(boxes)])


def _detection(
    candidate: Candidate, box: FloatArray, right: float, liked: float, rng: np.random.Generator
) -> Detection:
    """Returns a detection with a confidence that follows how right the box is, and how well the phrase is known."""
    base, slope = _LOGITS
    logit = base + slope * right + liked + rng.normal(0, _LOGIT_NOISE)
    x1, y1, x2, y2 = box.tolist()
    return Detection(candidate.chunk.text, (x1, y1, x2, y2), float(1 / (1 + np.exp(-logit))))


def _shaken(box: FloatArray, errors: Errors, rng: np.random.Generator) -> FloatArray:
    scale = _BAD_BOX_ERROR if rng.random() < errors.bad_box else errors.box
    size = np.tile(box[2:] - box[:2], 2)
    moved = (box + rng.normal(0, scale, 4) * size).clip(0, 1)
    low, high = np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])
    return np.concatenate([low, np.maximum(high, low + 0.005)])


def _carried(truth: FloatArray) -> FloatArray:
    """Returns boxes in which the last one is kept where the object is gone."""
    boxes = truth.copy()
    for index in range(1, len(boxes)):
        if boxes[index, 2] <= boxes[index, 0]:
            boxes[index] = boxes[index - 1]
    return boxes


def _relative(followed: FloatArray, start: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Returns boxes that keep the first one's error, in sizes of the object, and wander about it."""
    sizes = np.tile(followed[:, 2:] - followed[:, :2], 2)
    error = (start - followed[0]) / np.maximum(sizes[0], 1e-3)
    wander = np.zeros((NUM_FRAMES, 4))
    for index in range(1, NUM_FRAMES):
        wander[index] = _MEMORY * wander[index - 1] + rng.normal(0, _JITTER * np.sqrt(1 - _MEMORY**2), 4)
    return followed + (error + wander) * sizes


def _failing(boxes: FloatArray, failure: Failure, others: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
    start = int(rng.integers(NUM_FRAMES // 4, 3 * NUM_FRAMES // 4))
    after, result = np.arange(NUM_FRAMES - start), boxes.copy()
    if failure == "drift":
        angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.08)
        way = np.tile([np.cos(angle), np.sin(angle)], 2) * speed
        result[start:] += way * (after[:, None] + 1)
    elif failure == "swap" and others:
        other = others[int(rng.integers(len(others)))]
        weights = np.clip((after + 1) / 3, 0, 1)[:, None]
        result[start:] = (1 - weights) * boxes[start:] + weights * other[start:]
    elif failure in ("stuck", "swap"):
        result[start:] = boxes[start]
    elif failure == "scale":
        goal = rng.choice([0.5, 2.0])
        factors = goal ** ((after + 1) / len(after))[:, None]
        centres, halves = (boxes[start:, :2] + boxes[start:, 2:]) / 2, (boxes[start:, 2:] - boxes[start:, :2]) / 2
        result[start:] = np.concatenate([centres - halves * factors, centres + halves * factors], axis=1)
    elif failure == "jump":
        size = boxes[start:, 2:] - boxes[start:, :2]
        corner = rng.uniform(0, 0.7, 2)
        result[start:] = np.concatenate([np.tile(corner, (len(size), 1)), corner + size], axis=1)
    return result


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng([_VERSION, *seed])
