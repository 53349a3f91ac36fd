"""Odd videos, made on the spot. The number of a frame is its grey level: what is read tells which frame it is."""

from fractions import Fraction

import av
import numpy as np

STEP = 6


def numbered(number, width=64, height=48):
    """A frame of one grey, with a white corner at the top left."""
    frame = np.full((height, width, 3), 16 + STEP * (number % 39), dtype=np.uint8)
    frame[: height // 4, : width // 4] = 255
    return frame


def number_of(image):
    return round((float(image[-1, -1].mean()) - 16) / STEP)


def numbers(frames):
    return [number_of(frame.image) for frame in frames]


def noise(number, width=64, height=48):
    return np.random.default_rng(number).integers(0, 255, size=(height, width, 3), dtype=np.uint8)


def make(
    path,
    num_frames=10,
    *,
    size=(64, 48),
    codec="libx264",
    pixels="yuv420p",
    container=None,
    times=None,
    rate=10,
    draw=numbered,
    sound=False,
    muxer=None,
    **options,
):
    """Writes a video; `times` are presentation times in seconds, by default even ones."""
    if codec == "libx264":
        options = {"preset": "ultrafast", "crf": "1", "threads": "1"} | options
    with av.open(str(path), "w", format=container, options=muxer or {}) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.options = options
        stream.codec_context.time_base = Fraction(1, 1000) if times else Fraction(1, rate)
        if sound:
            add_sound(output)
        for number in range(num_frames):
            frame = draw(number, *size)
            frame = av.VideoFrame.from_ndarray(frame, format="rgb24" if frame.shape[2] == 3 else "rgba")
            frame.pts = round(times[number] * 1000) if times else number
            frame.time_base = stream.codec_context.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def add_sound(output, others=()):
    stream = output.add_stream("aac", rate=8000, layout="mono")
    silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    silence.sample_rate = 8000
    for packet in [*others, *stream.encode(silence), *stream.encode()]:
        output.mux(packet)


def make_sound(path):
    with av.open(str(path), "w") as output:
        add_sound(output)
    return path


def make_song_with_cover(path):
    """An M4A whose cover picture is a video stream of one frame."""
    with av.open(str(path), "w", format="mp4") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(numbered(0, 64, 64), format="rgb24").reformat(format="yuvj420p")
        picture = [*cover.encode(frame), *cover.encode()]
        add_sound(output, picture)
    return path


def cut(path, share, name=None):
    """The first part of a file."""
    content = path.read_bytes()
    short = path.with_name(name or f"cut-{path.name}")
    short.write_bytes(content[: int(len(content) * share)])
    return short


def scratched(path, share=0.5, length=3000):
    """The same file with zeros in the middle."""
    content = bytearray(path.read_bytes())
    place = int(len(content) * share)
    content[place : place + length] = bytes(length)
    other = path.with_name(f"scratched-{path.name}")
    other.write_bytes(content)
    return other
