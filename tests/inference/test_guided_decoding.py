"""Guided decoding against its definition: the argmax among the tokens that the grammar allows, one token at a time."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from elysium.boxes import BoxCodec
from elysium.config import ModelSettings
from elysium.inference import Engine, TrackRequest
from elysium.inference.decoding import DecodingStats, decode
from elysium.inference.grammar import BoxesGrammar, FreeState
from elysium.model import build_model
from elysium.model.tokenizer import build_tokenizer
from elysium.prompts import Task, ask, boxes_answer

REFERENCE = Path(os.environ.get("ELYSIUM_REFERENCE", Path(__file__).parents[2] / "../shared/reference"))
SETTINGS = ModelSettings(
    num_visual_tokens=4,
    vision={"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    llm={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
)  # fmt: skip


def llama_tokenizer():
    path = REFERENCE / "tokenizer" / "tokenizer.model"
    if not path.is_file():
        pytest.skip(f"the recorded reference {path} is not here")
    from transformers import LlamaTokenizer

    return LlamaTokenizer.from_pretrained(path.parent)


@pytest.fixture(scope="module", params=["nano", "llama"])
def tokenizer(request):
    return build_tokenizer(512) if request.param == "nano" else llama_tokenizer()


def language_model(vocabulary, seed):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        initializer_range=0.5,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def naively(model, embeddings, state):
    """Asks the model before every token, forced or not, over the whole sequence, without a cache."""
    ids = []
    while allowed := state.allowed():
        logits = model(inputs_embeds=embeddings).logits[0, -1]
        token = max(allowed, key=lambda candidate: float(logits[candidate]))
        state.push(token)
        ids.append(token)
        step = model.get_input_embeddings()(torch.tensor([[token]]))
        embeddings = torch.cat([embeddings, step], dim=1)
    return ids


@pytest.mark.parametrize("seed", range(12))
@torch.inference_mode()
def test_guided_decoding_is_the_restricted_argmax_token_for_token(tokenizer, seed):
    model = language_model(len(tokenizer), seed)
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 9, size=3)
    counts = rng.integers(1, 5, size=3)
    prompts = [torch.randn(1, int(length), 16) for length in lengths]
    width = int(max(lengths))
    padded = torch.cat([torch.nn.functional.pad(prompt, (0, 0, width - prompt.shape[1], 0)) for prompt in prompts])
    mask = torch.tensor([[0] * (width - int(length)) + [1] * int(length) for length in lengths])

    grammars = [BoxesGrammar(tokenizer, BoxCodec(), int(count)) for count in counts]
    states = [grammar.start() for grammar in grammars]
    stats = DecodingStats()
    decode(_Positioned(model), padded, mask, states, stats)
    for prompt, grammar, state in zip(prompts, grammars, states, strict=True):
        expected = grammar.start()
        naively(model, prompt, expected)
        assert state.values == expected.values
    assert stats.forced > 0
    assert stats.passes <= 1 + 4 * max(counts) * 3, "fixed text goes through the model together with choices"


class _Positioned:
    """Positions counted over what is not padding, as the whole model does it."""

    def __init__(self, model):
        self._model = model

    def __call__(self, attention_mask, position_ids=None, **kwargs):
        if position_ids is None:
            position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        return self._model(attention_mask=attention_mask, position_ids=position_ids, **kwargs)

    def get_input_embeddings(self):
        return self._model.get_input_embeddings()


@pytest.mark.parametrize("maximum", [99, 100])
def test_every_box_that_training_writes_can_be_answered(tokenizer, maximum):
    rng = np.random.default_rng(0)
    codec = BoxCodec(maximum=maximum)
    grammar = BoxesGrammar(tokenizer, codec, 3)
    for _ in range(50):
        corners = np.sort(rng.random((3, 2, 2)), axis=1).reshape(3, 4)
        state = grammar.start()
        ids = tokenizer(boxes_answer(corners, codec), add_special_tokens=False)["input_ids"]
        for token in [*ids, tokenizer.eos_token_id]:
            state.push(token)
        assert state.allowed() == []
        assert state.boxes() == codec.decode(boxes_answer(corners, codec)).tolist()


def test_no_random_model_can_write_a_broken_box(tokenizer):
    rng = np.random.default_rng(0)
    codec = BoxCodec()
    for _ in range(20):
        state = BoxesGrammar(tokenizer, codec, 2).start()
        ids = []
        while allowed := state.allowed():
            ids.append(int(rng.choice(allowed)))
            state.push(ids[-1])
        text = tokenizer.decode(ids[:-1])
        found = codec.decode(text)
        assert found.tolist() == state.boxes()
        assert (found[:, 2:] >= found[:, :2]).all()


def test_a_given_first_box_is_written_without_asking(tokenizer):
    grammar = BoxesGrammar(tokenizer, BoxCodec(), 2)
    state = grammar.start([0.1, 0.204, 0.5, 0.6])
    while state.part == 0:
        assert len(state.allowed()) == 1
        state.push(state.allowed()[0])
    assert state.values == [10, 20, 50, 60]
    while len(state.allowed()) == 1:
        state.push(state.allowed()[0])
    assert len(state.allowed()) > 1, "the second frame's box is the model's own"


@pytest.mark.parametrize("scale", [1000])
def test_a_finer_grid_has_a_grammar_too(tokenizer, scale):
    codec = BoxCodec(scale=scale, maximum=scale - 1)
    state = BoxesGrammar(tokenizer, codec, 1).start()
    text = boxes_answer([[0.007, 0.042, 0.531, 0.999]], codec)
    for token in [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]:
        state.push(token)
    assert state.values == [7, 42, 531, 999]


def test_a_token_outside_the_grammar_is_refused(tokenizer):
    with pytest.raises(ValueError, match="not allowed"):
        BoxesGrammar(tokenizer, BoxCodec(), 1).start().push(tokenizer.eos_token_id)


def test_a_free_answer_ends_at_the_end_token_or_at_its_length():
    state = FreeState(eos=2, max_tokens=3)
    assert state.allowed() is None
    for token in (7, 8, 9):
        state.push(token)
    assert (state.allowed(), state.ids) == ([], [7, 8, 9])
    ended = FreeState(eos=2, max_tokens=3)
    ended.push(2)
    assert (ended.allowed(), ended.ids) == ([], [])


@pytest.fixture(scope="module")
def parts():
    return build_model(SETTINGS, seed=3)


def clip(count, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8))


def requests():
    long, short, single = clip(11), clip(5, 1), clip(1, 2)
    return [
        TrackRequest(long, box=[0.1, 0.2, 0.5, 0.6]),
        TrackRequest(long, expression="a red circle"),
        TrackRequest(short, expression="a blue square"),
        TrackRequest(single, expression="a star"),
        TrackRequest(single, box=[0, 0, 1, 1]),
    ]


def test_every_frame_gets_one_box_whatever_the_length(parts):
    answers = Engine(*parts, clip_frames=4).track(requests())
    assert [answer.boxes.shape for answer in answers] == [(11, 4), (11, 4), (5, 4), (1, 4), (1, 4)]
    for answer in answers:
        assert (answer.boxes >= 0).all()
        assert (answer.boxes <= 1).all()
        assert (answer.boxes[:, 2:] >= answer.boxes[:, :2]).all()
        assert ((answer.confidence > 0) & (answer.confidence <= 1)).all()


def test_a_given_box_comes_back_as_it_was_given(parts):
    answers = Engine(*parts, clip_frames=4).track(requests())
    assert answers[0].boxes[0].tolist() == [0.1, 0.2, 0.5, 0.6]
    assert answers[0].confidence[0] == 1


def test_a_frame_that_has_its_box_is_not_asked_about_again(parts):
    engine = Engine(*parts, clip_frames=4)
    engine.track([TrackRequest(clip(7), box=[0.1, 0.2, 0.5, 0.6])])
    # Two clips of four frames that share one: six boxes, each number one token.
    assert engine.stats.chosen <= 6 * 4


@torch.inference_mode()
def test_the_confidence_of_a_box_is_the_geometric_mean_of_its_chosen_tokens(parts):
    model, processor = parts
    frames = clip(3)
    answer = Engine(model, processor).track([TrackRequest(frames, expression="a star")])[0]
    prompt = ask(Task.RSOT, 3, expression="a star")
    written = boxes_answer(answer.boxes, processor.codec)
    inputs = processor(text=prompt, videos=[frames], answers=[written])
    logs = model(**inputs).logits[0].log_softmax(-1)
    state = BoxesGrammar(processor.tokenizer, processor.codec, 3).start()
    parts_of_boxes = [[], [], []]
    start = len(processor.encode_prompt(prompt))
    for place, token in enumerate(inputs["input_ids"][0, start:].tolist(), start=start):
        if len(state.allowed()) > 1:
            parts_of_boxes[state.part].append(float(logs[place - 1, token]))
        state.push(token)
    expected = [np.exp(np.mean(part)) if part else 1.0 for part in parts_of_boxes]
    assert np.allclose(answer.confidence, expected, atol=1e-5)


def test_batching_changes_nothing(parts):
    together = Engine(*parts, clip_frames=4, batch_size=8).track(requests())
    alone = Engine(*parts, clip_frames=4, batch_size=1).track(requests())
    for first, second in zip(together, alone, strict=True):
        assert np.array_equal(first.boxes, second.boxes)
        assert np.allclose(first.confidence, second.confidence, atol=1e-5)


def test_grounding_and_description_give_one_answer_each(parts):
    engine = Engine(*parts)
    assert engine.ground(clip(3), ["a red circle"] * 3).shape == (3, 4)
    assert len(engine.describe([clip(1), clip(4)], [[0, 0, 1, 1]] * 2)) == 2


@pytest.mark.parametrize("given", [{}, {"box": [0, 0, 1, 1], "expression": "x"}])
def test_a_track_begins_with_a_box_or_a_name(given):
    with pytest.raises(ValueError, match="give one of the two"):
        TrackRequest(clip(2), **given)
