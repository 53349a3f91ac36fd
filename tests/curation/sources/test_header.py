"""What a video's header says."""

from fractions import Fraction

import av
import numpy as np
import pytest

from elysium.config import CurateSettings
from elysium.curation.sources.header import limits_of, probe_limits
from elysium.data.video import write_video


@pytest.fixture
def video(tmp_path):
    write_video(tmp_path / "a.mp4", np.zeros((5, 48, 64, 3), np.uint8), 10.0)
    return tmp_path / "a.mp4"


def lasting_ten_hours(path):
    """Writes three frames, five hours apart."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1)
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = 18_000 * number, Fraction(1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_an_ordinary_video_passes_with_its_length(video):
    verdict = probe_limits(video, CurateSettings())
    assert (verdict.passed, verdict.reason, verdict.value, verdict.threshold) == (True, "", 0.5, 600)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_ten_hour_video_is_too_long_and_says_how_long(tmp_path, name):
    verdict = probe_limits(lasting_ten_hours(tmp_path / name), CurateSettings())
    assert (verdict.passed, verdict.reason, verdict.threshold) == (False, "too_long", 600)
    assert verdict.value == pytest.approx(36_000, abs=1)


def test_the_limit_is_a_setting(video, tmp_path):
    assert probe_limits(video, CurateSettings(max_seconds=0.4)).reason == "too_long"
    assert probe_limits(lasting_ten_hours(tmp_path / "b.mp4"), CurateSettings(max_seconds=40_000)).passed


def test_large_frames_are_refused(video):
    verdict = probe_limits(video, CurateSettings(max_pixels=64 * 47))
    assert (verdict.reason, verdict.value, verdict.threshold) == ("too_large", 64 * 48, 64 * 47)
    assert str(video.parent) not in verdict.detail


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    verdict = probe_limits(tmp_path / "a.mp4", CurateSettings())
    assert (verdict.reason, verdict.detail) == ("no_video", "a.mp4 holds only sound; a video stream is needed")


def test_a_stream_without_a_frame_is_told(tmp_path):
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    verdict = probe_limits(tmp_path / "a.avi", CurateSettings())
    assert (verdict.reason, verdict.value, verdict.threshold) == ("no_frames", 0, 1)


@pytest.mark.parametrize("content", [b"<html>Press play.</html>", b"#EXTM3U\nhttp://host/a.ts\n"])
def test_what_is_no_video_is_unreadable(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    verdict = probe_limits(tmp_path / "a.mp4", CurateSettings())
    assert (verdict.passed, verdict.reason) == (False, "unreadable")
    assert verdict.detail.startswith("a.mp4 is not a video that can be read")


def test_a_header_that_tells_no_length_passes(tmp_path, video):
    with av.open(str(video)) as source, av.open(str(tmp_path / "a.h264"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    verdict = probe_limits(tmp_path / "a.h264", CurateSettings())
    assert (verdict.passed, verdict.value) == (True, None)


def test_decoding_checks_the_same_limits():
    limits = limits_of(CurateSettings(max_seconds=7, max_pixels=5000))
    assert (limits.max_seconds, limits.max_pixels) == (7, 5000)
