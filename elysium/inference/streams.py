"""Opening live sources: cameras, network streams, standard input and named pipes."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from elysium.data.decoding import options_for
from elysium.data.limits import VideoError
from elysium.data.storage import scheme_of
from elysium.errors import UsageError
from elysium.inference.choice import ReadOptions
from elysium.inference.live import LiveSource, PipeFile

# What each scheme needs said; over TCP, RTSP loses no packets, and passes through more firewalls.
NETWORK: dict[str, dict[str, str]] = {
    "rtsp": {"rtsp_transport": "tcp"},
    "rtsps": {"rtsp_transport": "tcp"},
    "rtmp": {},
    "rtmps": {},
    "udp": {"overrun_nonfatal": "1"},
    "srt": {},
}
_PROTOCOLS = "rtp,rtsp,rtsps,rtmp,rtmps,srt,srtp,tcp,tls,udp"
# A user and password at the beginning of an address. What follows a colon and is no port is a password, also if it
# holds characters that should have been escaped: nothing of it may be seen.
_USER = re.compile(r"^(?:[^/?#]*|[^/?#:\[]*:(?!\d+(?:[/?#]|$)).*)@")
_CAMERAS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


def open_camera(index: int, options: ReadOptions) -> LiveSource:
    """Opens a camera by its number, from 0.

    Raises:
        VideoError: If there is none of that number, or it is in use.
    """
    system = _CAMERAS.get(sys.platform)
    if system is None:
        raise UsageError(f"cameras are not known on {sys.platform}; pipe a stream instead: `… | elysium track pipe:`")
    device = _camera_device(index, system)

    def open_container() -> Any:
        import av

        # A picture format is not asked for: the driver's default is one it has.
        limits = {"max_pixels": options_for(options.limits)["max_pixels"]}
        return av.open(device, format=system, options=limits, timeout=options.timeout)

    return LiveSource(open_container, options, f"camera-{index}", drop=True, shown=f"camera {index} ({device})")


def open_network(uri: str, options: ReadOptions) -> LiveSource:
    """Opens an RTSP, RTMP, SRT or UDP stream.

    Raises:
        VideoError: If it cannot be opened, or nothing comes in time; the message holds no password.
    """
    scheme = scheme_of(uri)
    address = scheme + uri[len(scheme) :]  # FFmpeg knows schemes in lower case only

    def open_container() -> Any:
        import av

        opening = options_for(options.limits)
        opening |= {"format_whitelist": opening["format_whitelist"] + ",rtsp", "protocol_whitelist": _PROTOCOLS}
        return av.open(address, options=opening | NETWORK[scheme], timeout=options.timeout, metadata_errors="replace")

    return LiveSource(open_container, options, stream_name(uri), drop=True, shown=without_secrets(uri))


def open_pipe(uri: str, options: ReadOptions) -> LiveSource:
    """Opens encoded video on standard input (`pipe:`) or another open file descriptor (`pipe:3`).

    Raises:
        UsageError: If it is no descriptor, or a terminal.
        VideoError: If what comes is no video.
    """
    number = uri.removeprefix("pipe:") or "0"
    if not number.isdecimal():
        raise UsageError(f"{uri} is no pipe; `pipe:` is standard input, `pipe:3` the file descriptor 3")
    descriptor = int(number)
    try:
        terminal = os.isatty(descriptor)
        os.fstat(descriptor)
    except OSError as error:
        raise UsageError(f"{uri}: there is no open file descriptor {descriptor}") from error
    if terminal:
        raise UsageError(f"{uri} is a terminal; pipe a video into it: `ffmpeg … -f mpegts - | elysium track pipe:`")
    return _from_pipe(PipeFile(descriptor, owned=False), options, "pipe", "the pipe")


def open_fifo(path: Path, options: ReadOptions) -> LiveSource:
    """Opens a named pipe, and waits until something is written to it.

    Raises:
        VideoError: If what comes is no video.
    """
    # Without O_NONBLOCK this very call would wait for a writer, and could not be hung up.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return _from_pipe(PipeFile(descriptor, owned=True), options, path.stem, str(path))


def stream_name(uri: str) -> str:
    """Returns what result files of a stream are called after.

    Example:
        >>> stream_name("rtsp://me:secret@camera.local:554/hall/1?channel=2")
        'camera.local-554-hall-1'
    """
    return re.sub(r"[^\w.]+", "-", without_secrets(uri).partition("://")[2]).strip("-")


def without_secrets(uri: str) -> str:
    """Returns an address without the user, password and query that may be in it.

    Example:
        >>> without_secrets("rtsp://me:secret@camera.local:554/1?token=x")
        'rtsp://camera.local:554/1'
    """
    scheme, sign, rest = uri.partition("://")
    return scheme + sign + re.split(r"[?#]", _USER.sub("", rest))[0]


def _from_pipe(pipe: PipeFile, options: ReadOptions, name: str, shown: str) -> LiveSource:
    def open_container() -> Any:
        import av

        return av.open(pipe, options=options_for(options.limits), metadata_errors="replace")

    return LiveSource(open_container, options, name, drop=False, shown=shown, pipe=pipe)


def _camera_device(index: int, system: str) -> str:
    if system == "v4l2":
        device = Path(f"/dev/video{index}")
        if not device.exists():
            found = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video[0-9]*"))
            there = f"there are {', '.join(found)}" if found else "there is no camera here"
            raise VideoError(f"camera {index}: {device} does not exist; {there}")
        return str(device)
    if system == "avfoundation":
        return str(index)
    from av.device import enumerate_input_devices

    # DirectShow knows cameras by name only.
    names = [device.description for device in enumerate_input_devices(system) if "video" in device.media_types]
    if index >= len(names):
        raise VideoError(f"camera {index} does not exist; there are {len(names)}: {', '.join(names)}")
    return f"video={names[index]}"
