"""Published tracking sets as they are measured: folders in their own layout, an engine whose boxes are known."""

import json

import numpy as np
import pytest
from PIL import Image

from elysium.cli import run as elysium
from elysium.config import EvaluateSettings
from elysium.errors import UsageError
from elysium.evaluation.opening import open_works
from elysium.evaluation.request import EvaluationRequest, SetRequest
from elysium.evaluation.results import MODEL
from elysium.evaluation.run_options import read_names
from elysium.evaluation.running import figures_of, measure
from elysium.evaluation.tasks.work import CSRT, SINGLE, STATIC
from elysium.inference import TrackAnswer
from elysium.inference.spending import DecodingStats

SIZE = (64, 48)
PERFECT_AUC = 100 * 20 / 21
LASOT = ("atv-1", "atv-2")


def moving(count, speed=1):
    """Returns boxes `x, y, w, h`, counted from 1, of a square that moves to the right."""
    return np.array([[5 + speed * number, 9, 12, 12] for number in range(count)], dtype=float)


def write_frames(folder, boxes, first=1, digits=8):
    folder.mkdir(parents=True, exist_ok=True)
    for number, (x, y, w, h) in enumerate(boxes, start=first):
        image = np.full((SIZE[1], SIZE[0], 3), 40, np.uint8)
        image[int(y) - 1 : int(y + h) - 1, int(x) - 1 : int(x + w) - 1] = (200, 60, 20)
        Image.fromarray(image).save(folder / f"{number:0{digits}}.jpg")


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, rows, fmt="%g", delimiter=",")


@pytest.fixture
def lasot(tmp_path):
    root = tmp_path / "LaSOT"
    for name, speed in zip(LASOT, (1, 2), strict=True):
        folder = root / "atv" / name
        boxes = moving(8, speed)
        write_frames(folder / "img", boxes)
        write_rows(folder / "groundtruth.txt", boxes)
        for flags in ("full_occlusion.txt", "out_of_view.txt"):
            (folder / flags).write_text("0,0,0,0,0,0,0,0")
        (folder / "nlp.txt").write_text("a plane")
    return root


class Engine:
    """Follows a square with known errors: it is right, but for a drift in pixels a frame."""

    batch_size = 4
    stats = DecodingStats()

    def __init__(self, speeds, drift=0.0):
        self._speeds, self._drift = speeds, drift
        self.shared = []

    def track_each(self, requests):
        self.shared = [id(request.frames) for request in requests]
        for number, request in enumerate(requests):
            boxes = moving(len(request.frames), self._speeds[number])
            corners = np.concatenate([boxes[:, :2] - 1, boxes[:, :2] + boxes[:, 2:] - 1], axis=1)
            corners[:, [0, 2]] += self._drift * np.arange(len(boxes))[:, None]
            yield number, TrackAnswer(corners / np.array(SIZE * 2), np.ones(len(boxes))), None

    def ground(self, images, expressions):
        return np.full((len(images), 4), np.nan)


def works(data, task="sot", baselines=(STATIC, SINGLE, CSRT), **options):
    request = EvaluationRequest(
        checkpoint=data,
        sets=(SetRequest(task=task, data=data, **options),),
        settings=EvaluateSettings(baselines=baselines),
    )
    return open_works(request)


def figures(work, engine, folder):
    measure(work, lambda: engine, folder)
    return figures_of(work, folder, samples=100, seed=0)


def test_a_set_is_measured_from_its_own_folder_with_all_baselines(lasot, tmp_path):
    [work] = works(lasot, name="lasot_ext", only=LASOT)
    assert work.name == "sot-lasot_ext"
    result, _ = figures(work, Engine([1, 2]), tmp_path / "out")
    assert result.model == pytest.approx({"auc": PERFECT_AUC, "precision": 100, "norm_precision": 100}, abs=1e-3)
    assert set(result.baselines) == {STATIC, SINGLE, CSRT}
    assert result.baselines[SINGLE]["precision"] == pytest.approx(100 / 8, abs=1e-3), "the given box alone"
    assert result.groups["class"]["atv"].num_items == 2
    assert any("2 of 150 sequences of LaSOT" in note for note in result.notes)
    assert (result.protocol["protocol"], result.protocol["absent_frames"]) == ("one-pass", "miss")


def test_result_files_give_the_same_figures_again(lasot, tmp_path, capsys):
    [work] = works(lasot, name="lasot_ext", baselines=(), only=LASOT)
    result, _ = figures(work, Engine([1, 2], drift=0.7), tmp_path / "out")
    names = ",".join(LASOT)
    folders = ["--predictions", str(tmp_path / "out" / "results"), "--ground-truth", str(lasot)]
    assert elysium(["evaluate", "score", "--format", "lasot", *folders, "--only", names, "--json"]) == 0
    scored = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {metric: scored[metric] for metric in result.model} == pytest.approx(result.model, abs=0.01)
    assert 20 < result.model["auc"] < PERFECT_AUC


def test_frames_beyond_the_asked_ones_are_left_out_and_said_so(lasot, tmp_path):
    [work] = works(lasot, name="lasot_ext", only=LASOT, max_frames=3, baselines=())
    result, items = figures(work, Engine([1, 2]), tmp_path / "out")
    assert [len(item.prediction["boxes"]) for item in items] == [3, 3]
    assert any("first 3 frames" in note for note in result.notes)
    assert result.protocol["max_frames"] == 3


