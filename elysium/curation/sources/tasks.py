"""One video that is to be curated."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from elysium.data.records import Split
from elysium.data.sources import ClipReference

COLUMNS = tuple(item.name for item in fields(ClipReference))


@dataclass(frozen=True)
class VideoTask(ClipReference):
    """A listed clip with its place in the source.

    Attributes:
        number: Position in the source, from 0.
        side: Which side it is on where the source names none and all of its videos were looked at together.
    """

    number: int = field(kw_only=True)
    side: Split | None = field(default=None, kw_only=True)
