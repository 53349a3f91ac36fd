"""All hashes within some bits of a given one, among millions, exactly: by the parts that cannot all differ much.

Two hashes of 128 bits that differ in at most 20 differ in at most 2 in one of 7 parts, for 7 parts with 3 each would
make 21 (multi-index hashing: Norouzi, Punjani and Fleet, CVPR 2012). So for each part the hashes are sorted by it, and
those are compared with a query that have its part, but for two bits: of 5 million about one in two hundred. They lie
side by side then; fetched from all over the memory they would cost ten times as much. Within 13 bits one bit a part is
enough, and one hash in two thousand is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from elysium.evaluation.leaks.fingerprint import NUM_BANDS, NUM_BITS, Hashes

# Bits that may differ in one part, at most.
_MAX_FLIPS = 2
MAX_DISTANCE = NUM_BANDS * (_MAX_FLIPS + 1) - 1
# Pairs that a query may have in one part: the nearest ones. A camera that stands still may be in training for hours.
MOST = 256
_LOOKUPS = 1 << 17  # parts looked up at once
_CANDIDATES = 1 << 22  # hashes compared at once
_THREADS = 2  # each holds a sorted copy of the hashes

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Near:
    """Pairs of hashes that differ little, as columns of equal length, sorted by query and row.

    Attributes:
        query: Number of the query.
        row: Number of the hash that is like it.
        distance: Bits in which they differ.
    """

    query: Integers
    row: Integers
    distance: Integers


def find_near(hashes: Hashes, queries: Hashes, distance: int) -> Near:
    """Returns all pairs of a query and a hash that differ in at most so many bits; of very many the nearest.

    Args:
        hashes: Shape `(n, 2)`.
        queries: Shape `(m, 2)`.
        distance: At most `MAX_DISTANCE`.

    Raises:
        ValueError: If it is more.

    Example:
        >>> hashes = np.array([[0, 0], [7, 0], [2**32 - 1, 0]], dtype=np.uint64)
        >>> find_near(hashes, hashes[:1], 20)
        Near(query=array([0, 0]), row=array([0, 1]), distance=array([0, 3]))
    """
    if distance > MAX_DISTANCE:
        raise ValueError(f"hashes are found within {MAX_DISTANCE} bits, not within {distance}")
    found = np.zeros((0, 3), dtype=np.int64)
    if len(hashes) and len(queries):
        with ThreadPoolExecutor(_THREADS) as pool:
            parts = pool.map(lambda number: _find_in_part(hashes, queries, distance, number), range(NUM_BANDS))
            # A pair that agrees in several parts was found as often.
            found = np.unique(np.concatenate(list(parts)), axis=0)
    return Near(found[:, 0], found[:, 1], found[:, 2])


def _find_in_part(hashes: Hashes, queries: Hashes, distance: int, number: int) -> Integers:
    """Returns query, row and distance of the near pairs that agree in one part, shape `(k, 3)`."""
    start, width = sum(_width(before) for before in range(number)), _width(number)
    # Sorting values that carry their row is faster than asking for the order.
    keys = _part(hashes, start, width) << np.uint64(32) | np.arange(len(hashes), dtype=np.uint64)
    keys.sort()
    rows = (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    starts = np.searchsorted(keys, np.arange((1 << width) + 1, dtype=np.uint64) << np.uint64(32))
    del keys
    first, second = hashes[rows, 0], hashes[rows, 1]
    masks = _masks(width, distance // NUM_BANDS)
    found = [np.zeros((0, 3), dtype=np.int64)]
    chunk = _LOOKUPS // len(masks)
    for at in range(0, len(queries), chunk):
        values = _part(queries[at : at + chunk], start, width)[:, None] ^ masks
        begins = starts[values]
        for query, places in _places(begins, starts[values + np.uint64(1)] - begins):
            bits = np.bitwise_count(queries[at:, 0][query] ^ first[places])
            # The first word alone rules out nearly all.
            close = np.flatnonzero(bits <= distance)
            query, places = query[close], places[close]
            bits = bits[close] + np.bitwise_count(queries[at:, 1][query] ^ second[places])
            near = bits <= distance
            found.append(_nearest(np.column_stack([at + query[near], rows[places[near]], bits[near]])))
    return np.concatenate(found)


def _places(begins: Integers, lengths: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Yields the query's number and the place of all candidates, as many at once as fit.

    Args:
        begins: Shape `(queries, masks)`; where the stretch of candidates begins.
        lengths: Same shape; how many there are.
    """
    totals = lengths.sum(axis=1)
    first = 0
    while first < len(totals):
        last = first + max(1, int(np.searchsorted(np.cumsum(totals[first:]), _CANDIDATES)))
        begin, length = begins[first:last].ravel(), lengths[first:last].ravel()
        before = np.cumsum(length) - length
        places = np.repeat(begin - before, length)
        places += np.arange(len(places))
        yield np.repeat(np.arange(first, min(last, len(totals))), totals[first:last]), places
        first = last


def _nearest(pairs: Integers) -> Integers:
    """Returns the nearest pairs of each query."""
    order = np.lexsort((pairs[:, 1], pairs[:, 2], pairs[:, 0]))
    queries = pairs[order, 0]
    rank = np.arange(len(order)) - np.searchsorted(queries, queries)
    nearest: Integers = pairs[order[rank < MOST]]
    return nearest


def _masks(width: int, most: int) -> Hashes:
    """Returns the numbers of so many bits of which at most `most` are 1."""
    flips = [bits for count in range(most + 1) for bits in combinations(range(width), count)]
    return np.array([sum(1 << bit for bit in bits) for bits in flips], dtype=np.uint64)


def _width(number: int) -> int:
    """Returns how many bits of the hash a part has: as they are dealt in `fingerprint`."""
    return len(range(number, NUM_BITS, NUM_BANDS))


def _part(hashes: Hashes, start: int, width: int) -> Hashes:
    """Returns some bits of each hash as a number; they may lie in both words."""
    word, shift = divmod(start, 64)
    bits = hashes[:, word] >> np.uint64(shift)
    if shift + width > 64:
        bits = bits | (hashes[:, word + 1] << np.uint64(64 - shift))
    return bits & np.uint64((1 << width) - 1)
