"""The tasks, with answers whose figures are known beforehand: an always right model, and one that never moves."""

import numpy as np
import pytest
import torch
from PIL import Image

from elysium.cli import run as elysium
from elysium.config import EvaluateSettings
from elysium.data.records import TrackRecord, read_jsonl, write_jsonl
from elysium.errors import ElysiumError, UsageError
from elysium.evaluation.results import MODEL, ItemResult
from elysium.evaluation.running import Shard, figures_of, measure, read_items
from elysium.evaluation.tasks.held_out import held_out_works
from elysium.evaluation.tasks.work import CSRT, SINGLE, STATIC
from elysium.inference import TrackAnswer
from elysium.inference.spending import DecodingStats

SETTINGS = EvaluateSettings(max_frames=6, clip_frames=4, max_sequences=3, bootstrap_samples=100, caption_metrics=())
PERFECT_AUC = 100 * 20 / 21


class Oracle:
    """Answers like an engine whose model is always right."""

    def __init__(self, records, data):
        self._records = {}
        for record in records:
            for number, name in enumerate(record.frames):
                with Image.open(data / name) as image:
                    self._records[np.asarray(image).tobytes(), record.object_description] = record.box[number]
        self._names = {tuple(np.round(record.box[0], 6)): record.object_description for record in records}

    batch_size = 2
    stats = DecodingStats()

    def track_each(self, requests):
        for number, request in enumerate(requests):
            boxes = np.array([self._records[frame.tobytes(), self.name_of(request)] for frame in request.frames])
            yield number, TrackAnswer(boxes, np.ones(len(boxes))), None

    def name_of(self, request):
        return request.expression or self._names[tuple(np.round(request.box, 6))]

    def ground(self, images, expressions):
        return np.array([self._records[image.tobytes(), name] for image, name in zip(images, expressions, strict=True)])

    def describe(self, clips, boxes):
        return [self._names[tuple(np.round(box, 6))] for box in boxes]


@pytest.fixture
def oracle(data):
    return Oracle(list(read_jsonl(data / "evaluation.jsonl", TrackRecord)), data)


def works(data, **options):
    return {work.name: work for work in held_out_works(data, SETTINGS, **options)}


def figures(work, engine, folder, **options):
    """Returns what is measured, and the items in order."""
    measure(work, lambda: engine, folder, **options)
    return figures_of(work, folder, samples=100, seed=0)


def test_sets_are_split_by_kind_and_cut_to_size(data):
    assert {name: list(work.sizes.values()) for name, work in works(data).items()} == {
        "sot-simulated": [6, 6, 6],
        "rsot-simulated": [6, 6, 6],
        "rec-simulated": [1, 1, 1],
        "video-reg-simulated": [4, 4, 4],
        "sot-real": [6],
    }


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("sot-simulated", {"auc": PERFECT_AUC, "precision": 100, "norm_precision": 100}),
        ("rsot-simulated", {"auc": PERFECT_AUC, "precision": 100, "norm_precision": 100}),
        ("sot-real", {"auc": PERFECT_AUC, "precision": 100, "norm_precision": 100}),
        ("rec-simulated", {"accuracy": 100, "accuracy_70": 100, "accuracy_90": 100, "mean_iou": 100}),
        ("video-reg-simulated", {"exact_match": 100, "head_noun": 100}),
    ],
)
def test_a_model_that_is_always_right_scores_what_can_be_scored(data, oracle, task, expected, tmp_path):
    work = works(data)[task]
    result, items = figures(work, oracle, tmp_path)
    assert result.model == pytest.approx(expected, abs=1e-3)
    assert (result.num_failures, result.num_sequences) == (0, len(work.sizes))
    assert [item.id for item in items] == list(work.sizes)
    for metric, value in expected.items():
        assert result.intervals[metric] == pytest.approx((value, value), abs=1e-2)


