"""The guard and its index: what a person is told, what is kept, and what happens when something is missing."""

import json
import logging
import os
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from elysium.config import load_settings
from elysium.data.records import TrackMetadata, TrackRecord, read_jsonl, write_jsonl
from elysium.data.sets.schema import SetRecord, Turn
from elysium.data.sets.store import open_writer
from elysium.data.simulator import simulate
from elysium.data.video import write_video
from elysium.errors import ElysiumError, GateRefused, UsageError
from elysium.evaluation.leaks import Clip, find_leaks, guard, of_set_record, of_track, open_index, open_indexes
from elysium.evaluation.leaks import building as building_module

FRAMES = 6


def record(folder, name, seed, split="train"):
    """Writes the frames of a simulated clip and returns a record of it, as of real video."""
    frames = [f"frames/{seed}/{number:06}.jpg" for number in range(FRAMES)]
    if not (folder / "frames" / str(seed)).exists():
        (folder / "frames" / str(seed)).mkdir(parents=True)
        for path, image in zip(frames, simulate(seed, FRAMES, 96).frames, strict=True):
            Image.fromarray(image).save(folder / path, quality=90)
    metadata = TrackMetadata(
        content_sha256=str(seed), timestamps=[number / 12 for number in range(FRAMES)], decoder="none", caption="",
        clip=str(seed), split=split, kind="real", confidence=1,
    )  # fmt: skip
    return TrackRecord(
        source="test", id=name, vid=f"v{seed}", metadata=metadata, frames=frames, object_class="ring",
        box=[(0.1, 0.1, 0.2, 0.2)] * FRAMES, object_description="a ring", frame_size=(96, 96),
    )  # fmt: skip


@pytest.fixture
def data(tmp_path):
    """A snapshot's data folder: seven training clips, the first with two records."""
    folder = tmp_path / "data"
    records = [record(folder, "t0", 0), record(folder, "t0 again", 0)]
    records += [record(folder, f"t{seed}", seed) for seed in range(1, 7)]
    write_jsonl(folder / "train.jsonl", records)
    return folder


def clip(seed, name=None, **changes):
    return Clip(name or f"e{seed}", None, list(simulate(seed, FRAMES, 96).frames), **changes)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_evaluation_on_training_clips_is_refused_with_their_list(data, tmp_path):
    report = tmp_path / "leaks.jsonl"
    with pytest.raises(GateRefused) as refusal:
        guard([clip(3), clip(1000), clip(0)], [data], report)
    message = str(refusal.value)
    assert refusal.value.exit_code == 3
    assert message.startswith("2 of 3 evaluation clips are in the training data: e3 looks like t3 (6 frames")
    assert "e0 looks like t0" in message
    assert "leaks.jsonl lists them all" in message
    assert "evaluate.allow_leaks=true" in message
    assert "\n" not in message
    assert [(line["evaluation"], line["training"], line["how"]) for line in lines(report)] == [
        ("e3", "t3", "look"),
        ("e0", "t0", "look"),
    ]


def test_many_leaks_are_counted_in_words_and_listed_in_the_file(data, tmp_path):
    clips = [clip(number % 7, f"e{number}") for number in range(13)]
    with pytest.raises(GateRefused, match=r"^13 of 13 .*e9 looks like t2 .*; 3 more; leaks.jsonl") as refusal:
        guard(clips, [data], tmp_path / "leaks.jsonl")
    assert "e10" not in str(refusal.value)
    assert len(lines(tmp_path / "leaks.jsonl")) == 13


