"""The raw gate: each rule is broken by the clips that should break it, and by no others."""

import shutil

import pytest
from quality_data import broken, clip, context, outcome, result, write_clip, write_manifest

from elysium.errors import ElysiumError, GateRefused
from elysium.quality import raw


@pytest.fixture(scope="session")
def four_clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "raw"
    (folder / "clips").mkdir(parents=True)
    for number in range(4):
        write_clip(folder / "clips" / f"c{number}.mp4", seed=number)
    return folder


@pytest.fixture
def folder(four_clips, tmp_path):
    return shutil.copytree(four_clips, tmp_path / "raw")


def all_clips(folder, **changes):
    return [clip(folder, f"c{number}", **changes.get(f"c{number}", {})) for number in range(4)]


def run(folder, tmp_path, clips, *overrides):
    write_manifest(folder, clips)
    return raw.run(context("validate-raw", tmp_path, overrides, raw=folder))


def test_good_clips_pass(folder, tmp_path):
    done = run(folder, tmp_path, all_clips(folder))
    assert done.metrics["clips"] == 4
    assert result(tmp_path)["success"]
    assert result(tmp_path)["bad"] == {}
    assert result(tmp_path)["figures"]["frames"] == 48


def refused(folder, tmp_path, clips, name, *overrides):
    with pytest.raises(GateRefused, match=f"^{name}: ") as refusal:
        run(folder, tmp_path, clips, *overrides)
    assert "\n" not in str(refusal.value)
    assert broken(tmp_path) == [name]
    return outcome(tmp_path, name)


def test_a_file_that_is_no_video(folder, tmp_path):
    (folder / "clips" / "c1.mp4").write_bytes(b"this is no video")
    found = refused(folder, tmp_path, all_clips(folder), "decodable")
    assert (found["failing"], found["observed"], found["threshold"]) == (["c1"], 0.25, 0.1)
    assert found["seen"][0].startswith("clips/c1.mp4 is not a video")


def test_a_video_that_breaks_off(folder, tmp_path):
    path = folder / "clips" / "c2.mp4"
    path.write_bytes(path.read_bytes()[:-2500])
    assert refused(folder, tmp_path, all_clips(folder), "decodable")["failing"] == ["c2"]


def test_a_missing_file(folder, tmp_path):
    clips = all_clips(folder)
    (folder / "clips" / "c0.mp4").unlink()
    found = refused(folder, tmp_path, clips, "decodable")
    assert found["seen"] == ["clips/c0.mp4 does not exist"]


def test_a_file_that_changed_after_ingest_is_never_allowed(folder, tmp_path):
    clips = all_clips(folder)
    write_clip(folder / "clips" / "c3.mp4", seed=99)
    found = refused(folder, tmp_path, clips, "checksum", "validate_raw.max_bad_share=1")
    assert found["failing"] == ["c3"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("duration", {"num_frames": 3}),
        ("frame-rate", {"frame_rate": 300.0, "num_frames": 300}),
        ("resolution", {"side": 16}),
    ],
)
def test_a_clip_out_of_bounds(folder, tmp_path, name, shape):
    write_clip(folder / "clips" / "c1.mp4", seed=1, **shape)
    assert refused(folder, tmp_path, all_clips(folder), name)["failing"] == ["c1"]


@pytest.mark.parametrize("caption", ["", "  \t"])
def test_an_empty_caption(folder, tmp_path, caption):
    found = refused(folder, tmp_path, all_clips(folder, c2={"caption": caption}), "caption")
    assert found["failing"] == ["c2"]


def test_two_clips_with_the_same_content(folder, tmp_path):
    shutil.copy(folder / "clips" / "c0.mp4", folder / "clips" / "c3.mp4")
    assert refused(folder, tmp_path, all_clips(folder), "duplicate-content")["failing"] == ["c0", "c3"]


def test_two_clips_with_the_same_id(folder, tmp_path):
    clips = all_clips(folder, c3={"id": "c0"})
    assert refused(folder, tmp_path, clips, "unique-id", "validate_raw.max_bad_share=1")["failing"] == ["c0", "c0"]


def test_too_few_clips(folder, tmp_path):
    found = refused(folder, tmp_path, all_clips(folder), "enough-clips", "validate_raw.min_clips=5")
    assert (found["observed"], found["threshold"]) == (4, {"min_value": 5})


def test_a_share_of_bad_clips_is_allowed_and_listed(folder, tmp_path):
    done = run(folder, tmp_path, all_clips(folder, c2={"caption": ""}), "validate_raw.max_bad_share=0.25")
    assert done.metrics["bad_clips"] == 1
    assert result(tmp_path)["bad"] == {"c2": ["caption"]}


def test_when_nothing_can_be_decoded_that_is_what_is_said(folder, tmp_path):
    for path in (folder / "clips").iterdir():
        path.write_bytes(path.name.encode())
    found = refused(folder, tmp_path, all_clips(folder), "decodable")
    assert found["observed"] == 1.0


def test_a_manifest_of_zero_bytes_is_an_error_that_says_so(folder, tmp_path):
    (folder / "manifest.jsonl").write_bytes(b"")
    with pytest.raises(ElysiumError, match=r"manifest\.jsonl is empty \(0 bytes\)") as error:
        raw.run(context("validate-raw", tmp_path, raw=folder))
    assert not isinstance(error.value, GateRefused)
