"""What cannot be converted is refused by name, before anything is written or run."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from made_release import HEAD, SCORES, TINY, left, store
from transformers import AutoModelForImageTextToText

from elysium.config import ModelSettings
from elysium.errors import UsageError
from elysium.model import ElysiumForConditionalGeneration, build_model
from elysium.model.release.accounting import CheckpointMismatch
from elysium.model.release.convert import convert_from_release
from elysium.model.release.settings import find_backbone, release_to_elysium


def test_all_keys_that_do_not_fit_are_reported_and_nothing_is_written(source, state, tmp_path):
    changed = {name: value for name, value in state.items() if name not in ("llm.model.norm.weight", HEAD)}
    changed |= {"llm.extra": torch.zeros(1), "other": torch.zeros(1), SCORES: torch.zeros(4, 17)}
    store("safetensors", source, changed)
    with pytest.raises(CheckpointMismatch) as caught:
        convert_from_release(source, tmp_path / "ours")
    assert sorted(caught.value.missing) == sorted([HEAD, "llm.model.norm.weight"])
    assert sorted(caught.value.unexpected) == ["llm.extra", "other"]
    assert caught.value.misshaped == ((SCORES, (4, 16), (4, 17)),)
    for text in (HEAD, "llm.model.norm.weight", "llm.extra", "other", f"{SCORES}: expected [4, 16], found [4, 17]"):
        assert text in str(caught.value)
    assert left(source) == []


@pytest.mark.parametrize(
    ("part", "key", "value", "shown"),
    [
        ("llm", "num_hidden_layers", 3, 2),
        ("llm", "vocab_size", 99, 723),
        ("llm", "hidden_size", 32, 16),
        ("llm", "num_key_value_heads", 1, 2),
        ("visual_encoder", "image_size", 40, 32),
        ("visual_encoder", "patch_size", 16, 8),
        ("visual_encoder", "num_hidden_layers", 1, 2),
    ],
)
def test_a_configuration_that_the_tensors_contradict_is_refused(part, key, value, shown, source, tmp_path):
    path = source / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(CheckpointMismatch, match=rf"says {key}={value}, the tensors show {shown}"):
        convert_from_release(source, tmp_path / "ours")
    assert left(source) == []


def test_settings_of_the_release_that_the_tensors_contradict_are_refused(source, tmp_path):
    (source / "config.json").write_text(json.dumps({"adapter_config": {"out_token_num": 108, "in_token_num": 16}}))
    with pytest.raises(CheckpointMismatch, match=r"adapter_config .* out_token_num=108, the tensors show 4"):
        convert_from_release(source, tmp_path / "ours")


def test_without_configurations_the_published_sizes_are_expected(source, tmp_path):
    (source / "llm" / "config.json").unlink()
    with pytest.raises(CheckpointMismatch, match=r"vicuna-7b-v1\.5.* says hidden_size=4096.* --text-config"):
        convert_from_release(source, tmp_path / "ours")


def test_the_published_checkpoint_is_expected_in_its_published_size(tmp_path):
    # models/config.json of the release's repository names its backbones so.
    settings = {
        "llm_config": {"freeze_llm": True, "pretrained_model_name_or_path": "lmsys/vicuna-7b-v1.5"},
        "visual_config": {"freeze_vit": True, "pretrained_model_name_or_path": "openai/clip-vit-large-patch14-336"},
    }
    backbones = [find_backbone(part, tmp_path, settings, None).config for part in ("visual_encoder", "llm")]
    config = release_to_elysium(*backbones, shapes={}, settings={})
    with torch.device("meta"):
        expected = ElysiumForConditionalGeneration(config).state_dict()
    # The three files of huggingface.co/sty-yyj/elysium_7b, bfloat16: 4.94, 4.95 and 4.24 GB, each rounded.
    assert 2 * sum(value.numel() for value in expected.values()) == pytest.approx(14.13e9, abs=0.015e9)
    assert (config.num_patches, config.num_visual_tokens, config.image_token_id) == (576, 108, 32000)


def test_another_language_model_must_be_given(source, tmp_path):
    (source / "llm" / "config.json").unlink()
    settings = {"llm_config": {"pretrained_model_name_or_path": "lmsys/vicuna-13b-v1.5"}}
    (source / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match=r"vicuna-13b-v1\.5 .* --text-config"):
        convert_from_release(source, tmp_path / "ours")


@pytest.mark.parametrize("nested", [False, True])
def test_configurations_may_be_given_as_files_of_whole_models(nested, source, model, tmp_path):
    vision = json.loads((source / "visual_encoder" / "config.json").read_text())
    given = tmp_path / "given.json"
    given.write_text(json.dumps({"model_type": "clip", "vision_config": vision} if nested else vision))
    (source / "visual_encoder" / "config.json").unlink()
    convert_from_release(source, tmp_path / "ours", vision_config=given, text_config=source / "llm")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours")
    assert loaded.config.vision_config.hidden_size == TINY["vision"]["hidden_size"]


def test_a_folder_without_a_tokenizer_is_refused(source, tmp_path):
    for path in (source / "llm").glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UsageError, match="--tokenizer"):
        convert_from_release(source, tmp_path / "ours")


def test_a_tokenizer_that_does_not_fit_the_embedding_is_refused(source, model, tmp_path):
    tokenizer = build_model(ModelSettings(**TINY), seed=0)[1].tokenizer
    tokenizer.add_tokens(["one more"])
    tokenizer.save_pretrained(tmp_path / "larger")
    with pytest.raises(UsageError, match="724 tokens, the language model's embedding 723"):
        convert_from_release(source, tmp_path / "ours", tokenizer=tmp_path / "larger")


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_that_needs_code_is_refused_and_its_code_is_not_run(source, tmp_path):
    (source / "model.safetensors").unlink()
    torch.save({"x": Harmful(tmp_path / "was run")}, source / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"pytorch_model\.bin is refused.*code"):
        convert_from_release(source, tmp_path / "ours")
    assert left(source) == []


def test_a_pickle_of_something_else_is_refused(source, tmp_path):
    (source / "model.safetensors").unlink()
    torch.save({"state_dict": {"x": torch.zeros(1)}}, source / "pytorch_model.bin")
    with pytest.raises(UsageError, match="no plain state dict"):
        convert_from_release(source, tmp_path / "ours")


def test_a_plain_pickle_is_refused(source, tmp_path):
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(UsageError, match=r"pytorch_model\.bin"):
        convert_from_release(source, tmp_path / "ours")


def test_a_missing_shard_is_named(source, state, tmp_path):
    store("safetensors in shards", source, state)
    (source / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UsageError, match=r"lacks model-00002-of-00003\.safetensors"):
        convert_from_release(source, tmp_path / "ours")


def test_an_index_that_names_a_tensor_its_file_lacks_is_refused(source, state, tmp_path):
    store("safetensors in shards", source, state)
    path = source / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["llm.ghost"] = "model-00001-of-00003.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(UsageError, match=r"model-00001-of-00003\.safetensors has no llm\.ghost"):
        convert_from_release(source, tmp_path / "ours")


def test_an_index_does_not_reach_out_of_its_folder(source, state, tmp_path):
    (source / "model.safetensors").rename(tmp_path / "model.safetensors")
    index = {"weight_map": dict.fromkeys(state, "../model.safetensors")}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match="outside of its folder"):
        convert_from_release(source, tmp_path / "ours")


def test_shards_without_their_index_are_refused(source, state, tmp_path):
    store("safetensors in shards", source, state)
    (source / "model.safetensors.index.json").unlink()
    with pytest.raises(UsageError, match="no index"):
        convert_from_release(source, tmp_path / "ours")


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("kept", [0, 5, 3000, -1])
def test_a_file_that_was_cut_off_is_named(form, kept, source, state, tmp_path):
    store(form, source, state)
    path = next(path for path in source.iterdir() if path.suffix in (".safetensors", ".bin"))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UsageError, match=rf"{path.name}.*(again|refused)"):
        convert_from_release(source, tmp_path / "ours")
    assert left(source) == []


def test_quantised_weights_are_refused(source, state, tmp_path):
    store("safetensors", source, state | {HEAD: state[HEAD].to(torch.int8)})
    with pytest.raises(UsageError, match=r"I8 .*lm_head.* quantised ones are not"):
        convert_from_release(source, tmp_path / "ours")


def test_a_folder_that_holds_something_is_not_written_to(source, tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        convert_from_release(source, tmp_path / "ours")
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["notes.txt"]