def test_a_name_that_is_only_a_class_is_said_to_be_one(lasot, tmp_path):
    (lasot / "atv" / LASOT[1] / "nlp.txt").unlink()
    [work] = works(lasot, task="rsot", name="lasot_ext", only=LASOT, baselines=())
    result, _ = figures(work, Engine([1, 2]), tmp_path / "out")
    assert "1 of 2 sequences have no sentence and were asked for by their class, e.g. 'atv'" in result.notes


def test_a_limit_takes_the_first_sequences(lasot, tmp_path):
    [work] = works(lasot, name="lasot_ext", only=LASOT, limit=1, baselines=())
    assert list(work.sizes) == [LASOT[0]]


def test_two_targets_of_one_video_share_their_frames_and_are_one_draw(tmp_path):
    root = tmp_path / "OTB"
    write_frames(root / "Jogging" / "img", moving(307) % 30 + 1, digits=4)
    for target in (1, 2):
        write_rows(root / "Jogging" / f"groundtruth_rect.{target}.txt", moving(307) % 30 + target)
    [work] = works(root, name="otb", only=["Jogging-1", "Jogging-2"], baselines=())
    engine = Engine([1, 1])
    result, _ = figures(work, engine, tmp_path / "out")
    assert len(set(engine.shared)) == 1
    assert len(set(result.videos.values())) == 1


@pytest.fixture
def got10k(tmp_path):
    def make(split, hidden=False):
        root = tmp_path / "GOT-10k" / split
        names = [f"GOT-10k_{split.capitalize()}_{number:06}" for number in (1, 2)]
        published = [f"GOT-10k_{split.capitalize()}_{number:06}" for number in range(1, 181)]
        root.mkdir(parents=True)
        (root / "list.txt").write_text("\n".join(published))
        for name, count in zip(names, (4, 9), strict=True):
            write_frames(root / name, moving(count, 2))
            write_rows(root / name / "groundtruth.txt", moving(1 if hidden else count, 2))
            if not hidden:
                (root / name / "cover.label").write_text("8\n" * count)
                (root / name / "absence.label").write_text("0\n" * count)
                (root / name / "cut_by_image.label").write_text("0\n" * count)
                (root / name / "meta_info.ini").write_text(f"[METAINFO]\nobject_class: box\nresolution: {SIZE}\n")
        return root.parent, names

    return make


def test_got10ks_figures_are_over_all_frames_of_all_sequences(got10k, tmp_path):
    root, names = got10k("val")
    [work] = works(root, name="got10k", split="val", only=names, baselines=(STATIC,))
    result, items = figures(work, Engine([2, 0]), tmp_path / "out")
    assert list(result.model) == ["ao", "sr50", "sr75"]
    one, other = (item.figures[MODEL]["ao"] for item in items)
    assert one > other
    assert result.model["ao"] == pytest.approx((3 * one + 8 * other) / 11, abs=1e-3), "without the first frames"


def test_a_part_without_a_frame_that_counts_is_refused(got10k):
    root, names = got10k("val")
    (root / "val" / names[1] / "cover.label").write_text("8\n0\n0\n" + "8\n" * 6)
    with pytest.raises(UsageError, match="counts no frame of 1 of 2 sequences"):
        works(root, name="got10k", split="val", only=names, max_frames=3)
    assert works(root, name="got10k", split="val", only=names, max_frames=4)


def test_a_set_whose_truth_is_not_public_gives_what_its_server_takes(got10k, tmp_path):
    root, names = got10k("test", hidden=True)
    [work] = works(root, name="got10k", split="test", only=names, baselines=())
    result, _ = figures(work, Engine([2, 2]), tmp_path / "out")
    assert result.model == {}
    [archive] = (tmp_path / "out").glob("results*")
    assert archive.suffix == ".zip"
    assert any("not public" in note and archive.name in note for note in result.notes)


def test_objects_without_a_name_cannot_be_found_by_it(tmp_path):
    root = tmp_path / "OTB"
    write_frames(root / "Crossing" / "img", moving(120) % 30 + 1, digits=4)
    write_rows(root / "Crossing" / "groundtruth_rect.txt", moving(120) % 30 + 1)
    with pytest.raises(UsageError, match="has no name for the objects of 1 of 1 sequences"):
        works(root, task="rsot", name="otb", only=["Crossing"])


def test_a_set_that_is_not_whole_is_refused(lasot):
    with pytest.raises(UsageError, match="148 of the 150 sequences of LaSOT"):
        works(lasot, name="lasot_ext")


def test_a_long_part_may_be_named_in_a_file(tmp_path):
    (tmp_path / "part.txt").write_text("\n".join(LASOT) + "\n")
    assert read_names([f"@{tmp_path / 'part.txt'}", "a,b"]) == (*LASOT, "a", "b")
    with pytest.raises(UsageError, match=r"--only: .*nowhere\.txt cannot be read"):
        read_names([f"@{tmp_path / 'nowhere.txt'}"])
