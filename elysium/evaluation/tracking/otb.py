"""OTB-100, its half OTB-50 and OTB-2013: `<video>/img/` and `<video>/groundtruth_rect.txt`, delimiters mixed.

Of videos with two targets there are `groundtruth_rect.1.txt` and `groundtruth_rect.2.txt`, which are the sequences
`<video>-1` and `<video>-2`; `Human4` has only its second one, the first file being empty. Some videos are longer than
what is evaluated (`facts.yaml`), and Tiger1 is evaluated from its sixth frame on, as the benchmark's toolkit does
(`initOmit`). Expressions: `OTB_query_test/<sequence>.txt` of OTB99-LANG, beside or in the folder of videos.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from elysium.evaluation.tracking.facts import Frames, frame_ranges, words
from elysium.evaluation.tracking.files import Contents, Request, frames_of, read_text, to_boxes
from elysium.evaluation.tracking.rows import read_boxes
from elysium.evaluation.tracking.sequences import TrackingSequence

ATTRIBUTES = ("IV", "SV", "OCC", "DEF", "MB", "FM", "IPR", "OPR", "OV", "BC", "LR")
_TARGETS = {"Jogging": (1, 2), "Skating2": (1, 2), "Human4": (2,)}
_TARGET = re.compile(r"-\d$")
TIGER_ROWS, TIGER_OMITTED = 354, 5
_QUERIES = ("OTB_query_test", "OTB_query_train")


def find(folder: Path, name: str) -> bool:
    """Returns whether a folder, or its `OTB_videos`, holds videos of OTB."""
    del name
    return any(_truth(_videos(folder), sequence).is_file() for sequence in _names("100"))


def contents(request: Request, name: str) -> Contents:
    """Returns the sequences that are there."""
    del name
    videos = _videos(request.root)
    names = _names(request.split)
    present = {
        sequence: partial(_sequence, request, sequence, path)
        for sequence in names
        if (path := _truth(videos, sequence)).is_file()
    }
    return Contents(present, published=names)


def without_omitted(name: str, rows: int) -> int:
    """Returns how many rows at the start of a truth or result file of a sequence are not evaluated.

    Example:
        >>> without_omitted("Tiger1", 354), without_omitted("Tiger1", 349), without_omitted("Tiger2", 365)
        (5, 0, 0)
    """
    return TIGER_OMITTED if name.casefold() == "tiger1" and rows == TIGER_ROWS else 0


def attributes_of(sequence: str) -> tuple[str, ...] | None:
    """Returns the attributes that the benchmark's page gives a sequence; None for one that is not of OTB-100.

    Example:
        >>> attributes_of("Jogging-2"), attributes_of("jogging_2"), attributes_of("cat-1")
        (('OCC', 'DEF', 'OPR'), ('OCC', 'DEF', 'OPR'), None)
    """
    spelling = {name.casefold(): name for name in frame_ranges("otb")}
    key = sequence.casefold().replace("_", "-")
    video = spelling.get(key) or spelling.get(_TARGET.sub("", key))
    if video is None:
        return None
    return tuple(attribute for attribute in ATTRIBUTES if video in words("otb_attributes", attribute))


def _sequence(request: Request, name: str, truth: Path) -> TrackingSequence:
    rows = read_boxes(truth)
    boxes = to_boxes(rows[without_omitted(name, len(rows)) :], one_based=True)
    places = [folder / part for folder in (truth.parents[1], truth.parents[2]) for part in _QUERIES]
    queries = (read_text(place / f"{stem}.txt") for place in places for stem in (name, _video(name)))
    return TrackingSequence(
        name=name,
        frames=frames_of(truth.parent / "img", len(boxes), request.images, numbers=_frames(_video(name))),
        boxes=boxes,
        attributes=attributes_of(name),
        expression=next((query for query in queries if query), None),
        one_based=True,
    )


def _frames(video: str) -> Frames:
    return frame_ranges("otb")[video]


def _names(split: str) -> list[str]:
    videos = frame_ranges("otb") if split == "100" else words("otb_members", split)
    return [name for video in videos for name in _sequences(video)]


def _sequences(video: str) -> list[str]:
    targets = _TARGETS.get(video, ())
    return [f"{video}-{target}" for target in targets] if len(targets) > 1 else [video]


def _video(sequence: str) -> str:
    video = _TARGET.sub("", sequence)
    return video if video in _TARGETS else sequence


def _truth(videos: Path, sequence: str) -> Path:
    """Returns where the truth of a sequence should be; OTB99-LANG and others give each target a folder of its own."""
    video = _video(sequence)
    targets = _TARGETS.get(video)
    if not targets:
        return videos / video / "groundtruth_rect.txt"
    target = int(sequence[-1]) if sequence != video else targets[0]
    places = [
        videos / video / f"groundtruth_rect.{target}.txt",
        videos / f"{video}-{target}" / "groundtruth_rect.txt",
        *([videos / video / "groundtruth_rect.txt"] if len(targets) == 1 else []),
    ]
    return next((place for place in places if place.is_file()), places[0])


def _videos(root: Path) -> Path:
    inner = root / "OTB_videos"
    return inner if inner.is_dir() else root
