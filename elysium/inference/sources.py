"""Sources of `elysium track`: what a name on the command line means, and how it is opened.

| name | source |
| --- | --- |
| a file | video, or one picture |
| a folder | its pictures, in natural order |
| a glob | of videos: one source each; of pictures: one clip |
| `http://`, `https://`, `s3://` | downloaded into a temporary file |
| `sample:NAME` | a built-in clip; `sample:simulated` or `sample:simulated:SEED` a simulated one |
| `0`, `1`, … | a camera; `./0` is a file or folder of that name |
| `rtsp://`, `rtsps://`, `rtmp://`, `rtmps://`, `srt://`, `udp://` | a live stream |
| `pipe:` or a named pipe | encoded video, as it comes |
| `-` | a list of sources on standard input |
"""

from __future__ import annotations

import glob
import json
import math
import os
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from elysium.data.limits import Limits, VideoError
from elysium.data.pictures import SUFFIXES, list_pictures, natural_key
from elysium.data.storage import name_of, scheme_of, storage_for
from elysium.data.transfer import FetchError, PrivateAddressError, TooLargeError
from elysium.errors import UsageError
from elysium.inference import streams
from elysium.inference.choice import ReadOptions
from elysium.inference.files import Download, MemorySource, PicturesSource, VideoFileSource
from elysium.inference.results import PixelBox, Source

__all__ = ["Limits", "ReadOptions", "SourceSpec", "expand", "open_source", "source_name"]

_DOWNLOADS = frozenset({"http", "https", "s3"})
_STDIN = frozenset({"-", "pipe:", "pipe:0"})
_KEYS = frozenset({"source", "expressions", "boxes"})


@dataclass(frozen=True)
class SourceSpec:
    """One source, and what to follow in it where a list says so.

    Attributes:
        uri: What `open_source` takes.
        expressions: Objects by name.
        boxes: Objects by `(x1, y1, x2, y2)` in pixels of the first frame.
    """

    uri: str
    expressions: tuple[str, ...] = ()
    boxes: tuple[PixelBox, ...] = ()


def expand(text: str, stdin: Iterable[str]) -> list[SourceSpec]:
    """Returns the sources that one argument of the command means.

    Args:
        text: `-` for a list; a glob; or the name of one source.
        stdin: Lines of the list: each a source or a JSON object with `source`, and `expressions` and `boxes` where
            this source has its own. Empty lines and those that begin with `#` are skipped.

    Raises:
        UsageError: If a glob finds nothing or both videos and pictures, the list is empty, or a line is none.
    """
    if text != "-":
        return [SourceSpec(uri) for uri in _matches(text)]
    found: list[SourceSpec] = []
    for number, line in enumerate(stdin, start=1):
        line = line.strip()
        if line.startswith("{"):
            found.append(_from_json(line, number))
        elif line in _STDIN:
            raise UsageError(f"line {number} of the list is `{line}`: standard input carries the list already")
        elif line and not line.startswith("#"):
            found += [SourceSpec(uri) for uri in _matches(line)]
    if not found:
        raise UsageError("the list on standard input is empty; it has one source a line")
    return found


def source_name(uri: str) -> str:
    """Returns what result files of a source are called after; nothing is opened.

    Example:
        >>> source_name("clips/car.mp4"), source_name("https://host/a/b.webm?token=x"), source_name("0")
        ('car', 'b', 'camera-0')
    """
    scheme = scheme_of(uri)
    if uri.isdecimal():
        return f"camera-{uri}"
    if uri.startswith(("sample:", "pipe:")):
        return (uri.removeprefix("sample:").rstrip(":") or "pipe").replace(":", "-")
    if scheme in streams.NETWORK:
        return streams.stream_name(uri)
    if scheme:
        return PurePosixPath(name_of(uri)).stem or "video"
    path = Path(uri).expanduser()
    if path.is_dir() or (glob.has_magic(uri) and not path.exists()):
        return (path if path.is_dir() else path.parent).resolve().name
    return path.stem


def open_source(uri: str, options: ReadOptions | None = None) -> Source:
    """Opens a source, reads its header and returns it; the caller closes it.

    Args:
        uri: See the top of this file; not `-`, and a glob only of pictures.
        options: What to read of it; None reads everything.

    Raises:
        UsageError: If the name means no source.
        VideoError: If the source is missing, cannot be read, is not allowed, or over a limit.
    """
    options = options or ReadOptions()
    scheme = scheme_of(uri)
    if uri.isdecimal():
        return streams.open_camera(int(uri), options)
    if uri.startswith("sample:"):
        return _open_sample(uri.removeprefix("sample:"), options)
    if uri.startswith("pipe:"):
        return streams.open_pipe(uri, options)
    if scheme in streams.NETWORK:
        return streams.open_network(uri, options)
    if scheme in _DOWNLOADS:
        return _download(uri, options)
    if scheme == "file":
        raise UsageError(f"{uri}: file:// is not accepted; give the path itself, {uri.removeprefix('file://')}")
    if scheme:
        known = ", ".join(f"{name}://" for name in [*sorted(_DOWNLOADS), *streams.NETWORK])
        raise UsageError(f"{streams.without_secrets(uri)}: the scheme {scheme!r} is unknown; there are {known}")
    if uri in ("", "-"):
        raise UsageError(f"{uri!r} is no source; `-` stands for a list of sources in the place of the only one")
    try:
        return _open_path(uri, options)
    except OSError as error:
        raise VideoError(f"{uri} cannot be opened: {error.strerror or error}") from error


