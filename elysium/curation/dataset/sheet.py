"""The contact sheet: random tracks of a data set on one page that needs no other file, no script and no network."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from pathlib import Path

from elysium.curation.dataset.pages import asset, data_uri, facts, render, shortened
from elysium.curation.dataset.strips import draw_strip, strip_times
from elysium.data.records import Split, TrackRecord
from elysium.data.track_set import TrackSet
from elysium.pipeline.workspace import write_atomic

NAME = "contact_sheet.html"
_FRAMES, _WIDTH = 5, 190


def write_contact_sheet(
    root: Path, count: int = 100, seed: int = 0, splits: tuple[Split, ...] = ("train", "evaluation")
) -> Path:
    """Writes `contact_sheet.html` into a data set's folder and returns its path.

    The tracks are drawn at random from all splits together; the same data gives the same page.

    Args:
        root: With the records and the frames that they name.
        count: How many tracks, or all there are.
        seed: Another one shows other tracks.
        splits: Which parts are looked at.

    Raises:
        ElysiumError: If records or frames cannot be read.
    """
    sets = [TrackSet(root, split) for split in splits]
    cards = [
        {
            **facts(record),
            "picture": data_uri(draw_strip(record, root, frames=_FRAMES, width=_WIDTH)),
            "times": [f"{time:.2f}" for time in strip_times(record, _FRAMES)],
        }
        for record in drawn(sets, count, seed)
    ]
    page = render(
        "contact_sheet.html.j2",
        style=asset("sheet.css"),
        title=shortened(root),
        cards=cards,
        counts={split: len(one) for split, one in zip(splits, sets, strict=True)},
        seed=seed,
    )
    write_atomic(root / NAME, page)
    return root / NAME


def drawn(sets: list[TrackSet], count: int, seed: int) -> Iterator[TrackRecord]:
    """Yields random records of several sets taken together, in a random order."""
    ranked = ((rank, which, number) for which, one in enumerate(sets) for rank, number in one.sample(count, seed))
    for _, which, number in nsmallest(count, ranked):
        yield sets[which][number]
