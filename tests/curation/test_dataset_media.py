"""Stored pieces: what is written, and that whoever reads a run's tracks reads clips as well as pictures."""

import shutil

import numpy as np
import pytest

from elysium.curation.dataset.media import store_piece
from elysium.curation.protocols import Frame
from elysium.data import decoding
from elysium.data.limits import VideoError
from elysium.data.pictures import read_picture
from elysium.data.records import TrackMetadata, TrackRecord
from elysium.data.simulator import simulate
from elysium.data.stored_frames import count_stored, is_stored, read_all_stored, read_stored, stored_bytes
from elysium.data.video import iterate_video
from elysium.errors import ElysiumError
from elysium.evaluation.leaks import of_track
from elysium.evaluation.leaks.looking import file_digests, look, of_training
from elysium.evaluation.tasks.pictures import Pictures

COUNT = 20


@pytest.fixture(scope="module")
def piece():
    images = simulate(7, COUNT, 96).frames
    return [Frame(np.ascontiguousarray(image[:90, :95]), number, number / 12) for number, image in enumerate(images)]


@pytest.fixture
def stored(piece, settings_with, tmp_path):
    """Stores the piece and returns the folder, and what was stored."""

    def store(kind, name="data", **changes):
        return tmp_path / name, store_piece(piece, "v1", tmp_path / name, settings_with(store=kind, **changes), 4)

    return store


def psnr(first, second):
    return 10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2))


@pytest.mark.parametrize(
    ("kind", "first", "size"),
    [("frames", "frames/00004/v1/000000.jpg", (95, 90)), ("clips", "clips/00004/v1.mp4#0", (94, 90))],
)
def test_every_frame_has_a_name_and_comes_back(stored, piece, kind, first, size):
    folder, found = stored(kind)
    assert (found.paths[0], len(set(found.paths)), found.size) == (first, COUNT, size)
    for name, frame in zip(found.paths, piece, strict=True):
        image = read_stored(folder / name)
        assert (image.shape[1], image.shape[0]) == size
        assert psnr(image[:, :94], frame.image[:, :94]) > 26  # a neighbouring frame is below 20


