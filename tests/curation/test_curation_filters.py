import dataclasses

import numpy as np
import pytest

from elysium.config import CurateSettings
from elysium.curation.evidence import CandidateRow, ChunkRow, FoundRow, PieceRow, TrackRow, VideoRow
from elysium.curation.filters.base import FoundSubject, TrackSubject
from elysium.curation.filters.registry import FILTERS, active_filters, check_filters, run_filters
from elysium.curation.graph import PieceWork, candidates_of, ground_pieces, read_caption, track_piece
from elysium.curation.language.chunking import RulesChunker
from elysium.curation.protocols import Chunk, Detection, Track
from elysium.curation.results import records_of
from elysium.curation.sources.tasks import VideoTask
from elysium.errors import UsageError

BOX, OTHER = (0.2, 0.2, 0.5, 0.5), (0.6, 0.6, 0.9, 0.9)
SETTINGS = CurateSettings()


def chunk(text):
    words = tuple(text.split())
    return Chunk(text, "man" if "man" in words else words[-1], words)


def found(text="a man", first=((BOX, 0.9),), **fields):
    detections = {"first": first, "middle": first, "last": first, **fields}
    shown = {
        name: [Detection(text, box, confidence) for box, confidence in detections[name]]
        for name in ("first", "middle", "last")
    }
    rest = {name: value for name, value in fields.items() if name not in shown}
    return FoundSubject(chunk(text), **shown, **rest)


def others(*answers):
    return {text: (chunk(text), [Detection(text, *answer)]) for text, *answer in answers}


def tracked(subject=None, boxes=None, **rest):
    return TrackSubject(subject or found(), Track(np.array(boxes or [BOX] * 6), np.full(6, 0.9)), **rest)


def said(level, subject, name, settings=SETTINGS):
    return next(
        verdict for verdict in run_filters(level, subject, settings, all_of_them=True) if verdict.filter == name
    )


def test_every_filter_is_asked_by_default_and_reads_settings_that_exist():
    assert SETTINGS.filters == tuple(entry.name for entry in FILTERS)
    assert {name for entry in FILTERS for name in entry.settings} <= set(CurateSettings.model_fields)
    assert "min_english" in {name for entry in FILTERS for name in entry.settings}
    assert all(entry.asks.endswith(".") for entry in FILTERS)


def test_an_unknown_filter_is_an_error_that_names_the_nearest():
    with pytest.raises(UsageError, match="'disolve'; did you mean 'dissolve'"):
        check_filters(CurateSettings(filters=("drift", "disolve")))


def test_a_minus_leaves_a_filter_out():
    assert [entry.name for entry in active_filters(("-overlay",))] == [
        name for name in SETTINGS.filters if name != "overlay"
    ]
    with pytest.raises(UsageError, match="with a minus"):
        active_filters(("-overlay", "drift"))


def test_the_first_no_ends_the_level_unless_all_are_wanted():
    subject = dataclasses.replace(found(first=[]), known=False)
    assert [verdict.reason for verdict in run_filters("first", subject, SETTINGS)] == ["unknown_object"]
    assert [verdict.reason for verdict in run_filters("first", subject, SETTINGS, all_of_them=True)] == [
        "unknown_object",
        "not_found_first",
        "",
        "",
    ]


def test_what_passes_has_its_number_too():
    verdicts = run_filters("track", tracked(), SETTINGS)
    assert all(verdict.passed and verdict.value is not None and verdict.threshold is not None for verdict in verdicts)


@pytest.mark.parametrize(
    ("unique_in", "split", "reason"),
    [
        ("all", None, "ambiguous"),
        ("all", "train", "ambiguous"),
        ("evaluation", "train", ""),
        ("evaluation", "evaluation", "ambiguous"),
    ],
)
def test_uniqueness_may_be_asked_of_the_evaluation_split_only(unique_in, split, reason):
    subject = dataclasses.replace(found(first=[(BOX, 0.9), (OTHER, 0.7)]), split=split)
    assert said("first", subject, "unique", CurateSettings(unique_in=unique_in)).reason == reason


@pytest.mark.parametrize(
    ("own", "rival", "confidence", "reason"),
    [
        ("a man", "a woman", 0.8, "same_object"),  # one of them must be wrong
        ("a man", "a man in a suit", 0.9, "same_object"),  # the same answer twice: adjectives are not read
        ("a man", "a man in a suit", 0.8, ""),  # another answer: kept tracks decide
    ],
)
def test_two_phrases_at_one_box_of_the_first_frame(own, rival, confidence, reason):
    subject = dataclasses.replace(found(own), others=others((rival, BOX, confidence)))
    assert said("first", subject, "distinct").reason == reason


@pytest.mark.parametrize(
    ("own", "rivals", "reason"),
    [
        ("a man", ["a man in a suit"], "duplicate"),
        ("a man in a suit", ["a man", "the man"], ""),
        ("a man in a suit", ["a man", "a woman"], "same_object"),
        ("a young man", ["an old man"], "same_object"),
    ],
)
def test_of_nested_expressions_of_one_track_the_fullest_is_kept(own, rivals, reason):
    near = np.array([(0.21, 0.2, 0.5, 0.5)] * 6)
    beside = {text: (chunk(text), Track(near, np.full(6, 0.9))) for text in rivals}
    assert said("kept", tracked(found(own), others=beside), "one_expression").reason == reason


