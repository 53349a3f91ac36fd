"""One video that is to be curated."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from elysium.data.sources import ClipReference

COLUMNS = tuple(item.name for item in fields(ClipReference))


@dataclass(frozen=True)
class VideoTask(ClipReference):
    """A listed clip with its place in the source.

    Attributes:
        number: Position in the source, from 0.
    """

    number: int = field(kw_only=True)
