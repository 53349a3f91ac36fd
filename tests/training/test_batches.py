"""Sharing frames changes what training costs, not what it computes."""

from collections import Counter

import numpy as np
import pytest
import torch
from training_data import settings, write_snapshot

from elysium.errors import UsageError
from elysium.model import build_model
from elysium.prompts import Task, ask, boxes_answer
from elysium.training.batches import Collator, GroupedOrder
from elysium.training.losses import AnswerLoss
from elysium.training.questions import Question
from elysium.training.samples import Sample, TrainingSamples
from elysium.training.sources import TrackSource

SEVERAL = ("training.finetune.questions=3", "training.finetune.clip_interval=[1, 1]")


@pytest.fixture(scope="module")
def supply(tmp_path_factory):
    folder = write_snapshot(tmp_path_factory.mktemp("snapshot"))
    return TrainingSamples([TrackSource(folder / "data", 32)], "finetune", settings(*SEVERAL).training.finetune, 32, 7)


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    model, processor = build_model(settings().model, 0)
    return model.eval(), processor


def alone(sample):
    return [Sample((question,), sample.frames) for question in sample.questions]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_question_that_shares_frames_is_answered_as_if_it_stood_alone(supply, attention):
    model, processor = build_model(settings().model, 0)
    model.eval().set_attn_implementation(attention)
    samples = [supply[index] for index in range(4)]
    together, apart = Collator(processor)(samples), Collator(processor)([s for each in samples for s in alone(each)])
    with torch.no_grad():
        shared, separate = model(**together).logits, model(**apart).logits
    # What predicts each label, in the order of the questions.
    shared = shared[:, :-1][together["labels"][:, 1:] != -100]
    separate = separate[:, :-1][apart["labels"][:, 1:] != -100]
    torch.testing.assert_close(shared, separate, atol=1e-4, rtol=1e-4)


def test_a_question_does_not_see_the_answer_to_another(supply, parts):
    model, processor = parts
    batch = Collator(processor)([supply[0]])
    labelled = (batch["labels"][0] != -100).nonzero().flatten()
    ends = [int(i) for i in labelled if int(i) + 1 not in set(labelled.tolist())]
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    first = labelled[labelled <= ends[0]]
    changed["input_ids"][0, first] = processor.tokenizer.eos_token_id
    with torch.no_grad():
        before, after = model(**batch).logits[0], model(**changed).logits[0]
    assert not torch.allclose(before[first], after[first])
    assert torch.equal(before[ends[0] + 1 :], after[ends[0] + 1 :])


@pytest.mark.parametrize("count", [1, 2])
def test_the_model_reads_the_history_and_learns_the_answer(parts, count):
    _, processor = parts
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    prompt = ask(Task.RSOT, 2, expression="a red circle")
    answer, history = (boxes_answer([[x, 0.1, 0.5, 0.6]] * 2) for x in (0.1, 0.2))
    batch = Collator(processor)([Sample((Question(Task.RSOT, prompt, answer, history),) * count, frames)])
    learnt = batch["labels"][0] != -100
    assert processor.decode(batch["labels"][0][learnt], skip_special_tokens=True) == answer * count
    assert processor.decode(batch["input_ids"][0][learnt], skip_special_tokens=True) == history * count


def test_a_history_of_another_length_is_refused(parts):
    _, processor = parts
    frames, prompt = np.zeros((2, 32, 32, 3), np.uint8), ask(Task.RSOT, 2, expression="a red circle")
    answer, history = (boxes_answer([[0.1, 0.1, 0.5, 0.6]] * number) for number in (2, 1))
    with pytest.raises(UsageError, match=r"history_noise.* set it to 0"):
        Collator(processor)([Sample((Question(Task.RSOT, prompt, answer, history),), frames)])


