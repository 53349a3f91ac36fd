"""What a data set holds, counted in one pass over its records: some fifty bytes a record are kept."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from elysium.boxes import to_pixels
from elysium.data.records import TrackRecord
from elysium.evaluation.tasks.groups import relative_size

# Of classes, sources and so on that are told apart; there are no more unless a source numbers them.
_MOST = 100_000
OTHERS = "(others)"
_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_NUMBER = re.compile(r"(?<![\w.])\d+(?![\w.])")
_ADDRESS = re.compile(r"^[a-zA-Z][\w+.-]*://([^/?#]*)")


class Tally(Counter[str]):
    """Counts of words, with a bound on how many of them there are."""

    def put(self, word: str) -> None:
        """Counts one."""
        self[word if word in self or len(self) < _MOST else OTHERS] += 1

    def ranked(self, most: int | None = None) -> list[tuple[str, int]]:
        """Returns the most frequent first, then by name."""
        return sorted(self.items(), key=lambda entry: (-entry[1], entry[0]))[:most]


@dataclass
class Census:
    """Counts of one split.

    Attributes:
        records: Expression–track pairs.
        sequences: Frame sequences.
        frames: Stored frames: those of a sequence once, however many records share it.
        checked: Records that somebody found right by hand.
        classes: Head nouns; likewise the other tallies.
        kinds: Real or simulated.
        sizes: Median size of a track's box by its share of the frame's side: small below 0.1, medium below 0.3, large.
        frame_sizes: Width and height of stored frames.
        licences: As the sources state them.
        sources: Collections: numbers in their names are left out, of addresses the host remains.
        decoders: What decoded the frames.
        words: Length of expressions.
        seconds: From a track's first frame to its last.
        lengths: Frames of a track.
        rates: Frames a second.
        sides: Square root of the median box's share of the frame.
        contents: Of the videos, 64 bits each.
    """

    records: int = 0
    sequences: int = 0
    frames: int = 0
    checked: int = 0
    classes: Tally = field(default_factory=Tally)
    kinds: Tally = field(default_factory=Tally)
    sizes: Tally = field(default_factory=Tally)
    frame_sizes: Tally = field(default_factory=Tally)
    licences: Tally = field(default_factory=Tally)
    sources: Tally = field(default_factory=Tally)
    decoders: Tally = field(default_factory=Tally)
    words: array[int] = field(default_factory=lambda: array("I"))
    seconds: array[float] = field(default_factory=lambda: array("f"))
    lengths: array[int] = field(default_factory=lambda: array("I"))
    rates: array[float] = field(default_factory=lambda: array("f"))
    sides: array[float] = field(default_factory=lambda: array("f"))
    contents: array[int] = field(default_factory=lambda: array("Q"))
    _last: str = ""

    def add(self, record: TrackRecord) -> None:
        """Counts one record; those that share frames follow each other."""
        metadata, extra = record.metadata, record.metadata.model_extra or {}
        self.records += 1
        self.checked += extra.get("checked") is True
        self.classes.put(record.object_class)
        self.kinds.put(metadata.kind)
        self.licences.put(str(extra.get("licence") or "not stated"))
        self.sources.put(collection(record.source))
        self.decoders.put(metadata.decoder)
        self.frame_sizes.put(f"{record.frame_size[0]}×{record.frame_size[1]}")
        boxes = np.asarray(record.box)
        self.sizes.put(relative_size(to_pixels(np.median(boxes, axis=0), record.frame_size), record.frame_size))
        sides = boxes[:, 2:] - boxes[:, :2]
        self.sides.append(float(np.sqrt(np.median(sides.prod(-1)))))
        self.words.append(len(record.object_description.split()))
        self.lengths.append(len(record.frames))
        seconds = metadata.timestamps[-1] - metadata.timestamps[0]
        self.seconds.append(seconds)
        if seconds > 0:
            self.rates.append((len(record.frames) - 1) / seconds)
        self.contents.append(int(metadata.content_sha256[:16], 16))
        if record.vid != self._last:
            self._last = record.vid
            self.frames += len(record.frames)
            self.sequences += 1

    @property
    def videos(self) -> int:
        """Source videos, told by their content."""
        return len(np.unique(np.frombuffer(self.contents, dtype=np.uint64))) if self.contents else 0

    def shared_with(self, other: Census) -> int:
        """Returns how many source videos both splits have."""
        if not self.contents or not other.contents:
            return 0
        own, others = (np.frombuffer(one.contents, dtype=np.uint64) for one in (self, other))
        return len(np.intersect1d(own, others))


def take_census(records: Iterable[TrackRecord]) -> Census:
    """Returns the counts of records."""
    census = Census()
    for record in records:
        census.add(record)
    return census


def quantiles(values: Sequence[float]) -> list[float]:
    """Returns minimum, 5 %, median, 95 % and maximum; nothing for no value.

    Example:
        >>> quantiles([3, 1, 2])
        [1.0, 1.1, 2.0, 2.9, 3.0]
    """
    return [round(float(value), 6) for value in np.quantile(values, _QUANTILES)] if len(values) else []


def collection(source: str) -> str:
    """Returns what a record's source has in common with others of its collection.

    Example:
        >>> collection("simulator 1 seed 20"), collection("https://clips.example/a/b.mp4?x=1")
        ('simulator … seed …', 'clips.example')
    """
    address = _ADDRESS.match(source)
    return address[1] if address and address[1] else _NUMBER.sub("…", source)