def test_expressions_of_different_tracks_do_not_meet():
    beside = {"a woman": (chunk("a woman"), Track(np.array([OTHER] * 6), np.full(6, 0.9)))}
    verdict = said("kept", tracked(others=beside), "one_expression")
    assert (verdict.passed, verdict.value) == (True, 0.0)


def test_tracks_and_groundings_must_agree_on_the_whole():
    # Moved by a quarter of its width: IoU 3/5 on both later frames; by a third: 1/2.
    moved = [(0.2 + shift, 0.2, 0.5 + shift, 0.5) for shift in (0.075, 0.1)]
    assert said("track", tracked(boxes=[moved[0]] * 6), "agreement").value == pytest.approx(0.6)
    verdict = said("track", tracked(boxes=[moved[1]] * 6), "agreement")
    assert (verdict.reason, verdict.value) == ("elsewhere", pytest.approx(0.5))


def test_more_searched_frames_count_where_something_was_found():
    more = {2: [Detection("a man", OTHER, 0.9)], 4: []}
    assert said("track", tracked(found(more=more)), "agreement").value == pytest.approx(2 / 3)


def test_a_box_that_fills_the_frame_is_no_object():
    assert said("track", tracked(boxes=[(0.01, 0.01, 1.0, 1.0)] * 6), "full_box").reason == "too_large"


def test_a_lost_box_is_a_jump_without_a_number():
    verdict = said("track", tracked(boxes=[BOX] * 5 + [(0.0, 0.0, 0.0, 0.0)]), "drift")
    assert (verdict.reason, verdict.value, verdict.detail) == ("jump", None, "no box on frame 5")


def test_more_frames_are_searched_if_asked_for(blank_frames):
    moved = (0.25, 0.2, 0.55, 0.5)  # IoU 5/7 with the box

    class Grounder:
        def knows(self, phrase):
            return True

        def ground(self, frame, phrases):
            return [Detection(phrase, moved if frame.index == 1 else BOX, 0.9) for phrase in phrases]

    settings = CurateSettings(check_frames=5)
    text = "a man"
    row = PieceRow(
        vid="v_000",
        shot=0,
        split="train",
        indices=list(range(6)),
        timestamps=[index / 12 for index in range(6)],
        size=(80, 60),
        candidates=[CandidateRow(text=text)],
    )
    work = PieceWork(row, [ChunkRow(text=text, head="man", words=("a", "man"))], blank_frames, None)
    [work] = ground_pieces([work], Grounder, settings)
    (candidate,) = work.row.candidates
    assert {place: rows[0].box for place, rows in candidate.more.items()} == {1: moved, 4: BOX}

    class Tracker:
        def track(self, frames, box):
            return Track(np.array([box] * len(frames)), np.full(len(frames), 0.9))

    (candidate,) = track_piece(work, Tracker, settings).row.candidates
    (verdict,) = (verdict for verdict in candidate.verdicts if verdict.filter == "agreement")
    assert verdict.value == pytest.approx((1 + 1 + 5 / 7 + 1) / 4)


def test_an_expression_that_a_caption_has_twice_is_looked_for_once():
    task = VideoTask(number=0, id="a", uri="", caption="A man meets a man.", source="")
    row = read_caption(task, RulesChunker(), CurateSettings(filters=("-repeated",)))
    assert [chunk.text for chunk in row.chunks] == ["a man", "a man"]
    assert [chunk.text for chunk in candidates_of(row)] == ["a man"]


def test_a_record_names_the_detections_that_the_filters_went_by():
    """A doubtful box may overlap the track more than the sure one that decided; the track covers the left half."""
    track, sure = (0.0, 0.0, 0.5, 1.0), FoundRow(box=(0.0, 0.0, 0.4, 1.0), confidence=0.9)
    doubtful = FoundRow(box=track, confidence=0.2)
    candidate = CandidateRow(
        text="a man",
        first=[sure],
        middle=[sure, doubtful],
        last=[sure, doubtful],
        track=TrackRow(boxes=[track] * 2, confidence=[1.0] * 2),
    )
    piece = PieceRow(
        **{"vid": "a_000", "shot": 0, "split": "train", "indices": [0, 1], "timestamps": [0.0, 0.1]},
        **{"size": (8, 8), "stored": (8, 8), "candidates": [candidate]},
    )
    video = VideoRow(
        id="a",
        caption="A man.",
        sha256="0" * 64,
        decoder="none",
        chunks=[ChunkRow(text="a man", head="man", words=("a", "man"))],
        pieces=[piece],
    )
    task = VideoTask(number=0, id="a", uri="", caption="A man.", source="")
    metadata = records_of(task, video, 0, SETTINGS)[0].metadata.model_dump()
    assert metadata["grounding_confidence"] == [0.9, 0.9, 0.9]
    assert metadata["grounding_iou"] == [0.8, 0.8]
