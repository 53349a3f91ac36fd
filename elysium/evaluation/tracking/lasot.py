"""LaSOT's testing set and its extension: `<class>/<sequence>/` with `img/`, `groundtruth.txt`, flags and `nlp.txt`.

Attributes are not in the set but in its toolkit (HengLan/LaSOT_Evaluation_Toolkit): `annos/att/<sequence>.txt`, in the
order of its `run_tracker_performance_evaluation.m`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from elysium.evaluation.tracking.facts import frame_ranges, words
from elysium.evaluation.tracking.files import (
    Contents,
    Request,
    frames_of,
    read_attributes,
    read_flags,
    read_text,
    read_truth,
)
from elysium.evaluation.tracking.sequences import BoolArray, TrackingSequence

ATTRIBUTES = ("IV", "POC", "DEF", "MB", "CM", "ROT", "BC", "VC", "SV", "FOC", "FM", "OV", "LR", "ARC")
_EXTENSION = range(1, 11)
_FLAGS = ("full_occlusion.txt", "out_of_view.txt")


def find(folder: Path, name: str) -> bool:
    """Returns whether a folder holds class folders of LaSOT (`lasot`) or of its extension (`lasot_ext`)."""
    return any((folder / _class(sequence) / sequence / "groundtruth.txt").is_file() for sequence in _names(name))


def contents(request: Request, name: str) -> Contents:
    """Returns the sequences that are there."""
    known = frame_ranges("lasot") if name == "lasot" else {}
    present = {}
    for sequence in _names(name):
        folder = request.root / _class(sequence) / sequence
        if (folder / "groundtruth.txt").is_file():
            length = known[sequence].length if sequence in known else None
            present[sequence] = partial(_sequence, request, sequence, folder, length)
    return Contents(present, published=_names(name))


def _sequence(request: Request, name: str, folder: Path, known: int | None) -> TrackingSequence:
    boxes = read_truth(folder / "groundtruth.txt", one_based=True)
    places = [request.root / "att", request.root / "annos" / "att"]
    return TrackingSequence(
        name=name,
        frames=frames_of(folder / "img", len(boxes), request.images, known=known),
        boxes=boxes,
        absent=_absent(folder, len(boxes)),
        attributes=read_attributes(request.attribute_file(places, f"{name}.txt"), ATTRIBUTES),
        object_class=_class(name),
        expression=read_text(folder / "nlp.txt"),
        one_based=True,
    )


def _absent(folder: Path, length: int) -> BoolArray | None:
    """Returns where the target is fully occluded or out of view, as visionml/pytracking takes them together."""
    flags = [read_flags(path, length) for part in _FLAGS if (path := folder / part).is_file()]
    return flags[0] | flags[-1] if flags else None


def _names(name: str) -> tuple[str, ...]:
    if name == "lasot":
        return tuple(frame_ranges("lasot"))
    return tuple(f"{group}-{number}" for group in words("lasot_ext") for number in _EXTENSION)


def _class(sequence: str) -> str:
    return sequence.rpartition("-")[0]
