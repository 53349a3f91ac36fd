"""A camera that moves on shows what leaves and comes back, with exact boxes, and the loss asks for no box then."""

import numpy as np
import pytest
import torch
from training_data import settings, write_snapshot

from elysium.boxes import BoxCodec
from elysium.data.simulator import simulate
from elysium.errors import UsageError
from elysium.model import build_model
from elysium.prompts import Task, ask, boxes_answer
from elysium.training.batches import Collator
from elysium.training.camera import fill_gone, mean_background, move_camera, sample_path, seen_boxes
from elysium.training.losses import ANYWHERE, AnswerLoss
from elysium.training.questions import Question
from elysium.training.samples import Sample, TrainingSamples
from elysium.training.sources import TrackSource

SIDE = 32


@pytest.fixture(scope="module")
def processor():
    return build_model(settings().model, 0)[1]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return write_snapshot(tmp_path_factory.mktemp("snapshot"))


def supply(snapshot, *overrides):
    phase = settings("training.finetune.coordinate_smoothing=1.0", *overrides).training.finetune
    return TrainingSamples([TrackSource(snapshot / "data", SIDE)], "finetune", phase, SIDE, 1)


def test_an_object_is_seen_where_its_moved_box_says():
    rng = np.random.default_rng(0)
    for _ in range(200):
        low = rng.integers(0, SIDE - 4, size=2)
        high = np.minimum(low + rng.integers(2, 12, size=2), SIDE)
        frame = np.full((1, SIDE, SIDE, 3), 80, np.uint8)
        frame[0, low[1] : high[1], low[0] : high[0]] = 255
        shift = rng.integers(-SIDE, SIDE + 1, size=(1, 2))
        moved = move_camera(frame, frame[0] * 0 + 80, shift)
        box, seen = seen_boxes(np.array([[*low, *high]]) / SIDE, shift / SIDE)
        rows, columns = np.nonzero(moved[0, ..., 0] == 255)
        assert seen[0] == pytest.approx(len(rows) / np.prod(high - low))
        if len(rows):
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(box[0] * SIDE, found)


def test_paths_leave_come_back_and_begin_away():
    rng = np.random.default_rng(0)
    boxes = np.tile([0.4, 0.2, 0.6, 0.5], (8, 1))
    seen = np.stack([seen_boxes(boxes, sample_path(rng, boxes))[1] for _ in range(2000)])
    gone = seen == 0
    assert 0.25 < gone.any(axis=1).mean() < 0.75, "leaves, or is only cut off"
    assert (~gone[:, 0] & gone.any(axis=1) & (seen[:, -1] == 1)).mean() > 0.05, "comes back"
    assert (gone[:, 0] & (seen[:, -1] > 0.5)).mean() > 0.01, "begins away"
    assert (seen[:, 0] == 1).mean() > 0.6
    assert 0.01 < gone.all(axis=1).mean() < 0.15, "never there"


def test_one_frame_is_moved_too():
    boxes = np.array([[0.4, 0.2, 0.6, 0.5]])
    seen = [seen_boxes(boxes, sample_path(np.random.default_rng(seed), boxes))[1][0] for seed in range(300)]
    assert 0.05 < np.mean(np.equal(seen, 0)) < 0.95


def test_the_background_holds_nothing_that_moved():
    canvas = np.random.default_rng(0).integers(0, 200, size=(SIDE, SIDE, 3)).astype(np.uint8)
    frames, boxes = np.stack([canvas] * 6), np.zeros((1, 6, 4))
    for number in range(6):
        x = 5 * number
        frames[number, 10:14, x : x + 4] = 255
        boxes[0, number] = np.array([x, 10, x + 4, 14]) / SIDE
    assert np.array_equal(mean_background(frames, boxes), canvas)


def test_where_an_object_always_is_the_background_is_plain():
    frames = np.full((3, SIDE, SIDE, 3), 60, np.uint8)
    frames[:, 8:16, 8:16] = 255
    boxes = np.tile(np.array([8, 8, 16, 16]) / SIDE, (1, 3, 1))
    assert (mean_background(frames, boxes) == 60).all()


def test_without_motion_samples_are_what_they_were(snapshot):
    still = supply(snapshot)
    for index in range(30):
        assert all(question.gone == () for question in still[index].questions)


def test_what_the_first_frame_does_not_show_is_asked_for_by_name(snapshot):
    moving = supply(snapshot, "training.finetune.camera_motion=1.0", "training.finetune.questions=3")
    by_name = (Task.RSOT, Task.REC)
    questions = [question for index in range(200) for question in moving[index].questions]
    gone = [question for question in questions if any(question.gone)]
    assert len(gone) > 0.1 * len(questions)
    begins_away = [question for question in gone if question.gone[0]]
    assert begins_away
    assert {question.task for question in begins_away} <= set(by_name)
    assert {Task.SOT, Task.RSOT, Task.REC} <= {question.task for question in gone}
    described = [question for question in questions if question.task in (Task.REG, Task.VIDEO_REG)]
    assert described
    assert not any(question.gone for question in described)
    for question in gone:
        assert len(BoxCodec().decode(question.answer)) == len(question.gone)


