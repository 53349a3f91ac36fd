"""Tokenizers of the families that language models come with, and a tiny Elysium."""

import os
import threading
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from elysium.boxes import BoxCodec
from elysium.config import ModelSettings
from elysium.inference import guessing
from elysium.model import build_model
from elysium.model.tokenizer import build_tokenizer
from elysium.prompts import SYSTEM_TEXT, boxes_answer

from .made_videos import make

REFERENCE = Path(os.environ.get("ELYSIUM_REFERENCE", Path(__file__).parents[2] / "../shared/reference"))
TINY = ModelSettings(
    num_visual_tokens=4,
    vision={"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    llm={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
)  # fmt: skip
# How Qwen 2 and GPT-4 cut text before merging bytes: the one keeps digits apart, the other takes up to three at once.
_CUT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_DIGITS = {"qwen": r"\p{N}", "gpt4": r"\p{N}{1,3}"}


def llama_tokenizer():
    path = REFERENCE / "tokenizer" / "tokenizer.model"
    if not path.is_file():
        pytest.skip(f"the recorded reference {path} is not here")
    from transformers import LlamaTokenizer

    return LlamaTokenizer.from_pretrained(path.parent)


def byte_level_tokenizer(kind):
    """A byte-level BPE that has seen enough answers to have pieces like `],` and, where digits may join, `23`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CUT % _DIGITS[kind]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [SYSTEM_TEXT] * 20
    for number in range(100):
        value = number / 100
        corpus.append(boxes_answer([[value, value, value, value]] * 12, BoxCodec()))
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


@pytest.fixture
def free_tokens(monkeypatch):
    """Where reading a token costs nothing, guesses always pay: everything is guessed, however many clips run."""
    monkeypatch.setattr(guessing, "_TOKEN_COST", {"cpu": 0.0})


@pytest.fixture(scope="session", params=["nano", "llama", "qwen", "gpt4"])
def tokenizer(request):
    if request.param == "nano":
        return build_tokenizer(512)
    return llama_tokenizer() if request.param == "llama" else byte_level_tokenizer(request.param)


@pytest.fixture(scope="session")
def parts():
    return build_model(TINY, seed=3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stream(tmp_path):
    """A transport stream of 36 frames, each with its number in it, as bytes."""
    return make(tmp_path / "made.ts", 36, g="6").read_bytes()


@pytest.fixture
def pipe():
    """The ends of a pipe; the writer's is closed by whoever feeds it."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


@pytest.fixture
def no_thread_is_left():
    """No test may leave a reading thread behind."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), thread.name
