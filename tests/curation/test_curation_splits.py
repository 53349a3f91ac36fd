"""Which real videos are held out: whole ones, the same ones whatever else there is."""

import pytest

from elysium.curation.splits import decide_splits
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
