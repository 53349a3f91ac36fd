"""Result files that are wrong: told with a clear message, never scored to a silently lower or higher figure."""

import zipfile

import numpy as np
import pytest

from elysium.errors import UsageError
from elysium.evaluation.scoring import read_boxes, score_folders
from elysium.evaluation.tracking.reading import Reading

SIZES = {"car-1": (1280, 720), "car-2": (640, 480), "dog-1": (1920, 1080), "dog-2": (1280, 720)}
LENGTH = 12


def truth_of(name):
    """Returns x,y,w,h, counted from 1, that move over most of the frame."""
    width, height = SIZES[name]
    steps = np.linspace(0, 1, LENGTH)[:, None]
    start, end = np.array([0.11, 0.17]) * (width, height), np.array([0.71, 0.63]) * (width, height)
    corner = start + steps * (end - start) + len(name) + int(name[-1])
    return np.concatenate([corner, np.tile([0.17 * width, 0.21 * height], (LENGTH, 1))], axis=1).round()


def write(folder, name, rows, fmt="%.6f"):
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / f"{name}.txt", rows, fmt=fmt, delimiter=",")


@pytest.fixture
def folders(tmp_path):
    for name in SIZES:
        write(tmp_path / "truth", name, truth_of(name), "%d")
        write(tmp_path / "results", name, truth_of(name))
    return tmp_path / "results", tmp_path / "truth"


def rewrite(folders, change):
    for name in SIZES:
        write(folders[0], name, change(truth_of(name), *SIZES[name]))


def corners(rows):
    return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], axis=1)


def shares(rows, width, height, scale):
    zero_based = rows - np.array([1, 1, 0, 0])
    return zero_based / (width, height, width, height) * scale


def score(folders, **reading):
    return score_folders(*folders, "lasot", reading=Reading(**reading))


def test_sound_results_raise_no_word(folders):
    scored = score(folders)
    assert scored.notes == ()
    assert scored.mean.auc == pytest.approx(100 * 20 / 21)


@pytest.mark.parametrize(("scale", "name"), [(1, "normalised"), (100, "percent"), (1000, "thousandths")])
@pytest.mark.parametrize("form", ["xywh", "xyxy"])
def test_shares_of_the_frame_are_named_with_the_remedy(folders, scale, name, form):
    def change(rows, width, height):
        made = shares(rows, width, height, scale)
        return corners(made) if form == "xyxy" else made

    rewrite(folders, change)
    with pytest.raises(UsageError, match=rf"seem to be {name}, not pixels: .* Give --units {name}"):
        score(folders)


@pytest.mark.parametrize(("scale", "name"), [(1, "normalised"), (100, "percent"), (1000, "thousandths")])
def test_the_remedy_gives_the_figures_of_pixels(folders, scale, name):
    for key, size in SIZES.items():
        write(folders[0], key, shares(truth_of(key), *size, scale), "%.9f")
    with pytest.raises(Exception, match="frame size of car-1 is not known"):
        score(folders, units=name)
    for key, size in SIZES.items():
        scored = score_folders(*folders, "lasot", only=[key], reading=Reading(units=name, frame_size=size))
        assert scored.mean.auc == pytest.approx(100 * 20 / 21)


def test_integers_in_steps_of_a_hundredth_are_seen_too(folders):
    rewrite(folders, lambda rows, w, h: np.round(shares(rows, w, h, 100)))
    with pytest.raises(UsageError, match="seem to be percent"):
        score(folders)


