"""TNL2K's testing set: `<sequence>/` with `imgs/`, `groundtruth.txt` and `language.txt`.

The names of the 700 sequences are in the toolkit (wangxiao5791509/TNL2K_evaluation_toolkit):
`sequence_evaluation_config/TNL2K_testing_set.txt`; where that file lies in the set's folder, missing sequences are
named by it. Attributes are in the toolkit's `annos/att/<sequence>_attribute.txt`, in the order of its
`Evaluate_TNL2K_dataset.m`, and absence flags in its `annos/absent/<sequence>.txt`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from elysium.evaluation.tracking.files import (
    Contents,
    Request,
    frames_of,
    read_attributes,
    read_flags,
    read_text,
    read_truth,
    read_values,
)
from elysium.evaluation.tracking.rows import read_bytes
from elysium.evaluation.tracking.sequences import TrackingSequence

ATTRIBUTES = (
    *("CM", "ROT", "DEF", "FOC", "IV", "OV", "POC", "VC", "SV", "BC", "MB", "ARC", "LR", "FM", "AS", "TC", "MS"),
)
_NUM_SEQUENCES = 700
_LIST = "TNL2K_testing_set.txt"
_SUBFOLDERS = ("TNL2K_test_subset", "test")


def find(folder: Path, name: str) -> bool:
    """Returns whether a folder, or its `TNL2K_test_subset`, holds sequences of TNL2K."""
    del name
    return any((path.parent / "imgs").is_dir() for path in _root(folder).glob("*/language.txt"))


def contents(request: Request, name: str) -> Contents:
    """Returns the sequences that are there."""
    del name
    root = _root(request.root)
    present = {
        path.parent.name: partial(_sequence, request, path.parent) for path in sorted(root.glob("*/groundtruth.txt"))
    }
    lists = [place / part / _LIST for place in (root, root.parent) for part in ("", "sequence_evaluation_config")]
    listed = next((place for place in lists if place.is_file()), None)
    names = read_bytes(listed).decode().split() if listed else ()
    return Contents(present, published=names, num_published=_NUM_SEQUENCES, names_in=f"the toolkit's {_LIST}")


def _sequence(request: Request, folder: Path) -> TrackingSequence:
    boxes = read_truth(folder / "groundtruth.txt", one_based=False)
    name = folder.name
    toolkit = [place / "annos" for place in (folder.parent, folder.parent.parent)]
    names = (f"{name}_attribute.txt", f"{name}.txt")
    attributes = request.attribute_file([place / "att" for place in toolkit], *names)
    own = folder / "attributes.txt"
    # Copies hold such a file whose form nobody states: it is taken where it has as many flags as the toolkit's.
    if attributes is None and own.is_file() and len(read_values(own)) == len(ATTRIBUTES):
        attributes = own
    absent = next((path for place in toolkit if (path := place / "absent" / f"{name}.txt").is_file()), None)
    return TrackingSequence(
        name=name,
        frames=frames_of(folder / "imgs", len(boxes), request.images),
        boxes=boxes,
        absent=read_flags(absent, len(boxes)) if absent else None,
        attributes=read_attributes(attributes, ATTRIBUTES),
        expression=read_text(folder / "language.txt"),
    )


def _root(folder: Path) -> Path:
    return next((folder / part for part in _SUBFOLDERS if (folder / part).is_dir()), folder)
