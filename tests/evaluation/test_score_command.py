"""`elysium evaluate score` with the flags beyond the plain call, which `test_scoring.py` and the golden tests hold."""

import csv
import json

import numpy as np
import pytest

from elysium.cli import run as elysium
from elysium.evaluation.tracking.facts import words

TRUTH = np.array([[1 + i, 10, 40, 40] for i in range(8)], dtype=float)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, fmt="%g", delimiter=",")


@pytest.fixture
def folders(tmp_path):
    """Results of three sequences: right, half a box off, and lost."""
    for name, shift in (("car-1", 0), ("car-2", 20), ("dog-1", 500)):
        write(tmp_path / "truth" / f"{name}.txt", TRUTH)
        moved = TRUTH + np.array([shift, 0, 0, 0])
        moved[0] = TRUTH[0]
        write(tmp_path / "results" / f"{name}.txt", moved)
    for name, flags in (("car-1", (0, 4)), ("car-2", (4,)), ("dog-1", (0,))):
        write(tmp_path / "att" / f"{name}.txt", [[int(k in flags) for k in range(14)]])
    return tmp_path


def run(capsys, *arguments):
    code = elysium(["evaluate", "score", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, (json.loads(out.splitlines()[-1]) if out.strip() else None), err


def plain(folders, *more):
    return "--format", "lasot", "--predictions", folders / "results", "--ground-truth", folders / "truth", *more


def test_attributes_are_means_over_the_sequences_that_hold_them(folders, capsys):
    code, shown, err = run(capsys, *plain(folders, "--attributes", folders / "att"))
    assert code == 0
    table = shown["attributes"]
    assert {name: entry["sequences"] for name, entry in table.items()} == {"CM": 2, "IV": 2}
    assert table["CM"]["precision"] == 100, "car-1 and car-2 lie within 20 px"
    assert table["IV"]["precision"] == pytest.approx((100 + 100 / 8) / 2)
    assert "IV" in err


def test_unknown_attributes_are_told(folders, capsys):
    code, _, err = run(capsys, *plain(folders, "--attributes"))
    assert code == 2
    assert "the attributes of 3 of 3 sequences are not known: car-1, car-2, dog-1" in err


def test_curves_and_scores_are_written(folders, capsys):
    more = ("--curves", folders / "curves.csv", "--output", folders / "out", "--attributes", folders / "att")
    _, shown, _ = run(capsys, *plain(folders, *more))
    rows = list(csv.DictReader((folders / "curves.csv").read_text().splitlines()))
    assert {row["curve"] for row in rows} == {"success", "precision", "norm_precision"}
    at_20 = next(row for row in rows if row["curve"] == "precision" and float(row["threshold"]) == 20)
    assert float(at_20["percent"]) == pytest.approx(shown["precision"], abs=1e-3)
    written = json.loads((folders / "out" / "scores.json").read_text())
    success = written["curves"]["success"]
    assert np.mean(success["percent"]) == pytest.approx(shown["auc"], abs=1e-3)
    assert written["by_sequence"]["car-1"]["attributes"] == ["IV", "CM"]
    assert written["by_attribute"] == shown["attributes"]
    sequences = list(csv.DictReader((folders / "out" / "sequences.csv").read_text().splitlines()))
    assert [row["sequence"] for row in sequences] == ["car-1", "car-2", "dog-1"]
    assert (folders / "out" / "attributes.csv").is_file()


def test_a_part_says_how_much_was_left_out(folders, capsys):
    (folders / "names.txt").write_text("car-1\ncar-2\n")
    for only in ("car-1,car-2", f"@{folders / 'names.txt'}"):
        _, shown, err = run(capsys, *plain(folders, "--only", only))
        assert (shown["sequences"], shown["left_out"], shown["precision"]) == (2, 1, 100)
        assert "1 sequences were not asked for" in err


def test_the_protocol_is_named_where_one_is_asked_for(folders, capsys):
    _, shown, _ = run(capsys, *plain(folders, "--protocol", "toolkit"))
    assert shown["protocol"] == "toolkit"
    assert set(shown) == {"auc", "precision", "norm_precision", "sequences", "frames", "protocol"}
    _, shown, _ = run(capsys, *plain(folders, "--protocol", "release", "--frame-size", "640x480"))
    assert (shown["num_clips"], shown["num_dropped"]) == (6, 0)


def test_a_treatment_of_absent_frames_that_changes_nothing_is_told(folders, capsys):
    _, _, err = run(capsys, *plain(folders, "--absent-frames", "drop"))
    assert "no flags of absence are known: --absent-frames drop changes nothing" in err
    for name in ("car-1", "car-2", "dog-1"):
        (folders / "absent").mkdir(exist_ok=True)
        (folders / "absent" / f"{name}.txt").write_text(",".join("1" * 8))
    code, _, err = run(capsys, *plain(folders, "--absent-frames", "drop", "--absent", folders / "absent"))
    assert code == 2
    assert "car-1 cannot be scored: no frame is left to score" in err


def test_the_releases_answers_need_no_truth_beside_them(tmp_path, capsys):
    text = "Frame 1: [10,10,20,20], Frame 2: [10,10,20,20]"
    line = json.dumps({"predict": text, "gt": text, "image_size": [640, 480]})
    (tmp_path / "answers.jsonl").write_text(line + "\n")
    for place in (tmp_path, tmp_path / "answers.jsonl"):
        code, shown, _ = run(capsys, "--protocol", "release", "--predictions", place)
        assert code == 0
        assert (shown["num_clips"], shown["precision"]) == (1, 100)


def test_a_published_set_brings_its_protocol_and_says_what_is_scored(tmp_path, capsys):
    names = [f"GOT-10k_Val_{number:06}" for number in range(1, 181)]
    root = tmp_path / "GOT-10k" / "val"
    for name in names:
        write(root / name / "groundtruth.txt", TRUTH)
        (root / name / "cover.label").write_text("8\n" * 7 + "0\n")
        (root / name / "meta_info.ini").write_text("[METAINFO]\nresolution: (640, 480)\n")
        write(tmp_path / "results" / name / f"{name}_001.txt", TRUTH)
    (root / "list.txt").write_text("\n".join(names))
    both = ("--predictions", tmp_path / "results", "--ground-truth", tmp_path / "GOT-10k")
    for dataset in ("got10k", "auto"):
        code, shown, err = run(capsys, "--dataset", dataset, *both)
        assert code == 0
        assert shown == {
            **{"ao": 100.0, "sr50": 100.0, "sr75": 100.0, "sequences": 180, "frames": 180 * 8},
            **{"dataset": "got10k", "split": "val", "protocol": "got10k"},
        }
        assert "GOT-10k (val), got10k: all but the first frame" in err


def test_shares_of_the_frame_are_brought_to_the_sets_pixels(tmp_path, capsys):
    from PIL import Image

    for name in words("nfs"):
        folder = tmp_path / "NfS" / name / "240"
        folder.mkdir(parents=True)
        lines = [f'0 {x} {y} {x + w} {y + h} {i} 0 0 0 "x"\n' for i, (x, y, w, h) in enumerate(TRUTH)]
        (folder / f"{name}.txt").write_text("".join(lines))
        (folder / name).mkdir()
        for number in range(8):
            (folder / name / f"{number + 1:05}.jpg").touch()
        Image.new("RGB", (160, 90)).save(folder / name / "00001.jpg")
        write(tmp_path / "results" / f"nfs_{name}.txt", TRUTH / [160, 90, 160, 90])
    both = ("--predictions", tmp_path / "results", "--ground-truth", tmp_path / "NfS")
    code, _, err = run(capsys, "--dataset", "nfs", "--split", "240", *both)
    assert code == 2
    assert "--units normalised" in err
    code, shown, _ = run(capsys, "--dataset", "nfs", "--split", "240", "--units", "normalised", *both)
    assert code == 0
    assert shown["auc"] == pytest.approx(95.238)


@pytest.mark.parametrize(
    ("arguments", "words_"),
    [
        (["--format", "lasot"], "--ground-truth is needed"),
        (["--ground-truth", "{truth}"], "one of --format (lasot or otb) and --dataset"),
        (["--ground-truth", "{truth}", "--format", "lasot", "--dataset", "otb"], "one of --format (lasot or otb) and"),
        (["--ground-truth", "{truth}", "--dataset", "lasoot"], "the nearest is lasot"),
        (["--ground-truth", "{truth}", "--dataset", "lasot"], "holds no sequence of LaSOT. Its layout:"),
        (["--ground-truth", "{truth}", "--dataset", "otb", "--absent", "{truth}"], "--absent is for --format"),
        (["--ground-truth", "{truth}", "--format", "lasot", "--split", "x"], "--split is for --dataset"),
        (["--ground-truth", "{truth}", "--format", "lasot", "--frame-size", "1280"], "--frame-size is WIDTHxHEIGHT"),
        (["--ground-truth", "{truth}", "--format", "lasot", "--only", "@nowhere"], "nowhere cannot be read"),
        (["--ground-truth", "{truth}", "--format", "lasot", "--only", ","], "an empty list of sequences"),
        (["--protocol", "release"], "holds no .json or .jsonl file of the release's answers"),
    ],
)
def test_a_call_that_cannot_work_says_what_is_missing(folders, capsys, arguments, words_):
    given = [argument.format(truth=folders / "truth") for argument in arguments]
    code, shown, err = run(capsys, "--predictions", folders / "results", *given)
    assert (code, shown) == (2, None)
    assert words_ in " ".join(err.split())
