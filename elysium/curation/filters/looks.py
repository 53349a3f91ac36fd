"""Near-duplicate pieces: the same pictures under another name, as large video sets hold many of.

What a frame looks like is told by the hash of the leak guard (`elysium.evaluation.leaks.fingerprint`), near hashes are
found by its search. Two pieces of different videos are near-duplicates if a frame of each differs in few bits; pieces
of one video are not, for a camera that stands still shows the same for hours. A copy that is cut at other moments is
found only as far as the picture changes slowly.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from elysium.curation.protocols import Frame
from elysium.data.pictures import read_grey
from elysium.evaluation.leaks.fingerprint import NUM_BITS, SIDE, Hashes, distances, fingerprints
from elysium.evaluation.leaks.looking import digest
from elysium.evaluation.leaks.search import find_near

_FRAMES = 3  # of a piece: a sixth, a half and five sixths through
_DIGITS = 16  # of one of a hash's two words
_BLOCK = 1 << 22  # hashes that are sorted at once: half a GiB of working memory
_QUERIES = 1 << 20

Integers = npt.NDArray[np.int64]


class Entry(NamedTuple):
    """A piece of the dataset.

    Attributes:
        vid: Its id.
        video: Id of the video that it is a piece of.
        place: What the pieces of the source are ordered by, for example the video's number; as many numbers for each
            piece. Pieces in the same place are ordered by their ids.
        looks: Of some of its frames, as `looks` gives them.
    """

    vid: str
    video: str
    place: tuple[int, ...]
    looks: Sequence[str]


def looks(frames: Sequence[Frame]) -> list[str]:
    """Returns what three frames of a piece look like: 128 bits each, 32 hexadecimal digits.

    A frame that shows too little to be told from others (black, fading, one colour) is left out.

    Args:
        frames: Of the piece, in time order.
    """
    count = min(_FRAMES, len(frames))
    chosen = [(2 * part + 1) * len(frames) // (2 * count) for part in range(count)]
    greys = np.array([read_grey(frames[index].image, SIDE) for index in chosen], dtype=np.uint8)
    hashes, flat = fingerprints(greys.reshape(-1, SIDE, SIDE))
    return [f"{first:016x}{second:016x}" for first, second in hashes[~flat].tolist()]


def find_duplicates(entries: Iterable[Entry], distance: int = 12) -> dict[str, tuple[str, int]]:
    """Returns the pieces that are near-duplicates, with the piece that stays in their place and the bits between them.

    In source order, a piece stays unless it is near one that stays; the order of `entries` does not matter. Memory is
    some 150 bytes a look, the ids, and half a GiB.

    Args:
        entries: The pieces; each id once.
        distance: Bits of 128 in which two frames differ at most; up to 20. Copies that were encoded again or scaled
            are within 12, different clips are not (`benchmarks/leaks.py`).

    Returns:
        Id of each piece that goes, to the id of the first one that it is near, and their smallest distance.
    """
    columns = _columns(entries)
    hashes, owner, video = columns.hashes, columns.owner, columns.video
    found = {}
    for pieces in _groups(hashes, owner, len(columns.vids), distance):
        if len(np.unique(video[pieces])) > 1:
            starts, ends = np.searchsorted(owner, pieces), np.searchsorted(owner, pieces, side="right")
            for piece, kept, bits in _leave(pieces, starts, ends, hashes, video, distance):
                found[columns.vids[piece]] = (columns.vids[kept], bits)
    return found


class _Columns(NamedTuple):
    """All entries in source order, without an object for each look.

    Attributes:
        vids: Of the pieces.
        video: Digest of each one's video, shape `(count,)`.
        hashes: Shape `(n, 2)`.
        owner: The piece of each, ascending, shape `(n,)`.
    """

    vids: list[str]
    video: Hashes
    hashes: Hashes
    owner: Integers


def _columns(entries: Iterable[Entry]) -> _Columns:
    vids: list[str] = []
    places, videos, words, counts = array("q"), array("Q"), array("Q"), array("q")
    for entry in entries:
        vids.append(entry.vid)
        places.extend(entry.place)
        videos.append(digest(entry.video))
        counts.append(len(entry.looks))
        for look in entry.looks:
            words.append(int(look[:_DIGITS], 16))
            words.append(int(look[_DIGITS:], 16))
    count = len(vids)
    parts = np.frombuffer(places, dtype=np.int64).reshape(count, -1) if count else np.zeros((0, 1), dtype=np.int64)
    by_name = np.array(sorted(range(count), key=vids.__getitem__), dtype=np.int64)
    order = by_name[np.lexsort(parts[by_name].T[::-1])]
    counted = np.array(counts, dtype=np.int64)
    starts = np.cumsum(counted) - counted
    sorted_counts = counted[order]
    owner = np.repeat(np.arange(count), sorted_counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(sorted_counts) - sorted_counts, sorted_counts)
    rows = np.repeat(starts[order], sorted_counts) + within
    hashes = np.array(words, dtype=np.uint64).reshape(-1, 2)[rows]
    return _Columns([vids[place] for place in order], np.array(videos, dtype=np.uint64)[order], hashes, owner)


def _groups(hashes: Hashes, owner: Integers, count: int, distance: int) -> Iterator[Integers]:
    """Yields the numbers of pieces that hang together by near looks, in ascending order, two at least.

    Args:
        hashes: Shape `(n, 2)`.
        owner: The piece of each, ascending, shape `(n,)`.
        count: Of pieces.
        distance: Bits.
    """
    # Equal hashes are one: else the pairs of a picture that is there a thousand times would be a million.
    unique, first, same = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    edges = [np.stack([owner, owner[first][same.reshape(-1)]])]
    for start in range(0, len(unique), _BLOCK):
        block = unique[start : start + _BLOCK]
        # The hashes before the block have been compared with it, as queries of theirs.
        for at in range(start, len(unique), _QUERIES):
            near = find_near(block, unique[at : at + _QUERIES], distance)
            edges.append(owner[first][np.stack([near.query + at, near.row + start])])
    ends = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(ends.shape[1], dtype=bool), (ends[0], ends[1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    order = np.argsort(labels, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if len(group) > 1:
            yield group


def _leave(
    pieces: Integers, starts: Integers, ends: Integers, hashes: Hashes, video: Hashes, distance: int
) -> Iterator[tuple[int, int, int]]:
    """Yields the pieces of a group that go, the first piece that stays and is near each, and their distance.

    Args:
        pieces: In source order.
        starts: Row of each one's first hash.
        ends: Row behind its last one.
        hashes: Of all pieces.
        video: Digest of each piece's.
        distance: Bits.
    """
    total = int((ends - starts).sum())
    kept, owners, filled = np.zeros((total, 2), dtype=np.uint64), np.zeros(total, dtype=np.int64), 0
    for piece, start, end in zip(pieces.tolist(), starts.tolist(), ends.tolist(), strict=True):
        own = hashes[start:end]
        bits = distances(own[:, None], kept[None, :filled]).min(axis=0, initial=NUM_BITS)
        near = np.flatnonzero((bits <= distance) & (video[owners[:filled]] != video[piece]))
        if near.size:
            first = int(owners[near[0]])
            yield piece, first, int(bits[near][owners[near] == first].min())
        else:
            kept[filled : filled + len(own)], owners[filled : filled + len(own)] = own, piece
            filled += len(own)
