"""One-pass metrics against figures that other people published (see the reference folder's README)."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from elysium.boxes import xywh_to_xyxy
from elysium.evaluation.grounding import grounding_accuracy
from elysium.evaluation.metrics import mean_score, score_track

REFERENCE = Path(os.environ.get("ELYSIUM_REFERENCE", Path(__file__).parents[2] / "../shared/reference"))


def reference(*parts):
    path = REFERENCE.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the recorded reference {path} is not here")
    return path


def expected(folder, name="expected.json"):
    return json.loads(reference(folder, name).read_text())


@pytest.fixture(scope="module")
def lasot():
    truth, results = np.load(reference("lasot", "ground_truth.npz")), np.load(reference("lasot", "predictions.npz"))
    ends = np.cumsum(truth["lengths"])[:-1]
    return [
        (str(name), xywh_to_xyxy(p), xywh_to_xyxy(g), absent)
        for name, p, g, absent in zip(
            truth["names"],
            np.split(results["boxes_xywh"], ends),
            np.split(truth["boxes_xywh"], ends),
            np.split(truth["absent"], ends),
            strict=True,
        )
    ]


@pytest.mark.parametrize("treatment", ["miss", "drop", "ordinary"])
def test_lasot_scores_are_the_published_ones_in_every_treatment_of_absent_frames(lasot, treatment):
    published = expected("lasot")
    mean = mean_score([score_track(p, g, absent, treatment) for _, p, g, absent in lasot])
    assert len(lasot) == published["sequences"]
    assert sum(len(g) for _, _, g, _ in lasot) == published["frames"]
    for metric, value in published["absent_frames"][treatment].items():
        assert getattr(mean, metric) == pytest.approx(value, abs=0.01)


def test_the_score_command_reads_lasots_files(lasot, tmp_path):
    for folder in ("predictions", "truth", "absent"):
        (tmp_path / folder).mkdir()
    for name, p, g, absent in lasot:
        for folder, boxes in (("predictions", p), ("truth", g)):
            rows = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
            np.savetxt(tmp_path / folder / f"{name}.txt", rows, fmt="%.4f", delimiter=",")
        (tmp_path / "absent" / f"{name}.txt").write_text(",".join(map(str, absent)))
    result = subprocess.run(
        [
            *(sys.executable, "-m", "elysium.cli", "evaluate", "score", "--format", "lasot", "--json"),
            *("--predictions", tmp_path / "predictions", "--ground-truth", tmp_path / "truth"),
            *("--absent", tmp_path / "absent", "--absent-frames", "drop"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    shown = json.loads(result.stdout.splitlines()[-1])
    published = expected("lasot")
    assert set(shown) == {"auc", "precision", "norm_precision", "sequences", "frames"}
    assert (shown["sequences"], shown["frames"]) == (published["sequences"], published["frames"])
    for metric, value in published["absent_frames"]["drop"].items():
        assert shown[metric] == pytest.approx(value, abs=0.01)


@pytest.mark.parametrize("tracker", ["MDNet", "SiamBAN"])
def test_otb_scores_are_the_published_ones(tracker, tmp_path):
    from elysium.evaluation.scoring import score_folders

    truths = json.loads(reference("otb100", "OTB2015.json").read_text())
    with tarfile.open(reference("otb100", f"results_{tracker}.tar.xz")) as archive:
        # Filters came with Python 3.11.4.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(tmp_path)  # noqa: S202 # our own reference data
    (tmp_path / "truth").mkdir()
    stems = {path.stem.lower().replace("-", "_"): path.stem for path in (tmp_path / tracker).glob("*.txt")}
    for key, entry in truths.items():
        np.savetxt(tmp_path / "truth" / f"{stems[key.lower()]}.txt", entry["gt_rect"], fmt="%g", delimiter="\t")
    scored = score_folders(tmp_path / tracker, tmp_path / "truth", "otb")
    assert len(scored.sequences) == len(truths)
    for metric, value in expected("otb100")[tracker].items():
        assert getattr(scored.mean, metric) == pytest.approx(value, abs=0.02)


def test_the_two_sequences_of_mmtracking_score_as_asserted_there():
    folder = reference("sot_fixture")
    scores = [
        score_track(
            np.loadtxt(path / "track_results.txt", delimiter=","),
            xywh_to_xyxy(np.loadtxt(path / "groundtruth.txt", delimiter=",")),
        )
        for path in sorted(folder.glob("airplane-*"))
    ]
    published = expected("sot_fixture")
    mean = mean_score(scores)
    assert mean.auc == pytest.approx(published["success"], abs=0.01)
    assert mean.precision == pytest.approx(published["precision"], abs=0.01)
    assert mean.norm_precision == pytest.approx(published["norm_precision"], abs=0.01)


def test_llavas_grounding_accuracy_is_the_published_one():
    predictions = json.loads(reference("rec", "llava_predictions.json").read_text())
    for key, value in expected("rec", "llava_expected.json").items():
        model, _, split = key.partition("_")
        answers = predictions[split][model]
        boxes = np.array([(answer["prediction"] or {}).get("box") or [np.nan] * 4 for answer in answers], dtype=float)
        truth = xywh_to_xyxy([answer["gt_bbox"] for answer in answers])
        assert grounding_accuracy(boxes, truth) == pytest.approx(100 * value, abs=1e-6)
