"""One-pass metrics against figures that other people published (see the reference folder's README)."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from elysium.boxes import xywh_to_xyxy, xyxy_to_xywh
from elysium.evaluation.grounding.scores import score_grounding
from elysium.evaluation.metrics import mean_score, score_track
from elysium.evaluation.scoring import score_folders
from elysium.evaluation.tracking import PROTOCOLS, TrackingSequence
from elysium.evaluation.tracking.checks import Pair, origin_offset
from elysium.evaluation.tracking.release import clamp_like_the_release, release_clips

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


@pytest.fixture
def siamrpn(lasot):
    """LaSOT with the results of the tracker that the figures below were measured on."""
    source = expected("lasot")["source"]
    if source != "SiamRPN++ raw results":
        pytest.skip(f"the figure is that of SiamRPN++'s results, and those recorded are of {source}")
    return lasot


def sequences_of(lasot):
    return [
        TrackingSequence(name, (), g - [1, 1, 1, 1], absent=absent > 0, one_based=True) for name, _, g, absent in lasot
    ]


def test_the_toolkits_protocol_gives_the_trackers_published_figures_too(siamrpn):
    # SiamRPN++'s paper and LaSOT's page: AUC 49.6, P 49.1, P_norm 56.9.
    protocol = PROTOCOLS["toolkit"]
    scores = [
        protocol.score(p - 1, sequence) for (_, p, _, _), sequence in zip(siamrpn, sequences_of(siamrpn), strict=True)
    ]
    figures = protocol.figures_of(protocol.mean(scores))
    assert {name: round(value, 1) for name, value in figures.items()} == {
        "auc": 49.6,
        "precision": 49.1,
        "norm_precision": 56.9,
    }


def test_the_releases_clamp_alone_makes_68_7_of_49_6(siamrpn):
    """PROTOCOL §7: clamping x, y, w and h to [1, 100] pixels, of results and truth."""

    def clamped(boxes):
        return xywh_to_xyxy(clamp_like_the_release(xyxy_to_xywh(boxes)))

    sound = mean_score([score_track(p, g, absent) for _, p, g, absent in siamrpn])
    wrong = mean_score([score_track(clamped(p), clamped(g), absent) for _, p, g, absent in siamrpn])
    assert (round(sound.auc, 1), round(wrong.auc, 1)) == (49.6, 68.7)


def test_the_releases_clips_of_lasot_are_as_many_as_its_users_counted(siamrpn):
    """PROTOCOL §7: 98,036 eight-frame clips of 280 sequences."""
    assert sum(len(release_clips(len(g))) for _, _, g, _ in siamrpn) == 98_036


def test_siamrpns_results_count_pixels_from_0_and_lasots_truth_from_1(siamrpn):
    """The published figures hold the offset: with it taken out, the AUC is 49.74."""
    pairs = [Pair(name, name, xyxy_to_xywh(p), xyxy_to_xywh(g)) for name, p, g, _ in siamrpn]
    assert origin_offset(pairs) == -1
    mean = mean_score([score_track(p + 1, g, absent) for _, p, g, absent in siamrpn])
    assert mean.auc == pytest.approx(49.738, abs=0.01)


def otb_folders(tracker, tmp_path):
    truths = json.loads(reference("otb100", "OTB2015.json").read_text())
    with tarfile.open(reference("otb100", f"results_{tracker}.tar.xz")) as archive:
        # Filters came with Python 3.11.4.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(tmp_path)  # noqa: S202 # our own reference data
    (tmp_path / "truth").mkdir()
    stems = {path.stem.lower().replace("-", "_"): path.stem for path in (tmp_path / tracker).glob("*.txt")}
    for key, entry in truths.items():
        np.savetxt(tmp_path / "truth" / f"{stems[key.lower()]}.txt", entry["gt_rect"], fmt="%g", delimiter="\t")
    return tmp_path / tracker, tmp_path / "truth", len(truths)


@pytest.mark.parametrize("tracker", ["MDNet", "SiamBAN"])
def test_otb_scores_are_the_published_ones(tracker, tmp_path):
    results, truth, count = otb_folders(tracker, tmp_path)
    scored = score_folders(results, truth, "otb")
    assert len(scored.sequences) == count
    for metric, value in expected("otb100")[tracker].items():
        assert getattr(scored.mean, metric) == pytest.approx(value, abs=0.02)


def test_figures_by_attribute_are_means_over_the_sequences_that_a_hand_counts(tmp_path):
    results, truth, count = otb_folders("SiamBAN", tmp_path)
    scored = score_folders(results, truth, "otb")
    table = scored.by_attribute()
    low = "Biker Box Car1 Deer Ironman MotorRolling Panda RedTeam Surfer Walking2".casefold().split()
    by_name = {name.casefold(): score for name, score in scored.sequences.items()}
    assert table["LR"].num_sequences == len(low)
    for metric in ("auc", "precision", "norm_precision"):
        by_hand = sum(getattr(by_name[name], metric) for name in low) / len(low)
        assert getattr(table["LR"].mean, metric) == pytest.approx(by_hand)
    # Every sequence counts once for each attribute it holds; the benchmark has 11 attributes, of which none holds all.
    held = sum(len(attributes) for attributes in scored.attributes.values())
    assert len(table) == 11
    assert sum(entry.num_sequences for entry in table.values()) == held
    assert max(entry.num_sequences for entry in table.values()) < count


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
        assert score_grounding(boxes, truth)["accuracy"].mean() == pytest.approx(100 * value, abs=1e-6)
