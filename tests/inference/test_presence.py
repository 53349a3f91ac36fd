"""Where a named object is said to be absent, and where it is found again."""

import numpy as np
import pytest

from elysium.data.simulator import simulate
from elysium.inference import Engine, FrameSource, Target, Tracker, TrackOptions
from elysium.inference.presence import Seen, settle_frame


class Counting(Engine):
    """An engine that counts its questions."""

    asked = 0

    def job(self, encoded, prompts):
        self.asked += len(prompts)
        return super().job(encoded, prompts)


HERE, BESIDE, ELSEWHERE = (np.array(box) for box in ([0.1, 0.1, 0.4, 0.4], [0.15, 0.1, 0.4, 0.4], [0.6, 0.6, 0.9, 0.9]))


@pytest.mark.parametrize(
    ("track", "glance", "lost", "where"),
    [
        # Both are sure: the clip goes on, wherever the name alone would have looked.
        (Seen(HERE, 0.9), Seen(HERE, 0.9), False, HERE),
        (Seen(HERE, 0.9), Seen(ELSEWHERE, 0.9), False, HERE),
        # The clip is always sure of something. What the frame by itself does not show is gone,
        (Seen(HERE, 0.9), Seen(ELSEWHERE, 0.1), False, None),
        # unless it was merely hard to find: the unsure answer lies in the very place.
        (Seen(HERE, 0.9), Seen(BESIDE, 0.1), False, HERE),
        (Seen(HERE, 0.1), Seen(BESIDE, 0.1), False, None),
        # The clip lost it, and the name finds it.
        (Seen(HERE, 0.1), Seen(ELSEWHERE, 0.9), False, ELSEWHERE),
        # Once it is lost, only the name finds it.
        (Seen(HERE, 0.9), Seen(HERE, 0.1), True, None),
        (Seen(HERE, 0.9), Seen(ELSEWHERE, 0.9), True, ELSEWHERE),
        (None, Seen(ELSEWHERE, 0.9), True, ELSEWHERE),
        (None, Seen(ELSEWHERE, 0.1), True, None),
        (None, Seen(ELSEWHERE, 0.9), False, ELSEWHERE),
        # Nothing has a name.
        (Seen(HERE, 0.9), None, False, HERE),
        (Seen(HERE, 0.9), None, True, HERE),
        (Seen(HERE, 0.1), None, False, None),
    ],
)
def test_clip_and_frame_together_say_where_an_object_is(track, glance, lost, where):
    seen = settle_frame(track, glance, lost=lost, least=0.5)
    assert (seen.box is None) == (where is None)
    assert where is None or np.array_equal(seen.box, where)


@pytest.mark.parametrize("glance", [None, Seen(ELSEWHERE, 0.9)])
def test_a_box_is_given_in_every_frame_unless_absence_may_be_said(glance):
    track = Seen(HERE, 0.001)
    assert settle_frame(track, glance, lost=False, least=None) is track


def test_named_objects_are_glanced_at_in_each_new_frame_and_no_others_are(parts):
    frames = list(np.random.default_rng(0).integers(0, 256, (7, 48, 64, 3), dtype=np.uint8))

    def answered(options, **target):
        engine = Counting(*parts, clip_frames=4)
        list(Tracker(engine, TrackOptions(**options)).follow(FrameSource(frames), [Target(**target)]))
        return engine.asked

    box = (6.4, 9.6, 32.0, 28.8)
    assert answered({}, box=box, expression="a star") == 2
    assert answered({"absent_below": 0.0001}, box=box) == 2
    # The first frame's box is the user's.
    assert answered({"absent_below": 0.0001}, box=box, expression="a star") == 2 + 6
    assert answered({"absent_below": 0.0001}, expression="a star") == 2 + 7
    # What is lost in the first clip is not followed in the second.
    assert answered({"absent_below": 0.9999}, expression="a star") == 1 + 7


def test_tiny_objects_are_glanced_at_in_their_crop_too(parts):
    frames = list(simulate(11, 6).frames)
    options = TrackOptions(absent_below=0.0001, zoom_below=0.9)
    engine = Counting(*parts, clip_frames=4)
    box = (60, 60, 70, 70)
    results = list(Tracker(engine, options).follow(FrameSource(frames), [Target(box=box, expression="a star")]))
    assert [result.objects[0].visible for result in results] == [True] * 6
    plain = Counting(*parts, clip_frames=4)
    list(Tracker(plain, TrackOptions(absent_below=0.0001)).follow(FrameSource(frames), [Target(box, "a star")]))
    assert engine.asked > plain.asked + 1
