"""Which answers the grammar lets through, for tokenizers of every family."""

import numpy as np
import pytest

from elysium.boxes import BoxCodec
from elysium.errors import UsageError
from elysium.inference.grammar import BoxesGrammar, FreeState
from elysium.prompts import boxes_answer


def test_the_byte_level_tokenizers_join_what_their_originals_join(tokenizer):
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("[23,45,46,72],", add_special_tokens=False)["input_ids"])
    # PROTOCOL §1: `],` is one piece; were every character a token, the grammar would have nothing to prove.
    assert any(len(piece.replace("▁", "")) > 1 for piece in pieces)


@pytest.mark.parametrize("maximum", [99, 100])
def test_every_box_that_training_writes_can_be_answered(tokenizer, maximum):
    rng = np.random.default_rng(0)
    codec = BoxCodec(maximum=maximum)
    grammar = BoxesGrammar(tokenizer, codec, 3)
    for _ in range(50):
        corners = np.sort(rng.random((3, 2, 2)), axis=1).reshape(3, 4)
        state = grammar.start()
        ids = tokenizer(boxes_answer(corners, codec), add_special_tokens=False)["input_ids"]
        assert len(ids) + 1 <= grammar.max_tokens
        for token in [*ids, tokenizer.eos_token_id]:
            state.push(token)
        assert state.over
        assert state.allowed() == []
        assert state.boxes() == codec.decode(boxes_answer(corners, codec)).tolist()


@pytest.mark.parametrize("num_frames", [1, 2, 12])
def test_no_random_model_can_write_a_broken_box(tokenizer, num_frames):
    rng = np.random.default_rng(0)
    codec = BoxCodec()
    for _ in range(10):
        state = BoxesGrammar(tokenizer, codec, num_frames).start()
        ids = []
        while allowed := state.allowed():
            ids.append(int(rng.choice(allowed)))
            state.push(ids[-1])
        text = tokenizer.decode(ids[:-1])
        found = codec.decode(text)
        assert found.tolist() == state.boxes()
        assert (found[:, 2:] >= found[:, :2]).all()
        # The model reads its own answers as the tokenizer splits them in training.
        assert tokenizer(boxes_answer(found, codec), add_special_tokens=False)["input_ids"] == ids[:-1]


def test_a_given_first_box_is_written_without_asking(tokenizer):
    grammar = BoxesGrammar(tokenizer, BoxCodec(), 2)
    state = grammar.start([0.1, 0.204, 0.5, 0.6])
    state.write_fixed()
    assert state.values == [10, 20, 50, 60]
    assert len(state.allowed()) > 1, "the second frame's box is the model's own"


@pytest.mark.parametrize("scale", [1000])
def test_a_finer_grid_has_a_grammar_too(tokenizer, scale):
    codec = BoxCodec(scale=scale, maximum=scale - 1)
    state = BoxesGrammar(tokenizer, codec, 1).start()
    text = boxes_answer([[0.007, 0.042, 0.531, 0.999]], codec)
    for token in [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]:
        state.push(token)
    assert state.values == [7, 42, 531, 999]


def test_a_copy_goes_its_own_way(tokenizer):
    state = BoxesGrammar(tokenizer, BoxCodec(), 1).start()
    state.write_fixed()
    twin = state.copy()
    while not twin.over:
        twin.push(twin.allowed()[0])
    assert (len(twin.values), len(state.values)) == (4, 0)


def test_the_way_to_a_number_is_the_way_the_tokenizer_writes_it(tokenizer):
    for wanted in (0, 5, 10, 47, 99):
        state = BoxesGrammar(tokenizer, BoxCodec(), 1).start()
        state.write_fixed()
        while not state.values:
            state.push(state.token_towards(wanted))
        assert state.values == [wanted]


def test_a_token_outside_the_grammar_is_refused(tokenizer):
    with pytest.raises(ValueError, match="not allowed"):
        BoxesGrammar(tokenizer, BoxCodec(), 1).start().push(tokenizer.eos_token_id)


def test_a_tokenizer_that_joins_numbers_with_other_text_is_refused_by_name():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    joined = Tokenizer(models.BPE())
    joined.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    corpus = [boxes_answer([[value / 100] * 4] * 3, BoxCodec()) for value in range(100)]
    joined.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=800, special_tokens=["</s>"]))
    with pytest.raises(UsageError, match="joins coordinates"):
        BoxesGrammar(PreTrainedTokenizerFast(tokenizer_object=joined, eos_token="</s>"), BoxCodec(), 3)


def test_a_free_answer_ends_at_the_end_token_or_at_its_length():
    state = FreeState(eos=2, max_tokens=3)
    assert state.allowed() is None
    for token in (7, 8, 9):
        state.push(token)
    assert (state.allowed(), state.over, state.ids) == ([], True, [7, 8, 9])
    ended = FreeState(eos=2, max_tokens=3)
    ended.push(2)
    assert (ended.allowed(), ended.ids) == ([], [])
