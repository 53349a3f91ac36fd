"""Results into files: one writer a format, behind one protocol (DESIGN §8, `elysium track --output`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from elysium.errors import UsageError
from elysium.inference.results import SourceInfo
from elysium.inference.writers.base import Writer

if TYPE_CHECKING:
    from elysium.inference.drawing import DrawOptions

__all__ = ["FORMATS", "IMAGE_FORMATS", "Writer", "ending_of", "format_of", "open_writer"]

FORMATS = ("jsonl", "otb", "lasot", "mot", "coco", "mp4", "gif", "webp")
# Those that are drawn, so that results must carry their frames.
IMAGE_FORMATS = frozenset({"mp4", "gif", "webp"})

_SUFFIXES = {".jsonl": "jsonl", ".json": "coco", ".mp4": "mp4", ".gif": "gif", ".webp": "webp"}


def format_of(path: Path, format: str | None = None) -> str:
    """Returns the format of a result file: the one that is asked for, or the one its suffix means.

    Args:
        path: The file; `-` is standard output, for JSON lines.
        format: One of `FORMATS`, or None.

    Raises:
        UsageError: If there is no such format, the suffix means none or several, or the format needs a file.

    Example:
        >>> format_of(Path("clip.json")), format_of(Path("clip.txt"), "mot")
        ('coco', 'mot')
    """
    formats = ", ".join(FORMATS)
    if format is not None and format not in FORMATS:
        raise UsageError(f"there is no format {format!r}; there are {formats}")
    if str(path) == "-":
        if format not in (None, "jsonl"):
            raise UsageError(f"only jsonl can be written to standard output, got {format}; name an output file")
        return "jsonl"
    if format is not None:
        return format
    suffix = path.suffix.lower()
    if suffix == ".txt":
        raise UsageError(f"{path}: .txt may be otb, lasot or mot; say which with --format")
    if suffix not in _SUFFIXES:
        known = ", ".join(f"{ending} ({name})" for ending, name in _SUFFIXES.items())
        raise UsageError(
            f"{path}: the suffix {suffix!r} means no format; use {known}, or --format with one of {formats}"
        )
    return _SUFFIXES[suffix]


def open_writer(
    path: Path, format: str | None, info: SourceInfo, *, options: DrawOptions, resume: bool = False
) -> Writer:
    """Returns the writer of a result file; its folder is made where it is missing.

    Args:
        path: The file; `-` is standard output, for JSON lines.
        format: One of `FORMATS`; None goes by the suffix.
        info: Of the source.
        options: How results are drawn, for the formats made of images.
        resume: The first results are those of a run that was cut off (`Journal.replay`): JSON lines keep what stands
            in the file already. The other formats write a new file anyway, which takes the old one's place at the end.

    Raises:
        UsageError: As `format_of`; or if the path is a folder, or cannot be written.
    """
    kind = format_of(path, format)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it, for example {path / info.name}{ending_of(kind)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _open(path, kind, info, options, resume)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; name another output") from error


def _open(path: Path, kind: str, info: SourceInfo, options: DrawOptions, resume: bool) -> Writer:
    # Imported where they are needed: drawing takes a second to import, and a library that text does without.
    if kind in IMAGE_FORMATS:
        from elysium.inference.writers.video import VideoWriter

        return VideoWriter(path, kind, info, options)
    if kind == "coco":
        from elysium.inference.writers.coco import CocoWriter

        return CocoWriter(path, info)
    from elysium.inference.writers import text

    if kind == "jsonl":
        return text.JsonLinesWriter(path, resume)
    return text.MotWriter(path) if kind == "mot" else text.BoxFileWriter(path)


def ending_of(format: str) -> str:
    """Returns the suffix of a format's files.

    Example:
        >>> ending_of("coco"), ending_of("mot")
        ('.json', '.txt')
    """
    endings = {name: ending for ending, name in _SUFFIXES.items()}
    return endings.get(format, ".txt")