def test_the_baselines_are_what_they_say(data, oracle, tmp_path):
    result, _ = figures(works(data)["sot-simulated"], oracle, tmp_path / "moving")
    assert set(result.baselines) == {STATIC, SINGLE}, "CSRT is for real video"
    assert result.baselines[SINGLE] == pytest.approx(result.model)
    assert result.baselines[STATIC]["auc"] < result.model["auc"]
    real, _ = figures(works(data)["sot-real"], oracle, tmp_path / "real")
    assert 5 < real.baselines[CSRT]["auc"] <= PERFECT_AUC + 1e-3


def test_the_static_box_is_always_right_of_what_stands_still(data, oracle, tmp_path):
    records = list(read_jsonl(data / "evaluation.jsonl", TrackRecord))
    still = [record.model_copy(update={"box": [record.box[0]] * 8}) for record in records]
    write_jsonl(tmp_path / "evaluation.jsonl", still)
    (tmp_path / "frames").symlink_to(data / "frames")
    result, _ = figures(works(tmp_path)["sot-simulated"], oracle, tmp_path / "parts")
    assert result.baselines[STATIC]["auc"] == pytest.approx(PERFECT_AUC, abs=1e-3)


def test_baselines_that_are_not_asked_for_are_not_measured(data, oracle, tmp_path):
    result, _ = figures(works(data, baselines=[])["sot-real"], oracle, tmp_path)
    assert result.baselines == {}


def test_figures_are_told_by_size_and_class(data, oracle, tmp_path):
    result, items = figures(works(data)["rec-simulated"], oracle, tmp_path)
    classes = [record.object_class for record in read_jsonl(data / "evaluation.jsonl", TrackRecord)][:3]
    assert {name: group.num_items for name, group in result.groups["class"].items()} == {
        name: classes.count(name) for name in classes
    }
    assert sum(group.num_items for group in result.groups["size"].values()) == len(items)
    assert all(group.figures["accuracy"] == 100 for group in result.groups["size"].values())


def test_no_held_out_record_is_an_error(tmp_path):
    (tmp_path / "evaluation.jsonl").write_text("\n")
    with pytest.raises(ElysiumError, match=r"evaluation\.jsonl"):
        held_out_works(tmp_path, SETTINGS)


def test_a_lost_frame_is_named_and_what_was_measured_is_kept(data, oracle, tmp_path):
    records = list(read_jsonl(data / "evaluation.jsonl", TrackRecord))
    records[2] = records[2].model_copy(update={"frames": ["frames/nope.png"] * 8})
    write_jsonl(tmp_path / "evaluation.jsonl", records)
    (tmp_path / "frames").symlink_to(data / "frames")
    with pytest.raises(ElysiumError, match=r"frames/nope\.png cannot be read"):
        figures(works(tmp_path)["rec-simulated"], oracle, tmp_path / "parts")
    assert [item.id for item in read_items(tmp_path / "parts")] == ["clip-0", "clip-1"]


class _Breaks(Oracle):
    """Cannot be asked about one record, and gives a box without numbers for another."""

    def track_each(self, requests):
        if any(request.frames[0].tobytes() == self.broken for request in requests):
            raise RuntimeError("the prompt is longer than the model's context")
        yield from super().track_each(requests)

    def ground(self, images, expressions):
        boxes = super().ground(images, expressions)
        boxes[[image.tobytes() == self.broken for image in images]] = np.nan
        return boxes

    def describe(self, clips, boxes):
        if any(clip[0].tobytes() == self.broken for clip in clips):
            raise ValueError("no words")
        return super().describe(clips, boxes)


@pytest.fixture
def breaking(data):
    records = list(read_jsonl(data / "evaluation.jsonl", TrackRecord))
    engine = _Breaks(records, data)
    with Image.open(data / records[1].frames[0]) as image:
        engine.broken = np.asarray(image).tobytes()
    return engine


def test_a_record_that_breaks_the_engine_fails_alone(data, breaking, tmp_path):
    result, items = figures(works(data)["sot-simulated"], breaking, tmp_path)
    lost = result.per_sequence["clip-1"][MODEL]
    assert lost["precision"] == pytest.approx(100 / 6, abs=1e-3), "only the given box of 6 frames is right"
    assert (result.num_failures, result.failures["crashed"]) == (5, 5)
    assert items[1].prediction["boxes"][1:] == [None] * 5
    assert "longer than the model's context" in items[1].prediction["error"]
    assert result.per_sequence["clip-0"][MODEL]["auc"] == pytest.approx(PERFECT_AUC, abs=1e-3)


