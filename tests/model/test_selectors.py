"""The T-Selector learns, keeps what is best in its order, and its alternatives are what the protocol says."""

import numpy as np
import pytest
import torch
from model_parts import PROMPTS, batch, clips, tiny

from elysium.model import SELECTORS, ElysiumConfig
from elysium.model.selectors import strided_positions
from elysium.prompts import boxes_answer

ANSWERS = [boxes_answer(np.full((3, 4), 0.5)), "[1,2,3,4]."]
# One token in 64 decides, an eighth is kept.
NEEDLE = {
    "num_visual_tokens": 8,
    "vision": {"image_size": 64, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "llm": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
}


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_runs_forward_backward_and_in_generation(selector):
    model, processor = tiny(selector=selector)
    loss = model(**batch(processor, answers=ANSWERS)).loss
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [parameter.grad for parameter in model.selector.parameters()]
    learns = any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
    assert learns == (selector in ("gated", "concat", "cross_attention")), "mixed is the release's, whose gate is dead"
    ids = model.eval().generate(**batch(processor), max_new_tokens=2, do_sample=False)
    assert ids.shape[0] == 2


@pytest.mark.parametrize("training", [False, True])
def test_the_gate_keeps_the_best_tokens_as_they_are_in_order_of_position(training):
    model, _ = tiny()
    selector = model.selector.train(training)
    tokens = torch.randn(5, 16, 16)
    kept, positions = selector(tokens, 4)
    scores = selector.score(tokens)
    for row in range(5):
        best = sorted(scores[row].topk(4).indices.tolist())
        assert positions[row].tolist() == best
        assert torch.equal(kept[row], tokens[row, best])


def test_every_weight_of_the_gate_has_a_gradient_from_the_language_models_loss():
    model, processor = tiny()
    model(**batch(processor, answers=ANSWERS)).loss.backward()
    for name, parameter in model.selector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_token_that_the_loss_wants_more_of_rises():
    selector = tiny()[0].selector.eval()
    tokens = torch.randn(1, 16, 16)
    kept, positions = selector(tokens, 4)
    wanted = int(positions[0, 2])
    before = selector.score(tokens)[0, wanted].item()
    # A loss that rises when this token gives way to one that says nothing.
    (-(kept[0, 2] * (tokens[0, wanted] - tokens[0].mean(0))).sum()).backward()
    with torch.no_grad():
        for parameter in selector.parameters():
            parameter -= 0.1 * parameter.grad
    assert selector.score(tokens)[0, wanted].item() > before


def test_a_scores_gradient_is_what_its_share_of_the_frame_would_gain():
    selector = tiny()[0].selector
    tokens, pulls = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(5)), torch.randn(3, 4, 16)
    scores = selector.score(tokens).detach().requires_grad_()
    selector.score = lambda _: scores
    kept, positions = selector(tokens, 4)
    (kept * pulls).sum().backward()
    # docs/model.md, "How the gate learns": kept x_i has the gradient of p_i * <pull, x_i - m>, p the softmax.
    for frame in range(3):
        shares = scores[frame].detach().softmax(-1)
        gains = torch.zeros(16)
        gains[positions[frame]] = (pulls[frame] * (tokens[frame, positions[frame]] - tokens[frame].mean(0))).sum(-1)
        expected = shares * (gains - (shares * gains).sum())
        torch.testing.assert_close(scores.grad[frame], expected)


def needles(generator, count=32):
    """Features of one frame each, all noise but for one token, whose sign is the answer."""
    features = torch.randn(count, 64, 16, generator=generator)
    places = torch.randint(64, (count,), generator=generator)
    signs = torch.randint(2, (count,), generator=generator) * 2 - 1
    features[torch.arange(count), places] *= 0.1
    features[torch.arange(count), places, 0] = 6.0
    features[torch.arange(count), places, 1] = 6.0 * signs
    return features, places, signs


