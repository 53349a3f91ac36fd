import pytest
from set_files import about, lines

from elysium.data.records import TrackMetadata, TrackRecord, write_jsonl
from elysium.errors import UsageError


def track(number, box, num_frames=None, **fields):
    """A line as it is published: `metadata` is whatever the collection had."""
    frames = [f"frames/{number}/{i:06}.jpg" for i in range(num_frames or len(box))]
    return {
        "source": "webvid",
        "id": f"ElysiumTrack_{number}",
        "vid": str(number),
        "metadata": {"clip": 1},
        "frames": frames,
        "object_class": "dog",
        "box": box,
        "object_description": "a running dog",
        "frame_size": [596, 336],
        **fields,
    }


def test_elysiumtrack(pictures, write, bring_in):
    box = [0.36, 0.15, 0.67, 0.96]
    pictures(*(f"frames/{n}/{i:06}.jpg" for n in range(1, 6) for i in range(2)))
    sample = [
        track(1, [box, [0.4, 0.15, 0.7, 1.01]]),
        track(2, [box, None], object_class=""),
        track(3, [box], num_frames=2),
        track(4, [box, [0.4, 0.15, 0.4, 0.9]]),
        track(5, [box, box], object_description=" "),
        track(6, [box]),
    ]
    imported = bring_in("elysiumtrack", write("ElysiumTrack-1M.json", lines([*sample, "{"])))
    first, second = imported.records.values()
    assert (first.id, first.frames) == ("ElysiumTrack_1", ["frames/1/000000.jpg", "frames/1/000001.jpg"])
    assert (first.frame_size, first.timestamps, first.turns) == ((596, 336), [], [])
    (named,) = first.objects
    assert (named.expression, named.object_class) == ("a running dog", "dog")
    assert named.boxes == [about(*box), about(0.4, 0.15, 0.7, 1.0)]
    assert (second.objects[0].object_class, second.objects[0].boxes) == (None, [about(*box), None])
    assert imported.reasons == {
        "there is not one box a frame": ["ElysiumTrack_3"],
        "a box has no area": ["ElysiumTrack_4"],
        "object_description is missing": ["ElysiumTrack_5"],
        "the image is missing": ["ElysiumTrack_6"],
        "not a JSON object": ["ElysiumTrack-1M-6"],
    }


@pytest.fixture
def own(tmp_path):
    """Two records as `elysium curate` writes them, one held out."""
    metadata = {
        "content_sha256": "0",
        "timestamps": [0.0, 0.5],
        "decoder": "av",
        "caption": "",
        "clip": "c",
        "kind": "real",
    }
    records = [
        TrackRecord(
            **{**track(number, [[0.1, 0.1, 0.5, 0.5]] * 2), "id": f"own-{number}"}
            | {"metadata": TrackMetadata(**metadata, split=split, confidence=0.9), "frame_size": (596, 336)}
        )
        for number, split in ((1, "train"), (2, "evaluation"))
    ]
    write_jsonl(tmp_path / "train.jsonl", records)
    return tmp_path / "train.jsonl"


def test_our_own_records_keep_their_times_and_their_split(pictures, own, bring_in):
    pictures(*(f"frames/{n}/{i:06}.jpg" for n in (1, 2) for i in range(2)))
    imported = bring_in("elysiumtrack", own)
    assert imported.records["own-1"].timestamps == [0.0, 0.5]
    assert imported.report.passed_over == {"evaluation": 1}


def test_a_frame_path_that_leads_out_of_the_folder_is_refused(pictures, write, bring_in):
    rows = [
        track(number, [[0, 0, 1, 1]], frames=[name])
        for number, name in enumerate(["/etc/hostname", "../secret.jpg", "a/../../b.jpg", "a\\..\\b.jpg"])
    ]
    with pytest.raises(Exception, match="leads out of the images' folder: 4"):
        bring_in("elysiumtrack", write("x.jsonl", lines(rows)))


def test_a_wrong_file_is_told_at_once(pictures, write, bring_in):
    with pytest.raises(
        UsageError, match=r"is no annotation file of ElysiumTrack-1M: .*box, frames.*got image, caption"
    ):
        bring_in("elysiumtrack", write("x.json", [{"image": "a.jpg", "caption": "b"}]))
