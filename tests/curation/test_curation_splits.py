"""Which real videos are held out: whole ones, the same ones whatever else there is."""

import pytest
from track_records import record

from elysium.curation.splits import decide_splits, hold_out, split_of
from elysium.data.records import RawClip
from elysium.data.samples import sample_clips
from elysium.errors import ElysiumError


def clip(name, share, **changes):
    """Returns a real clip whose content, seen as a number, is `share`."""
    content = f"{int(share * 16**16):016x}" + "0" * 48
    return RawClip(**{"id": name, "path": name, "caption": "", "source": "", "sha256": content, **changes})


def sides(clips, settings):
    return {entry.id: entry.split for entry in decide_splits(clips, settings)}


def test_videos_below_the_share_are_held_out(settings_with):
    clips = [clip("a", 0.1), clip("b", 0.5), clip("c", 0.29), clip("d", 0.31)]
    expected = {"a": "evaluation", "b": "train", "c": "evaluation", "d": "train"}
    assert sides(clips, settings_with(evaluation_share=0.3)) == expected


def test_a_video_stays_on_its_side_when_others_come_and_go(settings_with):
    settings = settings_with(evaluation_share=0.3)
    clips = [clip(str(number), (number + 0.5) / 20) for number in range(20)]
    whole = sides(clips, settings)
    for kept in (clips[::2], clips[4:12], clips[::-1]):
        assert sides(kept, settings) == {entry.id: whole[entry.id] for entry in kept}


@pytest.mark.parametrize(
    ("shares", "held_out"), [((0.8, 0.6, 0.9), ["1"]), ((0.1, 0.2, 0.05), ["0", "2"]), ((0.9,), []), ((0.1,), ["0"])]
)
def test_no_side_is_left_empty_where_there_are_videos_for_both(settings_with, shares, held_out):
    clips = [clip(str(number), share) for number, share in enumerate(shares)]
    found = sides(clips, settings_with(evaluation_share=0.3))
    assert [name for name, side in found.items() if side == "evaluation"] == held_out


def test_the_same_file_twice_is_on_one_side(settings_with):
    clips = [clip("a", 0.6), clip("again", 0.6), clip("c", 0.9)]
    found = sides(clips, settings_with(evaluation_share=0.3))
    assert found == {"a": "evaluation", "again": "evaluation", "c": "train"}


def test_what_the_source_decided_and_simulated_clips_are_left_alone(settings_with):
    clips = [clip("a", 0.9, split="evaluation"), clip("b", 0.1, annotations="b.json"), clip("c", 0.2), clip("d", 0.9)]
    expected = {"a": "evaluation", "b": None, "c": "evaluation", "d": "train"}
    assert sides(clips, settings_with(evaluation_share=0.3)) == expected


@pytest.mark.parametrize("changes", [{"split_by": "time"}, {"evaluation_share": 0}])
def test_without_a_share_nothing_is_held_out_and_by_time_nothing_is_decided(settings_with, changes):
    expected = None if "split_by" in changes else "train"
    assert set(sides([clip("a", 0.1), clip("b", 0.5)], settings_with(**changes)).values()) == {expected}


def test_of_the_built_in_videos_the_one_that_can_be_tracked_is_held_out(settings):
    try:
        samples = sample_clips()
    except ElysiumError as error:
        pytest.skip(str(error))
    clips = [clip(sample.id, 0, sha256=sample.sha256) for sample in samples]
    assert sides(clips, settings) == {"carphone": "evaluation", "bikes": "train", "bigbuckbunny": "train"}


@pytest.mark.parametrize("changes", [{}, {"split_by": "time"}])
def test_one_video_is_decided_without_the_others(settings_with, changes):
    settings = settings_with(evaluation_share=0.3, **changes)
    found = [split_of(f"{int(share * 16**16):016x}", settings) for share in (0.0, 0.29, 0.31, 0.99)]
    assert found == ([None] * 4 if changes else ["evaluation", "evaluation", "train", "train"])


