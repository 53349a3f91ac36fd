"""How much one video may ask of this machine, and the error that says it is too much or cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

from elysium.errors import ElysiumError, UsageError


class VideoError(ElysiumError):
    """A file that is not a readable video, or a frame of it that cannot be decoded."""


class NoVideoError(VideoError):
    """A file without a stream of pictures that move."""


class FrameSizeError(VideoError):
    """Frames over the limit of pixels.

    Args:
        message: What is wrong.
        pixels: Of one frame.
    """

    def __init__(self, message: str, pixels: int = 0) -> None:
        super().__init__(message)
        self.pixels = pixels


class LengthError(VideoError):
    """A video over the limit of seconds."""


@dataclass(frozen=True)
class Limits:
    """How much one video may ask of this machine: guards against small files that unfold into huge ones.

    Attributes:
        max_pixels: Of one frame; looked at in the header before anything is decoded, and again in every frame. The
            default is 8K UHD.
        max_seconds: From the first frame that is read to the last one.
        max_decoded_bytes: Of all frames together, as 8-bit RGB, skipped ones included. The default is what the longest
            video permitted takes in Full HD at 30 frames a second (14.7 TiB), rounded up; a bomb of 8K frames meets
            it after 177 thousand.
        max_file_bytes: Of a file that is downloaded.

    Live streams may run as long as they like: only `max_pixels` counts for them.
    """

    max_pixels: int = 7680 * 4320
    max_seconds: float = 24 * 3600
    max_decoded_bytes: int = 16 << 40
    max_file_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UsageError(f"{flag(name)} is more than 0, got {value}")

    def check_size(self, width: int, height: int, what: str) -> None:
        """Raises VideoError if a frame is too large; `what` begins the message."""
        if width * height > self.max_pixels:
            message = f"{what}: {width}x{height} pixels exceed the limit of {self.max_pixels} (--max-pixels)"
            raise FrameSizeError(message, width * height)


def flag(name: str) -> str:
    """Returns the command-line option that sets a field.

    Example:
        >>> flag("max_pixels")
        '--max-pixels'
    """
    return "--" + name.replace("_", "-")
