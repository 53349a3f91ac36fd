import fcntl
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from elysium.config import ModelSettings
from elysium.errors import UsageError
from elysium.model import ElysiumForConditionalGeneration, build_model
from elysium.model.release.accounting import CheckpointMismatch
from elysium.model.release.convert import convert_from_release, convert_to_release
from elysium.model.release.new_folder import check_space
from elysium.model.release.settings import find_backbone, release_to_elysium, write_release_config
from elysium.model_commands import convert
from elysium.prompts import IMAGE_TOKEN, Task, ask

TINY = {
    "num_visual_tokens": 4,
    "vision": {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "llm": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "selector": "mixed",
}
HEAD, SCORES = "llm.lm_head.weight", "adapter.score_proj.weight"


def release_name(name):
    """The published names, written down here once more: the code under test has its own list."""
    for ours, theirs in {
        "vision_tower.vision_model.": "visual_encoder.vision_model.",
        "vision_tower.": "visual_encoder.vision_model.",
        "selector.": "adapter.",
        "projector.": "llm_proj.",
        "language_model.": "llm.",
    }.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise AssertionError(name)


@pytest.fixture(scope="module")
def model():
    return build_model(ModelSettings(**TINY), seed=0)


@pytest.fixture(scope="module")
def state(model):
    """A release checkpoint of float16, which a random number fills, so that no two tensors are alike."""
    torch.manual_seed(1)
    named = {release_name(name): torch.randn(value.shape) for name, value in model[0].state_dict().items()}
    return {name: value.half() for name, value in named.items()}


@pytest.fixture
def source(model, state, tmp_path):
    """The release's folder, in one safetensors file."""
    folder = tmp_path / "release"
    describe(folder, model)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def describe(folder, model):
    model[0].config.vision_config.save_pretrained(folder / "visual_encoder")
    model[0].config.text_config.save_pretrained(folder / "llm")
    model[1].tokenizer.save_pretrained(folder / "llm")


def in_shards(folder, state, count, save, name):
    """Writes a state dict as several files and their index."""
    keys = sorted(state)
    files = {}
    for number in range(count):
        file = name.format(number + 1, count)
        part = {key: state[key] for key in keys[number::count]}
        save(part, folder / file)
        files |= dict.fromkeys(part, file)
    index = re.sub(r"-\{.*\}", "", name) + ".index.json"
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": files}))


def store(form, folder, state):
    (folder / "model.safetensors").unlink(missing_ok=True)
    if form == "safetensors":
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    elif form == "safetensors in shards":
        in_shards(folder, state, 3, save_file, "model-{:05d}-of-{:05d}.safetensors")
    elif form == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    elif form == "bin in shards":
        in_shards(folder, state, 2, torch.save, "pytorch_model-{:05d}-of-{:05d}.bin")
    elif form == "bin of before torch 1.6":
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    else:
        raise AssertionError(form)


FORMS = ("safetensors", "safetensors in shards", "bin", "bin in shards", "bin of before torch 1.6")


def weights(folder):
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def same(found, wanted):
    return found.keys() == wanted.keys() and all(
        found[name].dtype == value.dtype and torch.equal(found[name], value) for name, value in wanted.items()
    )


def left(folder):
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_release_checkpoint_comes_back_bit_for_bit(form, source, state, tmp_path):
    store(form, source, state)
    convert_from_release(source, tmp_path / "ours")
    convert_to_release(tmp_path / "ours", tmp_path / "back")
    assert same(weights(tmp_path / "back"), state)


@pytest.mark.parametrize("form", FORMS)
def test_transformers_loads_what_was_converted_at_once(form, source, state, tmp_path):
    store(form, source, state)
    convert_from_release(source, tmp_path / "ours")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours")
    found = {release_name(name): value for name, value in loaded.state_dict().items()}
    assert same(found, state)


def test_the_way_back_and_forth_again_gives_the_same_files(source, tmp_path):
    convert_from_release(source, tmp_path / "first")
    convert_to_release(tmp_path / "first", tmp_path / "back")
    convert_from_release(tmp_path / "back", tmp_path / "second")
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "second").iterdir())
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_type_of_the_weights_is_kept(dtype, source, state, tmp_path):
    store("safetensors", source, {name: value.to(dtype) for name, value in state.items()})
    convert_from_release(source, tmp_path / "ours")
    assert {value.dtype for value in weights(tmp_path / "ours").values()} == {dtype}
    assert AutoModelForImageTextToText.from_pretrained(tmp_path / "ours").dtype == dtype


