"""Which record each sample is of: data sets by their shares, and each set round and round (PROTOCOL §4)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray

_BLOCK = 4096
# Groups of records that are read at a time: so many are shuffled into one another.
WINDOW = 64
_ROUNDS = 8
_MASK = (1 << 64) - 1


class Mixture:
    """An endless, numbered supply of records from several data sets.

    Sample `i` depends on the key and `i` alone, so that it does not matter which process asks for it. Which set a
    sample is of is drawn; each set gives its records in an order of its own, all of them before one comes again, and in
    another order then.

    Args:
        sizes: Records of each set, at least 1.
        shares: Of each set, as `mixture_shares` gives them.
        key: Of the draw.
        groups: Records that each set reads at a time; 1 by default.
    """

    def __init__(
        self, sizes: Sequence[int], shares: FloatArray, key: Sequence[int], groups: Sequence[int] | None = None
    ) -> None:
        self._sizes = list(sizes)
        self._groups = list(groups or [1] * len(self._sizes))
        self._shares = shares
        self._key = list(key)
        # Of each set, the samples before a block; as far as blocks were asked for.
        self._before = [np.zeros(len(sizes), dtype=np.int64)]
        self._block: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, dtype=np.int64))

    def __getitem__(self, index: int) -> tuple[int, int]:
        """Returns the number of a sample's set, and of its record in there."""
        block, place = divmod(index, _BLOCK)
        sets = self._sets(block)
        chosen = int(sets[place])
        drawn = int(self._count_before(block)[chosen]) + int(np.count_nonzero(sets[:place] == chosen))
        epoch, position = divmod(drawn, self._sizes[chosen])
        key = (*self._key, chosen, epoch)
        return chosen, shuffled_in_groups(position, self._sizes[chosen], self._groups[chosen], key)

    def _sets(self, block: int) -> npt.NDArray[np.int64]:
        if self._block[0] != block:
            rng = np.random.default_rng([*self._key, block])
            self._block = (block, rng.choice(len(self._sizes), size=_BLOCK, p=self._shares))
        return self._block[1]

    def _count_before(self, block: int) -> npt.NDArray[np.int64]:
        while len(self._before) <= block:
            counts = np.bincount(self._sets(len(self._before) - 1), minlength=len(self._sizes))
            self._before.append(self._before[-1] + counts)
        return self._before[block]


def mixture_shares(sizes: Sequence[int], weights: Sequence[float], temperature: float) -> FloatArray:
    """Returns the share of samples that each data set gives: `(weight * size) ** (1 / temperature)`, made to sum to 1.

    At temperature 1 and with equal weights every record is seen as often as any other, as if the sets were one; the
    higher the temperature, the more alike the sets' shares (Raffel et al., 2020, T5, section 3.5.2).

    Example:
        >>> mixture_shares([900, 100], [1, 1], 1).round(3).tolist()
        [0.9, 0.1]
        >>> mixture_shares([900, 100], [1, 1], 2).round(3).tolist()
        [0.75, 0.25]
    """
    logs = np.log(np.asarray(weights, dtype=np.float64) * np.asarray(sizes, dtype=np.float64)) / temperature
    shares = np.exp(logs - logs.max())
    whole: FloatArray = shares / shares.sum()
    return whole


def shuffled_in_groups(position: int, size: int, group: int, key: tuple[int, ...]) -> int:
    """Returns where `position` goes in a shuffle that comes back to a group of places only for a while.

    All groups are shuffled, then the places of every 64 groups among themselves. Who reads a file a group of rows at a
    time reads each group once, and keeps 64 of them. What is left behind the last whole group comes last.

    Args:
        position: In [0, size).
        size: At least 1.
        group: Places that belong together: each multiple of it begins a group.
        key: Each key is another shuffle.
    """
    count = size // group
    if group == 1 or count <= WINDOW:
        return shuffled(position, size, key)
    if position >= count * group:
        return count * group + shuffled(position - count * group, size - count * group, key)
    window, inner = divmod(position, WINDOW * group)
    inner = shuffled(inner, min(WINDOW, count - window * WINDOW) * group, (*key, window))
    return shuffled(window * WINDOW + inner // group, count, key) * group + inner % group


def shuffled(position: int, size: int, key: tuple[int, ...]) -> int:
    """Returns where `position` goes in a shuffle of `size` places; nothing of it is held in memory.

    A Feistel network permutes the numbers below a power of four; one that leads out of the shuffle is sent through it
    again until it does not (cycle walking; Black and Rogaway, 2002, "Ciphers with Arbitrary Finite Domains").

    Args:
        position: In [0, size).
        size: At least 1.
        key: Each key is another shuffle.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1
    while True:
        left, right = position >> half, position & low
        for word in _round_keys(key):
            left, right = right, left ^ (_mix(right ^ word) & low)
        position = left << half | right
        if position < size:
            return position


@functools.lru_cache(maxsize=256)
def _round_keys(key: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(word) for word in np.random.SeedSequence(key).generate_state(_ROUNDS, dtype=np.uint64))


def _mix(value: int) -> int:
    """Returns 64 bits that all depend on all of `value`'s (splitmix64; Steele et al., 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31