def test_shares_are_seen_also_where_the_first_box_was_not_given(folders):
    rewrite(folders, lambda rows, w, h: shares(rows + (w // 9), w, h, 1))
    with pytest.raises(UsageError, match="seem to be normalised"):
        score(folders)


def test_a_lost_tracker_in_pixels_is_scored_and_not_refused(folders):
    rewrite(folders, lambda rows, w, h: np.concatenate([rows[:1], rows[1:] * 0 + [5, 5, 40, 30]]))
    assert score(folders).mean.auc < 15
    rewrite(folders, lambda rows, w, h: np.tile([500.0, 300, 90, 90], (LENGTH, 1)))
    assert score(folders).mean.auc < 40


def test_corners_are_named_with_the_remedy_that_reads_them(folders):
    rewrite(folders, lambda rows, w, h: corners(rows))
    with pytest.raises(
        UsageError, match=r"seem to be x1,y1,x2,y2, not x,y,w,h: .* 4 of 4 sequences\. Give --boxes xyxy"
    ):
        score(folders)
    assert score(folders, boxes="xyxy").mean.auc == pytest.approx(100 * 20 / 21)
    assert score(folders, boxes="xywh").mean.auc < 50


def test_corners_are_seen_also_where_the_first_box_was_not_given(folders):
    rewrite(folders, lambda rows, w, h: corners(shifted(rows, 9, 9)))
    with pytest.raises(UsageError, match="seem to be x1,y1,x2,y2"):
        score(folders)


def shifted(rows, x, y):
    return rows + np.array([x, y, 0, 0])


def test_boxes_that_count_from_0_are_told_and_scored_as_they_are(folders):
    rewrite(folders, lambda rows, w, h: shifted(rows, -1, -1))
    scored = score(folders)
    (note,) = scored.notes
    assert "lie -1 px off" in note
    assert "count pixels from 0, other than the truth; scored as they are, and --zero-based shifts them" in note
    assert scored.mean.precision_curve[0] == 0
    right = score(folders, origin=0)
    assert right.notes == ()
    assert right.mean.precision_curve[0] == 100


def test_boxes_that_lie_off_the_other_way_have_no_remedy(folders):
    rewrite(folders, lambda rows, w, h: shifted(rows, 1, 1))
    assert "lie +1 px off" in score(folders).notes[0]
    assert "shifted twice, or the truth's files to count from 0" in score(folders).notes[0]
    rewrite(folders, lambda rows, w, h: shifted(rows, 1, 0))
    assert score(folders).notes == ()


def test_a_single_offset_sequence_is_no_system(folders):
    write(folders[0], "car-1", shifted(truth_of("car-1"), -1, -1))
    assert score(folders).notes == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: shares(rows, *SIZES["car-1"], 1), "normalised, not pixels"),
        (corners, "x1,y1,x2,y2, not x,y,w,h"),
    ],
)
def test_one_file_that_is_written_in_another_way_is_named(folders, change, said):
    write(folders[0], "car-1", change(truth_of("car-1")))
    [note] = score(folders).notes
    assert note.startswith(f"1 of 4 result files seem to be {said}, other than the rest: car-1")


@pytest.mark.parametrize("row", ["inf,1,5,5", "1,nan,5,5", "1,1,-5,5", "1,1,5,-0.5"])
def test_a_row_that_is_no_box_by_mistake_is_named(folders, row):
    lines = (folders[0] / "dog-1.txt").read_text().splitlines()
    lines[4] = row
    (folders[0] / "dog-1.txt").write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=r"dog-1\.txt, row 5: .* is no box x,y,w,h .* 1 of 12 rows"):
        score(folders)
    scored = score(folders, invalid="miss")
    assert scored.sequences["dog-1"].precision == pytest.approx(100 * 11 / 12)
    assert "1 rows of the results hold no box" in scored.notes[0]


@pytest.mark.parametrize("row", ["nan,nan,nan,nan", "NaN NaN NaN NaN", "0,0,0,0"])
def test_a_frame_without_a_box_is_a_failure_and_said(folders, row):
    lines = (folders[0] / "dog-1.txt").read_text().splitlines()
    lines[4] = row
    (folders[0] / "dog-1.txt").write_text("\n".join(lines) + "\n")
    # The true box lies where one of zeros would be near enough to be precise.
    rows = truth_of("dog-1")
    rows[4] = [3, 3, 4, 4]
    write(folders[1], "dog-1", rows, "%d")
    scored = score(folders)
    assert scored.sequences["dog-1"].precision == pytest.approx(100 * 11 / 12)
    assert scored.notes == ("1 rows of the results hold no box and count as failures",)