def test_a_person_may_go_on_and_the_result_says_so(data, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        leaks = guard([clip(3), clip(1000)], [data], tmp_path / "leaks.jsonl", allow=True)
    assert "1 of 2 evaluation clips are in the training data" in caplog.text
    assert leaks.summary() == {
        "checked": True, "allowed": True, "num_leaked": 1, "num_clips": 2, "num_training_clips": 7, "num_flat": 0,
        "num_unread": 0, "by_rule": {"look": 1}, "leaked": ["e3"],
    }  # fmt: skip
    json.dumps(leaks.summary())


def test_clean_clips_pass_with_an_empty_list(data, tmp_path):
    leaks = guard([clip(1000), clip(1001)], [data], tmp_path / "leaks.jsonl")
    assert leaks.clips == []
    assert (tmp_path / "leaks.jsonl").read_bytes() == b""


def test_without_training_data_the_result_says_that_nothing_was_compared(tmp_path):
    leaks = guard([clip(0)], [], tmp_path / "leaks.jsonl")
    assert leaks.summary()["checked"] is False


def test_the_held_out_records_of_a_run_are_compared_with_its_own(data):
    held_out = [record(data, "e0", 0, "evaluation"), record(data, "e9", 9, "evaluation")]
    leaks = find_leaks([of_track(entry, data) for entry in held_out], [open_index(data)])
    assert [(leak.evaluation, leak.how) for leak in leaks.found] == [
        ("e0", "video"), ("e0", "time"), ("e0", "file"), ("e0", "look"),
    ]  # fmt: skip


def test_frames_may_come_from_files_arrays_and_functions(data):
    asked = [
        Clip("files", None, [data / f"frames/2/{number:06}.jpg" for number in range(FRAMES)]),
        Clip("functions", None, [lambda image=image: image for image in simulate(2, FRAMES, 96).frames]),
    ]
    assert find_leaks(asked, [open_index(data)]).clips == ["files", "functions"]


def test_an_evaluation_frame_that_cannot_be_read_is_named(data, tmp_path):
    asked = Clip("e1", None, [tmp_path / "nope.jpg"])
    with pytest.raises(ElysiumError, match=r"^e1: a frame cannot be read: .*nope\.jpg"):
        find_leaks([asked], [open_index(data)])


def test_records_of_the_same_frames_are_one_training_clip_under_all_their_ids(data):
    index = open_index(data)
    assert (len(index.clips), len(index.records)) == (7, 8)
    (leak,) = find_leaks([clip(1000, "t0 again")], [index]).found
    assert (leak.how, leak.training) == ("id", "t0")


def equal(first, second):
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("clips", "records", "frames", "names", "ends")
    )


def test_an_index_is_made_once_for_the_same_content(data, tmp_path):
    first = open_index(data, tmp_path / "cache")
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(data / "train.jsonl", moved)  # and no frame
    again = open_index(moved, tmp_path / "cache")
    assert equal(first, again)
    assert equal(first, open_index(data))
    assert [again.name(row) for row in range(7)] == [f"t{seed}" for seed in range(7)]


@pytest.mark.parametrize("content", [b"", b"{", b"\x93NUMPY"])
@pytest.mark.parametrize("name", ["index.json", "frames.npy"])
def test_a_damaged_index_is_made_anew(data, tmp_path, caplog, name, content):
    first = open_index(data, tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob(f"[!.]*/{name}")
    path.write_bytes(content)
    assert equal(first, open_index(data, tmp_path / "cache"))
    assert "is damaged and made anew" in caplog.text


def test_other_content_is_another_index(data, tmp_path):
    open_index(data, tmp_path / "cache")
    write_jsonl(data / "train.jsonl", [record(data, "t7", 7)])
    assert len(open_index(data, tmp_path / "cache").clips) == 1


def test_a_killed_attempt_goes_on_where_it_was(data, tmp_path, monkeypatch):
    monkeypatch.setattr(building_module, "_PART", 2)
    look, looked = building_module._look, []

    def until_the_third(batch):
        looked.append(batch.first)
        if len(looked) == 3 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return look(batch)

    monkeypatch.setattr(building_module, "_look", until_the_third)
    parent, child = os.getpid(), os.fork()
    if child == 0:
        try:
            open_index(data, tmp_path / "cache")
        finally:
            os._exit(0)  # not killed: the other process sees it
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    index = open_index(data, tmp_path / "cache")
    assert looked == [4, 6]
    assert equal(index, open_index(data))
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.name.endswith(".parts")] == []


