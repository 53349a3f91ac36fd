"""What is watched in training: losses task by task, and those that must not go on."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_data import settings

from elysium.errors import ElysiumError
from elysium.model import build_model
from elysium.prompts import Task, ask, boxes_answer, description_answer
from elysium.training.batches import NO_TASK, PADDED, Collator
from elysium.training.effort import Effort
from elysium.training.losses import AnswerLoss
from elysium.training.questions import Question
from elysium.training.samples import Sample
from elysium.training.watch import Guard, Tally, duration

BOX = [0.1, 0.2, 0.5, 0.6]


@pytest.fixture(scope="module")
def processor():
    return build_model(settings().model, 0)[1]


def sample(*tasks):
    questions = []
    for task in tasks:
        prompt = ask(task, 1, expression="a red circle", box=BOX, phrasing=2 if task is Task.REG else 0)
        answer = description_answer("a red circle") if task is Task.REG else boxes_answer([BOX])
        questions.append(Question(task, prompt, answer))
    return Sample(tuple(questions), np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    "samples", [(sample(Task.REC), sample(Task.REG)), (sample(Task.REC, Task.REG, Task.REC), sample(Task.REG))]
)
def test_each_label_is_marked_with_the_task_of_its_question(processor, samples):
    batch = Collator(processor, mark_tasks=True)(list(samples))
    tasks, labels = batch["tasks"], batch["labels"]
    assert ((tasks >= 0) == (labels != -100)).all()
    for row, (given, ids) in enumerate(zip(samples, batch["input_ids"], strict=True)):
        for task in (Task.REC, Task.REG):
            said = processor.decode(ids[tasks[row] == list(Task).index(task)], skip_special_tokens=True)
            assert said == "".join(question.answer for question in given.questions if question.task is task)
    real = batch["attention_mask"]
    padding = (real if real.ndim == 2 else real[:, 0].diagonal(dim1=1, dim2=2)) == 0
    is_pad = batch["input_ids"] == processor.pad_token_id
    assert (tasks == PADDED).any()
    assert (is_pad[tasks == PADDED]).all()
    assert not padding[tasks == NO_TASK].any()


def test_without_being_asked_batches_hold_what_the_model_takes(processor):
    assert "tasks" not in Collator(processor)([sample(Task.REC)])


def test_the_mean_loss_of_each_task_over_several_batches():
    rng = np.random.default_rng(0)
    effort = Effort(per_token=3e9, per_pair=1e7, per_frame=2e10)
    tally, seen, tokens, places, flops = Tally(effort, peak=4e12), {}, 0, 0, 0.0
    for _ in range(3):
        tasks = torch.tensor(rng.choice([PADDED, NO_TASK, 0, 2, 3], size=(4, 9)))
        tasks[:, 0] = NO_TASK
        labelled = tasks[:, 1:][tasks[:, 1:] >= 0]
        losses = torch.tensor(rng.random(len(labelled)))
        tally.add(losses, tasks, torch.zeros(5, 3, 8, 8))
        flops += 5 * 2e10 + sum(3e9 * row + 1e7 * row**2 for row in (tasks != PADDED).sum(1).tolist())
        tokens, places = tokens + int((tasks != PADDED).sum()), places + tasks.numel()
        for task, loss in zip(labelled.tolist(), losses.tolist(), strict=True):
            seen.setdefault(list(Task)[task].value, []).append(loss)
    found = tally.take(2.0)
    for name, losses in seen.items():
        assert found[f"loss_{name}"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["tokens_per_second"] == tokens / 2
    assert found["padding"] == pytest.approx(1 - tokens / places)
    assert found["teraflops_per_second"] == pytest.approx(flops / 2e12)
    assert found["mfu"] == pytest.approx(flops / 2 / 4e12)
    assert {name for name in found if name.startswith("loss_")} == {f"loss_{name}" for name in seen}
    assert tally.take(1.0) == {}


def test_the_mean_loss_of_each_data_set():
    tally = Tally(sets=["refcoco+", "tracks"])
    tasks = torch.tensor([[NO_TASK, 0, 2], [NO_TASK, NO_TASK, 3], [NO_TASK, 1, PADDED]])
    tally.add(torch.tensor([1.0, 2.0, 4.0, 8.0]), tasks, torch.zeros(1, 3, 8, 8), torch.tensor([1, 0, 1]))
    found = tally.take(1.0)
    # MLflow takes no plus sign in a name.
    assert found["loss_set_refcoco_"] == 4.0
    assert found["loss_set_tracks"] == pytest.approx(11 / 3)
    assert found["padding"] == pytest.approx(1 / 9)


@pytest.mark.parametrize("smoothing", [0.0, 1.5])
def test_the_losses_of_labels_make_the_loss(processor, smoothing):
    batch = Collator(processor)([sample(Task.REC), sample(Task.REG)])
    torch.manual_seed(0)
    logits = torch.randn(*batch["input_ids"].shape, len(processor.tokenizer))
    loss = AnswerLoss(processor, smoothing)
    each = loss.of_labels(logits, batch["labels"])
    assert each.shape == (int((batch["labels"] != -100).sum()),)
    assert float(loss(logits, batch["labels"])) == pytest.approx(float(each.mean()))
    if not smoothing:
        plain = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
        assert float(each.mean()) == pytest.approx(float(plain), rel=1e-5)


def guard(folder, jump=10.0):
    return Guard(jump, folder, lambda ids: " ".join(map(str, ids.tolist())))


BATCH = {"input_ids": torch.tensor([[1, 2, 3]]), "labels": torch.tensor([[-100, 2, 3]])}


def test_a_jump_of_the_loss_stops_and_leaves_its_batch(tmp_path):
    watch = guard(tmp_path)
    for step in range(40):
        watch.check(0.2 + 0.1 * (step % 3), step, BATCH)
    watch.check(2.9, 40, BATCH)
    with pytest.raises(ElysiumError, match=r"the loss is 9 at step 41; before, it was 0.3; .*max_loss_jump"):
        watch.check(9.0, 41, BATCH)
    place = tmp_path / "stopped-at-41"
    assert torch.equal(load_file(place / "batch.safetensors")["input_ids"], BATCH["input_ids"])
    assert json.loads((place / "batch.json").read_text()) == {"step": 41, "loss": "9.0", "rows": ["1 2 3"]}


def test_a_batch_is_compared_with_its_own_tasks(tmp_path):
    watch = guard(tmp_path)
    boxes, both, words = ([[0.2, 0.0], [1.0, 0.0]], [[0.2, 12.0], [1.0, 3.0]], [[0.0, 4.0], [0.0, 1.0]])
    for step in range(40):
        watch.check(0.2, step, BATCH, torch.tensor(boxes))
    # A task that is new has no measure yet, and a usual one none that it is far above.
    for step in range(40, 60):
        watch.check(3.0, step, BATCH, torch.tensor(both))
    watch.check(4.0, 60, BATCH, torch.tensor(words))
    with pytest.raises(ElysiumError, match=r"the loss is 4 at step 61; before, it was 0\.3"):
        watch.check(4.0, 61, BATCH, torch.tensor([[4.0, 0.0], [1.0, 0.0]]))


def test_first_steps_and_small_losses_may_jump(tmp_path):
    watch = guard(tmp_path)
    watch.check(0.01, 0, BATCH)
    watch.check(8.0, 1, BATCH)
    for step in range(60):
        watch.check(0.001, step, BATCH)
    watch.check(2.9, 60, BATCH)
    with pytest.raises(ElysiumError, match="at step 61"):
        watch.check(3.1, 61, BATCH)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_what_is_no_number_stops_at_once(tmp_path, loss):
    with pytest.raises(ElysiumError, match=f"the loss is {loss} at step 3; its batch"):
        guard(tmp_path).check(loss, 3, BATCH)


def test_times_for_people():
    assert [duration(seconds) for seconds in (59, 60, 3599, 7260)] == ["59 s", "1 min", "1 h 0 min", "2 h 1 min"]
