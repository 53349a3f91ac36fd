import numpy as np
import pytest

from elysium.curation.filters.looks import Entry, find_duplicates, looks
from elysium.curation.protocols import Frame
from elysium.data.simulator import simulate


def frames(seed, side=128, change=lambda images: images):
    images = change(simulate(seed, 12, side).frames)
    return [Frame(image, index, index / 12) for index, image in enumerate(images)]


def entry(vid, place, seen, video=None):
    return Entry(vid, video or vid, (place,), seen)


def text(number):
    return f"{number:032x}"


def test_a_look_is_32_hexadecimal_digits_of_three_frames():
    seen = looks(frames(1))
    assert len(seen) == 3
    assert all(len(look) == 32 and int(look, 16) >= 0 for look in seen)


def test_a_black_frame_has_no_look():
    assert looks(frames(1, change=np.zeros_like)) == []


@pytest.mark.parametrize(
    "copy",
    [{"side": 96}, {"change": lambda images: (images * 0.8).astype(np.uint8)}],
    ids=["smaller", "darker"],
)
def test_a_copy_goes_and_the_first_of_the_source_stays(copy):
    entries = [entry(f"v{seed}", seed, looks(frames(seed))) for seed in range(6)]
    entries.append(entry("copy", 9, looks(frames(3, **copy))))
    assert {vid: kept for vid, (kept, _) in find_duplicates(reversed(entries)).items()} == {"copy": "v3"}


def test_the_order_of_the_entries_does_not_matter():
    rng = np.random.default_rng(0)
    near = [text(sum(1 << int(bit) for bit in rng.choice(128, 5, replace=False))) for _ in range(20)]
    entries = [entry(f"v{place:02d}", place, [look]) for place, look in enumerate(near)]
    expected = find_duplicates(entries)
    assert expected == {f"v{place:02d}": ("v00", expected[f"v{place:02d}"][1]) for place in range(1, 20)}
    for _ in range(3):
        assert find_duplicates([entries[place] for place in rng.permutation(20)]) == expected


def test_pieces_in_one_place_are_ordered_by_their_ids():
    entries = [
        Entry("b", "1", (0, 5), [text(0)]),
        Entry("c", "2", (0, 4), [text(1)]),
        Entry("a", "3", (0, 4), [text(3)]),
    ]
    assert find_duplicates(entries) == {"b": ("a", 2), "c": ("a", 1)}


def test_pieces_of_one_video_are_not_each_others_duplicates():
    entries = [entry("a_0", 0, [text(0)], "a"), entry("a_1", 1, [text(1)], "a"), entry("b_0", 2, [text(3)], "b")]
    assert find_duplicates(entries) == {"b_0": ("a_0", 2)}


def test_a_chain_ends_where_a_piece_is_near_none_that_stays():
    # Each is 10 bits from the next: the second goes, so that the third is near none that stays.
    chain = [text((1 << (10 * step)) - 1) for step in range(4)]
    assert find_duplicates([entry(f"v{step}", step, [look]) for step, look in enumerate(chain)]) == {
        "v1": ("v0", 10),
        "v3": ("v2", 10),
    }


def test_the_distance_is_a_setting():
    entries = [entry("a", 0, [text(0)]), entry("b", 1, [text((1 << 16) - 1)])]
    assert find_duplicates(entries) == {}
    assert find_duplicates(entries, distance=16) == {"b": ("a", 16)}
