import os
import subprocess
import sys

import numpy as np
import pytest

from elysium.data.video import VideoError, decoder, iterate_video, probe, read_video, write_video


def moving_bars(num_frames=8, height=48, width=64):
    frames = np.zeros((num_frames, height, width, 3), dtype=np.uint8)
    for t in range(num_frames):
        frames[t, :, 4 * t : 4 * t + 12] = (200, 40, 90)
    return frames


def test_what_is_written_is_read_back(tmp_path):
    frames = moving_bars()
    write_video(tmp_path / "a.mp4", frames, 12.0)
    video = read_video(tmp_path / "a.mp4")
    assert video.frames.shape == frames.shape
    assert np.abs(video.frames.astype(int) - frames).mean() < 4
    assert video.frame_rate == pytest.approx(12.0)


def test_timestamps_are_presentation_times_in_seconds(tmp_path):
    write_video(tmp_path / "a.mp4", moving_bars(), 30000 / 1001)
    assert read_video(tmp_path / "a.mp4").timestamps == pytest.approx(np.arange(8) * 1001 / 30000, abs=1e-4)


def test_the_same_frames_give_the_same_bytes_whatever_memory_held_before(tmp_path):
    np.save(tmp_path / "frames.npy", moving_bars())
    program = (
        "import sys, numpy; from elysium.data.video import write_video; "
        "write_video(sys.argv[2], numpy.load(sys.argv[1]), 12.0)"
    )
    for fill in ("0", "255"):
        subprocess.run(
            [sys.executable, "-c", program, tmp_path / "frames.npy", tmp_path / f"{fill}.mp4"],
            check=True,
            env={**os.environ, "MALLOC_PERTURB_": fill},
        )
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "255.mp4").read_bytes()


def test_odd_sides_are_made_even_by_repeating_the_border(tmp_path):
    write_video(tmp_path / "a.mp4", moving_bars(height=47, width=63), 12.0)
    video = read_video(tmp_path / "a.mp4")
    assert video.frames.shape[1:3] == (48, 64)
    assert np.abs(video.frames[0, :, -1].astype(int) - video.frames[0, :, -2]).mean() < 4


def test_probe_tells_size_rate_and_length_without_decoding(tmp_path):
    write_video(tmp_path / "a.mp4", moving_bars(), 12.0)
    info = probe(tmp_path / "a.mp4")
    assert (info.width, info.height, info.num_frames, info.codec) == (64, 48, 8, "h264")
    assert info.frame_rate == pytest.approx(12.0)
    assert info.duration == pytest.approx(8 / 12)


def test_reading_can_stop_early(tmp_path):
    write_video(tmp_path / "a.mp4", moving_bars(), 12.0)
    assert len(read_video(tmp_path / "a.mp4", max_frames=3).frames) == 3


def test_rotated_videos_come_upright(tmp_path):
    write_video(tmp_path / "a.mp4", moving_bars(), 12.0)
    path = tmp_path / "turned.mp4"
    path.write_bytes(quarter_turn((tmp_path / "a.mp4").read_bytes()))
    upright, turned = read_video(tmp_path / "a.mp4"), read_video(path)
    assert turned.frames.shape == (8, 64, 48, 3)
    assert (probe(path).width, probe(path).height) == (48, 64)
    assert np.array_equal(turned.frames[0], np.rot90(upright.frames[0], -1))


def quarter_turn(content):
    """Writes the display matrix of a phone held upright (90° clockwise) into the track header."""
    one, zero, minus, w = (1 << 16), 0, (-1 << 16) & 0xFFFFFFFF, 1 << 30
    identity = b"".join(value.to_bytes(4, "big") for value in (one, 0, 0, 0, one, 0, 0, 0, w))
    turned = b"".join(value.to_bytes(4, "big") for value in (zero, one, 0, minus, zero, 0, 48 << 16, 0, w))
    header = content.index(b"tkhd")
    place = content.index(identity, header)
    return content[:place] + turned + content[place + len(turned) :]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(VideoError, match=r"none\.mp4 does not exist"):
        probe(tmp_path / "none.mp4")


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match=r"empty\.mp4 is empty \(0 bytes\)"):
        read_video(tmp_path / "empty.mp4")


def test_a_file_that_is_no_video_is_named(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video" * 100)
    with pytest.raises(VideoError, match=r"text\.mp4 is not a video that can be read"):
        read_video(tmp_path / "text.mp4")


def test_a_damaged_frame_is_named_by_its_number(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, size=(12, 64, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", noise, 12.0)
    content = bytearray((tmp_path / "a.mp4").read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 4000] = bytes(4000)
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=r"a\.mp4: frame \d+ (cannot be decoded|is damaged)"):
        list(iterate_video(tmp_path / "a.mp4"))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], "first one's shape"),
        ([np.zeros((8, 8, 3), np.float32)], "dtype uint8"),
        ([np.zeros((8, 8), np.uint8)], r"shape \(height, width, 3\)"),
    ],
)
def test_frames_that_make_no_video_are_refused_and_leave_no_file(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "a.mp4", frames, 12.0)
    assert list(tmp_path.iterdir()) == []


def test_the_decoder_says_its_name_and_version():
    name, version = decoder().split()
    assert name == "av"
    assert version[0].isdigit()