def test_a_box_that_shows_something_else_is_followed_nowhere(snapshot, monkeypatch):
    monkeypatch.setattr("elysium.training.samples.sample_path", lambda rng, boxes: np.full((len(boxes), 2), 2.0))
    away = supply(snapshot, "training.finetune.camera_motion=1.0", "training.finetune.questions=3")
    questions = [question for index in range(100) for question in away[index].questions]
    followed = [question for question in questions if question.task is Task.SOT]
    assert len(followed) > 20
    for question in followed:
        assert question.gone == (False, *[True] * (len(question.gone) - 1))
        given = BoxCodec().decode(question.answer)[0]
        assert BoxCodec().encode(given) in question.prompt
    by_name = [question for question in questions if question.task is Task.RSOT]
    assert by_name
    assert all(all(question.gone) for question in by_name)


def test_a_share_of_samples_moves_and_a_sample_stays_the_same(snapshot):
    still = supply(snapshot)
    some, again = (supply(snapshot, "training.finetune.camera_motion=0.3") for _ in range(2))
    moved = sum(not np.array_equal(still[index].frames, some[index].frames) for index in range(300))
    assert 0.15 < moved / 300 < 0.4
    assert all(np.array_equal(some[index].frames, again[index].frames) for index in range(20))


def test_boxes_of_frames_without_the_object_are_made_up():
    boxes = np.tile([0.1, 0.2, 0.3, 0.4], (4, 1)) + np.arange(4)[:, None] * 0.1
    gone = np.array([True, False, True, True])
    filled = np.stack([fill_gone(np.random.default_rng(seed), boxes, gone) for seed in range(60)])
    assert (filled[:, 1] == boxes[1]).all()
    assert (filled[..., :2] <= filled[..., 2:]).all()
    stale = (filled[:, 2] == boxes[1]).all(axis=1)
    assert 15 < stale.sum() < 45
    assert fill_gone(np.random.default_rng(0), boxes, np.ones(4, bool)).shape == (4, 4)


@pytest.mark.parametrize(("count", "gone"), [(1, (True,)), (3, (False, True, True)), (2, (True, False))])
def test_only_the_coordinates_of_frames_without_the_object_are_not_learnt(processor, count, gone):
    frames = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    answer = boxes_answer([[0.01, 0.02, 0.03, 0.5]] * count)
    prompt = ask(Task.RSOT if count > 1 else Task.REC, count, expression="a red circle")
    batch = Collator(processor)([Sample((Question(Task.RSOT, prompt, answer, None, gone),), frames)])
    ids, labels = batch["input_ids"][0], batch["labels"][0]
    learnt = labels != -100
    assert processor.decode(ids[learnt], skip_special_tokens=True) == answer
    changed = labels[learnt] != ids[learnt]
    assert (labels[learnt][changed] == ANYWHERE).all()
    pieces = [processor.decode(token) for token in ids[learnt][changed]]
    assert [piece.strip() for piece in pieces] == ["1", "2", "3", "50"] * sum(gone)


def test_where_no_coordinate_is_right_the_best_is_to_be_sure_of_none(processor):
    loss = AnswerLoss(processor, 1.0)
    numbers = [processor.tokenizer.convert_tokens_to_ids(str(number)) for number in range(100)]
    labels = torch.tensor([[-100, ANYWHERE]])

    def cost(peak):
        logits = torch.full((1, 2, len(processor.tokenizer)), -1e4)
        logits[0, 0, numbers] = 0.0
        logits[0, 0, numbers[42]] = peak
        return float(loss(logits, labels))

    assert cost(0.0) == pytest.approx(0, abs=1e-4)
    assert 0 < cost(1.0) < cost(3.0)
    word = torch.zeros(1, 2, len(processor.tokenizer))
    assert float(loss(word, labels)) > 0, "a word is no number"


def test_motion_without_a_loss_that_knows_numbers_is_refused():
    with pytest.raises(UsageError, match=r"camera_motion=0.2 needs coordinate_smoothing"):
        settings("training.finetune.camera_motion=0.2", "training.finetune.coordinate_smoothing=0.0")


def test_real_frames_keep_their_objects_where_the_boxes_say():
    clip = simulate(3, 8, 64)
    boxes = np.array([thing.boxes for thing in clip.annotations.objects if None not in thing.boxes])
    background = mean_background(clip.frames, boxes)
    shifts = np.tile([[9, -5]], (8, 1))
    moved = move_camera(clip.frames, background, shifts)
    assert np.array_equal(moved[:, :59, 9:], clip.frames[:, 5:, :55])
