"""What the folders of published sets do not say: names of all sequences, frame ranges and attributes (`facts.yaml`)."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml


class Frames(NamedTuple):
    """Numbers of a sequence's first and last frame, as its image files count."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """Number of frames."""
        return self.last - self.first + 1


def frame_ranges(name: str) -> dict[str, Frames]:
    """Returns the sequences of `lasot`, `uav123`, `uav20l` or `otb` (folders, there) with the frames of each.

    Example:
        >>> frame_ranges("otb")["David"].length
        471
    """
    ranges = {}
    for entry in str(_facts()[name]).split():
        sequence, _, numbers = entry.rpartition(":")
        first, _, last = numbers.rpartition("-")
        ranges[sequence] = Frames(int(first or 1), int(last))
    return ranges


def words(name: str, part: str | None = None) -> tuple[str, ...]:
    """Returns a list of names: the classes `lasot_ext`, the sequences `nfs`, the videos of a part of `otb_members`.

    Example:
        >>> len(words("nfs")), words("otb_attributes", "LR")[:2]
        (100, ('Biker', 'Box'))
    """
    found = _facts()[name]
    return tuple(str(found if part is None else found[part]).split())


@lru_cache(1)
def _facts() -> dict[str, Any]:
    text = files("elysium.evaluation.tracking").joinpath("facts.yaml").read_text(encoding="utf-8")
    facts: dict[str, Any] = yaml.safe_load(text)
    return facts
