import numpy as np
import pytest

from elysium.errors import UsageError
from elysium.evaluation.scoring import read_boxes, score_folders

ROWS = np.array([[10, 10, 40, 40], [12, 10, 40, 40], [14, 10, 40, 40]])


def write(path, rows=ROWS, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, fmt="%g", delimiter=delimiter)


@pytest.fixture
def folders(tmp_path):
    for name in ("car-1", "car-2"):
        write(tmp_path / "truth" / "car" / name / "groundtruth.txt")
        write(tmp_path / "results" / f"{name}.txt", delimiter="\t")
    return tmp_path / "results", tmp_path / "truth"


def test_the_sets_own_folders_and_any_delimiter_are_read(folders):
    scored = score_folders(*folders, "lasot")
    assert list(scored.sequences) == ["car-1", "car-2"]
    assert (scored.frames, scored.mean.precision) == (6, 100)


@pytest.mark.parametrize("text", ["1,2,3,4\n5 6 7 8\n", "1;2;3;4\r\n\n5\t6\t7\t8", "\ufeff1,2,3,4,\n 5, 6, 7, 8 "])
def test_rows_are_read_whatever_parts_them(tmp_path, text):
    (tmp_path / "x.txt").write_text(text)
    assert read_boxes(tmp_path / "x.txt").tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize("row", ["1,2,3", "1,2,3,x", "1,2,3,4,5"])
def test_a_malformed_row_is_named(tmp_path, row):
    (tmp_path / "x.txt").write_text(f"1,2,3,4\n{row}\n")
    with pytest.raises(UsageError, match=r"x\.txt, line 2: four numbers"):
        read_boxes(tmp_path / "x.txt")


def test_missing_sequences_are_an_error_and_never_a_smaller_mean(folders):
    (folders[0] / "car-2.txt").unlink()
    with pytest.raises(UsageError, match="lacks the results of 1 of 2 sequences: car-2"):
        score_folders(*folders, "lasot")


@pytest.mark.parametrize("rows", [ROWS[:2], np.concatenate([ROWS, ROWS])])
def test_results_of_another_length_are_an_error(folders, rows):
    write(folders[0] / "car-2.txt", rows)
    with pytest.raises(UsageError, match=r"car-2 has \d rows for 3 frames"):
        score_folders(*folders, "lasot")


def test_otb_results_may_end_early_and_pay_for_it(folders):
    write(folders[0] / "car-2.txt", ROWS[:2])
    scored = score_folders(*folders, "otb")
    assert scored.short == {"car-2": 1}
    assert scored.sequences["car-2"].precision == pytest.approx(200 / 3)


def test_absence_flags_are_read_from_lasots_own_files(folders):
    for name in ("car-1", "car-2"):
        folder = folders[1] / "car" / name
        (folder / "full_occlusion.txt").write_text("0,1,0")
        (folder / "out_of_view.txt").write_text("0,0,1")
    assert score_folders(*folders, "lasot", folders[1]).mean.precision == pytest.approx(100 / 3)
    assert score_folders(*folders, "lasot", folders[1], "drop").mean.precision == 100


@pytest.mark.parametrize("flags", ["0,1", "0,1,2"])
def test_flags_that_do_not_fit_are_named(folders, tmp_path, flags):
    for name in ("car-1", "car-2"):
        (tmp_path / "absent").mkdir(exist_ok=True)
        (tmp_path / "absent" / f"{name}.txt").write_text(flags)
    with pytest.raises(UsageError, match="one flag, 0 or 1, for each of 3 frames"):
        score_folders(*folders, "lasot", tmp_path / "absent")


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(UsageError, match="holds no ground truth"):
        score_folders(tmp_path, tmp_path, "lasot")


def test_otbs_two_targets_of_a_video_are_two_sequences(tmp_path):
    for number in (1, 2):
        write(tmp_path / "truth" / "Jogging" / f"groundtruth_rect.{number}.txt")
    write(tmp_path / "results" / "jogging_1.txt")
    write(tmp_path / "results" / "Jogging-2.txt", ROWS + 500)
    scored = score_folders(tmp_path / "results", tmp_path / "truth", "otb")
    assert {name: score.precision for name, score in scored.sequences.items()} == {"Jogging-1": 100, "Jogging-2": 0}


def test_two_files_of_one_sequence_are_refused(tmp_path, folders):
    write(folders[1] / "truck" / "car-1" / "groundtruth.txt")
    with pytest.raises(UsageError, match="holds the sequence car-1 twice"):
        score_folders(*folders, "lasot")
    write(tmp_path / "flat" / "car_1.txt")
    write(tmp_path / "both" / "car-1.txt")
    write(tmp_path / "both" / "CAR_1.txt")
    with pytest.raises(UsageError, match="both results of the sequence car_1"):
        score_folders(tmp_path / "both", tmp_path / "flat", "otb")


def test_results_without_ground_truth_are_named_and_not_scored(folders):
    write(folders[0] / "car-3.txt", ROWS + 500)
    scored = score_folders(*folders, "lasot")
    assert scored.unused == ("car-3",)
    assert scored.mean.precision == 100