@pytest.mark.parametrize("kind", ["frames", "clips"])
def test_the_same_frames_give_the_same_bytes(stored, kind):
    contents = []
    for name in ("one", "two"):
        folder, _ = stored(kind, name)
        contents.append({str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert contents[0] == contents[1]


def test_a_clip_is_smaller_and_settings_say_how_much(stored):
    sizes = {}
    for name, kind, changes in (("j", "frames", {}), ("c", "clips", {}), ("d", "clips", {"clip_crf": 35})):
        folder, _ = stored(kind, name, **changes)
        sizes[name] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert sizes["d"] < sizes["c"] < sizes["j"] / 2


@pytest.mark.parametrize("distance", [1, 8, 100])
def test_any_frame_of_a_clip_is_what_decoding_all_of_it_gives(stored, distance):
    folder, found = stored("clips", clip_key_frames=distance)
    whole = [frame.image for frame in iterate_video(folder / "clips/00004/v1.mp4")]
    for chosen in ([19], [0], [3, 17, 3], [15, 2, 9], list(range(COUNT))):
        for number, image in zip(chosen, read_all_stored([folder / found.paths[n] for n in chosen]), strict=True):
            np.testing.assert_array_equal(image, whole[number])
    for number in (11, 10, 12, 19, 0):
        np.testing.assert_array_equal(read_stored(folder / found.paths[number]), whole[number])


def test_frames_that_are_asked_for_together_open_their_clip_once(stored, monkeypatch):
    folder, found = stored("clips")
    opened = []
    real = decoding.open_video
    monkeypatch.setattr(decoding, "open_video", lambda path, limits: opened.append(path) or real(path, limits))
    read_all_stored([folder / name for name in found.paths])
    assert len(opened) == 1
    for name in found.paths[8:16]:
        read_stored(folder / name)
    assert len(opened) == 2


def test_a_frame_that_is_not_there_is_named(stored):
    folder, _ = stored("clips")
    with pytest.raises(VideoError, match=r"v1\.mp4 has no frame 20: it has 20"):
        read_stored(folder / "clips/00004/v1.mp4#20")
    with pytest.raises(VideoError, match=r"v2\.mp4"):
        read_stored(folder / "clips/00004/v2.mp4#0")
    with pytest.raises(ElysiumError, match=r"none\.jpg"):
        read_all_stored([folder / "none.jpg"])


def test_whether_a_frame_is_there(stored):
    folder, found = stored("clips")
    names = [found.paths[-1], "clips/00004/v1.mp4#20", "clips/00004/v2.mp4#0", "frames/v1/000000.jpg"]
    assert [is_stored(folder / name) for name in names] == [True, False, False, False]
    assert count_stored(folder / "clips/00004/v1.mp4") == COUNT


def test_a_damaged_clip_is_an_error_that_names_file_and_frame(stored):
    folder, found = stored("clips")
    path = folder / "clips/00004/v1.mp4"
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 3
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r"v1\.mp4: frame \d+"):
        read_all_stored([folder / name for name in found.paths])


def test_nothing_is_stored_without_a_frame(settings, tmp_path):
    with pytest.raises(ValueError, match="no frame"):
        store_piece([], "v1", tmp_path, settings)


def record(found, split="train", **changes):
    metadata = TrackMetadata(
        content_sha256="0" * 64, timestamps=[n / 12 for n in range(COUNT)], decoder="x", caption="c", clip="v",
        split=split, kind="real", confidence=0.9,
    )  # fmt: skip
    fields = {"source": "s", "id": "v1_00", "vid": "v1", "metadata": metadata, "frames": found.paths}
    box = [(0.1, 0.1, 0.5, 0.5)] * COUNT
    return TrackRecord(**{**fields, "object_class": "dog", "box": box, "object_description": "a dog",
                          "frame_size": found.size, **changes})  # fmt: skip


def test_evaluation_reads_clips(stored):
    folder, found = stored("clips")
    frames = Pictures([folder / name for name in found.paths], "record v1_00")
    np.testing.assert_array_equal(frames[5], read_stored(folder / found.paths[5]))


def test_an_import_reads_clips(stored):
    from elysium.data.sets.frames import read_frames
    from elysium.data.sets.schema import SetObject, SetRecord
    from elysium.evaluation.leaks.clips import of_set_record

    folder, found = stored("clips")
    thing = SetObject(expression="a dog", boxes=[(0.1, 0.1, 0.5, 0.5)] * COUNT)
    imported = SetRecord(id="a", dataset="elysiumtrack", frames=found.paths, objects=[thing])
    images = read_frames(imported, folder, [2, 9])
    np.testing.assert_array_equal(images[1], read_stored(folder / found.paths[9]))
    assert of_set_record(imported, str(folder)).video == "v1"


def test_the_guard_against_leaks_knows_the_frames_of_a_copied_clip(stored, tmp_path):
    folder, found = stored("clips")
    shutil.copytree(folder, tmp_path / "copy")
    own, copied = (file_digests(of_track(record(found), place)) for place in (folder, tmp_path / "copy"))
    assert own == copied
    assert len(set(own)) == COUNT
    assert stored_bytes(folder / "clips/00004/none.mp4#1") == b""
    other, pictures = stored("frames", "pictures")
    first, second = (look(of_track(record(f), p), of_training) for f, p in ((found, folder), (pictures, other)))
    different = np.unpackbits((first.hashes ^ second.hashes).view(np.uint8), axis=-1).sum(-1)
    assert different.max() <= 10
    np.testing.assert_array_equal(read_picture(other / pictures.paths[0]).shape, (90, 95, 3))
