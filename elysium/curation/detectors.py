"""What OpenCV itself can find: faces by Haar cascades, standing people by HOG, each with a raw amount of evidence.

Weights are the ones inside `cv2.data` and the HOG descriptor. The other cascades are left out: on the labelled clips
of `calibration.csv` the body cascades answer as strongly to walls and bottles as to people, and for cats no labelled
clip was at hand.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import cv2.data as cv2_data
import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray, pairwise_iou, xywh_to_xyxy

Kind = Literal["face", "person"]
Image = npt.NDArray[np.uint8]

# The longer side, in pixels, that an image is scaled to: HOG's person is 96 pixels tall at least, a face 24.
FACE_SIDE = 640
PERSON_SIDE = 1024
_FACE_CASCADES = ("haarcascade_frontalface_alt2.xml", "haarcascade_frontalface_default.xml")
_ANGLES = (0.0, -20.0, 20.0)  # a cascade sees upright faces only: tilted heads are turned upright first
_MIN_FACE = 24
_SAME_OBJECT = 0.4  # IoU from which two windows show one object
# The trained window is 64 by 128 pixels around a person of about 40 by 96 (INRIA person set, Dalal and Triggs 2005).
_HOG_WINDOW = (64, 128)
_HOG_MARGIN = (0.19, 0.08)


@dataclass(frozen=True)
class Candidate:
    """One place that may hold an object.

    Attributes:
        box: Normalised `(x1, y1, x2, y2)`, cut to the image.
        evidence: How much speaks for it, in the detector's own unit, larger is more; `calibration` makes it a share.
    """

    box: tuple[float, float, float, float]
    evidence: float


def find_faces(image: Image) -> list[Candidate]:
    """Returns faces, strongest evidence first.

    The evidence is the logarithm of one plus the number of raw windows, over both cascades and three head tilts,
    that agree on a face: chance finds are seldom confirmed by neighbouring windows, other tilts and the other cascade.

    Args:
        image: Shape `(h, w, 3)`, uint8, RGB.
    """
    scaled = _scale(image, FACE_SIDE)
    grey = cv2.equalizeHist(cv2.cvtColor(scaled, cv2.COLOR_RGB2GRAY))
    height, width = grey.shape
    boxes: list[FloatArray] = []
    weights: list[float] = []
    for angle in _ANGLES:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
        back = cv2.invertAffineTransform(turn)
        turned = cv2.warpAffine(grey, turn, (width, height), borderMode=cv2.BORDER_REPLICATE) if angle else grey
        for name in _FACE_CASCADES:
            found, windows = _cascade(name).detectMultiScale2(
                turned, scaleFactor=1.1, minNeighbors=2, minSize=(_MIN_FACE, _MIN_FACE)
            )
            for (x, y, w, h), number in zip(found, windows, strict=True):
                centre = back @ np.array([x + w / 2, y + h / 2, 1.0])
                boxes.append(np.array([centre[0] - w / 2, centre[1] - h / 2, centre[0] + w / 2, centre[1] + h / 2]))
                weights.append(float(number))
    merged = _merge(np.array(boxes).reshape(-1, 4), np.array(weights))
    return _candidates([(box, float(np.log1p(number))) for box, number in merged], (width, height))


def find_people(image: Image) -> list[Candidate]:
    """Returns standing people, strongest evidence first.

    The evidence is the logarithm of one plus the sum of the margins of all windows that agree on a person.

    Args:
        image: Shape `(h, w, 3)`, uint8, RGB.
    """
    scaled = _scale(image, PERSON_SIDE)
    height, width = scaled.shape[:2]
    # In a strip that no window fits into nobody can be found, and OpenCV would crash.
    if width < _HOG_WINDOW[0] or height < _HOG_WINDOW[1]:
        return []
    found, margins = _hog().detectMultiScale(scaled, winStride=(8, 8), padding=(16, 16), scale=1.05, groupThreshold=0)
    corners = xywh_to_xyxy(np.array(found, dtype=np.float64).reshape(-1, 4))
    people = []
    for box, margin in _merge(corners, np.ravel(np.array(margins, dtype=np.float64))):
        inset = np.array([*_HOG_MARGIN]) * (box[2:] - box[:2])
        people.append((box + np.array([*inset, *-inset]), float(np.log1p(margin))))
    return _candidates(people, (width, height))


def person_around(face: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Returns the box of an upright person from the box of the face, cut to the image.

    Proportions of an adult with hanging arms: arms and shoulders 2.8 of the found squares wide, hair 0.4 above it,
    the whole body seven tall. What lies outside the image is cut off, so a head-and-shoulders picture gives that.

    Args:
        face: Normalised `(x1, y1, x2, y2)` as `find_faces` gives it.

    Example:
        >>> [round(value, 3) for value in person_around((0.45, 0.2, 0.55, 0.3))]
        [0.36, 0.16, 0.64, 0.86]
    """
    x1, y1, x2, y2 = face
    width, height, centre = x2 - x1, y2 - y1, (x1 + x2) / 2
    top, half = y1 - 0.4 * height, 1.4 * width
    return (max(0.0, centre - half), max(0.0, top), min(1.0, centre + half), min(1.0, top + 7.0 * height))


@functools.cache
def _cascade(name: str) -> Any:
    cascade = cv2.CascadeClassifier(str(Path(cv2_data.haarcascades) / name))
    if cascade.empty():
        raise RuntimeError(f"OpenCV {cv2.__version__} does not carry {name}; install opencv-contrib-python-headless<5")
    return cascade


@functools.cache
def _hog() -> Any:
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())
    return hog


def _scale(image: Image, side: int) -> Image:
    factor = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    return np.asarray(scaled, dtype=np.uint8)


def _merge(boxes: FloatArray, weights: FloatArray) -> list[tuple[FloatArray, float]]:
    """Groups windows that show one object, from the strongest on.

    Args:
        boxes: Shape `(n, 4)`.
        weights: Shape `(n,)`, positive.

    Returns:
        The weighted mean box `(4,)` and the summed weight of each group.
    """
    groups = []
    left = np.argsort(-weights, kind="stable")
    while left.size:
        same = pairwise_iou(boxes[left[0]], boxes[left])[0] >= _SAME_OBJECT
        members = left[same]
        groups.append((np.average(boxes[members], axis=0, weights=weights[members]), float(weights[members].sum())))
        left = left[~same]
    return groups


def _candidates(found: list[tuple[FloatArray, float]], size: tuple[int, int]) -> list[Candidate]:
    scale = np.array([*size, *size], dtype=np.float64)
    candidates = []
    for box, evidence in sorted(found, key=lambda entry: -entry[1]):
        x1, y1, x2, y2 = np.clip(box / scale, 0.0, 1.0).round(6).tolist()
        if x2 > x1 and y2 > y1:
            candidates.append(Candidate((x1, y1, x2, y2), evidence))
    return candidates