def test_sharing_frames_saves_most_of_the_tokens(supply, parts):
    _, processor = parts
    samples = [supply[index] for index in range(8)]
    apart = sum(Collator(processor)(alone(sample))["attention_mask"].sum() for sample in samples)
    together = sum(Collator(processor)([sample])["input_ids"].numel() for sample in samples)
    assert together < 0.8 * apart


def test_grouping_reorders_and_loses_nothing_and_comes_out_the_same(supply):
    order = list(GroupedOrder(supply, 203, 4, seed=1, tokens_per_frame=4))
    assert Counter(order) == Counter(range(203))
    assert order == list(GroupedOrder(supply, 203, 4, seed=1, tokens_per_frame=4))
    assert order != list(GroupedOrder(supply, 203, 4, seed=2, tokens_per_frame=4))


def padding(supply, processor, order, size):
    tokens = padded = 0
    for start in range(0, len(order), size):
        batch = Collator(processor)([supply[index] for index in order[start : start + size]])
        padded += batch["input_ids"].numel()
        tokens += int((batch["attention_mask"].diagonal(dim1=2, dim2=3)[:, 0] & (batch["input_ids"] != 0)).sum())
    return 1 - tokens / padded


def test_grouping_leaves_little_padding(supply, parts):
    _, processor = parts
    assert processor.pad_token_id == 0
    grouped = padding(supply, processor, list(GroupedOrder(supply, 128, 4, seed=1, tokens_per_frame=4)), 4)
    assert grouped < 0.05
    assert padding(supply, processor, range(128), 4) > 0.2


def test_smoothed_coordinates_cost_less_the_nearer_they_are(parts):
    _, processor = parts
    loss = AnswerLoss(processor, 2.0)
    token = processor.tokenizer.convert_tokens_to_ids
    labels = torch.tensor([[-100, token("42")]])

    def cost(said):
        logits = torch.zeros(1, 2, len(processor.tokenizer))
        logits[0, 0, token(said)] = 3.0
        return float(loss(logits, labels))

    assert cost("42") < cost("41") < cost("38") < cost("80")


def test_a_number_of_a_free_answer_is_a_word(parts):
    _, processor = parts
    loss, token = AnswerLoss(processor, 2.0), processor.tokenizer.convert_tokens_to_ids
    torch.manual_seed(0)
    logits = torch.randn(2, 3, len(processor.tokenizer))
    labels = torch.tensor([[-100, token("3"), token("red")], [-100, token("3"), token("7")]])
    exact = torch.tensor([[False, True, True], [False, False, False]])
    found = loss.of_labels(logits, labels, exact)
    plain = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    torch.testing.assert_close(found[:2], plain[:2])
    torch.testing.assert_close(found[2:], loss.of_labels(logits, labels)[2:])
    assert (found[2:] < plain[2:] - 0.5).all()


def test_the_best_answer_costs_nothing_and_words_cost_what_they_did(parts):
    _, processor = parts
    loss = AnswerLoss(processor, 2.0)
    token = processor.tokenizer.convert_tokens_to_ids
    numbers = [token(str(number)) for number in range(100)]
    best = torch.full((1, 2, len(processor.tokenizer)), -1e4)
    best[0, 0, numbers] = -((torch.arange(100) - 42.0) ** 2) / 8
    assert float(loss(best, torch.tensor([[-100, token("42")]]))) == pytest.approx(0, abs=1e-4)

    torch.manual_seed(0)
    logits = torch.randn(2, 5, len(processor.tokenizer))
    labels = torch.full((2, 5), token("red"))
    labels[0, 3] = -100
    plain = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert float(loss(logits, labels)) == pytest.approx(float(plain), rel=1e-5)


def test_smoothing_is_refused_where_a_coordinate_takes_several_tokens(parts):
    _, processor = parts

    class Splitting:
        coordinate_maximum = 999
        tokenizer = processor.tokenizer

    with pytest.raises(UsageError, match="one token"):
        AnswerLoss(Splitting(), 2.0)
