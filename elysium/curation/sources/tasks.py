"""One captioned video of a source, before it is fetched."""

from __future__ import annotations

from dataclasses import dataclass

from elysium.data.records import Split


@dataclass(frozen=True)
class VideoTask:
    """A video to curate.

    Attributes:
        number: Position in the source, from 0.
        id: Unique in the source; letters, digits, `_` and `-`.
        uri: Where to fetch it: a path, `file://`, `http(s)://`, `s3://`, or `simulator:SEED`.
        caption: What it shows; may be empty.
        source: How records name its origin; never a folder of this machine.
        licence: SPDX identifier or words; may be empty.
        sha256: What the file's checksum must be, if the source says.
        split: Which side it is on, if the source or the whole of it decided.
        annotations: Path or URI of exact boxes; simulated clips have them.
        problem: Why it cannot be taken in, known before fetching.
    """

    number: int
    id: str
    uri: str
    caption: str
    source: str
    licence: str = ""
    sha256: str | None = None
    split: Split | None = None
    annotations: str | None = None
    problem: str | None = None
