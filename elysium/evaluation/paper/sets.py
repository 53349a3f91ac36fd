"""Where the sets of the paper's tables lie in a folder of data, where to get them, and how large they are whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from elysium.errors import UsageError
from elysium.evaluation.paper.tables import read_figures
from elysium.evaluation.results import TaskFigures
from elysium.evaluation.videoqa.questions import QUESTION_SETS

# Copies of a set differ by an item or two in ten thousand (MSRVTT-QA has 72,820 or 72,821 test questions; the first in
# huggingface.co/datasets/MMInstruction/M3IT).
_SLACK = 0.001


@dataclass(frozen=True)
class KnownSet:
    """One set.

    Attributes:
        name: As in `rec-refcoco-val`, without the task.
        title: What people call it.
        folders: Names that its folder may have, the documented one first; case does not matter.
        signs: Patterns of files in it; one that is there shows that the set is.
        layout: What the folder holds, in words.
        page: Where to get it.
        unit: What is counted.
        counts: Part to the number of them, the likeliest part first.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    signs: tuple[str, ...]
    layout: str
    page: str
    unit: Literal["items", "videos"]
    counts: Mapping[str, int]

    def measured(self, figures: TaskFigures) -> int:
        """Returns how many items or videos a result is of."""
        if self.unit == "videos" and figures.videos:
            return len(set(figures.videos.values()))
        return figures.num_sequences

    def part(self, count: int, named: object = None) -> str:
        """Returns which part a result is of: the one that it names, else the one of as many items, else the first.

        Args:
            count: Items or videos of the result.
            named: What the result says of itself.
        """
        if isinstance(named, str) and named in self.counts:
            return named
        return next((part for part in self.counts if self.is_whole(count, part)), next(iter(self.counts)))

    def is_whole(self, count: int, part: str) -> bool:
        """Returns whether a result is of all of a part, as far as its number tells."""
        return abs(count - self.counts[part]) <= _SLACK * self.counts[part]


@dataclass(frozen=True)
class Missing:
    """A set that is not there.

    Attributes:
        reason: What was looked for, and where to get it.
    """

    reason: str


def find_known_set(name: str) -> KnownSet:
    """Returns a set of the paper's tables.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in load_sets():
        raise UsageError(f"there is no set {name!r} in the paper's tables; they are {', '.join(load_sets())}")
    return load_sets()[name]


@cache
def load_sets() -> dict[str, KnownSet]:
    """Returns all sets by name."""
    found = {}
    for place in read_figures("sets"):
        for name, counts in place["sets"].items():
            found[name] = KnownSet(
                name=name,
                title=place["title"],
                folders=tuple(place["folders"]),
                signs=tuple(place["signs"]),
                layout=place["layout"],
                page=place["page"],
                unit=place.get("unit", "items"),
                counts=dict(counts) or _questions(name),
            )
    return found


def _questions(name: str) -> dict[str, int]:
    counts = QUESTION_SETS[name].counts
    return {part: counts[part] for part in ("test", "val") if part in counts}


def locate(data: Path, name: str) -> Path | Missing:
    """Returns the folder of a set, or why there is none.

    Args:
        data: A folder with one folder a set, see `figures/sets.yaml`.
        name: Of the set.

    Raises:
        UsageError: If `data` is no folder, or the set is not one of the paper's tables.
    """
    known = find_known_set(name)
    if not data.is_dir():
        raise UsageError(f"{data} is no folder; name the one that holds {known.folders[0]}/ and the other sets")
    wanted = {folder.casefold(): number for number, folder in enumerate(known.folders)}
    there = [path for path in data.iterdir() if path.name.casefold() in wanted and path.is_dir()]
    for path in sorted(there, key=lambda path: (wanted[path.name.casefold()], path.name)):
        if any(next(path.glob(sign), None) for sign in known.signs):
            return path
    needed = f"{data / known.folders[0]} with {known.layout} is needed; get it from {known.page}"
    if there:
        return Missing(f"{there[0]} does not hold {known.title}: {needed}")
    return Missing(f"{known.title} is not in {data}: {needed}")
