import pytest

from elysium.boxes import BoxCodec
from elysium.data.simulator import simulate
from elysium.model.tokenizer import build_tokenizer
from elysium.prompts import Task, ask


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(512)


@pytest.mark.parametrize(
    "text", ["", "a red circle.", "Frame 1: [0,100,7,9], Frame 2: [1,2,3,4].", "wörld \n\t 12345 ,,]]", "日本語 🙂"]
)
def test_any_text_survives(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_every_coordinate_is_one_token(tokenizer):
    for value in range(101):
        box = BoxCodec(maximum=100).encode([value / 100] * 4)
        assert len(tokenizer(": " + box + ",")["input_ids"]) == 9


def test_what_the_simulator_says_is_whole_words(tokenizer):
    for seed in range(20):
        for thing in simulate(seed, num_frames=2, side=32).annotations.objects:
            assert len(tokenizer(thing.expression)["input_ids"]) == len(thing.expression.split())


def test_prompts_need_no_bytes(tokenizer):
    prompt = ask(Task.SOT, 1, box=[0, 0, 1, 1])
    pieces = tokenizer.tokenize(prompt.replace("<image>", ""))
    letters = {piece.strip("ĠĊ") for piece in pieces if len(piece.strip("ĠĊ")) == 1}
    assert {letter for letter in letters if letter.isalpha()} <= {"A", "a", "s"}, letters
