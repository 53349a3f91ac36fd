"""UAV123 and UAV20L: `data_seq/UAV123/<folder>/` of images that both share, `anno/UAV123/` and `anno/UAV20L/`.

Several sequences are parts of one folder (`bird1_2` is frames 775 to 1477 of `bird1`); NaN rows mean that the target
is not in view. Attributes: `anno/UAV123/att/<sequence>.txt`, in the order of the set's annotation table.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from elysium.evaluation.tracking.facts import Frames, frame_ranges
from elysium.evaluation.tracking.files import Contents, Request, frames_of, read_attributes, read_truth
from elysium.evaluation.tracking.sequences import TrackingSequence

ATTRIBUTES = ("SV", "ARC", "LR", "FM", "FOC", "POC", "OV", "BC", "IV", "VC", "CM", "SOB")
_FOLDERS = {"uav123": "UAV123", "uav20l": "UAV20L"}
_PART = re.compile(r"_\d+$")
_DIGITS = re.compile(r"\d+$")


def find(folder: Path, name: str) -> bool:
    """Returns whether a folder holds the annotations of `uav123` or `uav20l`."""
    return any((folder / "anno" / _FOLDERS[name]).glob("*.txt"))


def contents(request: Request, name: str) -> Contents:
    """Returns the sequences that are there."""
    annotations = request.root / "anno" / _FOLDERS[name]
    known = frame_ranges(name)
    present = {
        sequence: partial(_sequence, request, sequence, annotations, frames)
        for sequence, frames in known.items()
        if (annotations / f"{sequence}.txt").is_file()
    }
    return Contents(present, published=tuple(known))


def _sequence(request: Request, name: str, annotations: Path, frames: Frames) -> TrackingSequence:
    boxes = read_truth(annotations / f"{name}.txt", one_based=True)
    base = _PART.sub("", name)
    # UAV20L's images are UAV123's; a copy may hold them in a folder of its own.
    places = [request.root / "data_seq" / part for part in ("UAV123", annotations.name)]
    images = next((place for place in places if (place / base).is_dir()), places[0]) / base
    attributes = request.attribute_file([annotations / "att"], f"{name}.txt")
    return TrackingSequence(
        name=name,
        frames=frames_of(images, len(boxes), request.images, numbers=frames),
        boxes=boxes,
        attributes=read_attributes(attributes, ATTRIBUTES),
        # person1_s is a simulated person1.
        object_class=_DIGITS.sub("", base.removesuffix("_s")),
        one_based=True,
    )
