import numpy as np
import pytest

from elysium.curation.protocols import Chunk, Detection, Track
from elysium.curation.registry import Parts
from elysium.curation.stages import Accepted, judge_piece

BOX = (0.2, 0.2, 0.5, 0.5)
OTHER = (0.6, 0.6, 0.9, 0.9)
MAN = Chunk("a man", "man", ("a", "man"))
WOMAN = Chunk("a woman", "woman", ("a", "woman"))


class ScriptedGrounder:
    """Answers from a table of frame index and phrase."""

    def __init__(self, table):
        self.table = table
        self.asked = []

    def knows(self, phrase):
        return any(phrase in found for found in self.table.values())

    def ground(self, frame, phrases):
        self.asked.append((frame.index, tuple(phrases)))
        return [
            Detection(phrase, box, confidence)
            for phrase in phrases
            for box, confidence in self.table.get(frame.index, {}).get(phrase, [])
        ]


class ScriptedTracker:
    def __init__(self, boxes, confidence):
        self.result = Track(np.array(boxes), np.array(confidence))

    def track(self, frames, box):
        return self.result


def judge(frames, settings, table, boxes=None, confidence=None, chunks=(MAN,)):
    grounder = ScriptedGrounder(table)
    tracker = ScriptedTracker(boxes or [BOX] * len(frames), confidence or [0.9] * len(frames))
    return [verdict for _, verdict in judge_piece(frames, chunks, Parts(None, grounder, tracker), settings)]


def everywhere(found, phrase="a man"):
    """The same detections on first, middle and last of six frames."""
    return {index: {phrase: found} for index in (0, 3, 5)}


def outcome(verdict):
    return verdict.stage, verdict.reason, verdict.value, verdict.threshold


def test_what_passes_everything_is_accepted_with_its_numbers(blank_frames, settings):
    (verdict,) = judge(blank_frames, settings, everywhere([(BOX, 0.7)]))
    assert isinstance(verdict, Accepted)
    assert verdict.groundings == (0.7, 0.7, 0.7)
    assert verdict.overlaps == (1.0, 1.0)


def test_an_object_without_detector(blank_frames, settings):
    (verdict,) = judge(blank_frames, settings, {0: {"a cat": []}})
    assert outcome(verdict) == ("grounding", "unknown_object", 0, 1)


@pytest.mark.parametrize(("index", "name"), [(0, "first"), (3, "middle"), (5, "last")])
def test_grounding_must_be_confident_on_three_frames(blank_frames, settings, index, name):
    table = everywhere([(BOX, 0.7)])
    table[index] = {"a man": [(BOX, 0.6)]}
    (verdict,) = judge(blank_frames, settings, table)
    assert outcome(verdict) == ("grounding", f"not_found_{name}", 0.6, 0.6)


def test_two_confident_detections_on_the_first_frame_are_ambiguous(blank_frames, settings):
    (verdict,) = judge(blank_frames, settings, everywhere([(BOX, 0.9), (OTHER, 0.7)]))
    assert outcome(verdict) == ("grounding", "ambiguous", 2, 1)


def test_a_second_detection_without_confidence_is_not(blank_frames, settings):
    (verdict,) = judge(blank_frames, settings, everywhere([(BOX, 0.9), (OTHER, 0.5)]))
    assert isinstance(verdict, Accepted)


def test_two_phrases_for_one_object_are_both_dropped(blank_frames, settings):
    table = {index: {"a man": [(BOX, 0.9)], "a woman": [(BOX, 0.9)]} for index in (0, 3, 5)}
    verdicts = judge(blank_frames, settings, table, chunks=(MAN, WOMAN))
    assert [outcome(verdict) for verdict in verdicts] == [("grounding", "same_object", 1.0, 0.5)] * 2


def test_later_frames_are_searched_only_for_what_the_first_one_showed(blank_frames, settings):
    grounder = ScriptedGrounder({0: {"a man": [(BOX, 0.9)], "a woman": []}, 3: {"a man": [(BOX, 0.9)]}})
    parts = Parts(None, grounder, ScriptedTracker([BOX] * 6, [0.9] * 6))
    judge_piece(blank_frames, (MAN, WOMAN), parts, settings)
    assert grounder.asked == [(0, ("a man", "a woman")), (3, ("a man",)), (5, ("a man",))]


def test_one_frame_without_confidence_drops_the_track(blank_frames, settings):
    confidence = [0.9, 0.9, 0.8, 0.9, 0.9, 0.9]
    (verdict,) = judge(blank_frames, settings, everywhere([(BOX, 0.9)]), confidence=confidence)
    assert outcome(verdict) == ("tracking", "low_confidence", 0.8, 0.8)
    assert verdict.detail == "frame 2"


def test_a_jump_drops_the_track(blank_frames, settings):
    boxes = [BOX, BOX, OTHER, BOX, BOX, BOX]
    (verdict,) = judge(blank_frames, settings, everywhere([(BOX, 0.9)]), boxes=boxes)
    assert (verdict.stage, verdict.reason) == ("drift", "jump")
    assert verdict.value > verdict.threshold


@pytest.mark.parametrize(("index", "name"), [(3, "middle"), (5, "last")])
def test_track_and_grounding_must_agree(blank_frames, settings, index, name):
    table = everywhere([(BOX, 0.9)])
    table[index] = {"a man": [(OTHER, 0.9)]}
    (verdict,) = judge(blank_frames, settings, table)
    assert outcome(verdict) == ("agreement", f"elsewhere_{name}", 0.0, 0.3)


def test_the_detection_that_fits_the_track_best_counts_on_later_frames(blank_frames, settings):
    table = everywhere([(BOX, 0.9)])
    table[5] = {"a man": [(OTHER, 0.95), (BOX, 0.7)]}
    (verdict,) = judge(blank_frames, settings, table)
    assert verdict.groundings == (0.9, 0.9, 0.7)


def test_a_tiny_box_is_dropped(blank_frames, settings):
    tiny = (0.5, 0.5, 0.51, 0.7)
    (verdict,) = judge(blank_frames, settings, everywhere([(tiny, 0.9)]), boxes=[tiny] * 6)
    assert (verdict.stage, verdict.reason) == ("size", "too_small")
    assert verdict.value == pytest.approx(0.01)
