"""The tasks, with answers whose figures are known beforehand: an always right model, and one that never moves."""

import numpy as np
import pytest
from PIL import Image

from elysium.config import EvaluateSettings
from elysium.data.records import TrackMetadata, TrackRecord, write_jsonl
from elysium.data.simulator import simulate
from elysium.errors import ElysiumError
from elysium.evaluation.tasks import MODEL, SINGLE, STATIC, TASKS, evaluate_task, load_sets
from elysium.inference import TrackAnswer

SETTINGS = EvaluateSettings(max_frames=6, clip_frames=4, max_sequences=3, bootstrap_samples=100)
PERFECT_AUC = 100 * 20 / 21


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Held-out records of simulated clips, one of them passed off as real."""
    folder = tmp_path_factory.mktemp("data")
    records = []
    for seed in range(4):
        clip = simulate(seed, num_frames=8, side=48)
        names = [f"frames/{seed}/{number:06}.png" for number in range(8)]
        (folder / "frames" / str(seed)).mkdir(parents=True)
        for name, image in zip(names, clip.frames, strict=True):
            Image.fromarray(image).save(folder / name)
        thing = next(thing for thing in clip.annotations.objects if None not in thing.boxes)
        metadata = TrackMetadata(
            content_sha256="0",
            timestamps=[float(number) for number in range(8)],
            decoder="none",
            caption=clip.caption,
            clip=str(seed),
            split="evaluation",
            kind="real" if seed == 3 else "simulated",
            confidence=1.0,
        )
        record = TrackRecord(
            source="test",
            id=f"clip-{seed}",
            vid=str(seed),
            metadata=metadata,
            frames=names,
            object_class=thing.object_class,
            box=thing.boxes,
            object_description=thing.expression,
            frame_size=(48, 48),
        )
        records.append(record)
    write_jsonl(folder / "evaluation.jsonl", records)
    return folder


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
