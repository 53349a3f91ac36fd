import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from elysium.config import ModelSettings
from elysium.errors import UsageError
from elysium.model import SELECTORS, ElysiumConfig, build_model, load_checkpoint
from elysium.model.processor import IGNORED
from elysium.prompts import Task, ask, boxes_answer

TINY = {
    "num_visual_tokens": 4,
    "vision": {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "llm": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
}


def tiny(**changes):
    return build_model(ModelSettings(**{**TINY, **changes}), seed=0)


def frames(count, side=40, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def batch(processor, **options):
    prompts = [ask(Task.SOT, 3, box=[0.1, 0.2, 0.3, 0.4]), ask(Task.REC, 1, expression="a red circle")]
    return processor(text=prompts, videos=[frames(3), frames(1, seed=1)], **options)


def test_the_same_seed_builds_the_same_model_and_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, _ = tiny()
    assert torch.equal(torch.rand(1), expected)
    second, _ = tiny()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_runs_forward_and_backward(selector):
    model, processor = tiny(selector=selector)
    answers = [boxes_answer(np.full((3, 4), 0.5)), "[1,2,3,4]."]
    loss = model(**batch(processor, answers=answers)).loss
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [parameter.grad for parameter in model.selector.parameters()]
    learns = any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
    assert learns == (selector in ("gated", "concat", "cross_attention")), "mixed is the release's, whose gate is dead"


def test_the_gate_keeps_the_best_tokens_in_order_of_position():
    model, _ = tiny()
    model.eval()
    tokens = torch.randn(5, 16, 16)
    kept, positions = model.selector(tokens, 4)
    scores = model.selector.gate(tokens).squeeze(-1)
    for row in range(5):
        best = sorted(scores[row].topk(4).indices.tolist())
        assert positions[row].tolist() == best
        assert torch.equal(kept[row], tokens[row, best])


def test_the_gate_learns_to_keep_the_one_token_that_matters():
    torch.manual_seed(0)
    selector = tiny()[0].selector
    read = torch.nn.Linear(16, 1)
    optimiser = torch.optim.Adam([*selector.parameters(), *read.parameters()], lr=1e-2)

    def draw():
        tokens = torch.randn(64, 16, 16) * 0.3
        place = torch.randint(16, (64,))
        sign = torch.randint(2, (64,)).float() * 2 - 1
        tokens[torch.arange(64), place, 0] = 3.0
        tokens[torch.arange(64), place, 1] = 2 * sign
        return tokens, place, sign

    for _ in range(150):
        tokens, _, sign = draw()
        kept, _ = selector(tokens, 4)
        loss = torch.nn.functional.soft_margin_loss(read(kept).sum(1).squeeze(-1), sign)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    selector.eval()
    tokens, place, _ = draw()
    _, positions = selector(tokens, 4)
    share = (positions == place.unsqueeze(-1)).any(-1).float().mean()
    assert share > 0.9, f"kept the deciding token in {share:.0%} of frames; chance is 25 %"


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_gives_what_each_sample_gives_alone(side):
    model, processor = tiny()
    model.eval()
    together = batch(processor, padding_side=side)
    logits = model(**together).logits
    alone = processor(text=ask(Task.REC, 1, expression="a red circle"), videos=[frames(1, seed=1)])
    expected = model(**alone).logits[0]
    found = logits[1][together["attention_mask"][1].bool()]
    assert torch.allclose(found, expected, atol=1e-5)


def test_generation_in_a_batch_is_generation_alone():
    model, processor = tiny()
    model.eval()
    together = batch(processor)
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": processor.pad_token_id}
    many = model.generate(**together, **options)[1, together["input_ids"].shape[1] :]
    alone = processor(text=ask(Task.REC, 1, expression="a red circle"), videos=[frames(1, seed=1)])
    one = model.generate(**alone, **options)[0, alone["input_ids"].shape[1] :]
    assert many.tolist() == one.tolist()


def test_a_checkpoint_comes_back_bit_for_bit_through_every_door(tmp_path):
    model, processor = tiny()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    for loaded in (load_checkpoint(tmp_path)[0], AutoModelForImageTextToText.from_pretrained(tmp_path)):
        state = loaded.state_dict()
        assert state.keys() == model.state_dict().keys()
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    again = AutoProcessor.from_pretrained(tmp_path)
    first, second = batch(processor), batch(again)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"lacks config\.json"):
        load_checkpoint(tmp_path)


def test_labels_are_the_answers_and_their_ends_and_nothing_else():
    _, processor = tiny()
    answers = [boxes_answer(np.full((3, 4), 0.25)), "[1,2,3,4]."]
    made = batch(processor, answers=answers)
    for row, answer in enumerate(answers):
        kept = made["labels"][row][made["labels"][row] != IGNORED]
        assert kept.tolist() == processor.encode_answer(answer)
        assert kept[-1] == processor.tokenizer.eos_token_id


def test_the_loss_is_the_mean_over_the_labelled_tokens():
    model, processor = tiny()
    model.eval()
    made = batch(processor, answers=[boxes_answer(np.full((3, 4), 0.25)), "[1,2,3,4]."])
    outputs = model(**made)
    wanted = torch.nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), made["labels"][:, 1:].flatten())
    assert outputs.loss.item() == pytest.approx(wanted.item(), abs=1e-5)


def test_frames_are_resized_and_normalised_as_clip_does():
    _, processor = tiny()
    white = np.full((50, 70, 3), 255, np.uint8)
    pixels = processor.pixel_values([white])
    assert pixels.shape == (1, 3, 32, 32)
    expected = (1 - np.array([0.48145466, 0.4578275, 0.40821073])) / np.array([0.26862954, 0.26130258, 0.27577711])
    assert np.allclose(pixels[0, :, 5, 5], expected, atol=1e-6)


@pytest.mark.parametrize(
    "frame", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 4), np.uint8)]
)
def test_a_frame_that_is_not_8_bit_rgb_is_refused(frame):
    with pytest.raises(ValueError, match="uint8"):
        tiny()[1].pixel_values([frame])


def test_a_prompt_without_places_for_its_frames_is_refused():
    with pytest.raises(ValueError, match=r"1 places for frames .*3 frames"):
        tiny()[1](text=ask(Task.REC, 1, expression="x"), videos=[frames(3)])


def test_a_budget_above_the_patches_is_refused():
    with pytest.raises(ValueError, match="between 1 and the 576 patches"):
        ElysiumConfig(vision_config={"image_size": 336, "patch_size": 14}, num_visual_tokens=577)


def test_an_unknown_selector_is_refused():
    with pytest.raises(ValueError, match="gated, mixed"):
        ElysiumConfig(selector_type="nope")
