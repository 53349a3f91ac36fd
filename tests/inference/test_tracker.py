"""Following objects through videos: every frame once, in order, whatever the length, the number and the speed."""

import gc
import threading
import weakref

import numpy as np
import pytest

from elysium.data.video import VideoError
from elysium.errors import UsageError
from elysium.inference import Engine, FrameSource, Target, Tracker, TrackOptions, TrackRequest
from elysium.inference.results import SourceFrame, SourceInfo
from elysium.inference.tracks import ClipResult, TrackState, VideoEnd, VideoTask


def clip(count, seed=0, size=(48, 64)):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8))


BOX = (6.4, 9.6, 32.0, 28.8)
# Of random weights, about so sure is every other box.
UNSURE = TrackOptions(absent_below=0.0269)


@pytest.fixture
def tracker(parts):
    return Tracker(Engine(*parts, clip_frames=4))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 11])
def test_every_frame_comes_once_and_in_order(tracker, count):
    results = list(tracker.follow(FrameSource(clip(count)), [Target(box=BOX), Target(expression="a star")]))
    assert [result.frame for result in results] == list(range(count))
    for result in results:
        assert [found.id for found in result.objects] == [1, 2]
        assert [found.label for found in result.objects] == ["object 1", "a star"]
        for found in result.objects:
            x1, y1, x2, y2 = found.box
            assert 0 <= x1 <= x2 <= 64
            assert 0 <= y1 <= y2 <= 48
            assert 0 < found.confidence <= 1


def test_a_given_box_comes_back_as_it_was_given(tracker):
    first = next(iter(tracker.follow(FrameSource(clip(5)), [Target(box=BOX)])))
    assert first.objects[0].box == pytest.approx(BOX)
    assert first.objects[0].confidence == 1


def test_a_frame_that_has_its_box_is_not_asked_about_again(parts):
    engine = Engine(*parts, clip_frames=4)
    engine.track([TrackRequest(clip(7), box=[0.1, 0.2, 0.5, 0.6])])
    # Two clips of four frames that share one: six boxes, each number one token.
    assert engine.stats.chosen <= 6 * 4


def test_clips_begin_with_the_last_box_of_the_clip_before(parts):
    engine, frames = Engine(*parts, clip_frames=4), clip(7)
    whole = engine.track([TrackRequest(frames, box=[0.1, 0.2, 0.5, 0.6])])[0]
    first = engine.track([TrackRequest(frames[:4], box=[0.1, 0.2, 0.5, 0.6])])[0]
    second = engine.track([TrackRequest(frames[3:], box=first.boxes[-1])])[0]
    assert np.array_equal(whole.boxes, np.concatenate([first.boxes, second.boxes[1:]]))


@pytest.mark.parametrize("options", [None, UNSURE], ids=["every box", "absent"])
def test_an_object_is_followed_alike_alone_and_among_others(parts, options):
    frames = clip(9)
    requests = [TrackRequest(frames, box=[0.1 * n, 0.1, 0.1 * n + 0.2, 0.5]) for n in range(7)]
    requests += [TrackRequest(frames, expression=f"a {name}") for name in ("star", "circle", "red square")]
    together = Engine(*parts, clip_frames=4).track(requests, options)
    for request, answer in zip(requests, together, strict=True):
        alone = Engine(*parts, clip_frames=4).track([request], options)[0].boxes
        assert np.array_equal(alone, answer.boxes, equal_nan=True)
    gone = [np.isnan(answer.boxes).any(axis=1).mean() for answer in together]
    assert 0.05 < np.mean(gone) < 0.95 if options else not any(gone)


def test_many_videos_of_many_lengths_and_sizes(parts):
    tracker = Tracker(Engine(*parts, clip_frames=4), TrackOptions(max_videos=3))
    lengths = [1, 9, 2, 5, 12, 3, 4]
    tasks = [
        VideoTask(FrameSource(clip(count, count, size=(32 + 8 * count, 40))), [Target(expression="a star")])
        for count in lengths
    ]
    seen, ended = {id(task): [] for task in tasks}, []
    for event in tracker.run(iter(tasks)):
        if isinstance(event, VideoEnd):
            assert event.error is None
            ended.append(event.task)
        else:
            seen[id(event.task)] += [result.frame for result in event.frames]
    assert [seen[id(task)] for task in tasks] == [list(range(count)) for count in lengths]
    assert len(ended) == len(tasks)
    assert ended[0] is tasks[0]


class Recorded:
    """Frames that are made when they are read, and counted while they live."""

    def __init__(self, count, breaks_at=None, live=False):
        self.info = SourceInfo("recorded", 10.0, count, live)
        self.alive, self.most, self.closed = 0, 0, False
        self._count, self._breaks_at = count, breaks_at

    def __iter__(self):
        for index in range(self._count):
            if index == self._breaks_at:
                raise VideoError(f"frame {index} cannot be decoded")
            image = np.full((48, 64, 3), index % 256, np.uint8)
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(image, self._gone)
            yield SourceFrame(index, index / 10, image)
            del image

    def _gone(self):
        self.alive -= 1

    def close(self):
        self.closed = True