def test_a_training_clip_that_cannot_be_read_is_known_by_name(data, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(building_module, "_MAX_UNREAD", 0.2)
    shutil.rmtree(data / "frames" / "4")
    index = open_index(data, tmp_path / "cache")
    assert "known by its name only: t4: a frame cannot be read" in caplog.text
    leaks = find_leaks([clip(4), clip(1000, "t4"), clip(5)], [index])
    assert [(leak.evaluation, leak.how) for leak in leaks.found] == [("t4", "id"), ("e5", "look")]
    assert leaks.summary()["num_unread"] == 1


def test_training_frames_that_are_not_there_are_an_error_not_a_pass(data):
    shutil.rmtree(data / "frames")
    with pytest.raises(ElysiumError, match="7 of 7 training clips cannot be read"):
        open_index(data)


def test_a_folder_without_training_data_is_told_so(tmp_path):
    with pytest.raises(UsageError, match=r"no training data: a folder with train\.jsonl"):
        guard([clip(0)], [tmp_path], tmp_path / "leaks.jsonl")


@pytest.fixture
def imported(tmp_path):
    """An imported set of a picture and a video."""
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(simulate(20, 2, 96).frames[0]).save(images / "COCO_20.jpg", quality=90)
    write_video(images / "film.mp4", simulate(21, FRAMES, 96).frames, 12)
    turns = [Turn(question="What is it?", answer="A ring.")]
    with open_writer(tmp_path / "sets" / "mine" / "data.parquet", str(images)) as writer:
        writer.add(SetRecord(id="a", dataset="mine", frames=["COCO_20.jpg"], turns=turns))
        writer.add(SetRecord(id="b", dataset="mine", video="film.mp4", turns=turns))
        writer.add(SetRecord(id="c", dataset="mine", video="film.mp4", turns=turns))
    return tmp_path / "sets"


def test_pictures_and_videos_of_imported_sets_are_training_data_too(imported, tmp_path):
    index = open_index(imported / "mine", tmp_path / "cache")
    assert (index.dataset, len(index.clips), len(index.records)) == ("mine", 2, 3)
    turns = [Turn(question="Where?", answer="Here.")]
    same_video = SetRecord(id="q", dataset="other", video="film.mp4", turns=turns)
    asked = [clip(21), Clip("e20", None, list(simulate(20, 2, 96).frames[:1]))]
    leaks = find_leaks([*asked, of_set_record(same_video, str(tmp_path / "images"))], [index])
    assert [(leak.evaluation, leak.training, leak.how) for leak in leaks.found] == [
        ("e21", "b", "look"),
        ("e20", "a", "look"),
        ("q", "b", "file"),
        ("q", "b", "look"),
    ]


def test_all_that_a_run_learns_from_is_compared(data, imported, tmp_path):
    sets = ["training.warmup.sets={mine: 1.0, unused: 0.0}", f"training.sets_folder={imported}"]
    training = load_settings("nano", sets).training
    indexes = open_indexes(training, data, tmp_path / "cache")
    assert find_leaks([clip(3), clip(21)], indexes).clips == ["e3", "e21"]
    assert [index.dataset for index in indexes] == [None, "mine"]


def test_tracks_that_no_phase_learns_from_are_not_compared(data):
    sets = [f"training.{phase}.sets={{elsewhere: 1.0}}" for phase in ("warmup", "pretrain", "finetune")]
    with pytest.raises(UsageError, match="elsewhere is no training data"):
        open_indexes(load_settings("nano", sets).training, data)


def test_what_is_written_down_is_what_was_found(data, tmp_path):
    clips = [of_track(entry, data) for entry in read_jsonl(data / "train.jsonl", TrackRecord)]
    leaks = guard(clips, [open_index(data)], tmp_path / "leaks.jsonl", allow=True)
    assert lines(tmp_path / "leaks.jsonl") == [
        {**vars(leak), "pair": leak.pair and list(leak.pair)} for leak in leaks.found
    ]
    assert {leak.how for leak in leaks.found} == {"id", "video", "time", "file", "look"}
