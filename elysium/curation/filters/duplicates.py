"""Stand-in."""

from __future__ import annotations

from collections.abc import Sequence

from elysium.curation.protocols import Frame


def looks(frames: Sequence[Frame]) -> list[str]:
    """Returns nothing yet."""
    return []