def _open_path(uri: str, options: ReadOptions) -> Source:
    path = _path(uri)
    if path.is_dir():
        pictures = list_pictures(path)
        if not pictures:
            raise VideoError(f"the folder {path} holds no picture ({_suffixes()}); for its videos name '{path}/*.mp4'")
        return PicturesSource(pictures, options, path.resolve().name)
    if path.exists():
        if stat.S_ISFIFO(path.stat().st_mode):
            return streams.open_fifo(path, options)
        if not path.is_file():
            raise VideoError(f"{path} is neither a file nor a folder nor a named pipe; a camera is named by its number")
        return _open_file(path, options)
    if not glob.has_magic(uri):
        raise VideoError(f"{path} does not exist")
    files = [Path(name) for name in _glob(uri)]
    if not all(file.suffix.lower() in SUFFIXES for file in files):
        raise UsageError(f"{uri} stands for {len(files)} videos, not for one source; name them one by one")
    return PicturesSource(files, options, files[0].resolve().parent.name)


def _open_file(path: Path, options: ReadOptions, name: str | None = None, download: Download | None = None) -> Source:
    if path.suffix.lower() in SUFFIXES:
        return PicturesSource([path], options, name or path.stem, download)
    return VideoFileSource(path, options, name, download)


def _download(uri: str, options: ReadOptions) -> Source:
    shown, name = streams.without_secrets(uri), name_of(uri)
    storage = storage_for(uri, s3_endpoint=options.s3_endpoint, allow_private_hosts=options.allow_private_hosts)
    download = Download(shown, Path(tempfile.mkdtemp(prefix="elysium-")))
    # The name in the address is a stranger's: only its suffix is used, and that if it is plain.
    suffix = PurePosixPath(name).suffix
    file = download.folder / f"video{suffix if suffix[1:].isalnum() else ''}"
    try:
        storage.fetch(uri, file, options.limits.max_file_bytes)
        return _open_file(file, options, PurePosixPath(name).stem or "video", download)
    except BaseException as error:
        download.remove()
        if isinstance(error, TooLargeError):
            limit = options.limits.max_file_bytes
            raise VideoError(f"{shown}: larger than the limit of {limit / 2**20:g} MiB (--max-file-bytes)") from error
        if isinstance(error, PrivateAddressError):
            address = str(error).partition(";")[0]
            raise VideoError(f"{shown}: {address}; --allow-private-hosts permits that") from error
        if isinstance(error, FetchError):
            raise VideoError(f"{shown}: {error}") from error
        if isinstance(error, VideoError):
            raise download.error(error, file) from error
        raise


def _open_sample(name: str, options: ReadOptions) -> Source:
    kind, _, seed = name.partition(":")
    if kind == "simulated":
        from elysium.data.simulator import simulate

        if seed and not seed.isdecimal():
            raise UsageError(f"sample:{name}: the seed is a whole number from 0, got {seed!r}")
        clip = simulate(int(seed or 0))
        return MemorySource(list(clip.frames), clip.frame_rate, options, name.replace(":", "-"))
    from elysium.data.samples import sample_clips

    clips = {clip.id: clip.path for clip in sample_clips()}
    if name not in clips:
        raise UsageError(f"sample:{name} does not exist; there are {', '.join([*clips, 'simulated'])}")
    return VideoFileSource(clips[name], options, name)


def _matches(text: str) -> list[str]:
    """Returns what a glob stands for; anything else, and a path that looks like one but exists, is itself."""
    # In a URL, `?` begins the query; and what follows `sample:` or `pipe:` is no path.
    if scheme_of(text) or text.startswith(("sample:", "pipe:")) or not glob.has_magic(text):
        return [text]
    if os.path.exists(_path(text)):  # noqa: PTH110 (Path.exists raises where a name is too long)
        return [text]
    files = _glob(text)
    pictures = [file for file in files if Path(file).suffix.lower() in SUFFIXES]
    if not pictures:
        return files
    if len(pictures) < len(files):
        other = next(file for file in files if file not in pictures)
        raise UsageError(f"{text} finds pictures ({pictures[0]}) and others ({other}); narrow it down to one of them")
    return [text]


def _glob(pattern: str) -> list[str]:
    found = glob.glob(str(_path(pattern)), recursive=True)  # noqa: PTH207 (the pattern may be absolute)
    if not found:
        raise UsageError(f"{pattern} finds no file")
    return sorted(found, key=natural_key)


def _path(text: str) -> Path:
    """Returns the path; a name that begins with `~` and is nobody's home is a name like any other."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _from_json(line: str, number: int) -> SourceSpec:
    where = f"line {number} of the list"
    try:
        value: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where} is no JSON object: {error}") from error
    unknown = set(value) - _KEYS
    if unknown:
        raise UsageError(f"{where} has the unknown keys {sorted(unknown)}; there are {sorted(_KEYS)}")
    source, expressions, boxes = value.get("source"), value.get("expressions", []), value.get("boxes", [])
    if not isinstance(source, str) or source in ("", *_STDIN):
        raise UsageError(f"{where} needs a `source`, the name of one; got {source!r}")
    if not isinstance(expressions, list) or not all(isinstance(text, str) and text for text in expressions):
        raise UsageError(f"{where}: `expressions` is a list of texts, got {expressions!r}")
    if not isinstance(boxes, list) or not all(_is_box(box) for box in boxes):
        raise UsageError(f"{where}: `boxes` is a list of [x1, y1, x2, y2] in pixels, got {boxes!r}")
    uris = _matches(source)
    if len(uris) != 1:
        raise UsageError(f"{where}: {source} stands for {len(uris)} videos; give each a line of its own")
    corners = ((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in boxes)
    return SourceSpec(uris[0], tuple(expressions), tuple(corners))


def _is_box(box: object) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(side, int | float) and not isinstance(side, bool) and math.isfinite(side) for side in box)
        and box[0] < box[2]
        and box[1] < box[3]
    )


def _suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))
