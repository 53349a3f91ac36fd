"""RefCOCO, RefCOCO+ and RefCOCOg for evaluation: every expression of a split counts, as the published protocol does.

Training leaves out expressions that name several things, and cuts boxes to the picture. Evaluation does neither: what
is left out or changed would change the figure. So an expression that cannot be used is an error and not a warning.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from elysium.data.sets.objects import four_numbers
from elysium.data.sets.refcoco import find_picture
from elysium.data.sets.source import BrokenSample, Images
from elysium.errors import UsageError
from elysium.evaluation.grounding.expression_files import Form, Found, Said, read_files

Units = Literal["pixels", "normalised", "thousandths"]
Box = tuple[float, float, float, float]

# How many sentences each split has: set, who divided it, split. By the sets' own interface (github lichengunc/refer);
# of RefCOCOg by UMD's division (Nagaraja et al. 2016), which most papers use, and by Google's, whose test part was
# never published.
PUBLISHED_COUNTS: dict[tuple[str, str], dict[str, int]] = {
    ("refcoco", "unc"): {"val": 10834, "testA": 5657, "testB": 5095},
    ("refcoco+", "unc"): {"val": 10758, "testA": 5726, "testB": 4889},
    ("refcocog", "umd"): {"val": 4896, "test": 9602},
    ("refcocog", "google"): {"val": 9536},
}
SETS = ("refcoco", "refcoco+", "refcocog")
_USUAL_PARTITION = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd"}
_TOLERANCE = 0.02  # share of a side that a box may reach over the edge: annotators' and rounding's slips
_ONE_PIXEL = 1.1  # a box within it is a share of the image
_SHOWN = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Expression:
    """One sentence that names one object of one picture.

    Attributes:
        id: Unique in its split.
        image: The picture's file.
        text: The sentence.
        box: The object's `(x1, y1, x2, y2)`, pixels of the picture as it was annotated.
        size: The picture's `(width, height)` in the same pixels.
        split: For example `testA`.
        object_class: If the set says.
    """

    id: str
    image: Path
    text: str
    box: Box
    size: tuple[int, int]
    split: str
    object_class: str | None = None


def open_expressions(
    set_name: str,
    split: str,
    annotations: Sequence[Path],
    images: Path,
    form: Form | None = None,
    units: Units | None = None,
) -> list[Expression]:
    """Returns every expression of a split, in the files' order.

    Args:
        set_name: `refcoco`, `refcoco+` or `refcocog`.
        split: `val`, `testA` or `testB`; of RefCOCOg `val` or `test` as UMD divided it, with `refs(google).p` Google's
            `val`, which papers call val*.
        annotations: Files of one of the kinds of `expression_files`, or folders with them.
        images: Folder with COCO's pictures, in any of COCO's layouts.
        form: What a box's numbers are, corners (`xyxy`) or corner and size (`xywh`); by default what the kind of file
            has.
        units: What they count: pixels, shares of the image (`normalised`) or `thousandths` of it; by default shares if
            no number of the split is above 1, else pixels.

    Raises:
        UsageError: If set or split are not there, files are not of a known kind, or any expression of the split lacks
            its picture, or has a broken, empty or contradictory box, or an id twice; the message names the first ones.
    """
    if set_name not in SETS:
        raise UsageError(f"there is no set {set_name!r} of referring expressions, only {', '.join(SETS)}")
    found = read_files(set_name, split, annotations)
    if not found.said and not found.broken:
        raise UsageError(_nothing(set_name, split, found))
    broken, made = list(found.broken), []
    missing: dict[str, Counter[str]] = {}
    folder = Images(images)
    units = units or _units(found.said)
    for said in found.said:
        try:
            picture = find_picture(folder, said.image)
        except BrokenSample as error:
            missing.setdefault(str(error), Counter())[said.image] += 1
            continue
        try:
            size = said.size or folder.size(picture)
            box = _corners(said.box, form or said.form, units, size)
        except BrokenSample as error:
            broken.append((said.place, str(error)))
            continue
        made.append(Expression(said.id, images / picture, said.text, box, size, split, said.object_class))
    name = f"{set_name} {split}"
    _refuse_missing(name, missing, images, len(found.said))
    _refuse_broken(name, broken, f"{form or (found.said[0].form if found.said else 'nothing')} in {units}")
    twice = [key for key, count in Counter(expression.id for expression in made).items() if count > 1]
    if twice:
        raise UsageError(f"{name} has {len(twice)} ids more than once: {_some(twice)}; are files named twice?")
    _compare_count(set_name, split, found.partition, len(made))
    return made


def _units(said: Sequence[Said]) -> Units:
    values = [value for one in said if isinstance(one.box, list | tuple) for value in one.box]
    numbers = [value for value in values if isinstance(value, int | float)]
    return "normalised" if numbers and not any(value > _ONE_PIXEL for value in numbers) else "pixels"


def _corners(values: object, form: Form, units: Units, size: tuple[int, int]) -> Box:
    """Returns a box's corners in pixels.

    Raises:
        BrokenSample: If it is not four finite numbers, has no area, or contradicts its form, units or picture.
    """
    numbers = four_numbers(values)
    if units == "pixels" and max(numbers) <= _ONE_PIXEL:
        raise BrokenSample("a box lies within one pixel")
    width, height = size
    per_step = {"pixels": (1.0, 1.0), "normalised": (width, height), "thousandths": (width / 1000, height / 1000)}[
        units
    ]
    x1, y1, x2, y2 = (value * per_step[place % 2] for place, value in enumerate(numbers))
    if form == "xywh":
        x2, y2 = x1 + x2, y1 + y2
    if x2 <= x1 or y2 <= y1:
        raise BrokenSample("a box has no area")
    slack = _TOLERANCE * width, _TOLERANCE * height
    if x1 < -slack[0] or y1 < -slack[1] or x2 > width + slack[0] or y2 > height + slack[1]:
        raise BrokenSample("a box reaches out of its picture")
    return x1, y1, x2, y2


def _nothing(set_name: str, split: str, found: Found) -> str:
    there = ", ".join(f"{name} ({count:,})" for name, count in sorted(found.splits.items()))
    others = ", ".join(sorted(found.others))
    message = f"the files hold no expression of {set_name} {split}"
    if there:
        return f"{message}; the splits there are: {there}"
    return f"{message}, only of {others}" if others else f"{message}; they hold no entry"


def _refuse_missing(name: str, missing: dict[str, Counter[str]], images: Path, num_expressions: int) -> None:
    for reason, names in missing.items():
        raise UsageError(
            f"{reason} below {images} for {names.total():,} of {num_expressions:,} expressions of {name}: "
            f"{_some(list(names))} (all are in COCO's train2014; leaving expressions out would change the figure)"
        )


def _refuse_broken(name: str, broken: Sequence[tuple[str, str]], how: str) -> None:
    if broken:
        first = "; ".join(f"{place}: {reason}" for place, reason in broken[:_SHOWN])
        more = f" and {len(broken) - _SHOWN:,} more" if len(broken) > _SHOWN else ""
        raise UsageError(
            f"{len(broken):,} entries of {name} cannot be used: {first}{more}. Boxes were read as {how}; --boxes and "
            "--units say it where the file has them otherwise. Leaving expressions out would change the figure"
        )


def _compare_count(set_name: str, split: str, partition: str | None, count: int) -> None:
    partition = partition or _USUAL_PARTITION[set_name]
    published = PUBLISHED_COUNTS.get((set_name, partition), {}).get(split)
    if published is not None and count != published:
        logger.warning(
            "%s %s (%s) is published with %s expressions, here are %s: figures are not the published split's",
            set_name, split, partition, f"{published:,}", f"{count:,}",
        )  # fmt: skip


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
