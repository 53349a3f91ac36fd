"""Where visual tokens stand in the text, at which positions, and how a clip spends a budget that its frames share."""

import numpy as np
import pytest
import torch
from model_parts import PROMPTS, alone, batch, clips, frames, tiny

from elysium.inference import Engine, TrackRequest
from elysium.prompts import Task, ask


def positions_of(model, processor, row, **options):
    """Positions and ids of one prompt's row, and where its visual tokens come from."""
    inputs = alone(processor, row, **options)
    visual = model.encode_frames(inputs["pixel_values"])
    _, positions, order = model.prepare(inputs["input_ids"], visual, inputs["attention_mask"])
    ids = inputs["input_ids"] if order is None else inputs["input_ids"].gather(1, order)
    return positions[0], ids[0], visual


def test_a_kept_token_has_the_position_it_had_in_the_whole_frame():
    model, processor = tiny(position_ids="grid")
    positions, ids, visual = positions_of(model.eval(), processor, 0)
    whole, _ = tiny(selector="none")
    everything = processor.encode_prompt(PROMPTS[0], 16)
    image = model.config.image_token_id
    assert whole.config.image_token_id == image
    places = torch.tensor([place for place, token in enumerate(everything) if token == image]).reshape(3, 16)
    assert positions[ids == image].tolist() == places.gather(1, visual.positions).flatten().tolist()
    text = [place for place, token in enumerate(everything) if token != image]
    assert positions[ids != image].tolist() == text


@pytest.mark.parametrize("share", [False, True])
def test_with_every_token_kept_grid_and_packed_are_the_same(share):
    packed, processor = tiny(num_visual_tokens=16, share_visual_tokens=share)
    grid, _ = tiny(num_visual_tokens=16, position_ids="grid", share_visual_tokens=share)
    inputs = batch(processor)
    assert torch.equal(packed.eval()(**inputs).logits, grid.eval()(**inputs).logits)


def test_grid_positions_change_what_the_model_reads():
    packed, processor = tiny()
    grid, _ = tiny(position_ids="grid")
    inputs = batch(processor)
    assert not torch.allclose(packed.eval()(**inputs).logits, grid.eval()(**inputs).logits, atol=1e-3)


def test_given_positions_are_counted_over_the_tokens_that_are_there():
    model, processor = tiny(position_ids="grid")
    inputs = batch(processor, padding_side="right")
    counted = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    assert torch.equal(model.eval()(**inputs, position_ids=counted).logits, model(**inputs).logits)


def test_a_shared_budget_is_spent_where_the_scores_are_highest():
    model, processor = tiny(share_visual_tokens=True)
    model.eval()
    pixels = processor.pixel_values(frames(3))
    visual = model.encode_frames(pixels)
    features = model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    scores = model.selector.score(features)
    best = scores.argmax(-1)
    rest = scores.clone()
    rest[torch.arange(3), best] = -torch.inf
    # One for each frame, and the nine best of all that is left.
    expected = {(frame, int(best[frame])) for frame in range(3)}
    expected |= {(int(place) // 16, int(place) % 16) for place in rest.flatten().topk(9).indices}
    found = list(zip(visual.frames.flatten().tolist(), visual.positions.flatten().tolist(), strict=True))
    assert set(found) == expected
    assert found == sorted(found), "in reading order"


def test_places_follow_the_frames_that_have_the_tokens():
    model, processor = tiny(share_visual_tokens=True)
    _, ids, visual = positions_of(model.eval(), processor, 0)
    image, text = model.config.image_token_id, processor.tokenizer
    runs, count = [], 0
    for token in [*ids.tolist(), -1]:
        if token == image:
            count += 1
        elif count:
            runs.append(count)
            count = 0
    assert runs == torch.bincount(visual.frames.flatten()).tolist()
    before = alone(processor, 0)["input_ids"][0]
    assert text.decode(ids[ids != image]) == text.decode(before[before != image]), "the text stays as it was"
    last = int((before == image).nonzero()[-1])
    assert torch.equal(ids[last + 1 :], before[last + 1 :]), "and where it was, after the last frame"


def test_one_frame_has_its_budget_to_itself():
    shared, processor = tiny(share_visual_tokens=True)
    own, _ = tiny()
    inputs = alone(processor, 1)
    assert torch.equal(shared.eval()(**inputs).logits, own.eval()(**inputs).logits)


def test_a_shared_budget_trains_the_gate_and_keeps_the_labels():
    model, processor = tiny(share_visual_tokens=True)
    inputs = batch(processor, answers=["[1,2,3,4].", "[5,6,7,8]."])
    outputs = model.train()(**inputs)
    wanted = torch.nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten())
    assert outputs.loss.item() == pytest.approx(wanted.item(), abs=1e-5)
    outputs.loss.backward()
    assert all(value.grad.abs().max() > 0 for value in model.selector.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"position_ids": "grid"},
        {"share_visual_tokens": True},
        {"position_ids": "grid", "share_visual_tokens": True},
    ],
)
def test_the_engine_asks_as_the_model_does(options):
    model, processor = tiny(**options)
    engine = Engine(model, processor, clip_frames=4)
    clip = frames(3)
    prompt = ask(Task.VIDEO_REG, 3, box=[0.1, 0.2, 0.3, 0.4])
    inputs = processor(text=prompt, videos=[clip])
    ids = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    ends = (ids == processor.tokenizer.eos_token_id).nonzero()
    expected = processor.tokenizer.decode(ids[: int(ends[0])] if len(ends) else ids).strip().removesuffix(".")
    assert engine.describe([clip], [[0.1, 0.2, 0.3, 0.4]]) == [expected]
    answers = engine.track([TrackRequest(frames(9), expression="a red circle")])
    assert answers[0].boxes.shape == (9, 4)


def test_frames_of_a_shared_budget_cannot_be_taken_apart():
    model, processor = tiny(share_visual_tokens=True)
    visual = model.eval().encode_frames(processor.pixel_values(frames(3)))
    with pytest.raises(ValueError, match="cannot be taken apart"):
        visual[:1]


@pytest.mark.parametrize(("positions", "each"), [("packed", 4), ("grid", 16)])
def test_more_positions_than_the_context_has_are_refused_with_what_fits(positions, each):
    llm = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
    model, processor = tiny(llm=llm, position_ids=positions)
    processor.max_length = None
    count = 12
    inputs = processor(text=ask(Task.RSOT, count, expression="x"), videos=[frames(count)])
    message = rf"12 frames of {each} positions each and \d+ of text make \d+, .* takes 128: about \d+ frames fit"
    with pytest.raises(ValueError, match=message):
        model(**inputs)


def test_the_loss_is_the_mean_over_the_labelled_tokens():
    model, processor = tiny()
    model.eval()
    made = batch(processor, answers=["Frame 1: [1,2,3,4].", "[1,2,3,4]."])
    outputs = model(**made)
    wanted = torch.nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), made["labels"][:, 1:].flatten())
    assert outputs.loss.item() == pytest.approx(wanted.item(), abs=1e-5)


def test_clips_are_told_apart_in_a_batch():
    model, processor = tiny(share_visual_tokens=True)
    model.eval()
    other = [frames(2, seed=5), clips()[1]]
    prompts = [ask(Task.RSOT, 2, expression="x"), PROMPTS[1]]
    together = model(**processor(text=prompts, videos=other, padding_side="right")).logits
    for row in range(2):
        single = processor(text=prompts[row], videos=[other[row]])
        assert np.allclose(
            together[row, : single["input_ids"].shape[1]].detach(), model(**single).logits[0].detach(), atol=1e-5
        )
