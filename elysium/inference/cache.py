"""Keys and values of many clips at once: what all questions about a clip share is kept once.

A row is a clip. Its slots hold tokens in any order: who wrote a token and at which position is written beside it, and
from that follows who may read it. So questions of one clip read the same frames, rows grow at their own pace, and what
turns out not to be needed is simply given to the next token.

Axes: R rows, Q tokens that a row takes in one pass, S slots.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache

#: Owners of slots: the frames and what stands before them; a question is its number, from 1.
SHARED = 0
_PADDING, _NOBODY = -1, -2
# Slot 0 of every row takes what pads shorter rows; only padding reads it.
_FIRST_SLOT = 1
_STEP = 64


class ClipCache(Cache):
    """A cache that a model of the transformers library writes and reads, one pass at a time.

    Each pass begins with `begin`, which says where its tokens go and returns the attention mask; in it, the model calls
    `update` once a layer.

    Args:
        num_layers: Of the language model.
        device: Where keys and values are.
    """

    def __init__(self, num_layers: int, device: torch.device) -> None:
        super().__init__(layers=[])
        self._device = device
        self._buffers: list[tuple[Tensor, Tensor] | None] = [None] * num_layers
        self._size = (0, 0)
        self._owners = torch.empty((0, 0), dtype=torch.int32, device=device)
        self._positions = torch.empty((0, 0), dtype=torch.int32, device=device)
        # Of each row, in memory of the host: the first slot never used, and used ones to be used again.
        self._fresh: list[int] = []
        self._free: list[list[int]] = []
        self._pass: tuple[Tensor, Tensor, int] | None = None
        self._span: tuple[int, int, int] | None = None

    def num_used(self, row: int) -> int:
        """Returns how many tokens a row holds."""
        return self._fresh[row] - _FIRST_SLOT - len(self._free[row])

    def take_slots(self, row: int, count: int) -> list[int]:
        """Returns slots of a row for `count` new tokens."""
        free = self._free[row]
        taken = [free.pop() for _ in range(min(count, len(free)))]
        missing = count - len(taken)
        taken += range(self._fresh[row], self._fresh[row] + missing)
        self._fresh[row] += missing
        return taken

    def add_row(self, row: int) -> None:
        """Makes a row empty, or adds it at the end."""
        if row == len(self._fresh):
            self._fresh.append(_FIRST_SLOT)
            self._free.append([])
        self._fresh[row], self._free[row] = _FIRST_SLOT, []
        self._reserve()
        self._owners[row] = _NOBODY
        self._owners[row, 0] = _PADDING

    def drop(self, row: int, slots: list[int]) -> None:
        """Gives slots back: what they hold is not read any more."""
        self._free[row] += slots
        self._owners[row, torch.tensor(slots, device=self._device)] = _NOBODY

    def move_row(self, source: int, target: int) -> None:
        """Puts a row in the place of another; the last row is forgotten."""
        if source != target:
            for buffers in self._buffers:
                for buffer in buffers or ():
                    buffer[target] = buffer[source]
            for table in (self._owners, self._positions):
                table[target] = table[source]
            self._fresh[target], self._free[target] = self._fresh[source], self._free[source]
        self._fresh.pop()
        self._free.pop()

    def begin(self, rows: list[int], slots: Tensor, owners: Tensor, positions: Tensor, *, alone: bool) -> Tensor:
        """Prepares a pass.

        Args:
            rows: The rows that take part, R. Unless `alone`, all rows from 0 on.
            slots: Shape `(R, Q)`: where each token goes; 0 is padding.
            owners: Shape `(R, Q)`: of each token; -1 is padding.
            positions: Shape `(R, Q)`: of each token.
            alone: Whether the tokens read nothing but each other: the first pass of these rows.

        Returns:
            Shape `(R, 1, Q, K)`: true where a token reads a key; K is Q if alone, else the slots in use.
        """
        self._reserve()
        numbers = torch.tensor(rows, device=self._device).unsqueeze(1)
        self._owners[numbers, slots] = owners
        self._positions[numbers, slots] = positions
        # Padding of all rows went to slot 0, whatever its owner said last.
        self._owners[:, 0] = _PADDING
        self._positions[:, 0] = 0
        if alone:
            key_owners, key_positions, used = owners, positions, 0
        else:
            used = min(-(-max(self._fresh) // 8) * 8, self._size[1])
            key_owners, key_positions = self._owners[: len(rows), :used], self._positions[: len(rows), :used]
        self._pass = (numbers, slots, used)
        self._span = self._one_piece(rows, slots)
        mine = (key_owners.unsqueeze(1) == SHARED) & (owners.unsqueeze(2) > _PADDING)
        mine |= key_owners.unsqueeze(1) == owners.unsqueeze(2)
        return (mine & (key_positions.unsqueeze(1) <= positions.unsqueeze(2))).unsqueeze(1)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Takes a layer's new keys and values `(R, heads, Q, width)` and returns those that the pass reads."""
        if self._pass is None:
            raise RuntimeError("a pass over a ClipCache starts with begin()")
        numbers, slots, used = self._pass
        buffers = self._buffers[layer_idx]
        if buffers is None or buffers[0].shape[0] < self._size[0] or buffers[0].shape[2] < self._size[1]:
            buffers = self._buffers[layer_idx] = (
                self._grown(buffers and buffers[0], key_states),
                self._grown(buffers and buffers[1], value_states),
            )
        read = []
        for buffer, fresh in zip(buffers, (key_states, value_states), strict=True):
            if self._span is not None:
                row, start, stop = self._span
                buffer[row, :, start:stop] = fresh[0]
            else:
                buffer[numbers, :, slots] = fresh.transpose(1, 2)
            read.append(buffer[: len(numbers), :, :used] if used else fresh)
        return read[0], read[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Returns 0: rows have lengths of their own, and positions are given with each pass."""
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Returns the number of keys and their offset."""
        used = 0 if self._pass is None else self._pass[2]
        return used or query_length, 0

    def _one_piece(self, rows: list[int], slots: Tensor) -> tuple[int, int, int] | None:
        """Returns the row and the slots from, to, where a pass over one row fills neighbouring ones: a plain copy.

        On an accelerator nobody looks: to know the slots would be to wait for it.
        """
        if len(rows) > 1 or self._device.type != "cpu":
            return None
        taken = slots[0].tolist()
        start, stop = taken[0], taken[0] + len(taken)
        return (rows[0], start, stop) if taken == list(range(start, stop)) else None

    def _reserve(self) -> None:
        """Makes room for all rows and slots in use."""
        rows, length = len(self._fresh), max(self._fresh, default=0)
        if rows <= self._size[0] and length <= self._size[1]:
            return
        # Some more than needed: growing copies everything.
        if rows > self._size[0]:
            rows = max(rows, min(2 * self._size[0], rows + 8))
        length = self._size[1] if length <= self._size[1] else -(-(length + length // 4) // _STEP) * _STEP
        self._size = (max(rows, self._size[0]), length)
        for name in ("_owners", "_positions"):
            old = getattr(self, name)
            new = torch.full(self._size, _NOBODY if name == "_owners" else 0, dtype=torch.int32, device=self._device)
            new[: old.shape[0], : old.shape[1]] = old
            setattr(self, name, new)

    def _grown(self, old: Tensor | None, like: Tensor) -> Tensor:
        rows, length = self._size
        # Zeros: what is masked still takes part in sums, with weight zero, and must be a number.
        new = like.new_zeros((rows, like.shape[1], length, like.shape[3]))
        if old is not None:
            new[: old.shape[0], :, : old.shape[2]] = old
        return new
