"""The record of a run that a kill cannot harm: what `elysium track --resume` goes on from.

Beside the output `NAME` stands `.NAME.journal.jsonl` for as long as the run is not done:

```
{"journal": 1, "job": {…}}                                      what the run is of; another job is refused
{"frame": 0, "timestamp": 0.0, "size": […], "objects": [[…]]}   one line a frame, floats exact
{"frames": 8, "checksum": "…", "state": {…}}                    the end of a clip: the frames before it are final
```

Frames count once their clip's end is on the disk; whatever follows the last whole clip is cut off on opening. So a run
killed at any moment goes on from the end of a clip, in the state that the engine had there, and gives the same results
as one that was never killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from elysium.errors import ElysiumError, UsageError
from elysium.inference.results import FrameResult, TrackedObject

_VERSION = 1


class Journal:
    """One run's record; made by `Journal.open`, closed by `close` or by leaving a `with` block.

    Attributes:
        path: The journal's own file.
        num_frames: How many frames are final.
        state: What the engine gave with the last clip, None before the first.
        note: What opening found, one sentence for people; None where there is nothing to say.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.num_frames = 0
        self.state: dict[str, Any] | None = None
        self.note: str | None = None
        self._file = file
        self._start = 0  # where the frames begin
        self._end = 0  # where the last whole clip ends

    @classmethod
    def open(cls, output: Path, job: dict[str, Any], *, resume: bool) -> Journal:
        """Returns the journal of a run that writes `output`, ready to go on.

        Args:
            output: The result file; the journal lies beside it.
            job: All that decides the results, as plain JSON data: source (see `identify`), objects, checkpoint,
                settings.
            resume: Goes on where a journal of the same job ends. Without it, and where there is none, the run starts
                anew, and `note` says so.

        Raises:
            UsageError: If the journal is of another job (the message names what differs), if another process is
                writing it, or if the output is no file.
        """
        if str(output) == "-":
            raise UsageError("a run that writes to standard output cannot be resumed; name an output file")
        path = journal_path(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _lock(path)
        journal = cls(path, file)
        try:
            header = _read_header(file)
            journal._start = journal._end = file.tell()
            if header is not None:
                journal._scan()
            if resume and header is not None:
                _check_job(path, header.get("job"), _canonical(job))
                journal._cut()
                journal.note = f"goes on after {journal.num_frames} frames"
            else:
                dropped = journal.num_frames
                journal._begin(job)
                if resume:
                    journal.note = f"there is no unfinished run of {output}: starts with the first frame"
                elif dropped:
                    journal.note = f"{dropped} frames of an unfinished run are dropped; --resume would have kept them"
        except BaseException:
            file.close()
            raise
        return journal

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, results: Iterable[FrameResult], state: dict[str, Any] | None = None) -> None:
        """Adds a clip; when this returns, the clip outlasts a kill and a power cut.

        Args:
            results: Of the clip's frames, in order; images are not kept.
            state: What the engine needs to go on after this clip, as plain JSON data.

        Raises:
            ElysiumError: If the disk is full or the file cannot be written; the clips before stay whole.
        """
        lines = [_frame_line(result) for result in results]
        frames = b"".join(lines)
        end = {"frames": self.num_frames + len(lines), "checksum": _checksum(frames), "state": state}
        data = frames + _line(end)
        try:
            self._file.seek(self._end)
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise ElysiumError(f"{self.path} cannot be written: {error.strerror}; --resume goes on from it") from error
        self._end += len(data)
        self.num_frames += len(lines)
        self.state = state

    def replay(self) -> Iterator[FrameResult]:
        """Yields the frames that are final, in order and exact, without images; memory does not grow with them."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            while file.tell() < self._end:
                values = json.loads(file.readline())
                if "frame" in values:
                    yield _to_result(values)

    def close(self, done: bool = False) -> None:
        """Lets go of the file; may be called twice.

        Args:
            done: Removes the journal: every output is whole and in its place.
        """
        if self._file.closed:
            return
        if done:
            self.path.unlink(missing_ok=True)
        # A failed write may have left bytes behind that a second flush fails on as well: they are cut on opening.
        with contextlib.suppress(OSError):
            self._file.close()

    def _begin(self, job: dict[str, Any]) -> None:
        header = _line({"journal": _VERSION, "job": job})
        self._file.seek(0)
        self._file.truncate()
        self._file.write(header)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._start = self._end = len(header)
        self.num_frames, self.state = 0, None

    def _scan(self) -> None:
        """Finds the end of the last whole clip."""
        checksum, frames = 0, self.num_frames
        for line in self._file:
            values = _parse(line)
            if values is None:
                return
            if "frame" in values:
                checksum, frames = zlib.crc32(line, checksum), frames + 1
                continue
            if values.get("frames") != frames or values.get("checksum") != f"{checksum:08x}":
                return
            self.num_frames, self.state = frames, values["state"]
            self._end = self._file.tell()
            checksum = 0

    def _cut(self) -> None:
        self._file.truncate(self._end)
        self._file.seek(self._end)


def journal_path(output: Path) -> Path:
    """Returns where the journal of a run that writes `output` lies.

    Example:
        >>> journal_path(Path("out/clip.mp4")).as_posix()
        'out/.clip.mp4.journal.jsonl'
    """
    return output.with_name(f".{output.name}.journal.jsonl")


def identify(source: str | Path) -> dict[str, Any]:
    """Returns what tells a source from another, as plain data for a job: another file of that name is another source.

    Args:
        source: A file (path, size, time of change), a folder (path, and a digest of its files' names, sizes and times)
            or anything else, such as a camera, which is known by its name alone.
    """
    path = Path(source)
    if path.is_file():
        stat = path.stat()
        return {"path": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    if path.is_dir():
        files = sorted((entry.name, entry.stat()) for entry in path.iterdir() if entry.is_file())
        names = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]
        return {"path": str(path.resolve()), "files": len(names), "digest": hashlib.sha256(_line(names)).hexdigest()}
    return {"path": str(source)}


def _lock(path: Path) -> BinaryIO:
    """Opens the file, made where there is none, for this process alone."""
    while True:
        # "a" makes it without emptying it; its descriptor would write at the end only.
        path.open("ab").close()
        file = path.open("r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UsageError(f"another process is writing {path}; wait for it or name another output") from None
        except OSError:
            return file  # a file system without locks
        # Between opening and locking, the run that held it may have finished and removed it.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()


def _read_header(file: BinaryIO) -> dict[str, Any] | None:
    """Returns the first line, or None where it was never written whole or is of another version."""
    values = _parse(file.readline())
    return values if values is not None and values.get("journal") == _VERSION else None


def _check_job(path: Path, old: Any, new: Any) -> None:
    found = list(_differences(old, new))
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise UsageError(
            f"{path} is of another job: {'; '.join(found[:5])}{more}. Run with what it was started with, or without "
            "--resume to start anew"
        )


def _differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name} was {json.dumps(old)} and is {json.dumps(new)}"


def _frame_line(result: FrameResult) -> bytes:
    objects = [
        [
            found.id,
            found.label,
            None if found.box is None else [float(value) for value in found.box],
            float(found.confidence),
            bool(found.visible),
        ]
        for found in result.objects
    ]
    return _line(
        {
            "frame": int(result.frame),
            "timestamp": float(result.timestamp),
            "size": [int(side) for side in result.size],
            "objects": objects,
        }
    )


def _to_result(values: dict[str, Any]) -> FrameResult:
    objects = tuple(
        TrackedObject(number, label, None if box is None else (box[0], box[1], box[2], box[3]), confidence, visible)
        for number, label, box, confidence, visible in values["objects"]
    )
    width, height = values["size"]
    return FrameResult(values["frame"], values["timestamp"], (width, height), objects)


def _parse(line: bytes) -> dict[str, Any] | None:
    """Returns a line's object, or None where the line is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _canonical(value: Any) -> Any:
    """Returns plain data as it reads after a way through JSON: tuples are lists, keys are text."""
    return json.loads(_line(value))


def _line(value: Any) -> bytes:
    # Python writes the shortest digits that read back as the same float, so numbers are exact.
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _checksum(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"
