"""Ids that are safe and unique over ten million clips, in memory that holds 16 bytes for each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_LENGTH = 120  # file names are made of ids, and hold 255 bytes

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Named:
    """A clip's id, and whether the same clip came before.

    Attributes:
        id: Letters, digits, `_` and `-`; unique.
        repeated: Whether a clip of the same wished id and address was named before.
    """

    id: str
    repeated: bool


class Names:
    """Gives ids, the same ones for the same clips in the same order.

    Ids and addresses are remembered as hashes of 64 bits. Two ids of ten million that share a hash (odds of one in
    400,000) only give the second one a suffix. For a clip to be taken for a repeated one, its address must share a
    hash, too.
    """

    def __init__(self) -> None:
        self._taken, self._seen = _HashSet(), _HashSet()
        self._number = 0

    def give(self, wishes: Sequence[tuple[str, str]]) -> list[Named]:
        """Returns names for clips, each wished for with an id and an address."""
        safe = [self.safe(wish) for wish, _ in wishes]
        hashes = hash_all(safe)
        pairs = hash_all([f"{wish}\0{uri}" for wish, uri in wishes])
        known = self._taken.contain(hashes)
        taken: set[int] = set()
        seen: set[int] = set()
        given = []
        for place, (name, value, pair) in enumerate(zip(safe, hashes.tolist(), pairs.tolist(), strict=True)):
            if known[place] or value in taken:
                repeated = pair in seen or bool(self._seen.contain(pairs[place : place + 1])[0])
                start = self._number + place if repeated else 0
                name, value = self._other(name, wishes[place][1], start, taken)
                given.append(Named(name, repeated))
            else:
                given.append(Named(name, False))
            taken.add(value)
            seen.add(pair)
        self._taken.add(np.fromiter(taken, np.uint64, len(taken)))
        self._seen.add(np.fromiter(seen, np.uint64, len(seen)))
        self._number += len(wishes)
        return given

    @staticmethod
    def safe(wish: str) -> str:
        """Returns an id of safe characters, and not too many.

        Example:
            >>> Names.safe("../a b/ü"), len(Names.safe("x" * 500))
            ('a_b', 120)
        """
        name = _UNSAFE.sub("_", wish).strip("_") or "clip"
        if len(name) <= _MAX_LENGTH:
            return name
        return f"{name[: _MAX_LENGTH - 9]}-{hashlib.sha256(wish.encode(errors='replace')).hexdigest()[:8]}"

    def _other(self, name: str, uri: str, number: int, taken: set[int]) -> tuple[str, int]:
        """Returns an id that is free, made of the address, and its hash."""
        while True:
            digest = hashlib.sha256(f"{uri}#{number}".encode(errors="replace")).hexdigest()
            found = f"{name}-{digest[:8]}"
            hashes = hash_all([found])
            if int(hashes[0]) not in taken and not self._taken.contain(hashes)[0]:
                return found, int(hashes[0])
            number += 1


def hash_all(texts: Sequence[str]) -> Hashes:
    """Returns a hash of 64 bits for each text, the same one on every machine."""
    blake2b = hashlib.blake2b
    joined = b"".join([blake2b(text.encode(errors="replace"), digest_size=8).digest() for text in texts])
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


class _HashSet:
    """A set of hashes: sorted runs, a shorter one merged into the one before when it is as long."""

    def __init__(self) -> None:
        self._runs: list[Hashes] = []

    def add(self, hashes: Hashes) -> None:
        if len(hashes) == 0:
            return
        self._runs.append(np.sort(hashes))
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            last = self._runs.pop()
            merged = np.concatenate([self._runs.pop(), last])
            merged.sort(kind="stable")  # which merges runs that are sorted
            self._runs.append(merged)

    def contain(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(hashes), dtype=bool)
        for run in self._runs:
            places = np.searchsorted(run, hashes)
            found |= run[np.minimum(places, len(run) - 1)] == hashes
        return found
