"""Published tracking sets, built on the spot in the layout they are published in."""

import json

import numpy as np
import pytest
from PIL import Image

from elysium.errors import UsageError
from elysium.evaluation.tracking import TRACKING_SETS, open_tracking_set
from elysium.evaluation.tracking.facts import frame_ranges, words

ROW = (11, 21, 30, 40)


def rows(count, row=ROW, delimiter=","):
    return "".join(
        delimiter.join(str(value + (i if k < 2 else 0)) for k, value in enumerate(row)) + "\n" for i in range(count)
    )


def images(folder, count, first=1, digits=4, suffix=".jpg"):
    """Empty files: nothing may open them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (folder / f"{number:0{digits}}{suffix}").touch()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def lasot(root, name, truth=None, count=3):
    folder = root / name.rpartition("-")[0] / name
    images(folder / "img", count, digits=8)
    write(folder / "groundtruth.txt", truth or rows(count))
    write(folder / "full_occlusion.txt", ",".join(["0", "1"] + ["0"] * (count - 2)))
    write(folder / "out_of_view.txt", ",".join(["0"] * (count - 1) + ["1"]))
    write(folder / "nlp.txt", "a person on a surfboard.\n")
    return folder


def lasot_ext(root, count=3):
    for group in words("lasot_ext"):
        for number in range(1, 11):
            lasot(root, f"{group}-{number}", count=count)


def test_lasot_is_read_from_1_with_flags_attributes_and_the_sentence(tmp_path):
    length = frame_ranges("lasot")["gorilla-9"].length
    folder = lasot(tmp_path, "gorilla-9", count=length)
    write(tmp_path / "annos" / "att" / "gorilla-9.txt", "1,0,0,0,0,0,0,0,1,0,0,0,0,1\n")
    (only,) = open_tracking_set("lasot", tmp_path, only=["gorilla-9"]).sequences
    assert len(only.frames) == len(only.boxes) == length
    assert only.boxes[0].tolist() == [10, 20, 40, 60]
    assert only.frames[0] == folder / "img" / "00000001.jpg"
    assert np.flatnonzero(only.absent).tolist() == [1, length - 1]
    assert only.attributes == ("IV", "SV", "ARC")
    assert (only.object_class, only.expression) == ("gorilla", "a person on a surfboard")


def test_missing_sequences_are_named_and_a_part_says_that_it_is_one(tmp_path):
    lasot(tmp_path, "airplane-1", count=frame_ranges("lasot")["airplane-1"].length)
    with pytest.raises(
        UsageError, match=r"lacks 279 of the 280 sequences of LaSOT: airplane-13, .* …\. Get them: http"
    ):
        open_tracking_set("lasot", tmp_path)
    part = open_tracking_set("lasot", tmp_path, only=["airplane-1"])
    assert part.label == "LaSOT, 1 of 280 sequences"
    assert not part.complete
    assert len(part.left_out) == 279
    with pytest.raises(UsageError, match="holds no sequence airplane-2 of LaSOT"):
        open_tracking_set("lasot", tmp_path, only=["airplane-1", "airplane-2"])


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_lasots_published_lengths_find_a_truth_that_was_cut(tmp_path, extra):
    length = frame_ranges("lasot")["airplane-1"].length
    folder = lasot(tmp_path, "airplane-1", count=length)
    if extra == 1:
        images(folder / "img", length + 1, digits=8)  # as in some downloads (toolkit, issue 6): harmless
    if extra == -1:
        write(folder / "groundtruth.txt", rows(length - 1))
        with pytest.raises(UsageError, match=rf"airplane-1: its truth has {length - 1} rows, and {length} frames"):
            open_tracking_set("lasot", tmp_path, only=["airplane-1"])
        return
    (only,) = open_tracking_set("lasot", tmp_path, only=["airplane-1"]).sequences
    assert len(only.frames) == length


def test_a_whole_set_is_found_by_its_layout_also_in_a_folder_of_its_own(tmp_path):
    lasot_ext(tmp_path / "unpacked")
    for place in (tmp_path, tmp_path / "unpacked"):
        found = open_tracking_set(None, place)
        assert (found.name, len(found.sequences), found.complete) == ("lasot_ext", 150, True)
        assert found.label == "LaSOT extension"


def test_frames_and_rows_that_do_not_fit_are_named_for_all_sequences_at_once(tmp_path):
    lasot_ext(tmp_path)
    (tmp_path / "atv" / "atv-1" / "img" / "00000002.jpg").unlink()
    write(tmp_path / "atv" / "atv-2" / "groundtruth.txt", "")
    write(tmp_path / "atv" / "atv-3" / "groundtruth.txt", "1,2,3\n" + rows(2))
    write(tmp_path / "atv" / "atv-4" / "out_of_view.txt", "0,1")
    write(tmp_path / "atv" / "atv-5" / "groundtruth.txt", "0,0,0,0\n" + rows(2))
    (tmp_path / "atv" / "atv-6" / "img" / "00000001.jpg").unlink()
    with pytest.raises(UsageError, match="6 of 150 sequences of LaSOT extension cannot be measured") as error:
        open_tracking_set("lasot_ext", tmp_path)
    for words_ in (
        "img holds 2 images, and its truth has 3 rows",
        r"atv-2/groundtruth.txt is empty",
        "atv-3/groundtruth.txt, line 1: four numbers",
        "one flag, 0 or 1, for each of 3 frames",
        "atv-5: the first row of its truth is no box",
        "… and 1 more",
    ):
        assert words_ in str(error.value)
    assert len(open_tracking_set("lasot_ext", tmp_path, only=["atv-1"], images=False).sequences[0].boxes) == 3


def test_uav123s_parts_lie_in_one_folder_and_nan_rows_are_no_box(tmp_path):
    images(tmp_path / "data_seq" / "UAV123" / "truck4", 1261, digits=6)
    images(tmp_path / "data_seq" / "UAV123" / "car1_s", 1475, digits=6)
    for name, length in (("truck4_1", 577), ("truck4_2", 685), ("car1_s", 1475)):
        write(tmp_path / "anno" / "UAV123" / f"{name}.txt", rows(length - 1) + "NaN,NaN,NaN,NaN\n")
        write(tmp_path / "anno" / "UAV123" / "att" / f"{name}.txt", "1,0,1,0,0,0,0,0,0,0,0,1")
    found = open_tracking_set(None, tmp_path, only=["truck4_1", "truck4_2", "car1_s"])
    first, second = (next(s for s in found.sequences if s.name == name) for name in ("truck4_1", "truck4_2"))
    assert (first.frames[0].name, first.frames[-1].name) == ("000001.jpg", "000577.jpg")
    assert (second.frames[0].name, second.frames[-1].name) == ("000577.jpg", "001261.jpg")
    assert second.boxes[0].tolist() == [10, 20, 40, 60]
    assert np.isnan(second.boxes[-1]).all()
    assert second.attributes == ("SV", "LR", "SOB")
    assert {s.object_class for s in found.sequences} == {"truck", "car"}
    (tmp_path / "data_seq" / "UAV123" / "truck4" / "000600.jpg").unlink()
    with pytest.raises(UsageError, match="truck4 holds 684 images numbered 577 to 1261, and its truth has 685 rows"):
        open_tracking_set("uav123", tmp_path, only=["truck4_2"])


def test_uav20l_shares_the_images_of_uav123_and_must_be_named_where_both_are_there(tmp_path):
    images(tmp_path / "data_seq" / "UAV123" / "car3", 1717, digits=6)
    for part in ("UAV123", "UAV20L"):
        write(tmp_path / "anno" / part / "car3.txt", rows(1717))
    with pytest.raises(UsageError, match="layouts of uav123 and uav20l: name the one that is meant"):
        open_tracking_set(None, tmp_path, only=["car3"])
    found = open_tracking_set("uav20l", tmp_path, only=["car3"])
    assert found.label == "UAV20L, 1 of 20 sequences"


def test_the_sums_of_the_frame_ranges_are_the_published_numbers():
    totals = {
        name: sum(frames.length for frames in frame_ranges(name).values()) for name in ("lasot", "uav123", "uav20l")
    }
    assert totals == {"lasot": 685_360, "uav123": 112_578, "uav20l": 58_670}
    # 59,040 with the five frames of Tiger1 that are not evaluated; two videos have two targets.
    twice = sum(frame_ranges("otb")[video].length for video in ("Jogging", "Skating2"))
    assert sum(frames.length for frames in frame_ranges("otb").values()) + twice + 5 == 59_040


@pytest.fixture
def otb(tmp_path):
    for video, count, first in (("David", 770, 1), ("BlurCar3", 357, 3), ("Tiger1", 354, 1), ("Football1", 81, 1)):
        images(tmp_path / video / "img", count, first)
        rows_ = {"David": 471, "Football1": 74}.get(video, count)
        write(tmp_path / video / "groundtruth_rect.txt", rows(rows_, delimiter="\t" if video == "David" else ","))
    for video, count in (("Jogging", 307), ("Human4", 667)):
        images(tmp_path / video / "img", count)
        for target in (1, 2):
            text = "" if (video, target) == ("Human4", 1) else rows(count, (1 + target, 1, 5, 5))
            write(tmp_path / video / f"groundtruth_rect.{target}.txt", text)
    return tmp_path


def test_otbs_ranges_targets_and_delimiters(otb):
    names = ["BlurCar3", "David", "Football1", "Human4", "Jogging-1", "Jogging-2", "Tiger1"]
    found = {s.name: s for s in open_tracking_set(None, otb, only=names).sequences}
    ends = {name: (s.frames[0].name, s.frames[-1].name, len(s.boxes)) for name, s in found.items()}
    assert ends["David"] == ("0300.jpg", "0770.jpg", 471)
    assert ends["BlurCar3"] == ("0003.jpg", "0359.jpg", 357)
    assert ends["Football1"] == ("0001.jpg", "0074.jpg", 74)
    assert ends["Tiger1"] == ("0006.jpg", "0354.jpg", 349)
    assert found["Tiger1"].boxes[0].tolist() == [15, 25, 45, 65], "its sixth row"
    assert (found["Jogging-1"].boxes[0, 0], found["Jogging-2"].boxes[0, 0], found["Human4"].boxes[0, 0]) == (1, 2, 2)
    assert found["Jogging-2"].attributes == ("OCC", "DEF", "OPR")


@pytest.mark.parametrize(("split", "number"), [("100", 100), ("50", 50), ("2013", 51)])
def test_otbs_parts_have_as_many_targets_as_published(otb, split, number):
    with pytest.raises(UsageError, match=rf"of the {number} sequences of OTB \({split}\)"):
        open_tracking_set("otb", otb, split)


def test_otbs_sentences_are_those_of_otb99_lang(otb):
    videos = otb / "OTB_videos"
    videos.mkdir()
    (otb / "Football1").rename(videos / "Football1")
    (otb / "Jogging").rename(videos / "Jogging-2")
    (videos / "Jogging-2" / "groundtruth_rect.2.txt").rename(videos / "Jogging-2" / "groundtruth_rect.txt")
    write(otb / "OTB_query_train" / "Football1.txt", "Face of a player\n")
    write(otb / "OTB_query_test" / "Jogging-2.txt", "man in white\n")
    found = open_tracking_set(None, otb, only=["Football1", "Jogging-2"]).sequences
    assert [s.expression for s in found] == ["Face of a player", "man in white"]


def got10k(root, split="val", count=3, truth=None):
    template = f"GOT-10k_{split.capitalize()}_{{:06}}"
    names = [template.format(number) for number in range(1, 181)]
    write(root / split / "list.txt", "\n".join(names) + "\n")
    for name in names:
        folder = root / split / name
        images(folder, count, digits=8)
        write(folder / "groundtruth.txt", truth or rows(count))
        if split == "val":
            write(folder / "cover.label", "8\n0\n4\n"[: 2 * count])
            write(folder / "absence.label", "0\n1\n0\n"[: 2 * count])
            write(folder / "cut_by_image.label", "0\n0\n0\n"[: 2 * count])
            write(folder / "meta_info.ini", "[METAINFO]\nurl: http://x\nobject_class: hog\nresolution: (640, 360)\n")
    return names


def test_got10ks_val_split_has_labels_and_sizes(tmp_path):
    got10k(tmp_path)
    for place in (tmp_path, tmp_path / "val"):
        found = open_tracking_set(None, place)
        assert (found.label, found.protocol, found.complete) == ("GOT-10k (val)", "got10k", True)
    first = found.sequences[0]
    assert first.counted.tolist() == [True, False, True]
    assert first.absent.tolist() == [False, True, False]
    assert (first.object_class, first.frame_size, first.attributes) == ("hog", (640, 360), ("absence",))


def test_got10ks_test_split_gives_the_first_box_alone(tmp_path):
    got10k(tmp_path, "test", truth=rows(1))
    found = open_tracking_set("got10k", tmp_path, "test")
    first = found.sequences[0]
    assert not first.given
    assert first.boxes.shape == (3, 4)
    assert np.isfinite(first.boxes).all(-1).tolist() == [True, False, False]


@pytest.fixture
def trackingnet(tmp_path):
    for number in range(511):
        name = f"-0vid{number}_0"
        images(tmp_path / "TEST" / "frames" / name, 11 if number == 0 else 2, first=0, digits=1)
        write(tmp_path / "TEST" / "anno" / f"{name}.txt", rows(1))
    return tmp_path


def test_trackingnets_numbers_are_not_padded(trackingnet):
    found = open_tracking_set(None, trackingnet)
    first = found.sequences[0]
    assert (found.label, found.one_based, first.given) == ("TrackingNet (TEST)", False, False)
    assert [path.name for path in first.frames[8:]] == ["8.jpg", "9.jpg", "10.jpg"]
    assert first.boxes[0].tolist() == [11, 21, 41, 61]


def test_of_trackingnet_only_the_number_is_known(trackingnet):
    (trackingnet / "TEST" / "anno" / "-0vid1_0.txt").unlink()
    with pytest.raises(UsageError, match=r"holds 510 of the 511 sequences of TrackingNet \(TEST\).*anno archive"):
        open_tracking_set("trackingnet", trackingnet)


def test_a_training_chunk_of_trackingnet_has_its_truth(tmp_path):
    images(tmp_path / "TRAIN_3" / "frames" / "a_0", 3, first=0, digits=1)
    write(tmp_path / "TRAIN_3" / "anno" / "a_0.txt", rows(3))
    (only,) = open_tracking_set("trackingnet", tmp_path, "TRAIN_3", only=["a_0"]).sequences
    assert only.given


def vatic(count):
    return "".join(f'0 {10 + i} 20 40 60 {i} 0 0 {i % 2} "ball"\n' for i in range(count))


def test_nfs_at_both_rates_takes_every_eighth_row_where_the_truth_is_that_of_240(tmp_path):
    for name in words("nfs"):
        for fps, count in (("30", 4), ("240", 32)):
            images(tmp_path / name / fps / name, count, digits=5)
            write(tmp_path / name / fps / f"{name}.txt", vatic(32))
    slow, fast = (open_tracking_set("nfs", tmp_path, fps) for fps in ("30", "240"))
    assert slow.complete
    assert len(slow.sequences) == len(fast.sequences) == 100
    assert slow.sequences[0].boxes[:, 0].tolist() == [10, 18, 26, 34]
    assert fast.sequences[0].boxes[:3].tolist() == [[10, 20, 40, 60], [11, 20, 40, 60], [12, 20, 40, 60]]
    assert slow.sequences[0].object_class == "ball"


def test_nfs_may_have_one_image_more_than_rows_but_not_two(tmp_path):
    write(tmp_path / "bee" / "240" / "bee.txt", vatic(9))
    images(tmp_path / "bee" / "240" / "bee", 10, digits=5)
    assert len(open_tracking_set("nfs", tmp_path, "240", only=["bee"]).sequences[0].frames) == 9
    images(tmp_path / "bee" / "240" / "bee", 11, digits=5)
    with pytest.raises(UsageError, match="holds 11 images, and its truth has 9 rows"):
        open_tracking_set("nfs", tmp_path, "240", only=["bee"])


def test_nfs_as_pytracking_repacked_it(tmp_path):
    images(tmp_path / "sequences" / "bee", 3, digits=5)
    write(tmp_path / "anno" / "nfs_bee.txt", rows(3, delimiter="\t"))
    (only,) = open_tracking_set(None, tmp_path, only=["bee"]).sequences
    assert only.boxes[0].tolist() == [11, 21, 41, 61]


def tnl2k(root, *names):
    for name in names:
        images(root / name / "imgs", 3, digits=5, suffix=".png")
        write(root / name / "groundtruth.txt", rows(3))
        write(root / name / "language.txt", "the man in red\n")


def test_tnl2k_has_a_sentence_for_each_sequence_and_names_what_its_list_names(tmp_path):
    tnl2k(tmp_path / "TNL2K_test_subset", "Battle_video_1_done", "gamGUN_5-Done")
    (one, _) = open_tracking_set(None, tmp_path, only=["Battle_video_1_done", "gamGUN_5-Done"]).sequences
    assert one.expression == "the man in red"
    assert one.boxes[0].tolist() == [11, 21, 41, 61]
    with pytest.raises(
        UsageError, match=r"holds 2 of the 700 sequences of TNL2K; the toolkit's TNL2K_testing_set\.txt"
    ):
        open_tracking_set("tnl2k", tmp_path)
    write(tmp_path / "TNL2K_testing_set.txt", "Battle_video_1_done\ngamGUN_5-Done\nRed_car_01-Done\n")
    with pytest.raises(UsageError, match="lacks 1 of the 3 sequences of TNL2K: Red_car_01-Done"):
        open_tracking_set("tnl2k", tmp_path)


def test_tnl2ks_attributes_come_from_the_toolkit(tmp_path):
    tnl2k(tmp_path / "test", "a", "b")
    for name, flags in (("a", "1" + ",0" * 15 + ",1"), ("b", ",".join("0" * 17))):
        write(tmp_path / "att" / f"{name}_attribute.txt", flags)
    first, second = open_tracking_set("tnl2k", tmp_path, only=["a", "b"], attributes=tmp_path / "att").sequences
    assert (first.attributes, second.attributes) == (("CM", "MS"), ())


def record(**changes):
    return {
        "source": "x", "id": "1", "vid": "v", "metadata": None, "frames": ["v/0.jpg", "v/1.jpg"], "object_class": "dog",
        "box": [[0.1, 0.2, 0.5, 0.6], None], "object_description": "a brown dog", "frame_size": [200, 100], **changes,
    }  # fmt: skip


def test_elysiumtracks_published_lines_need_no_metadata(tmp_path):
    images(tmp_path / "v", 2, first=0, digits=1)
    write(tmp_path / "ElysiumTrack-val500.json", json.dumps(record()) + "\n" + json.dumps(record(id="2")) + "\n")
    found = open_tracking_set(None, tmp_path)
    assert len(open_tracking_set(None, tmp_path / "ElysiumTrack-val500.json").sequences) == 2
    first = found.sequences[0]
    assert [s.name for s in found.sequences] == ["1", "2"]
    assert first.boxes[0] == pytest.approx([20, 20, 100, 60])
    assert np.isnan(first.boxes[1]).all()
    assert (first.expression, first.object_class, first.frame_size) == ("a brown dog", "dog", (200, 100))


def test_our_own_records_are_the_evaluation_split(data, tmp_path):
    found = open_tracking_set("elysiumtrack", data)
    assert len(found.sequences) == 4
    assert found.sequences[0].frames[0].is_file()
    assert found.sequences[0].size() == (48, 48)


@pytest.mark.parametrize(
    ("changes", "words_"),
    [
        ({"box": [[0.1, 0.2, 0.5, 0.6]]}, "has 2 frames and 1 boxes"),
        ({"box": [[10, 20, 50, 60], None]}, "must be normalised to"),
        ({"box": "x"}, "box must be a list"),
        ({"frame_size": [0, 5]}, "frame_size must be"),
        ({"frames": ["v/0.jpg", "v/9.jpg"]}, "1 of 2 frames are missing"),
        ({"frames": ["../v/0.jpg", "../v/1.jpg"]}, "lead out of"),
    ],
)
def test_a_broken_record_is_named(tmp_path, changes, words_):
    images(tmp_path / "v", 2, first=0, digits=1)
    write(tmp_path / "evaluation.jsonl", json.dumps(record(**changes)) + "\n")
    with pytest.raises(UsageError, match="record 1") as error:
        open_tracking_set("elysiumtrack", tmp_path)
    assert words_ in str(error.value)


def test_what_is_no_set_is_told_with_the_layout_and_where_to_get_it(tmp_path):
    with pytest.raises(UsageError, match="has the layout of no known tracking set: lasot, lasot_ext"):
        open_tracking_set(None, tmp_path)
    with pytest.raises(UsageError, match=r"holds no sequence of NfS\. Its layout: .* Get it: http://ci2cv"):
        open_tracking_set("nfs", tmp_path)
    with pytest.raises(UsageError, match="no tracking set 'lasott'; the nearest is lasot"):
        open_tracking_set("lasott", tmp_path)
    got10k(tmp_path)
    with pytest.raises(UsageError, match="no split 'train'; there are val, test"):
        open_tracking_set("got10k", tmp_path, "train")
    with pytest.raises(UsageError, match="does not exist"):
        open_tracking_set("nfs", tmp_path / "x")


def test_frames_are_listed_only_when_asked_for_and_their_size_is_that_of_the_first(tmp_path):
    lasot_ext(tmp_path)
    first = open_tracking_set("lasot_ext", tmp_path, only=["atv-1"]).sequences[0]
    Image.new("RGB", (32, 24)).save(tmp_path / "atv" / "atv-1" / "img" / "00000001.jpg")
    assert first.size() == (32, 24)
    later = open_tracking_set("lasot_ext", tmp_path, only=["atv-2"]).sequences[0]
    (tmp_path / "atv" / "atv-2" / "img" / "00000003.jpg").unlink()
    assert len(later.frames) == 3
    with pytest.raises(Exception, match="holds 2 of the 3 frames"):
        later.frames[0]


def test_every_set_says_where_to_get_it_and_what_is_scored():
    for entry in TRACKING_SETS.values():
        assert entry.page.startswith("http")
        assert entry.scored
        assert entry.reader.__doc__