@pytest.mark.parametrize("options", [TrackOptions(), TrackOptions(keep_images=True), TrackOptions(zoom_below=0.5)])
def test_memory_does_not_grow_with_the_length(parts, options):
    most = {}
    for count in (40, 160):
        source = Recorded(count)
        for result in Tracker(Engine(*parts, clip_frames=4), options).follow(source, [Target(box=BOX)]):
            del result
        gc.collect()
        most[count] = source.most
        assert source.closed
    assert most[160] <= most[40] + 2 < 30


def test_what_was_done_before_a_broken_frame_is_kept(tracker):
    results = tracker.follow(Recorded(20, breaks_at=9), [Target(box=BOX)])
    assert [next(results).frame for _ in range(9)] == list(range(9))
    with pytest.raises(VideoError, match="frame 9"):
        next(results)


def test_a_broken_video_does_not_stop_the_others(tracker):
    broken, whole = Recorded(20, breaks_at=5), Recorded(9)
    events = list(tracker.run([VideoTask(broken, [Target(box=BOX)]), VideoTask(whole, [Target(box=BOX)])]))
    ends = {event.task.source: event.error for event in events if isinstance(event, VideoEnd)}
    assert isinstance(ends[broken], VideoError)
    assert ends[whole] is None
    frames = [r.frame for e in events if isinstance(e, ClipResult) and e.task.source is whole for r in e.frames]
    assert frames == list(range(9))


def test_leaving_early_closes_the_source_and_its_thread(tracker):
    source = Recorded(10_000)
    results = tracker.follow(source, [Target(box=BOX)])
    next(results)
    results.close()
    assert source.closed
    assert not [thread for thread in threading.enumerate() if thread.name == "elysium-read"]


class Slow:
    """A live source whose next frame comes only after the one before has been answered."""

    info = SourceInfo("slow", 10.0, None, live=True)

    def __init__(self):
        self.answered = threading.Semaphore(1)

    def __iter__(self):
        for index, image in enumerate(clip(6)):
            assert self.answered.acquire(timeout=30), "the engine waits for a clip to fill up"
            yield SourceFrame(index, index / 10, image)

    def close(self):
        self.answered.release()


def test_a_live_frame_is_not_held_back_until_a_clip_is_full(tracker):
    source, frames = Slow(), []
    for result in tracker.follow(source, [Target(box=BOX)]):
        frames.append(result.frame)
        source.answered.release()
    assert frames == list(range(6))


@pytest.mark.parametrize("options", [None, UNSURE], ids=["every box", "absent"])
@pytest.mark.parametrize("cut", range(4))
def test_an_interrupted_video_goes_on_to_the_same_end(parts, cut, options):
    frames = clip(14)
    targets = [Target(box=BOX), Target(expression="a star")]

    def events(state=None):
        start = 0 if state is None or state.frame is None else state.frame
        source = FrameSource(frames[start:])
        return [e for e in Tracker(Engine(*parts, clip_frames=4), options).run([VideoTask(source, targets, state)])
                if isinstance(e, ClipResult)]  # fmt: skip

    whole = events()
    state = TrackState.from_json(whole[cut].state.as_json())
    rest = events(state)
    expected = [found for event in whole[cut + 1 :] for result in event.frames for found in result.objects]
    found = [found for event in rest for result in event.frames for found in result.objects]
    assert [entry.box for entry in found] == [entry.box for entry in expected]
    assert [entry.confidence for entry in found] == pytest.approx([entry.confidence for entry in expected], abs=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "box or an expression"),
        ({"expression": "  "}, "box or an expression"),
        ({"box": (5, 5, 5, 9)}, "X1 < X2"),
        ({"box": (5, 5, float("nan"), 9)}, "X1 < X2"),
        ({"box": (1, 1, 2, 2), "expression": "x", "every": True}, "every object"),
    ],
)
def test_targets_that_cannot_be_meant_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        Target(**given)


def test_a_box_outside_of_the_frame_is_refused_with_the_frame_size(tracker):
    with pytest.raises(UsageError, match="64x48"):
        list(tracker.follow(FrameSource(clip(3)), [Target(box=(70, 1, 90, 20))]))


@pytest.mark.parametrize("given", [{"absent_below": 0}, {"zoom_below": 1.0}, {"max_every": 0}, {"max_videos": 0}])
def test_options_out_of_range_are_refused_by_name(given):
    with pytest.raises(UsageError, match=next(iter(given))):
        TrackOptions(**given)


@pytest.mark.parametrize("given", [{}, {"box": [0, 0, 1, 1], "expression": "x"}])
def test_a_request_begins_with_a_box_or_a_name(given):
    with pytest.raises(ValueError, match="give one of the two"):
        TrackRequest(clip(2), **given)