def test_the_configuration_is_what_the_release_computes(source, tmp_path):
    convert_from_release(source, tmp_path / "ours")
    config = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours").config
    assert (config.selector_type, config.num_visual_tokens) == ("mixed", TINY["num_visual_tokens"])
    assert config.vision_feature_layer == -2
    assert (config.bos_after_image, config.coordinate_scale, config.coordinate_maximum) == (True, 100, 100)


def test_the_processor_is_saved_with_the_settings_of_the_model(source, tmp_path):
    convert_from_release(source, tmp_path / "ours")
    processor = AutoProcessor.from_pretrained(tmp_path / "ours")
    assert (processor.image_size, processor.tokens_per_frame) == (
        TINY["vision"]["image_size"],
        TINY["num_visual_tokens"],
    )
    assert (processor.bos_after_image, processor.coordinate_maximum) == (True, 100)
    assert processor.image_token_id == processor.tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)


def test_what_was_converted_generates(source, model, tmp_path):
    convert_from_release(source, tmp_path / "ours")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours").float().eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "ours")
    frame = torch.zeros(40, 40, 3, dtype=torch.uint8).numpy()
    batch = processor(text=ask(Task.REC, 1, expression="x"), videos=[[frame]])
    made = loaded.generate(**batch, max_new_tokens=2, do_sample=False, pad_token_id=processor.pad_token_id)
    assert made.shape[1] > batch["input_ids"].shape[1]


def test_files_are_divided_as_in_the_source(source, state, tmp_path):
    store("safetensors in shards", source, state)
    done = convert_from_release(source, tmp_path / "ours")
    assert len(done.files) == 3
    divided = [{release_name(name) for name in load_file(tmp_path / "ours" / file)} for file in done.files]
    assert divided == [set(load_file(file)) for file in sorted(source.glob("model-*.safetensors"))]