def accuracy_after_training(selector, steps=250):
    model, processor = tiny(**NEEDLE, selector=selector)
    ids = processor.encode_prompt("<image>")
    yes, no = processor.encode_answer("man")[0], processor.encode_answer("car")[0]
    parts = [model.selector, model.projector, model.language_model]
    optimiser = torch.optim.Adam([value for part in parts for value in part.parameters()], lr=3e-3)
    generator = torch.Generator().manual_seed(0)

    def answer(features):
        rows = torch.tensor([ids] * len(features))
        embeddings, positions, _ = model.prepare(rows, model.select(features), torch.ones_like(rows))
        outputs = model(inputs_embeds=embeddings, attention_mask=torch.ones_like(rows), position_ids=positions)
        return outputs.logits[:, -1, [yes, no]]

    for _ in range(steps):
        features, _, signs = needles(generator)
        loss = torch.nn.functional.cross_entropy(answer(features), (signs < 0).long())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    features, places, signs = needles(generator, 512)
    with torch.no_grad():
        kept = (model.select(features).positions == places.unsqueeze(-1)).any(-1).float().mean()
        right = (answer(features).argmax(-1) == (signs < 0).long()).float().mean()
    return float(right), float(kept)


def test_the_gate_learns_to_keep_the_one_token_in_64_that_decides_the_answer():
    right, kept = accuracy_after_training("gated")
    assert right > 0.95
    assert kept > 0.45, "all needles, or all of one sign"


@pytest.mark.parametrize("selector", ["strided", "mixed"])
def test_a_fixed_choice_does_not(selector):
    right, kept = accuracy_after_training(selector)
    assert kept < 0.25, "an eighth, by chance"
    assert right < 0.7, "what the kept eighth tells, and half of the rest"


def test_the_releases_gate_is_its_untrained_comb():
    model, _ = tiny(selector="mixed")
    _, positions = model.selector(torch.randn(3, 16, 16), 4)
    assert positions.tolist() == [[0, 4, 8, 12]] * 3
    assert strided_positions(576, 108)[-1] == 535, "the last 40 patches are never chosen"


@pytest.mark.parametrize("selector", ["gated", "mixed", "strided"])
@pytest.mark.parametrize("count", [1, 3, 16])
def test_a_call_may_ask_for_another_number_of_tokens(selector, count):
    model, processor = tiny(selector=selector)
    model.eval()
    inputs = batch(processor, num_visual_tokens=count)
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 4 * count
    assert model.encode_frames(inputs["pixel_values"], count).embeddings.shape[1] == count
    model(**inputs, num_visual_tokens=count)
    together = model.generate(**inputs, num_visual_tokens=count, max_new_tokens=5, num_beams=2)[:, -5:]
    for row in range(2):
        one = processor(text=PROMPTS[row], videos=[clips()[row]], num_visual_tokens=count)
        alone = model.generate(**one, num_visual_tokens=count, max_new_tokens=5, num_beams=2)[0, -5:]
        assert alone.tolist() == together[row].tolist()


@pytest.mark.parametrize("selector", ["concat", "cross_attention"])
def test_a_selector_made_for_one_number_says_so(selector):
    model, processor = tiny(selector=selector)
    with pytest.raises(ValueError, match=r"num_visual_tokens=3: .* was made for 4 tokens a frame"):
        model(**batch(processor, num_visual_tokens=3), num_visual_tokens=3)


def test_none_keeps_all_and_nothing_else():
    model, processor = tiny(selector="none")
    assert model.config.tokens_per_frame == 16
    model(**batch(processor))
    with pytest.raises(ValueError, match="keeps all 16 tokens"):
        model(**batch(processor, num_visual_tokens=3), num_visual_tokens=3)


def test_model_and_processor_must_agree_on_the_number():
    model, processor = tiny()
    with pytest.raises(ValueError, match=r"12 places for visual tokens, the frames give 16 .*same num_visual_tokens"):
        model(**batch(processor, num_visual_tokens=3))
    with pytest.raises(ValueError, match=r"16 places for visual tokens, the frames give 0"):
        model(input_ids=batch(processor)["input_ids"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_visual_tokens": 577}, "between 1 and the 576 patches of a frame, got 577"),
        ({"num_visual_tokens": 0}, "between 1 and the 576 patches"),
        ({"selector_type": "nope"}, "selector_type is one of gated, mixed"),
        ({"position_ids": "nope"}, "position_ids is one of packed, grid"),
        ({"share_visual_tokens": True, "selector_type": "strided"}, "only the selector 'gated' has"),
    ],
)
def test_impossible_configurations_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ElysiumConfig(vision_config={"image_size": 336, "patch_size": 14}, **settings)