def test_an_answer_that_is_no_box_is_a_miss(data, breaking, tmp_path):
    result, _ = figures(works(data)["rec-simulated"], breaking, tmp_path)
    assert result.model["accuracy"] == pytest.approx(200 / 3, abs=1e-3)
    assert {kind: count for kind, count in result.failures.items() if count} == {"unparsed": 1}


def test_a_description_that_cannot_be_given_is_wrong(data, breaking, tmp_path):
    result, _ = figures(works(data)["video-reg-simulated"], breaking, tmp_path)
    assert result.model["exact_match"] == pytest.approx(200 / 3, abs=1e-3)
    assert result.failures["crashed"] == 1


class _Broken(Oracle):
    def track_each(self, requests):
        raise RuntimeError("the prompt is longer than the model's context")


def test_an_engine_that_answers_nothing_is_an_error_not_a_figure(data, tmp_path):
    work = works(data, baselines=[])["rsot-simulated"]
    with pytest.raises(ElysiumError, match=r"could answer none of 3 items; .*longer than the model's context"):
        measure(work, lambda: _Broken([], data), tmp_path)
    assert list(read_items(tmp_path)) == []


class _Twenty:
    """A task of twenty items of twenty videos, of which an engine answers those that it is told to."""

    name, facts, sizes = "sot-twenty", {}, {f"{number:02}": 1 for number in range(20)}

    def measure(self, engine, ids):
        for name in ids:
            failures = {} if name in engine else {"crashed": 1}
            yield [ItemResult(id=name, video=name, figures={MODEL: {"auc": 50.0}}, failures=failures)]


def test_an_engine_that_breaks_between_two_attempts_writes_no_failures_down(tmp_path):
    first = ["00", "01"]
    with pytest.raises(KeyboardInterrupt):
        measure(_Twenty(), lambda: first, tmp_path, progress=_stop_at(2))
    with pytest.raises(ElysiumError, match="could answer none of 16 items"):
        measure(_Twenty(), list, tmp_path)
    assert [item.id for item in read_items(tmp_path)] == first


