"""The tasks, with answers whose figures are known beforehand: an always right model, and one that never moves."""

import numpy as np
import pytest
from PIL import Image

from elysium.config import EvaluateSettings
from elysium.errors import ElysiumError
from elysium.evaluation.tasks import MODEL, SINGLE, STATIC, TASKS, evaluate_task, load_sets
from elysium.inference import TrackAnswer

SETTINGS = EvaluateSettings(max_frames=6, clip_frames=4, max_sequences=3, bootstrap_samples=100)
PERFECT_AUC = 100 * 20 / 21


class Oracle:
    """Answers like an engine whose model is always right."""

    def __init__(self, records, data):
        self._records = {}
        for record in records:
            for number, name in enumerate(record.frames):
                with Image.open(data / name) as image:
                    self._records[np.asarray(image).tobytes(), record.object_description] = record.box[number]
        self._names = {record.box[0]: record.object_description for record in records}

    def track(self, requests):
        answers = []
        for request in requests:
            name = request.expression or self._names[tuple(request.box)]
            boxes = np.array([self._records[frame.tobytes(), name] for frame in request.frames])
            answers.append(TrackAnswer(boxes, np.ones(len(boxes))))
        return answers

    def ground(self, images, expressions):
        return np.array([self._records[image.tobytes(), name] for image, name in zip(images, expressions, strict=True)])

    def describe(self, clips, boxes):
        return [self._names[tuple(box)] for box in boxes]


def test_sets_are_split_by_kind_and_cut_to_size(data):
    sets = load_sets(data, SETTINGS)
    assert tuple(sets) == TASKS
    assert [len(records) for records in sets.values()] == [3, 3, 3, 3, 1]
    assert {record.metadata.kind for record in sets["sot-real"]} == {"real"}


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("sot-simulated", {"auc": PERFECT_AUC, "precision": 100, "norm_precision": 100}),
        ("rsot-simulated", {"auc": PERFECT_AUC, "precision": 100, "norm_precision": 100}),
        ("sot-real", {"auc": PERFECT_AUC, "precision": 100, "norm_precision": 100}),
        ("rec-simulated", {"accuracy": 100}),
        ("video-reg-simulated", {"exact_match": 100, "head_noun": 100}),
    ],
)
def test_a_model_that_is_always_right_scores_what_can_be_scored(data, task, expected):
    records = load_sets(data, SETTINGS)[task]
    result = evaluate_task(task, records, data, Oracle(records, data), SETTINGS)
    assert result.systems[MODEL] == pytest.approx(expected, abs=1e-3)
    assert result.num_failures == 0
    assert set(result.per_sequence) == {record.id for record in records}
    for metric, value in expected.items():
        assert result.intervals[metric] == pytest.approx((value, value), abs=1e-2)


def test_the_baselines_are_what_they_say(data):
    records = load_sets(data, SETTINGS)["sot-simulated"]
    result = evaluate_task("sot-simulated", records, data, Oracle(records, data), SETTINGS)
    assert result.systems[SINGLE] == pytest.approx(result.systems[MODEL])
    assert result.systems[STATIC]["auc"] < result.systems[MODEL]["auc"]
    still = [record.model_copy(update={"box": [record.box[0]] * 8}) for record in records]
    result = evaluate_task("sot-simulated", still, data, _Still(), SETTINGS)
    assert result.systems[STATIC]["auc"] == pytest.approx(PERFECT_AUC, abs=1e-3)


class _Still(Oracle):
    def __init__(self):
        pass

    def track(self, requests):
        return [TrackAnswer(np.tile(request.box, (len(request.frames), 1)), np.ones(6)) for request in requests]

    def ground(self, images, expressions):
        return np.zeros((len(images), 4))


def test_no_held_out_record_is_an_error(tmp_path):
    (tmp_path / "evaluation.jsonl").write_text("\n")
    with pytest.raises(ElysiumError, match=r"evaluation\.jsonl"):
        load_sets(tmp_path, SETTINGS)


def test_a_lost_frame_is_named(data):
    records = load_sets(data, SETTINGS)["rec-simulated"]
    lost = [records[0].model_copy(update={"frames": ["frames/nope.png"] * 8})]
    with pytest.raises(ElysiumError, match=r"frames/nope\.png of record clip-0"):
        evaluate_task("rec-simulated", lost, data, Oracle(records, data), SETTINGS)


class _Breaks(Oracle):
    """Cannot be asked about one record, and gives a box without numbers for another."""

    def track(self, requests):
        if any(request.frames[0].tobytes() == self.broken for request in requests):
            raise RuntimeError("the prompt is longer than the model's context")
        return super().track(requests)

    def ground(self, images, expressions):
        boxes = super().ground(images, expressions)
        boxes[[image.tobytes() == self.broken for image in images]] = np.nan
        return boxes


@pytest.fixture
def breaking(data):
    records = load_sets(data, SETTINGS)["sot-simulated"]
    engine = _Breaks(records, data)
    with Image.open(data / records[1].frames[0]) as image:
        engine.broken = np.asarray(image).tobytes()
    return records, engine


def test_a_record_that_breaks_the_engine_fails_alone(data, breaking):
    records, engine = breaking
    result = evaluate_task("sot-simulated", records, data, engine, SETTINGS)
    lost = result.per_sequence[records[1].id][MODEL]
    assert lost["precision"] == pytest.approx(100 / 6, abs=1e-3), "only the given box of 6 frames is right"
    assert result.num_failures == 5
    assert result.predictions[1]["boxes"][1:] == [None] * 5
    assert result.per_sequence[records[0].id][MODEL]["auc"] == pytest.approx(PERFECT_AUC, abs=1e-3)


def test_an_answer_that_is_no_box_is_a_miss(data, breaking):
    records, engine = breaking
    result = evaluate_task("rec-simulated", records, data, engine, SETTINGS)
    assert result.systems[MODEL]["accuracy"] == pytest.approx(200 / 3, abs=1e-3)
    assert result.num_failures == 1


def test_an_engine_that_answers_nothing_is_an_error_not_a_figure(data, breaking):
    records, engine = breaking
    with pytest.raises(RuntimeError, match="longer than the model's context"):
        evaluate_task("sot-simulated", records[1:2], data, engine, SETTINGS)


def test_a_task_without_records_is_an_error(data):
    with pytest.raises(ElysiumError, match="holds no record to measure rec-real on"):
        load_sets(_only_simulated(data), SETTINGS, tasks=["rec-real"])


def _only_simulated(data):
    folder = data / "simulated"
    folder.mkdir()
    lines = (data / "evaluation.jsonl").read_text().splitlines()
    (folder / "evaluation.jsonl").write_text("\n".join(line for line in lines if '"kind":"simulated"' in line))
    return folder