def test_files_are_divided_anew_where_a_size_is_given(source, state, tmp_path):
    done = convert_from_release(source, tmp_path / "ours", max_shard_bytes=60_000)
    sizes = [sum(v.nbytes for v in load_file(tmp_path / "ours" / file).values()) for file in done.files]
    assert len(sizes) > 1
    assert max(sizes) <= 60_000
    index = json.loads((tmp_path / "ours" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(sizes) == done.num_bytes
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours")
    assert same({release_name(name): value for name, value in loaded.state_dict().items()}, state)


def test_tables_that_old_versions_saved_are_left_out_and_reported(source, state, tmp_path):
    tables = {
        "visual_encoder.vision_model.embeddings.position_ids": torch.arange(17)[None],
        "llm.model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "llm.model.rotary_emb.inv_freq": torch.ones(4),
    }
    store("safetensors", source, state | tables)
    done = convert_from_release(source, tmp_path / "ours")
    assert sorted(done.dropped) == sorted(tables)
    convert_to_release(tmp_path / "ours", tmp_path / "back")
    assert same(weights(tmp_path / "back"), state)


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


def test_a_full_disk_is_noticed_before_the_work(tmp_path):
    with pytest.raises(UsageError, match=r"GiB left, the new folder needs .* GiB"):
        check_space(tmp_path / "new" / "folder", 10**18)


def test_a_killed_conversion_leaves_a_hidden_folder_which_the_next_one_removes(source, tmp_path):
    code = f"""
        import os, signal
        from elysium.model.release.convert import convert_from_release
        kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)
        convert_from_release({str(source)!r}, {str(tmp_path / "ours")!r}, progress=kill)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert left(source) == [".ours.converting"]
    (tmp_path / ".ours.converting" / "stale").write_text("of the killed run")
    convert_from_release(source, tmp_path / "ours")
    assert left(source) == ["ours"]
    assert not (tmp_path / "ours" / "stale").exists()


def test_two_conversions_into_one_folder_do_not_mix(source, tmp_path):
    first = tmp_path / ".ours.converting"
    first.mkdir()
    (first / "model.safetensors").write_text("of the other process")
    handle = os.open(first, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process is writing"):
            convert_from_release(source, tmp_path / "ours")
    finally:
        os.close(handle)
    assert (first / "model.safetensors").exists()


def test_a_failure_in_the_middle_leaves_nothing(source, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_from_release(source, tmp_path / "ours", progress=stop)
    assert left(source) == []


def test_a_selector_that_the_release_has_not_is_not_converted_to_it(tmp_path):
    model, processor = build_model(ModelSettings(**{**TINY, "selector": "gated"}), seed=0)
    model.save_pretrained(tmp_path / "ours")
    processor.save_pretrained(tmp_path / "ours")
    with pytest.raises(UsageError, match=r"'gated'; the release knows only 'mixed'"):
        convert_to_release(tmp_path / "ours", tmp_path / "release")
    assert left(tmp_path / "ours") == []


def test_the_releases_settings_are_written_in_its_own_form(source, tmp_path):
    convert_from_release(source, tmp_path / "ours")
    convert_to_release(tmp_path / "ours", tmp_path / "back")
    settings = json.loads((tmp_path / "back" / "config.json").read_text())
    assert (settings["model_type"], settings["torch_dtype"]) == ("elysium", "float16")
    assert settings["projector_config"] == {"type": "mlp2x_gelu"}
    adapter = settings["adapter_config"]
    assert (adapter["in_token_num"], adapter["out_token_num"], adapter["num_features"]) == (16, 4, 16)


@pytest.mark.parametrize(("factor", "named"), [(None, "lmsys/vicuna-7b-v1.5"), (2.0, "llm")])
def test_only_the_published_language_model_is_named_as_it(factor, named, tmp_path):
    backbones = [find_backbone(part, tmp_path, {}, None).config for part in ("visual_encoder", "llm")]
    if factor is not None:
        backbones[1].rope_parameters = {"rope_type": "linear", "rope_theta": 10000.0, "factor": factor}
    write_release_config(tmp_path, release_to_elysium(*backbones, shapes={}, settings={}), "bfloat16")
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["llm_config"]["pretrained_model_name_or_path"] == named
    assert settings["visual_config"]["pretrained_model_name_or_path"] == "openai/clip-vit-large-patch14-336"


@pytest.mark.parametrize(("direction", "hint"), [("from", "--to release"), ("to", "--from release")])
def test_the_wrong_direction_is_pointed_out(direction, hint, source, tmp_path):
    convert_from_release(source, tmp_path / "ours")
    wrong = {
        "from": lambda: convert_from_release(tmp_path / "ours", tmp_path / "again"),
        "to": lambda: convert_to_release(source, tmp_path / "again"),
    }
    with pytest.raises(UsageError, match=hint):
        wrong[direction]()


def test_the_command_ends_with_one_json_object(source, tmp_path):
    arguments = ["--from", "release", str(source), str(tmp_path / "ours"), "--json"]
    result = CliRunner().invoke(convert, arguments)
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout.splitlines()[-1])
    assert shown["files"] == ["model.safetensors"]
    assert shown["num_tensors"] == len(load_file(source / "model.safetensors"))
    assert shown["dtypes"] == {"F16": shown["num_tensors"]}
    assert "float16" not in result.stdout
    assert "tensors" in result.stderr


@pytest.mark.parametrize("options", [[], ["--from", "release", "--to", "release"]])
def test_the_command_needs_exactly_one_direction(options, source, tmp_path):
    result = CliRunner().invoke(convert, [*options, str(source), str(tmp_path / "ours")])
    assert isinstance(result.exception, UsageError)
    assert "exactly one" in str(result.exception)


PEAK = """
    import re, sys
    from pathlib import Path
    from elysium.model.release.convert import convert_from_release
    for source, destination in zip(sys.argv[1::2], sys.argv[2::2]):
        convert_from_release(source, destination)
    # The peak of this program alone: what getrusage tells begins with the size of the process that forked it.
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
"""


def peak_bytes(*arguments):
    command = [sys.executable, "-c", textwrap.dedent(PEAK), *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.fixture(scope="module")
def peak_of_imports():
    return peak_bytes()


@pytest.mark.parametrize("form", ["safetensors in shards", "bin in shards"])
def test_memory_stays_below_one_and_a_half_of_the_largest_file(form, peak_of_imports, tmp_path):
    settings = {**TINY, "llm": {"hidden_size": 1024, "num_hidden_layers": 3, "num_attention_heads": 2}}
    large = build_model(ModelSettings(**settings), seed=0)
    folder = tmp_path / "release"
    describe(folder, large)
    store(form, folder, {release_name(name): value for name, value in large[0].state_dict().items()})
    largest = max(path.stat().st_size for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    assert largest > 60e6, "or the measurement would drown in what Python itself takes"
    grown = peak_bytes(folder, tmp_path / "ours") - peak_of_imports
    assert grown < 1.5 * largest, f"{grown / 1e6:.0f} MB over the imports for files of {largest / 1e6:.0f} MB"