def test_the_few_items_that_are_left_may_all_be_failures(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        measure(_Twenty(), lambda: list(_Twenty.sizes), tmp_path, progress=_stop_at(17))
    measure(_Twenty(), list, tmp_path)
    assert sum(item.failures.get("crashed", 0) for item in read_items(tmp_path)) == 3


def _stop_at(count):
    def progress(landed):
        if landed == count:
            raise KeyboardInterrupt

    return progress


def test_a_task_without_records_is_an_error(data):
    with pytest.raises(ElysiumError, match="holds no record to measure rec-real on"):
        held_out_works(_only_simulated(data), SETTINGS, tasks=["rec-real"])


def _only_simulated(data):
    folder = data / "simulated"
    folder.mkdir()
    lines = (data / "evaluation.jsonl").read_text().splitlines()
    (folder / "evaluation.jsonl").write_text("\n".join(line for line in lines if '"kind":"simulated"' in line))
    return folder


class _Counting(Oracle):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked = []

    def track_each(self, requests):
        self.asked += [self.name_of(request) for request in requests]
        yield from super().track_each(requests)


@pytest.fixture
def counting(data):
    return _Counting(list(read_jsonl(data / "evaluation.jsonl", TrackRecord)), data)


def test_shards_measure_everything_once_and_together_give_the_same_figures(data, oracle, counting, tmp_path):
    work = works(data)["rsot-simulated"]
    alone, _ = figures(work, oracle, tmp_path / "alone")
    for index in range(3):
        measure(work, lambda: counting, tmp_path / "shards", shard=Shard(index, 3))
    together, _ = figures_of(work, tmp_path / "shards", samples=100, seed=0)
    assert len(counting.asked) == len(set(counting.asked)) == 3
    assert together.model_copy(update={"speed": None}) == alone.model_copy(update={"speed": None})


def test_figures_wait_for_all_shards(data, oracle, tmp_path):
    work = works(data)["rsot-simulated"]
    measure(work, lambda: oracle, tmp_path, shard=Shard(0, 2))
    with pytest.raises(ElysiumError, match=r"1 of 3 items are not measured yet, clip-\d for one"):
        figures_of(work, tmp_path, samples=100, seed=0)


def test_what_a_kill_cut_short_is_measured_again_and_nothing_else(data, oracle, counting, tmp_path):
    work = works(data)["rsot-simulated"]
    whole, _ = figures(work, oracle, tmp_path)
    [path] = tmp_path.glob("shard-*.jsonl")
    path.write_bytes(path.read_bytes()[:-20])
    again, _ = figures(work, counting, tmp_path)
    assert len(counting.asked) == 1
    assert again.model_copy(update={"speed": None}) == whole.model_copy(update={"speed": None})


def test_results_of_another_measurement_are_not_gone_on_with(data, oracle, tmp_path):
    measure(works(data)["rsot-simulated"], lambda: oracle, tmp_path, facts={"checkpoint": "a"})
    with pytest.raises(UsageError, match=r"another measurement \(checkpoint differ\)"):
        measure(works(data)["rsot-simulated"], lambda: oracle, tmp_path, facts={"checkpoint": "b"})


@pytest.mark.parametrize("task", ["sot-simulated", "rec-simulated", "video-reg-simulated"])
def test_results_of_other_truth_are_not_gone_on_with(data, oracle, tmp_path, task):
    measure(works(data)[task], lambda: oracle, tmp_path / "parts")
    records = list(read_jsonl(data / "evaluation.jsonl", TrackRecord))
    mended = [(x1, y1, x2, (y1 + y2) / 2) for x1, y1, x2, y2 in records[0].box]
    write_jsonl(tmp_path / "evaluation.jsonl", [records[0].model_copy(update={"box": mended}), *records[1:]])
    with pytest.raises(UsageError, match=r"another measurement \(truth differ\)"):
        measure(works(tmp_path)[task], lambda: oracle, tmp_path / "parts")


def test_a_broken_accelerator_is_no_failure_of_the_model(data, oracle, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")

    measure(works(data)["rec-simulated"], lambda: oracle, tmp_path, shard=Shard(0, 2))
    monkeypatch.setattr(oracle, "ground", broken)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch, "ones", broken)
    with pytest.raises(ElysiumError, match="answers nothing any more: CUDA error"):
        measure(works(data)["rec-simulated"], lambda: oracle, tmp_path)
    assert len(list(read_items(tmp_path))) == 2, "what was measured before is kept, and nothing counts as failed"


def test_a_whole_measurement_needs_no_model(data, oracle, tmp_path):
    work = works(data)["rsot-simulated"]
    measure(work, lambda: oracle, tmp_path)
    measure(work, lambda: pytest.fail("the model was loaded"), tmp_path)


def test_a_folder_that_cannot_be_written_is_named(data, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    where = ["--data", str(data), "--checkpoint", "nano", "--output", str(tmp_path / "file" / "out")]
    assert elysium(["evaluate", "run", "--task", "rec", *where]) == 1
    message = capsys.readouterr().err
    assert "Not a directory; what is measured is kept" in message
    assert "Traceback" not in message


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_a_shard_that_cannot_be_is_refused(index, count):
    with pytest.raises(UsageError, match="INDEX/COUNT"):
        Shard(index, count)


def test_shards_share_frames_evenly():
    sizes = {f"clip-{number}": 10 + 37 * number % 900 for number in range(101)}
    shards = [Shard(index, 4).of(sizes) for index in range(4)]
    assert sorted(name for shard in shards for name in shard) == sorted(sizes)
    loads = [sum(sizes[name] for name in shard) for shard in shards]
    assert max(loads) - min(loads) <= max(sizes.values()) / 10
