"""Tells whether a file ends before its container says: a copy or a recording that was broken off.

Demuxers reach such an end as if it were the video's. Two kinds of container write their length down: MP4 and MOV
(ISO/IEC 14496-12 §4.2: each box begins with its size), Matroska and WebM (RFC 8794 §6: so does each element).
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip", b"moof", b"sidx", b"styp", b"mfra", b"uuid"})
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(path: str | Path) -> int:
    """Returns how many bytes are missing at a file's end; 0 where none are, or nobody can tell."""
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head[4:] in _BOXES:
            end = _end_of_boxes(file, size)
        elif head[:4] == _EBML:
            end = _end_of_segment(file)
        else:
            end = 0
    return max(0, end - size)


def _end_of_boxes(file: IO[bytes], size: int) -> int:
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        # Size 0 is "to the end of the file"; another name is no box but something that was appended.
        if length < 8 or head[4:8] not in _BOXES:
            return place
        place += length
    return place


def _end_of_segment(file: IO[bytes]) -> int:
    file.seek(4)
    length = _element_size(file)
    if length is None:
        return 0
    file.seek(length, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _element_size(file)
    return 0 if length is None else file.tell() + length


def _element_size(file: IO[bytes]) -> int | None:
    """Reads an element's size; None where it was left unknown, as live recordings do."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    width = 8 - first[0].bit_length() + 1
    value = int.from_bytes(first + file.read(width - 1), "big") & ((1 << 7 * width) - 1)
    return None if value == (1 << 7 * width) - 1 else value
