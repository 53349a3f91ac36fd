"""Result files that the servers and toolkits read, read back by their rules."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from elysium.errors import UsageError
from elysium.evaluation.scoring import score_set
from elysium.evaluation.tracking import TRACKING_SETS, TrackingSequence, TrackingSet, write_results

TRUTH = np.array([[10.0, 20, 40, 60], [12, 20, 42, 60], [14, 20, 44, 60]])
GIVEN = np.array([[10.0, 20, 40, 60], [np.nan] * 4, [np.nan] * 4])
FOUND = np.array([[0.0, 0, 1, 1], [12.25, 20.5, 42.75, 60.5], [np.nan] * 4])


def made(name, truth=TRUTH, names=("a", "b")):
    entry = TRACKING_SETS[name]
    given = bool(np.isfinite(truth).all())
    sequences = tuple(
        TrackingSequence(n, (Path("0.jpg"),) * 3, truth, given, frame_size=(320, 240), one_based=entry.one_based)
        for n in names
    )
    return TrackingSet(name, entry.title, "test", entry.one_based, entry.protocol, entry.scored, sequences, len(names))


def member(path, name):
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode()


def test_lasots_files_count_from_1_and_begin_with_the_given_box(tmp_path):
    assert write_results(tmp_path, made("lasot"), {"a": FOUND, "b": TRUTH}) == tmp_path
    assert (tmp_path / "a.txt").read_text().splitlines() == [
        "11.0000,21.0000,30.0000,40.0000",
        "13.2500,21.5000,30.5000,40.0000",
        "NaN,NaN,NaN,NaN",
    ]


def test_boxes_found_by_name_keep_their_own_first_box(tmp_path):
    write_results(tmp_path, made("tnl2k"), {"a": FOUND, "b": FOUND}, given_first=False)
    assert (tmp_path / "a.txt").read_text().startswith("0.0000,0.0000,1.0000,1.0000\n"), "and TNL2K counts from 0"


def test_what_is_written_scores_as_it_was(tmp_path):
    for name in ("lasot", "nfs", "trackingnet", "got10k"):
        target = made(name)
        written = write_results(tmp_path / name, target, {"a": TRUTH, "b": TRUTH + 2})
        scored = score_set(target, written)
        best = scored.protocol.figures_of(scored.sequences["a"])
        assert min(best.values()) > 95, name
        assert not scored.notes


def test_got10ks_archive_has_a_folder_a_sequence_with_times_and_no_nan(tmp_path):
    path = write_results(
        tmp_path / "mine", made("got10k", GIVEN), {"a": FOUND, "b": FOUND}, seconds={"a": [0.5, 0.25, 0.125]}
    )
    assert path == tmp_path / "mine.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["a/a_001.txt", "a/a_time.txt", "b/b_001.txt"]
    boxes = np.loadtxt(member(path, "a/a_001.txt").splitlines(), delimiter=",")
    assert boxes.shape == (3, 4), "the toolkit asserts one row a frame"
    assert boxes.tolist() == [[11, 21, 30, 40], [13.25, 21.5, 30.5, 40], [0, 0, 0, 0]]
    assert np.loadtxt(member(path, "a/a_time.txt").splitlines()).tolist() == [0.5, 0.25, 0.125]


def test_trackingnets_archive_is_flat(tmp_path):
    path = write_results(tmp_path / "mine.zip", made("trackingnet", GIVEN), {"a": FOUND, "b": FOUND})
    assert member(path, "a.txt").splitlines() == [
        "10.00,20.00,30.00,40.00",
        "12.25,20.50,30.50,40.00",
        "0.00,0.00,0.00,0.00",
    ]
    again = write_results(tmp_path / "again.zip", made("trackingnet", GIVEN), {"a": FOUND, "b": FOUND})
    assert path.read_bytes() == again.read_bytes()


def test_a_submission_that_lacks_boxes_is_not_written(tmp_path):
    with pytest.raises(UsageError, match="no boxes of 1 of 2 sequences of GOT-10k: b"):
        write_results(tmp_path / "x", made("got10k", GIVEN), {"a": FOUND})
    with pytest.raises(UsageError, match=r"a needs one box for each of its 3 frames, got shape \(2, 4\)"):
        write_results(tmp_path / "x", made("got10k", GIVEN), {"a": FOUND[1:], "b": FOUND})
    with pytest.raises(UsageError, match="a needs one time for each of 3 frames"):
        write_results(tmp_path / "x", made("got10k", GIVEN), {"a": FOUND, "b": FOUND}, seconds={"a": [1]})
    assert list(tmp_path.iterdir()) == []


def test_a_hidden_truth_is_no_ground_for_a_figure(tmp_path):
    target = made("got10k", GIVEN)
    write_results(tmp_path / "x", target, {"a": FOUND, "b": FOUND})
    with pytest.raises(UsageError, match=r"not public beyond the first frame \(2 sequences\): write the results"):
        score_set(target, tmp_path / "x.zip")
