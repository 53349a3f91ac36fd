"""Checkpoint files as streams: what tensors a folder holds, and new safetensors files written without loading any.

Renaming tensors changes a file's header and nothing else, so bytes are copied from file to file in small pieces. The
format is a length (8 bytes, little endian), a JSON header of that length, and the tensors without gaps
(https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
import math
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from elysium.errors import UsageError

PIECE_BYTES = 16 * 2**20
# Larger headers are refused by the safetensors library as well.
_LARGEST_HEADER = 100_000_000
_TORCH_TYPES: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
_ITEM_BYTES = {name: dtype.itemsize for dtype, name in _TORCH_TYPES.items()}
_AGAIN = "get the file again; it was not fully downloaded or is damaged"


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor lies, and what it is.

    Attributes:
        name: Its key.
        dtype: In safetensors' spelling: `F32`, `BF16`, ….
        shape: Its sizes.
        file: The file that holds it.
        offset: Its first byte in a safetensors file; None in a pickle, which is asked by name.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int | None

    @property
    def size(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]


Shard = list[tuple[str, TensorEntry]]


def read_shards(folder: Path) -> list[list[TensorEntry]]:
    """Returns the tensors of a checkpoint folder, file by file, in the order in which they lie there.

    Understood are `model.safetensors`, `pytorch_model.bin` and both in shards with their index.

    Raises:
        UsageError: If the folder holds no weights, a file of it is missing or damaged, the index and the files
            disagree, or a pickle needs more than tensors.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the folder that holds the checkpoint's files")
    for whole, read in (("model.safetensors", _safetensors_entries), ("pytorch_model.bin", _pickle_entries)):
        if (folder / whole).is_file():
            return [read(folder / whole)]
        if (folder / f"{whole}.index.json").is_file():
            return _read_indexed(folder / f"{whole}.index.json", read)
    parts = sorted(path.name for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern))
    if any(re.search(r"-\d{5}-of-\d{5}\.", name) for name in parts):
        raise UsageError(
            f"{folder} has shards ({parts[0]}, …) but no index; get model.safetensors.index.json or "
            "pytorch_model.bin.index.json too"
        )
    raise UsageError(
        f"{folder} holds no weights under a known name (found {', '.join(parts) or 'none'}); needed is "
        "model.safetensors, pytorch_model.bin, or shards of either with their .index.json"
    )


def plan_shards(tensors: Sequence[Shard], max_shard_bytes: int | None) -> list[tuple[str, Shard]]:
    """Returns the files to write and their tensors, under Hugging Face's names.

    Args:
        tensors: New name and source of every tensor, file by file as they came.
        max_shard_bytes: Begins a new file where the next tensor would exceed this; None keeps the division as it came.
    """
    shards = [shard for shard in tensors if shard]
    if max_shard_bytes is not None:
        whole, shards, room = [pair for shard in shards for pair in shard], [], 0
        for pair in whole:
            if not shards or pair[1].size > room:
                shards.append([])
                room = max_shard_bytes
            shards[-1].append(pair)
            room -= pair[1].size
    if len(shards) == 1:
        return [("model.safetensors", shards[0])]
    return [(f"model-{i:05d}-of-{len(shards):05d}.safetensors", shard) for i, shard in enumerate(shards, start=1)]


def write_shards(folder: Path, plan: Sequence[tuple[str, Shard]], progress: Callable[[int], None]) -> None:
    """Writes safetensors files, and their index where there are several.

    At most one piece of `PIECE_BYTES` is in memory, and of a pickle what of it is mapped.

    Args:
        folder: Existing.
        plan: From `plan_shards`.
        progress: Called with the number of bytes just written.
    """
    source = _Source()
    try:
        for name, shard in plan:
            with (folder / name).open("wb") as file:
                file.write(_header(shard))
                for _, entry in shard:
                    for piece in source.pieces(entry):
                        file.write(piece)
                        progress(len(piece))
    finally:
        source.close()
    if len(plan) > 1:
        entries = [entry for _, shard in plan for _, entry in shard]
        metadata = {
            "total_parameters": sum(math.prod(entry.shape) for entry in entries),
            "total_size": sum(entry.size for entry in entries),
        }
        weight_map = {name: file for file, shard in plan for name, _ in shard}
        index = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
        write_json(folder / "model.safetensors.index.json", index)


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
        UsageError: If it cannot be read or is no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds no JSON object")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes one JSON object, for people and machines."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