def test_one_file_under_two_names_is_refused(folders):
    (folders[0] / "dog-2.txt").write_bytes((folders[0] / "car-1.txt").read_bytes())
    with pytest.raises(UsageError, match=r"car-1\.txt and .*dog-2\.txt hold the same rows, .* copy of the other"):
        score(folders)


def test_trackers_that_find_nothing_in_two_videos_are_not_copies(folders):
    for name in ("car-1", "dog-2"):
        write(folders[0], name, np.full((LENGTH, 4), np.nan))
    assert score(folders).mean.precision == 50


def test_a_file_that_was_cut_in_its_last_line_is_told(folders):
    path = folders[0] / "dog-2.txt"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(UsageError, match=r"line 12: four numbers .* the file was cut short in its last line"):
        score(folders)


def test_rows_that_are_missing_or_too_many_are_named_with_the_remedy(folders):
    write(folders[0], "car-2", truth_of("car-2")[:9])
    write(folders[0], "dog-1", np.concatenate([truth_of("dog-1")] * 2))
    with pytest.raises(
        UsageError, match=r"car-2 has 9 rows for 12 frames; dog-1 has 24 rows for 12 frames\. --lengths"
    ):
        score(folders)
    with pytest.raises(UsageError, match="length: dog-1 has 24 rows"):
        score(folders, lengths="short")
    scored = score(folders, lengths="any")
    assert scored.short == {"car-2": 3}
    assert scored.sequences["car-2"].precision == 75
    assert scored.sequences["dog-1"].precision == 100


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("which", [0, 1])
def test_an_empty_file_is_told(folders, which, data):
    (folders[which] / "car-2.txt").write_bytes(data)
    with pytest.raises(UsageError, match=r"car-2\.txt is empty"):
        score(folders)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", bytes(range(256)), b"\xff\xfe1\x002\x00"])
def test_a_binary_file_is_told(folders, data):
    (folders[0] / "car-2.txt").write_bytes(data)
    with pytest.raises(UsageError, match=r"car-2\.txt is no text file of boxes"):
        score(folders)


def test_a_truth_without_any_box_is_no_ground_for_a_figure(folders):
    write(folders[1], "car-2", np.zeros((LENGTH, 4)), "%d")
    with pytest.raises(UsageError, match="truth of car-2 holds no box at all in its 12 rows"):
        score(folders)


def test_frames_without_a_true_box_are_counted_and_said(folders):
    rows = truth_of("car-2")
    rows[3:5] = [[1, 1, -1, -1], [2, 2, 0, 5]]
    write(folders[1], "car-2", rows, "%d")
    scored = score(folders)
    assert scored.notes == ("2 frames have no true box without being flagged as absent, and count as failures",)
    assert scored.sequences["car-2"].precision == pytest.approx(100 * 10 / 12)


def test_missing_results_are_named_and_a_part_must_be_asked_for(folders):
    (folders[0] / "car-2.txt").unlink()
    with pytest.raises(UsageError, match="lacks the results of 1 of 4 sequences: car-2"):
        score(folders)
    part = score_folders(*folders, "lasot", only=["car-1", "dog-1"])
    assert list(part.sequences) == ["car-1", "dog-1"]
    assert part.left_out == ("car-2", "dog-2")
    assert part.unused == ()
    with pytest.raises(UsageError, match="holds no ground truth of cat-1"):
        score_folders(*folders, "lasot", only=["cat-1"])