def published(records, settings, near=()):
    """Returns the side of each record by its id, asked for in both orders."""
    found = [
        {one.id: held.side(one) for one in records}
        for held in (hold_out(records, settings, near), hold_out(records[::-1], settings, near[::-1]))
    ]
    assert found[0] == found[1]
    return found[0]


def test_the_videos_with_the_smallest_numbers_stay_held_out(settings_with):
    held = [record(f"e{number}", share=share, split="evaluation") for number, share in enumerate((0.05, 0.2, 0.1, 0.3))]
    second = record("again", share=0.1, split="evaluation")
    train = [record("t0", share=0.01), record("t1", share=0.9)]
    sides = published([*held, second, *train], settings_with(num_evaluation_videos=2))
    assert {name for name, side in sides.items() if side == "evaluation"} == {"e0", "e2", "again"}
    assert set(published([*held, *train], settings_with(num_evaluation_videos=0)).values()) == {"train"}


def test_few_candidates_all_stay(settings_with):
    held = [record(f"e{number}", share=number / 100, split="evaluation") for number in range(30)]
    sides = published([*held, record("t", share=0.5)], settings_with())
    assert {name for name, side in sides.items() if side == "train"} == {"t"}


@pytest.mark.parametrize(("before", "moved"), [("evaluation", "c"), ("train", "a")])
def test_of_few_videos_chance_leaves_no_side_empty(settings_with, before, moved):
    records = [record(name, share=share, split=before) for name, share in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    sides = published(records, settings_with())
    assert [name for name, side in sides.items() if side != before] == [moved]
    assert published(records[:1], settings_with()) == {"a": before}
    if before == "train":
        assert set(published(records, settings_with(evaluation_share=0)).values()) == {"train"}


def test_of_very_many_candidates_the_smallest_are_found(settings_with):
    shares = [(37 * number % 5003) / 5003 for number in range(5003)]
    held = [record(str(number), share=share, split="evaluation", count=1) for number, share in enumerate(shares)]
    sides = published(held, settings_with(num_evaluation_videos=3))
    smallest = sorted(range(5003), key=shares.__getitem__)[:3]
    assert {name for name, side in sides.items() if side == "evaluation"} == {str(number) for number in smallest}


def test_what_source_or_simulator_decided_stays_and_nothing_leaks_into_train(settings_with):
    records = [
        record("simulated", share=0.9, split="evaluation", kind="simulated"),
        record("source", share=0.8, split="evaluation", split_by_source=True),
        record("same video", share=0.8),
        record("same, for training", share=0.8, split_by_source=True),
        record("candidate", share=0.1, split="evaluation"),
        record("for training", share=0.7, split_by_source=True),
    ]
    assert published(records, settings_with(num_evaluation_videos=0)) == {
        "simulated": "evaluation",
        "source": "evaluation",
        "same video": "evaluation",
        "same, for training": "left out",
        "candidate": "train",
        "for training": "train",
    }


def test_near_duplicates_are_on_one_side_and_count_once(settings_with):
    shares = {"a": 0.1, "a near": 0.6, "a nearer": 0.7, "b": 0.2, "b near": 0.25, "c": 0.22, "d": 0.9}
    records = [
        record(name, share=share, split="evaluation" if share < 0.3 else "train") for name, share in shares.items()
    ]
    by_id = {one.id: one.metadata.content_sha256 for one in records}
    near = [[by_id["a nearer"], by_id["a near"]], [by_id["b"], by_id["b near"]], [by_id["a"], by_id["a near"]]]
    sides = published(records, settings_with(num_evaluation_videos=2), near)
    assert [name for name, side in sides.items() if side == "train"] == ["c", "d"]


def test_split_by_time_moves_nothing(settings_with):
    records = [record("a", share=0.5), record("b", share=0.5, split="evaluation")]
    assert published(records, settings_with(split_by="time", num_evaluation_videos=0)) == {
        "a": "train",
        "b": "evaluation",
    }
