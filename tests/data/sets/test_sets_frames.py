import numpy as np
import pytest
from PIL import Image

from elysium.data.sets.frames import count_frames, read_frames
from elysium.data.sets.schema import SetRecord, Turn
from elysium.data.video import write_video
from elysium.errors import ElysiumError

TURNS = [Turn(question="What?", answer="grey")]


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures, and a video of as many frames at 6 a second, each a shade of its own."""
    frames = np.stack([np.full((32, 48, 3), 20 * number, dtype=np.uint8) for number in range(12)])
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    write_video(tmp_path / "clip.mp4", frames, 6.0)
    return tmp_path


def shades(images):
    """Returns which of the twelve frames each picture is."""
    assert all(image.shape == (32, 48, 3) for image in images)
    return [round(float(image.mean()) / 20) for image in images]


def record(**fields):
    return SetRecord(id="a", dataset="d", turns=TURNS, **fields)


def test_frames_come_from_pictures(folder):
    pictures = record(frames=[f"{number}.png" for number in range(12)])
    assert count_frames(pictures, folder) == 12
    assert shades(read_frames(pictures, folder, [7, 0, 7])) == [7, 0, 7]


def test_frames_come_straight_from_the_video(folder):
    video = record(video="clip.mp4")
    assert count_frames(video, folder) == 12
    assert shades(read_frames(video, folder, [9, 2, 2, 11])) == [9, 2, 2, 11]


def test_timestamps_choose_the_frame_that_is_shown_then(folder):
    times = [0.0, 1 / 6, 0.3334, 0.49, 1.0, 99.0]
    video = record(video="clip.mp4", timestamps=times)
    assert count_frames(video, folder) == 6
    assert shades(read_frames(video, folder, range(6))) == [0, 1, 2, 2, 6, 11]
    assert shades(read_frames(video, folder, [4, 0])) == [6, 0]


@pytest.mark.parametrize(
    ("fields", "chosen", "message"),
    [
        ({"frames": ["gone.png"]}, 0, r"the picture .*gone\.png cannot be read"),
        ({"video": "gone.mp4"}, 0, r"gone\.mp4"),
        ({"video": "clip.mp4"}, 12, r"clip\.mp4 has 12 frames"),
        ({"video": "0.png"}, 5, r"0\.png"),
    ],
)
def test_what_cannot_be_read_is_named(folder, fields, chosen, message):
    with pytest.raises(ElysiumError, match=message):
        read_frames(record(**fields), folder, [chosen])