class _Source:
    """The bytes of tensors, from one open file at a time."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._pickle: dict[str, Tensor] = {}

    def pieces(self, entry: TensorEntry) -> Iterator[memoryview]:
        """Yields a tensor's bytes in pieces of at most `PIECE_BYTES`; a piece is overwritten by the next."""
        if entry.file != self._path:
            self.close()
            self._path = entry.file
            if entry.offset is None:
                self._pickle = _load_pickle(entry.file)
            else:
                self._file = entry.file.open("rb", buffering=0)
        if self._file is None or entry.offset is None:
            flat = self._pickle.pop(entry.name).contiguous().reshape(-1).view(torch.uint8)
            for start in range(0, len(flat), PIECE_BYTES):
                yield flat[start : start + PIECE_BYTES].numpy().data
            return
        self._file.seek(entry.offset)
        buffer, left = memoryview(bytearray(min(PIECE_BYTES, entry.size))), entry.size
        while left:
            count = self._file.readinto(buffer[: min(left, len(buffer))])  # type: ignore[attr-defined]  # raw files have it
            if not count:
                raise UsageError(f"{entry.file} became shorter while it was read")
            yield buffer[:count]
            left -= count

    def close(self) -> None:
        """Lets go of the open file."""
        if self._file is not None:
            self._file.close()
        self._path, self._file, self._pickle = None, None, {}


def _header(shard: Shard) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, entry in shard:
        header[name] = {
            "dtype": entry.dtype,
            "shape": list(entry.shape),
            "data_offsets": [offset, offset + entry.size],
        }
        offset += entry.size
    text = json.dumps(header, separators=(",", ":")).encode()
    # The tensors begin at a multiple of eight bytes, as the library writes it.
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _read_indexed(index: Path, read: Callable[[Path], list[TensorEntry]]) -> list[list[TensorEntry]]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise UsageError(f"{index} has no weight_map from tensor names to file names")
    names = sorted(set(weight_map.values()))
    if foreign := [name for name in names if Path(name).name != name]:
        raise UsageError(f"{index} names files outside of its folder: {', '.join(foreign)}")
    if absent := [name for name in names if not (index.parent / name).is_file()]:
        raise UsageError(
            f"{index.parent} lacks {', '.join(absent)}, which {index.name} names; get the missing files too"
        )
    shards = [read(index.parent / name) for name in names]
    held = {(entry.name, entry.file.name) for shard in shards for entry in shard}
    named = set(weight_map.items())
    faults = [f"{file} has no {key}, which the index places there" for key, file in sorted(named - held)]
    faults += [f"{file} has {key}, which the index does not place there" for key, file in sorted(held - named)]
    if faults:
        raise UsageError(f"{index} and its files disagree; get both again from one source:\n  " + "\n  ".join(faults))
    return shards


def _safetensors_entries(path: Path) -> list[TensorEntry]:
    total = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_LARGEST_HEADER, total - 8):
            raise UsageError(f"{path} ({total} bytes) is no whole safetensors file; {_AGAIN}")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            entries = [
                (_entry(path, 8 + length, name, row), 8 + length + row["data_offsets"][1])
                for name, row in header.items()
            ]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise UsageError(f"{path} has a header that cannot be read; {_AGAIN}") from None
    end = 8 + length
    entries.sort(key=lambda pair: (pair[0].offset, pair[1]))
    for entry, stop in entries:
        if entry.dtype not in _ITEM_BYTES:
            raise UsageError(f"{path} holds {entry.name} as {entry.dtype}, which is not known here")
        if entry.offset != end or end + entry.size != stop:
            raise UsageError(f"{path} places {entry.name} at bytes that do not fit its shape; {_AGAIN}")
        end += entry.size
    if end != total:
        raise UsageError(f"{path} has {total} bytes where its header promises {end}; {_AGAIN}")
    return [entry for entry, _ in entries]


def _entry(path: Path, start: int, name: str, row: dict[str, Any]) -> TensorEntry:
    dtype, shape, begin = row["dtype"], tuple(row["shape"]), row["data_offsets"][0]
    if not isinstance(dtype, str) or not all(isinstance(size, int) and size >= 0 for size in (*shape, begin)):
        raise ValueError
    return TensorEntry(name, dtype, shape, path, start + begin)


def _pickle_entries(path: Path) -> list[TensorEntry]:
    entries = []
    for name, tensor in _load_pickle(path).items():
        if tensor.dtype not in _TORCH_TYPES or tensor.layout != torch.strided:
            raise UsageError(f"{path} holds {name} as {tensor.dtype}, {tensor.layout}, which is not known here")
        entries.append(TensorEntry(name, _TORCH_TYPES[tensor.dtype], tuple(tensor.shape), path, None))
    return entries


def _load_pickle(path: Path) -> dict[str, Tensor]:
    """Returns a pickle's tensors, mapped from the file where its format allows; no code of it is run."""
    try:
        # Files of before torch 1.6 are no zip archives, cannot be mapped, and are read whole.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about pickles that it then refuses
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise UsageError(
            f"{path} is refused: reading it would run code of its author, or it is damaged ({reason}); get the "
            "checkpoint as .safetensors, or let somebody who trusts it save its plain state dict"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UsageError(f"{path} cannot be read ({reason}); {_AGAIN}") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UsageError(
            f"{path} is no plain state dict from names to tensors; save model.state_dict() and nothing else"
        )
    return found
