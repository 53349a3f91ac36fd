"""Sources that lie still: video files, folders and lists of pictures, clips in memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from elysium.data.decoding import decode_file, frame_rate, open_video
from elysium.data.limits import VideoError
from elysium.data.pictures import read_picture
from elysium.inference.choice import FrameChoice, ReadOptions
from elysium.inference.results import Image, SourceFrame, SourceInfo

# Folders of pictures do not say how fast they were taken.
PICTURE_RATE = 25.0


@dataclass(frozen=True)
class Download:
    """What there is to know of a file that was downloaded.

    Attributes:
        address: Where from, as messages may show it.
        folder: Temporary folder that goes when the source is closed.
    """

    address: str
    folder: Path

    def error(self, error: VideoError, path: Path) -> VideoError:
        """Returns an error that names the address and not the temporary file."""
        return VideoError(str(error).replace(str(path), self.address))

    def remove(self) -> None:
        """Removes the folder; may be called twice."""
        shutil.rmtree(self.folder, ignore_errors=True)


class VideoFileSource:
    """The frames of a video file.

    Each iteration reads the file from the start of the range; nothing is held between frames.
    """

    def __init__(
        self, path: Path, options: ReadOptions, name: str | None = None, download: Download | None = None
    ) -> None:
        """Reads the header.

        Args:
            path: The file.
            options: What to read of it.
            name: What result files are called after; None takes the file's own name.
            download: Where the file came from, if it did.

        Raises:
            VideoError: If it is no readable video or over a limit.
        """
        self._path, self._options, self._download = path, options, download
        self._closed = False
        with open_video(path, options.limits) as (_, stream):
            rate, num_frames = frame_rate(stream), _num_frames(stream)
            seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
        longest = options.limits.max_seconds
        if seconds - options.start / rate > longest and options.stop is None:
            raise VideoError(f"{path} lasts {seconds:.1f} s, over the limit of {longest:g} s (--max-seconds)")
        self._info = SourceInfo(name or path.stem, options.rate(rate), options.count(num_frames))

    @property
    def info(self) -> SourceInfo:
        """What the header tells; the number of frames is None where it does not say."""
        return self._info

    def __iter__(self) -> Iterator[SourceFrame]:
        """Yields the chosen frames; see `Source`."""
        if self._closed:
            return
        choice = FrameChoice(self._options)
        try:
            for decoded in decode_file(self._path, self._options.limits, self._options.start):
                if choice.takes(decoded.number, decoded.timestamp):
                    yield SourceFrame(decoded.number, decoded.timestamp, decoded.image())
                # One more would be decoded, and may be damaged; and once closed, the file may be gone.
                if self._closed or self._options.stop == decoded.number + 1:
                    return
        except VideoError as error:
            if self._download is not None:
                raise self._download.error(error, self._path) from error
            raise

    def close(self) -> None:
        """Ends the iteration at the next frame and removes what was downloaded."""
        self._closed = True
        if self._download is not None:
            self._download.remove()


class PicturesSource:
    """Pictures as the frames of one clip, at a nominal 25 a second; their sizes may differ."""

    def __init__(
        self, paths: Sequence[Path], options: ReadOptions, name: str, download: Download | None = None
    ) -> None:
        """Takes a list.

        Args:
            paths: In order.
            options: What to read of them.
            name: What result files are called after.
            download: Where the pictures came from, if they did.

        Raises:
            VideoError: If the range begins behind the last picture.
        """
        if options.start >= len(paths):
            raise VideoError(f"{name} has {len(paths)} frames: there is none from number {options.start} on (--start)")
        self._paths, self._options, self._download = paths, options, download
        self._closed = False
        choice = FrameChoice(options)
        # The times are known beforehand, so that even with `fps` the number of frames is.
        self._chosen = [number for number in range(len(paths)) if choice.takes(number, number / PICTURE_RATE)]
        self._info = SourceInfo(name, options.rate(PICTURE_RATE), len(self._chosen))

    @property
    def info(self) -> SourceInfo:
        """What the list tells."""
        return self._info

    def __iter__(self) -> Iterator[SourceFrame]:
        """Yields the chosen pictures; see `Source`."""
        for number in self._chosen:
            if self._closed:
                return
            try:
                image = read_picture(self._paths[number], self._options.limits.max_pixels)
            except ValueError as error:
                path = self._paths[number]
                told = VideoError(f"frame {number} ({path}) cannot be read: {error}")
                raise (told if self._download is None else self._download.error(told, path)) from error
            yield SourceFrame(number, number / PICTURE_RATE, image)

    def close(self) -> None:
        """Ends the iteration at the next frame and removes what was downloaded."""
        self._closed = True
        if self._download is not None:
            self._download.remove()


class MemorySource:
    """A clip that is in memory already."""

    def __init__(self, frames: Sequence[Image], rate: float, options: ReadOptions, name: str) -> None:
        """Takes frames of shape `(height, width, 3)`, uint8, RGB, and how many a second there are.

        Raises:
            VideoError: If the range begins behind the last frame.
        """
        if options.start >= len(frames):
            raise VideoError(f"{name} has {len(frames)} frames: there is none from number {options.start} on (--start)")
        self._frames, self._rate, self._closed = frames, rate, False
        choice = FrameChoice(options)
        self._chosen = [number for number in range(len(frames)) if choice.takes(number, number / rate)]
        self._info = SourceInfo(name, options.rate(rate), len(self._chosen))

    @property
    def info(self) -> SourceInfo:
        """All there is to know."""
        return self._info

    def __iter__(self) -> Iterator[SourceFrame]:
        """Yields the chosen frames; see `Source`."""
        for number in self._chosen:
            if self._closed:
                return
            yield SourceFrame(number, number / self._rate, self._frames[number])

    def close(self) -> None:
        """Ends the iteration at the next frame."""
        self._closed = True


def _num_frames(stream: object) -> int | None:
    """Returns how many frames a header announces: of MP4 and AVI the index, of Matroska what mkvmerge notes."""
    announced = getattr(stream, "frames", 0)
    if announced:
        return int(announced)
    for key, value in dict(getattr(stream, "metadata", {})).items():
        if key.startswith("NUMBER_OF_FRAMES") and str(value).isdecimal():
            return int(value)
    return None