def test_files_of_times_and_prefixes_of_names_are_understood(folders):
    for name in SIZES:
        np.savetxt(folders[0] / f"{name}_time.txt", np.ones(LENGTH))
        (folders[0] / f"{name}.txt").rename(folders[0] / f"uav_{name.upper()}.txt")
        (folders[0] / f"{name}_time.txt").rename(folders[0] / f"uav_{name.upper()}_time.txt")
    scored = score_folders(*folders, "otb")
    assert scored.unused == ()
    assert scored.mean.precision == 100


def test_got10ks_folders_of_repetitions_and_archives_are_read(folders, tmp_path):
    for name in SIZES:
        inner = tmp_path / "got" / name
        inner.mkdir(parents=True)
        for repetition in (1, 2):
            np.savetxt(inner / f"{name}_{repetition:03}.txt", truth_of(name) * [1, 1, repetition, 1], delimiter=",")
        np.savetxt(inner / f"{name}_time.txt", np.ones(LENGTH))
    with zipfile.ZipFile(tmp_path / "got.zip", "w") as archive:
        for path in sorted((tmp_path / "got").rglob("*.txt")):
            archive.write(path, path.relative_to(tmp_path))
    for place in (tmp_path / "got", tmp_path / "got.zip"):
        scored = score_folders(place, folders[1], "lasot")
        assert scored.mean.auc == pytest.approx(100 * 20 / 21), "the first repetition is scored"
        assert scored.unused == ()


def test_one_sequences_own_folder_and_flags_that_are_not_used(tmp_path):
    folder = tmp_path / "car" / "car-1"
    write(folder, "groundtruth", truth_of("car-1"), "%d")
    write(tmp_path / "results", "car-1", truth_of("car-1"))
    (folder / "full_occlusion.txt").write_text(",".join("0" * LENGTH))
    scored = score_folders(tmp_path / "results", folder, "lasot")
    assert list(scored.sequences) == ["car-1"]
    assert "holds flags of absence that are not used: --absent" in scored.notes[0]
    assert score_folders(tmp_path / "results", folder.parent, "lasot", folder.parent).notes == ()


def test_what_is_no_archive_is_told(folders, tmp_path):
    (tmp_path / "x.zip").write_text("x")
    with pytest.raises(UsageError, match="neither a folder nor a zip archive"):
        score_folders(tmp_path / "x.zip", folders[1], "lasot")


def test_otbs_empty_truth_of_a_second_target_is_no_sequence_and_tiger1_begins_at_its_sixth_frame(tmp_path):
    tiger = np.stack([np.arange(354) + 1, np.full(354, 7), np.full(354, 30), np.full(354, 30)], axis=1)
    for name, text in (("Human4/groundtruth_rect.1.txt", ""), ("Human4/groundtruth_rect.2.txt", "5,5,9,9\n6,5,9,9\n")):
        (tmp_path / "truth" / "Human4").mkdir(parents=True, exist_ok=True)
        (tmp_path / "truth" / name).write_text(text)
    (tmp_path / "truth" / "Tiger1").mkdir()
    np.savetxt(tmp_path / "truth" / "Tiger1" / "groundtruth_rect.txt", tiger, fmt="%d")
    for rows, human in ((tiger[5:], "human4"), (tiger, "Human4_2")):
        results = tmp_path / f"results-{len(rows)}"
        write(results, "tiger1", rows)
        write(results, human, [[5, 5, 9, 9], [6, 5, 9, 9]])
        scored = score_folders(results, tmp_path / "truth", "otb")
        assert (scored.frames, scored.short, set(scored.sequences)) == (351, {}, {"Human4-2", "Tiger1"})
        assert scored.mean.auc == pytest.approx(100 * 20 / 21)


def test_numbers_are_read_as_any_tool_writes_them(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"   1.0000000e+00   2.5e0\t3,4\r\n\r\n5;6; 7 ;8")
    assert read_boxes(tmp_path / "x.txt").tolist() == [[1, 2.5, 3, 4], [5, 6, 7, 8]]
    with pytest.raises(UsageError, match="cannot be read"):
        read_boxes(tmp_path / "y.txt")
