"""Which frames of a source come, and which sources are too long."""

import numpy as np
import pytest

from elysium.data.limits import Limits, VideoError
from elysium.errors import UsageError
from elysium.inference.sources import ReadOptions, open_source

from .made_sources import read, save
from .made_videos import cut, make, noise

# Which frames


@pytest.fixture(params=["video", "without length", "folder", "glob"])
def twenty(request, folder):
    """The same twenty frames, as each kind of source; how many a second; whether it tells how many there are."""
    if request.param in ("video", "without length"):
        return make(folder / ("a.mp4" if request.param == "video" else "a.ts"), 20), 10, request.param == "video"
    for number in range(20):
        save(folder / f"{number}.png", number)
    return folder if request.param == "folder" else "*.png", 25, True


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, range(20)),
        ({"start": 5}, range(5, 20)),
        ({"stop": 5}, range(5)),
        ({"stop": 99}, range(20)),
        ({"start": 3, "stop": 4}, range(3, 4)),
        ({"stride": 4}, range(0, 20, 4)),
        ({"stride": 7}, range(0, 20, 7)),
        ({"stride": 100}, range(1)),
        ({"start": 2, "stop": 17, "stride": 5}, range(2, 17, 5)),
        ({"start": 19}, range(19, 20)),
    ],
)
def test_a_range_and_a_stride_choose_frames(twenty, options, expected):
    uri, rate, known = twenty
    frames, info = read(uri, **options)
    assert frames == list(expected)
    assert info.num_frames == (len(expected) if known else None)
    assert info.frame_rate == pytest.approx(rate / options.get("stride", 1))


def test_frames_a_second_choose_frames(twenty):
    uri, rate, _ = twenty
    frames, info = read(uri, fps=rate / 2, start=3)
    assert frames == list(range(3, 20, 2))
    assert info.frame_rate == rate / 2
    assert info.num_frames in (None, len(frames))


def test_more_frames_a_second_than_there_are_give_each_once(twenty):
    uri, rate, _ = twenty
    frames, info = read(uri, fps=rate * 3)
    assert frames == list(range(20))
    assert info.frame_rate == rate


def test_frames_a_second_that_do_not_divide_keep_to_the_clock(tmp_path):
    frames, info = read(make(tmp_path / "a.mp4", 21), fps=4)
    # At 0, 0.25, 0.5, … s, or as soon after it as there is a frame: 10 a second are there.
    assert frames == [0, 3, 5, 8, 10, 13, 15, 18, 20]
    assert info.frame_rate == 4


def test_a_variable_rate_is_evened_out(tmp_path):
    times = [0, 0.1, 0.2, 0.3, 1.0, 1.05, 1.1, 3.0, 3.4, 3.5]
    path = make(tmp_path / "a.mkv", len(times), times=times, bf="0")
    assert read(path, fps=2)[0] == [0, 4, 7, 9]
    assert read(path, fps=5)[0] == [0, 2, 4, 7, 8]
    assert read(path, fps=1000)[0] == list(range(10))
    # The clock begins with the first frame of the range.
    assert read(path, fps=2, start=1)[0] == [1, 4, 6, 7, 8]


def test_the_simulator_takes_the_same_options():
    whole = list(open_source("sample:simulated:3"))
    source = open_source("sample:simulated:3", ReadOptions(start=2, stop=12, stride=3))
    chosen = list(source)
    assert [frame.index for frame in chosen] == [2, 5, 8, 11]
    assert all(np.array_equal(frame.image, whole[frame.index].image) for frame in chosen)
    assert (source.info.num_frames, source.info.frame_rate) == (4, 4)


def test_a_range_behind_the_end_is_an_error(twenty):
    with pytest.raises(VideoError, match=r"20 frames: there is none from number 20 on \(--start\)"):
        read(twenty[0], start=20)
    with pytest.raises(VideoError, match=r"24 frames: there is none from number 24 on \(--start\)"):
        open_source("sample:simulated", ReadOptions(start=24))


def test_what_comes_after_the_range_is_not_read(tmp_path):
    path = cut(make(tmp_path / "a.mkv", 30, draw=noise), 0.6)
    source = open_source(str(path), ReadOptions(stop=10))
    assert len(list(source)) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": -1}, "--start is the number of a frame, from 0; got -1"),
        ({"start": 5, "stop": 5}, "--stop comes after --start 5; got 5"),
        ({"stop": 0}, "--stop comes after --start 0; got 0"),
        ({"stride": 0}, "--stride is at least 1; got 0"),
        ({"fps": 0}, "--fps is more than 0; got 0"),
        ({"fps": float("nan")}, "--fps is more than 0; got nan"),
        ({"fps": float("inf")}, "--fps is more than 0; got inf"),
        ({"fps": 5, "stride": 2}, "--fps 5 and --stride 2 both choose frames: give one of the two"),
        ({"buffer": 0}, "--buffer holds at least 1 frame; got 0"),
        ({"timeout": 0}, "--timeout is more than 0 seconds; got 0"),
        ({"timeout": float("nan")}, "--timeout is more than 0 seconds; got nan"),
    ],
)
def test_options_that_make_no_sense_are_errors(options, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        ReadOptions(**options)


def test_a_header_that_promises_too_long_a_video_is_refused_at_once(tmp_path):
    path = make(tmp_path / "a.mp4", 3, times=[0, 1, 5000])
    limits = Limits(max_seconds=3600)
    with pytest.raises(VideoError, match=r"a\.mp4 lasts 500\d\.\d s, over the limit of 3600 s \(--max-seconds\)"):
        open_source(str(path), ReadOptions(limits=limits))
    assert read(path, stop=2, limits=limits)[0] == [0, 1]


def test_a_late_part_of_a_long_video_is_not_too_long(tmp_path):
    path, limits = make(tmp_path / "a.mp4", 36, rate=1, g="6"), Limits(max_seconds=20)
    with pytest.raises(VideoError, match="--max-seconds"):
        open_source(str(path), ReadOptions(limits=limits))
    assert read(path, start=25, limits=limits)[0] == list(range(25, 36))
