"""What a frame looks like in bits, and the search for bits that are alike."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from elysium.data.pictures import read_grey, read_picture
from elysium.data.simulator import simulate
from elysium.evaluation.leaks.fingerprint import NUM_BITS, SIDE, distances, fingerprints, mirrored
from elysium.evaluation.leaks.search import MAX_DISTANCE, MOST, find_near


def frame(seed=3, side=160):
    return simulate(seed, 2, side).frames[0]


def hashes(*images):
    return fingerprints(np.array([read_grey(image, SIDE) for image in images]))[0]


def naive_bits(grey):
    """Whether each cell is brighter than the one before it, across and down, by loops over the definition."""
    across, down = [], []
    for row in range(8):
        cells = [grey[9 * row : 9 * row + 9, 8 * column : 8 * column + 8].mean() for column in range(9)]
        across += [after > before for before, after in pairwise(cells)]
    for column in range(8):
        cells = [grey[8 * row : 8 * row + 8, 9 * column : 9 * column + 9].mean() for row in range(9)]
        down += [after > before for before, after in pairwise(cells)]
    return across + down


def test_the_bits_are_those_of_the_definition():
    greys = np.array([read_grey(frame(seed), SIDE) for seed in range(4)])
    found = fingerprints(greys)[0]
    expected = np.array([naive_bits(grey) for grey in greys])
    for one in range(4):
        assert np.bitwise_count(found[one]).sum() == expected[one].sum()
        for other in range(4):
            assert distances(found[one], found[other]) == (expected[one] != expected[other]).sum()


def test_a_mirrored_frame_has_the_hash_of_the_mirrored_picture():
    greys = read_grey(frame(), SIDE)[None]
    assert distances(fingerprints(mirrored(greys))[0], hashes(frame()[:, ::-1])).item() == 0
    assert distances(fingerprints(greys)[0], hashes(frame()[:, ::-1])).item() > NUM_BITS / 4


def text_on_black():
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[32:40, 20:52:3] = 255
    return image


@pytest.mark.parametrize(
    ("grey", "flat"),
    [
        (np.zeros((SIDE, SIDE), np.uint8), True),
        (np.random.default_rng(0).integers(100, 102, (SIDE, SIDE), np.uint8), True),
        (text_on_black(), True),
        (read_grey(simulate(3, 2, 160).frames[0], SIDE), False),
        (read_grey(simulate(3, 2, 160).frames[0] // 4, SIDE), False),
    ],
    ids=["black", "noise", "text", "picture", "dark picture"],
)
def test_a_frame_that_shows_next_to_nothing_is_flat(grey, flat):
    assert fingerprints(grey[None])[1].item() == flat


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    file.seek(0)
    return file


def turned_by_a_quarter():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    "file",
    [
        saved(Image.fromarray(frame(side=1280)), format="JPEG", quality=90),
        saved(Image.fromarray(frame(side=1280)).convert("CMYK"), format="JPEG", quality=95),
        saved(Image.fromarray(frame()).convert("P", palette=Image.Palette.ADAPTIVE), format="PNG"),
        saved(Image.fromarray(frame()).convert("RGBA"), format="PNG"),
        saved(Image.fromarray(frame()[..., 0].astype(np.uint16) << 8), format="PNG"),
        saved(Image.fromarray(frame()).rotate(90), format="JPEG", quality=95, exif=turned_by_a_quarter()),
    ],
    ids=["large jpeg", "cmyk", "palette", "transparent", "16 bits", "turned"],
)  # fmt: skip
def test_a_picture_is_seen_as_readers_of_pictures_see_it(file):
    quick = hashes(file)
    file.seek(0)
    assert distances(quick, hashes(read_picture(file))).item() <= 3


def near_by_comparing(hashes, queries, distance):
    bits = distances(queries[:, None], hashes[None])
    query, row = np.nonzero(bits <= distance)
    return query.tolist(), row.tolist(), bits[query, row].tolist()


@pytest.mark.parametrize("distance", [0, 3, 12, MAX_DISTANCE])
def test_everything_within_the_distance_is_found_and_nothing_else(distance):
    rng = np.random.default_rng(distance)
    known = rng.integers(0, 2**64, (3000, 2), dtype=np.uint64)
    # Copies of which up to a fifth of the bits are changed: some within the distance, some just beyond.
    flips = rng.random((400, NUM_BITS)) < rng.random((400, 1)) / 5
    queries = known[:400] ^ np.packbits(flips, axis=1).view(np.uint64)
    near = find_near(known, queries, distance)
    expected = near_by_comparing(known, queries, distance)
    assert (near.query.tolist(), near.row.tolist(), near.distance.tolist()) == expected
    assert len(near.row) > 0 or distance == 0


def test_changed_bits_are_found_wherever_they_lie():
    base = np.random.default_rng(0).integers(0, 2**64, 2, dtype=np.uint64)
    flips = np.zeros((NUM_BITS - MAX_DISTANCE + 1, NUM_BITS), dtype=bool)
    for start, row in enumerate(flips):
        row[start : start + MAX_DISTANCE] = True
    queries = base ^ np.packbits(flips, axis=1).view(np.uint64)
    near = find_near(base[None], queries, MAX_DISTANCE)
    assert near.query.tolist() == list(range(len(queries)))
    assert set(near.distance.tolist()) == {MAX_DISTANCE}


def test_of_very_many_that_are_alike_the_nearest_are_kept():
    rng = np.random.default_rng(0)
    flips = np.zeros((20 * MOST, NUM_BITS), dtype=bool)
    flips[np.arange(len(flips))[:, None], rng.integers(0, NUM_BITS, (len(flips), 6))] = True
    known = np.packbits(flips, axis=1).view(np.uint64)
    known[7] = 0
    near = find_near(known, np.zeros((1, 2), dtype=np.uint64), MAX_DISTANCE)
    assert len(near.row) < len(known)
    assert near.distance[near.row == 7].tolist() == [0]


@pytest.mark.parametrize(("num_known", "num_queries"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_is_found_where_there_is_nothing(num_known, num_queries):
    near = find_near(np.ones((num_known, 2), np.uint64), np.ones((num_queries, 2), np.uint64), 5)
    assert len(near.row) == 0


def test_a_distance_that_would_be_searched_with_gaps_is_refused():
    none = np.zeros((1, 2), dtype=np.uint64)
    with pytest.raises(ValueError, match=f"within {MAX_DISTANCE} bits, not within {MAX_DISTANCE + 1}"):
        find_near(none, none, MAX_DISTANCE + 1)
