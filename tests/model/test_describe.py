"""What `elysium model describe` states is what a built model has."""

import json

import pytest
from model_parts import tiny

from elysium.cli import run
from elysium.config import load_settings, preset_names
from elysium.model import ElysiumConfig, build_model
from elysium.model.describe import describe, describe_config


def test_the_presets_are_the_papers_and_smaller_ones():
    assert set(preset_names()) == {"nano", "nano-scratch", "small", "vicuna-7b"}


def test_parameters_and_memory_are_those_of_the_built_model():
    model, _ = build_model(load_settings("nano").model, seed=0)
    found = describe("nano")
    assert found.parameters["total"] == sum(value.numel() for value in model.parameters())
    for part in ("vision", "selector", "projector", "llm"):
        assert found.parameters[part] == sum(value.numel() for value in model.part(part).parameters())
    assert found.weight_bytes["float32"] == sum(value.nbytes for value in model.parameters())


def test_the_cache_is_what_generation_holds():
    model, processor = tiny()
    found = describe_config(model.config)
    inputs = processor(text="USER: Hello.ASSISTANT:")
    cache = model(**inputs, use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers) / inputs["input_ids"].shape[1]
    assert found.cache_bytes_per_token == held / 2, "bfloat16 is half of float32"


def test_tied_weights_count_once():
    model, _ = tiny(
        llm={"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "tie_word_embeddings": True}
    )
    assert describe_config(model.config).parameters["total"] == sum(value.numel() for value in model.parameters())


def test_the_papers_model_has_the_papers_sizes():
    found = describe("vicuna-7b")
    # Vicuna-7B has 6.74 B parameters, CLIP-ViT-L/14 0.30 B (their model cards).
    assert found.parameters["llm"] == 6_738_415_616
    assert found.parameters["vision"] == pytest.approx(303.5e6, rel=1e-3)
    assert (found.image_size, found.patches, found.visual_tokens, found.context) == (336, 576, 108, 4096)
    # From 31 frames on, tracking exceeds the context (PROTOCOL §2).
    assert found.frames == 30


def test_the_papers_model_computes_what_its_layers_sizes_say():
    found = describe("vicuna-7b")
    # CLIP-ViT-L/14: 24 layers of width 1024 over 577 tokens, patches of 14 x 14 x 3; 576 tokens go through the gate of
    # half the width, 108 through the projector.
    layers = 24 * (12 * 1024**2 * 577 + 2 * 1024 * 577**2)
    joined = 576 * (1024 * 512 + 512) + 108 * (1024 * 4096 + 4096**2)
    assert found.encode_flops_per_frame == 2 * (layers + 576 * 14 * 14 * 3 * 1024 + joined)
    # LLaMA-7B: 32 layers of width 4096 and 11008, 32000 words; 8 frames of 108 tokens and 276 of text.
    matrices, tokens = 32 * (4 * 4096**2 + 3 * 4096 * 11008), 8 * 108 + 276
    head, pair = 4096 * 32000, 2 * 32 * 4096
    assert found.prefill_flops_per_clip == 2 * (matrices * tokens + pair * tokens**2 + head)
    assert found.decode_flops_per_token == 2 * (matrices + pair * (tokens + 1) + head)


def test_a_language_model_without_grouped_heads_is_described():
    gpt2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 300}
    vision = {"model_type": "vit", "image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2}
    config = ElysiumConfig(vision_config={**vision, "num_attention_heads": 2}, text_config=gpt2, num_visual_tokens=4)
    assert describe_config(config).cache_bytes_per_token == 2 * 2 * 2 * 16


def test_small_is_about_half_a_billion():
    found = describe("small")
    # Qwen2.5-0.5B has 0.49 B parameters (its model card).
    assert found.parameters["llm"] == 494_032_768
    assert found.parameters["total"] < 600e6


def test_a_checkpoint_folder_is_described_too(tmp_path, capsys):
    model, _ = tiny()
    model.save_pretrained(tmp_path)
    assert run(["model", "describe", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["parameters"]["total"] == sum(value.numel() for value in model.parameters())


def test_an_unknown_preset_is_refused_with_the_nearest(capsys):
    assert run(["model", "describe", "vicuna"]) == 2
    assert "did you mean 'vicuna-7b'" in capsys.readouterr().err
