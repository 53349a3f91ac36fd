"""A judge that runs here: a tiny language model made on the spot, whose answers nobody can read."""

import threading

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from elysium.errors import UsageError
from elysium.evaluation.videoqa.judges import Declined, JudgeOptions, JudgeRefused, open_judge
from elysium.evaluation.videoqa.judging import judge_all
from elysium.evaluation.videoqa.local_judge import LocalJudge

_TEMPLATE = (
    "{% for message in messages %}{{ '<' + message.role + '>' + message.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
_WITHOUT_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system message') }}{% endif %}" + _TEMPLATE
)
QUESTION = (("system", "You grade."), ("user", "Is it right?"))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", "</s>", *letters])}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, pad_token="<pad>", eos_token="</s>")
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def local(model_folder):
    return open_judge(JudgeOptions(str(model_folder), max_tokens=8, batch_size=3, device="cpu"))


def ask(judge, *conversations):
    return judge.ask(list(conversations), threading.Event())


def test_what_cannot_be_read_is_unjudged_whatever_the_model(local, items, tmp_path):
    result = judge_all(items, local, tmp_path / "judge.jsonl")
    assert (result.num_unjudged, result.accuracy, result.score) == (4, 0.0, 0.0)
    assert result.completion_tokens > 0
    assert result.judge.backend == "local"
    assert result.reported == (result.judge.model,)


def test_answers_do_not_depend_on_what_is_asked_beside_them(local):
    longer = (("user", "Is this one right, which is much longer?"),)
    together = ask(local, QUESTION, longer, QUESTION)
    assert together[0] == together[2] == ask(local, QUESTION)[0]
    assert together[1] == ask(local, longer)[0]


def test_the_models_own_template_writes_the_question(local):
    text = "<system>You grade.\n<user>Is it right?\n<assistant>"
    assert ask(local, QUESTION)[0].prompt_tokens == len(text)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (_WITHOUT_SYSTEM, "<user>You grade.\n\nIs it right?\n<assistant>"),
        (None, "You grade.\n\nIs it right?\n\n"),
    ],
    ids=["no system message", "no template"],
)
def test_templates_that_lack_something_are_got_along_with(local, template, text):
    tokenizer, _ = local._load()
    tokenizer.chat_template = template
    assert ask(local, QUESTION)[0].prompt_tokens == len(text)


def test_a_question_beyond_the_models_context_is_declined_and_the_others_are_not(local):
    short, long = ask(local, QUESTION, (("user", "x" * 5000),))
    assert isinstance(long, Declined)
    assert "exceed the model's 4096" in long.reason
    assert not isinstance(short, Declined)


def test_the_check_loads_the_model_and_names_it(local, model_folder):
    assert local.check() == local.identity.model
    assert local.identity.model.startswith(str(model_folder))
    local.close()


def test_other_weights_in_the_same_folder_are_another_judge(model_folder, tmp_path):
    for path in model_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    options = JudgeOptions(str(tmp_path), device="cpu")
    before = LocalJudge(options).identity.model
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert LocalJudge(options).identity.model != before


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no checkpoint folder"):
        open_judge(JudgeOptions(str(tmp_path / "missing")))
    with pytest.raises(JudgeRefused, match=r"no config\.json"):
        open_judge(JudgeOptions(str(tmp_path)))
    with pytest.raises(JudgeRefused, match="likeliest answer"):
        open_judge(JudgeOptions(str(tmp_path), temperature=0.7))
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(JudgeRefused, match="no language model"):
        open_judge(JudgeOptions(str(tmp_path), device="cpu")).check()
