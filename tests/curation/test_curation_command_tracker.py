"""Trackers from outside: behind a command, and behind a factory of the user's own."""

import sys

import numpy as np
import pytest
from PIL import Image

from elysium.curation.models.command import CommandTracker
from elysium.curation.protocols import Frame, MultiTracker, track_all
from elysium.curation.registry import PartsShelf
from elysium.errors import ElysiumError, UsageError

START = """
import sys, pathlib
frames, box, output = sys.argv[1:]
count = len(list(pathlib.Path(frames).iterdir()))
"""
BOX = (0.25, 0.5, 0.5, 1.0)


@pytest.fixture
def frames():
    """Four frames of 40 x 20 pixels."""
    rng = np.random.default_rng(0)
    return [Frame(rng.integers(0, 255, (20, 40, 3), dtype=np.uint8), 3 * index, index / 12) for index in range(4)]


@pytest.fixture
def tracker(tmp_path):
    """Makes a tracker of a script."""

    def make(script, timeout=60.0):
        path = tmp_path / "my tracker.py"
        path.write_text(START + script)
        return CommandTracker(f"{sys.executable} -S '{path}' {{frames}} {{box}} {{output}}", timeout)

    return make


def test_a_command_reads_frames_and_a_box_and_writes_a_line_a_frame(frames, tracker):
    follow = """
x, y, w, h = map(float, box.split(","))
lines = [f"{x + index},{y - index},{w},{h},{0.9 - index / 10}" for index in range(count)]
pathlib.Path(output).write_text("\\n".join(lines) + "\\n\\n")
"""
    track = tracker(follow).track(frames, BOX)
    assert track.boxes[0] == pytest.approx(BOX)
    assert track.boxes[3] == pytest.approx((13 / 40, 7 / 20, 23 / 40, 17 / 20))
    assert track.confidence == pytest.approx([0.9, 0.8, 0.7, 0.6])


def test_the_command_sees_the_very_pixels(frames, tracker, tmp_path):
    copy = f"""
import shutil
shutil.copytree(frames, {str(tmp_path / "seen")!r})
pathlib.Path(output).write_text(f"{{box}}\\n" * count)
"""
    tracker(copy).track(frames, BOX)
    files = sorted((tmp_path / "seen").iterdir())
    assert [file.name for file in files] == [f"0000000{number}.png" for number in (1, 2, 3, 4)]
    for file, frame in zip(files, frames, strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), frame.image)


def test_several_objects_are_followed_one_after_the_other(frames, tracker):
    part = tracker('pathlib.Path(output).write_text(f"{box}\\n" * count)')
    assert isinstance(part, MultiTracker)
    tracks = track_all(part, frames, [BOX, (0.0, 0.0, 1.0, 0.5)])
    assert [track.boxes[2].tolist() for track in tracks] == [list(BOX), [0.0, 0.0, 1.0, 0.5]]


@pytest.mark.parametrize(
    ("line", "box", "confidence"),
    [
        ("4,2,8,4", (0.1, 0.1, 0.3, 0.3), 1),
        ("4\t2\t8\t4\t0.5", (0.1, 0.1, 0.3, 0.3), 0.5),
        ("4 2  8 4 0", (0.1, 0.1, 0.3, 0.3), 0),
        (" 4.0 , 2.0 , 8e0 , 4 ; 1 ", (0.1, 0.1, 0.3, 0.3), 1),
        ("-4,-2,8,4", (0.0, 0.0, 0.1, 0.1), 1),
        ("nan,nan,nan,nan,0.9", (0, 0, 0, 0), 0),
        ("4,2,8,4,nan", (0, 0, 0, 0), 0),
        ("4,2,0,0", (0, 0, 0, 0), 0),
        ("4,2,-8,4", (0, 0, 0, 0), 0),
        ("50,2,8,4,0.9", (0, 0, 0, 0), 0),
    ],
)
def test_a_line_is_a_box_and_perhaps_a_confidence(frames, tracker, line, box, confidence):
    track = tracker(f"pathlib.Path(output).write_text({line + chr(10)!r} * count)").track(frames, BOX)
    assert track.boxes[1] == pytest.approx(box)
    assert track.confidence.tolist() == [confidence] * 4


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("pathlib.Path(output).write_text('1,2,3,4\\n' * 3)", r"wrote 3 lines for 4 frames"),
        ("pathlib.Path(output).write_text('1,2,3\\n' * 4)", r"wrote '1,2,3' in line 1, not x,y,width,height"),
        ("pathlib.Path(output).write_text('1,2,3,?\\n' * 4)", r"wrote '1,2,3,\?' in line 1"),
        ("pathlib.Path(output).write_text('1,2,3,4,7.5\\n' * 4)", r"confidence 7\.5 in line 1; it lies in \[0, 1\]"),
        ("pass", r"ended well but wrote no boxes to \{output\}"),
        ("sys.exit('no GPU\\nout of memory')", r"ended with exit code 1; it wrote at last:\nno GPU\nout of memory"),
        ("sys.exit(3)", r"ended with exit code 3; it wrote nothing"),
    ],
)
def test_what_a_command_does_wrong_is_said_with_its_name(frames, tracker, script, message):
    with pytest.raises(ElysiumError, match=message) as caught:
        tracker(script).track(frames, BOX)
    assert "my tracker.py" in str(caught.value)


def test_a_command_that_takes_too_long_is_ended(frames, tracker):
    with pytest.raises(ElysiumError, match=r"still running after 0\.3 seconds \(curate\.tracker_timeout\)"):
        tracker("while True: pass", timeout=0.3).track(frames, BOX)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", r"does not say \{frames\}, \{box\}, \{output\}"),
        ("python t.py {frames} {output}", r"does not say \{box\}"),
        ("python 't.py {frames} {box} {output}", "cannot be split into words"),
        ("no-such-program {frames} {box} {output}", "no program 'no-such-program' on this machine"),
    ],
)
def test_a_command_that_cannot_work_is_refused_before_any_video(settings, command, message):
    settings = settings.model_copy(update={"tracker": "command", "tracker_command": command})
    with pytest.raises(UsageError, match=message):
        _ = PartsShelf(settings).tracker


def test_a_tracker_of_the_users_own_needs_no_registration(settings, frames, tmp_path, monkeypatch):
    (tmp_path / "my_trackers.py").write_text(
        """
import numpy as np
from elysium.curation.protocols import Track

class Still:
    def __init__(self, confidence):
        self.confidence = confidence

    def track(self, frames, box):
        return Track(np.tile(np.asarray(box, float), (len(frames), 1)), np.full(len(frames), self.confidence))

def still(settings):
    return Still(settings.tracking_confidence)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = settings.model_copy(update={"tracker": "my_trackers:still", "tracking_confidence": 0.25})
    tracks = track_all(PartsShelf(settings).tracker, frames, [BOX, BOX])
    assert [track.boxes.shape for track in tracks] == [(4, 4), (4, 4)]
    assert tracks[0].confidence.tolist() == [0.25] * 4
