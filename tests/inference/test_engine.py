"""Questions about frames: one encoding, one reading of a clip, the same answers as asked alone."""

import numpy as np
import pytest
import torch

from elysium.config import ModelSettings
from elysium.inference import Engine, TrackRequest
from elysium.inference.decoding import Sampling
from elysium.inference.engine import Prompt, confidence_of
from elysium.inference.grammar import BoxesGrammar
from elysium.model import build_model
from elysium.prompts import Task, ask, boxes_answer

from .conftest import TINY


def clip(count, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8))


@torch.inference_mode()
def asked_of_the_whole_model(model, processor, frames, prompt, state):
    """The answer by the model's own forward, over the whole text, token by token."""
    inputs = processor(text=prompt, videos=[frames])
    written = []
    while allowed := state.allowed():
        ids = torch.cat([inputs["input_ids"], torch.tensor([written], dtype=torch.long)], dim=1)
        logits = model(input_ids=ids, pixel_values=inputs["pixel_values"], attention_mask=torch.ones_like(ids)).logits
        written.append(max(allowed, key=lambda token, last=logits[0, -1]: float(last[token])))
        state.push(written[-1])
    return state.boxes()


VARIANTS = {
    "packed": {},
    "grid": {"position_ids": "grid"},
    "shared": {"share_visual_tokens": True, "position_ids": "grid"},
    "none": {"selector": "none"},
    "fine": {"coordinate_scale": 1000, "coordinate_maximum": 999},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_questions_about_a_clip_get_the_answers_that_the_model_gives_to_each_alone(variant):
    model, processor = build_model(TINY.model_copy(update=VARIANTS[variant]), seed=1)
    engine, frames = Engine(model, processor), clip(3)
    prompts = [
        ask(Task.SOT, 3, box=[0.1, 0.2, 0.5, 0.6], codec=processor.codec),
        ask(Task.SOT, 3, box=[0.3, 0.3, 0.4, 0.9], codec=processor.codec),
        ask(Task.RSOT, 3, expression="a blue star"),
    ]
    answers = [engine.grammars.boxes(3).start() for _ in prompts]
    job = engine.job(engine.encode(frames), [Prompt(*pair) for pair in zip(prompts, answers, strict=True)])
    engine.decoder().run([job])
    for prompt, answer in zip(prompts, answers, strict=True):
        expected = asked_of_the_whole_model(model, processor, frames, prompt, answer.grammar.start())
        assert answer.boxes() == expected


def test_what_all_questions_begin_with_is_read_once(parts):
    engine = Engine(*parts, drafts=False)
    frames, codec = clip(8), parts[1].codec
    prompts = [ask(Task.SOT, 8, box=[0.1, 0.1, 0.2 + 0.1 * number, 0.5], codec=codec) for number in range(6)]
    read = {}
    for count in (1, 6):
        engine.stats.tokens = 0
        asked = [Prompt(prompt, engine.grammars.boxes(8).start()) for prompt in prompts[:count]]
        engine.decoder().run([engine.job(engine.encode(frames), asked)])
        read[count] = engine.stats.tokens
    prompt = parts[1].encode_prompt(prompts[0])
    assert read[6] < 6 * read[1] - 5 * (len(prompt) - 40)


def test_a_frame_is_encoded_once_though_clips_share_it_and_objects_too(parts, monkeypatch):
    engine, encoded = Engine(*parts, clip_frames=4), []
    whole = Engine.encode
    monkeypatch.setattr(Engine, "encode", lambda self, frames: encoded.append(len(frames)) or whole(self, frames))
    frames = clip(11)
    engine.track([TrackRequest(frames, box=[0.1, 0.2, 0.5, 0.6]), TrackRequest(frames, expression="a star")])
    assert sum(encoded) == 11
    assert max(encoded) <= 4


def test_batching_changes_nothing(parts):
    requests = [
        TrackRequest(clip(11), box=[0.1, 0.2, 0.5, 0.6]),
        TrackRequest(clip(5, 1), expression="a blue square"),
        TrackRequest(clip(1, 2), expression="a star"),
        TrackRequest(clip(9, 3), box=[0.5, 0.2, 0.7, 0.6]),
    ]
    together = Engine(*parts, clip_frames=4, batch_size=8).track(requests)
    alone = Engine(*parts, clip_frames=4, batch_size=1).track(requests)
    for first, second in zip(together, alone, strict=True):
        assert np.array_equal(first.boxes, second.boxes)
        assert np.allclose(first.confidence, second.confidence, atol=1e-5)


@torch.inference_mode()
def test_the_confidence_of_a_box_is_the_geometric_mean_over_its_choices(parts):
    model, processor = parts
    frames = clip(3)
    answer = Engine(model, processor).track([TrackRequest(frames, expression="a star")])[0]
    prompt = ask(Task.RSOT, 3, expression="a star")
    written = boxes_answer(answer.boxes, processor.codec)
    inputs = processor(text=prompt, videos=[frames], answers=[written])
    logits = model(**inputs).logits[0]
    state = BoxesGrammar(processor.tokenizer, processor.codec, 3).start()
    of_boxes = [[], [], []]
    start = len(processor.encode_prompt(prompt))
    for place, token in enumerate(inputs["input_ids"][0, start:].tolist(), start=start):
        allowed = state.allowed()
        if len(allowed) > 1:
            logs = logits[place - 1, allowed].log_softmax(-1)
            of_boxes[state.part].append(float(logs[allowed.index(token)]))
        state.push(token)
    expected = [np.exp(np.mean(of_box)) if of_box else 1.0 for of_box in of_boxes]
    assert np.allclose(answer.confidence, expected, atol=1e-5)


def test_a_box_without_a_choice_is_certain():
    assert confidence_of([], 2).tolist() == [1, 1]


def test_images_are_grounded_one_box_each_in_order(parts):
    engine, images = Engine(*parts, batch_size=2), clip(5)
    together = engine.ground(images, ["a red circle"] * 5)
    assert together.shape == (5, 4)
    for image, box in zip(images, together, strict=True):
        assert engine.ground([image], ["a red circle"])[0].tolist() == box.tolist()
    assert engine.ground([], []).shape == (0, 4)


def test_descriptions_and_free_answers_are_what_generate_writes(parts):
    model, processor = parts
    engine, frames = Engine(*parts), clip(4)
    for task, given, answer in (
        (Task.VIDEO_REG, {"box": [0, 0, 1, 1]}, lambda: engine.describe([frames], [[0, 0, 1, 1]], max_tokens=7)),
        (Task.VQA, {"question": "What?"}, lambda: engine.ask([frames], ["What?"], max_tokens=7)),
    ):
        inputs = processor(text=ask(task, 4, codec=processor.codec, **given), videos=[frames])
        ids = model.generate(**inputs, max_new_tokens=7, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        expected = processor.tokenizer.decode(ids, skip_special_tokens=True).strip().removesuffix(".")
        assert answer() == [expected]


def test_free_answers_can_be_drawn_and_repeat_with_their_seed(parts):
    engine = Engine(*parts)
    asked = ([clip(2)], ["What?"])
    first = engine.ask(*asked, sampling=Sampling(1.5, seed=3))
    assert first == engine.ask(*asked, sampling=Sampling(1.5, seed=3))
    assert first != engine.ask(*asked, sampling=Sampling(1.5, seed=4))


def test_a_clip_that_exceeds_the_context_says_how_many_frames_fit():
    settings = TINY.model_copy(update={"llm": TINY.llm.model_copy(update={"max_position_embeddings": 256})})
    engine = Engine(*build_model(ModelSettings.model_validate(settings.model_dump()), seed=0), clip_frames=16)
    with pytest.raises(ValueError, match=r"clip of 16 frames.*takes 256.*fewer \(clip_frames\)"):
        engine.track([TrackRequest(clip(16), box=[0, 0, 1, 1])])


@pytest.mark.parametrize(("name", "value"), [("clip_frames", 1), ("batch_size", 0)])
def test_impossible_numbers_are_refused_by_name(parts, name, value):
    with pytest.raises(ValueError, match=name):
        Engine(*parts, **{name: value})
