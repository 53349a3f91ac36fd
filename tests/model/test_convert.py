import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from click.testing import CliRunner
from made_release import FORMS, TINY, describe, left, release_name, same, store, weights
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from elysium.config import ModelSettings
from elysium.errors import UsageError
from elysium.model import build_model
from elysium.model.release.convert import convert_from_release, convert_to_release
from elysium.model.release.new_folder import check_space
from elysium.model.release.settings import find_backbone, release_to_elysium, write_release_config
from elysium.model_commands import convert
from elysium.prompts import IMAGE_TOKEN, Task, ask


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
