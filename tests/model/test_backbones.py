"""Any vision transformer with patch tokens and any causal language model, from configurations or from weights."""

import numpy as np
import pytest
import torch
from model_parts import PROMPTS, clips, frames, tiny
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipConfig,
    SiglipModel,
)

from elysium.config import ModelSettings
from elysium.errors import UsageError
from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration, build_model, load_checkpoint
from elysium.model.tokenizer import build_tokenizer

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {"image_size": 32, "patch_size": 8, **SMALL}
TOWERS = [
    "clip_vision_model", "siglip_vision_model", "siglip2_vision_model", "dinov2", "dinov2_with_registers", "dinov3_vit",
    "vit",
]  # fmt: skip
# SmolLM is Llama's architecture with grouped heads and tied embeddings.
LANGUAGE_MODELS = {
    "llama": {"model_type": "llama"},
    "mistral": {"model_type": "mistral", "num_key_value_heads": 1},
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 1},
    "qwen3": {"model_type": "qwen3", "num_key_value_heads": 1, "config": {"head_dim": 8}},
    "smollm": {"model_type": "llama", "num_key_value_heads": 1, "tie_word_embeddings": True},
}


def check_all_ways(model, processor):
    """Forward, backward and generation; a padded batch against each sample alone."""
    inputs = processor(text=PROMPTS, videos=clips(), answers=["[1,2,3,4].", "[5,6,7,8]."])
    model.train()
    model(**inputs).loss.backward()
    for name in ("vision", "selector", "projector", "llm"):
        gradients = [value.grad for value in model.part(name).parameters() if value.grad is not None]
        assert any(gradient.abs().max() > 0 for gradient in gradients), f"{name} does not learn"
    model.eval()
    together = model.generate(**processor(text=PROMPTS, videos=clips()), max_new_tokens=6, do_sample=False)
    for row in range(2):
        one = processor(text=PROMPTS[row], videos=[clips()[row]])
        alone = model.generate(**one, max_new_tokens=6, do_sample=False)
        assert alone[0, -6:].tolist() == together[row, -6:].tolist()


@pytest.mark.parametrize("kind", TOWERS)
def test_vision_towers_run_forward_backward_and_in_generation(kind):
    check_all_ways(*tiny(vision={"model_type": kind, **VISION}))


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_language_models_run_forward_backward_and_in_generation(name):
    check_all_ways(*tiny(llm={**SMALL, **LANGUAGE_MODELS[name]}))


@pytest.mark.parametrize(
    ("kind", "extra"),
    [("clip_vision_model", 1), ("siglip_vision_model", 0), ("dinov2", 1), ("dinov2_with_registers", 5)],
)
def test_class_token_and_registers_are_no_patches(kind, extra):
    model, processor = tiny(vision={"model_type": kind, **VISION}, selector="none")
    model.eval()
    pixels = processor.pixel_values(frames(2))
    states = model.vision_tower(pixels, output_hidden_states=True).hidden_states
    assert len(states) == 4
    assert states[-2].shape[1] == 16 + extra
    expected = model.projector(states[-2][:, extra:])
    assert torch.equal(model.encode_frames(pixels).embeddings, expected)


@pytest.mark.parametrize("layer", [-1, -2, 1])
def test_the_layer_is_chosen_by_configuration(layer):
    model, processor = tiny(vision={**VISION, "feature_layer": layer}, selector="none")
    model.eval()
    pixels = processor.pixel_values(frames(1))
    states = model.vision_tower(pixels, output_hidden_states=True).hidden_states[layer]
    assert torch.equal(model.encode_frames(pixels).embeddings, model.projector(states[:, 1:]))


def test_siglip_2_gets_its_patches_in_its_own_order():
    model, processor = tiny(vision={"model_type": "siglip2_vision_model", **VISION}, selector="none")
    tower = model.eval().vision_tower
    seen = {}
    tower.embeddings.patch_embedding.register_forward_hook(lambda _, given, __: seen.update(rows=given[0]))
    pixels = processor.pixel_values(frames(1))
    model.encode_frames(pixels)
    # The second patch of the second row: 8 x 8 pixels, row by row, the channels last.
    assert torch.equal(seen["rows"][0, 5], pixels[0, :, 8:16, 8:16].permute(1, 2, 0).flatten())


@pytest.mark.parametrize("kind", ["clip_vision_model", "siglip_vision_model", "siglip2_vision_model", "dinov2", "vit"])
@pytest.mark.parametrize("selector", ["gated", "strided", "none"])
def test_another_resolution_interpolates_the_positions(kind, selector):
    model, processor = tiny(vision={"model_type": kind, **VISION}, selector=selector)
    model.eval()
    kept = 36 if selector == "none" else 9
    inputs = processor(text=PROMPTS[1], images=frames(1)[0], image_size=48, num_visual_tokens=kept)
    assert inputs["pixel_values"].shape[-2:] == (48, 48)
    ids = model.generate(**inputs, num_visual_tokens=kept, max_new_tokens=2, do_sample=False)
    assert ids.shape[1] == inputs["input_ids"].shape[1] + 2
    visual = model.encode_frames(inputs["pixel_values"], kept)
    assert visual.num_patches == 36
    assert visual.positions.max() > 16


@pytest.mark.parametrize("selector", ["mixed", "concat"])
def test_a_selector_made_for_one_grid_says_so(selector):
    model, processor = tiny(selector=selector)
    with pytest.raises(ValueError, match=r"frames of 36 patches: .* was made for 16"):
        model.encode_frames(processor.pixel_values(frames(1), 48))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 32, 32, 3), r"shape \(frames, 3, height, width\)"),
        (torch.zeros(3, 32, 32), r"shape \(frames, 3, height, width\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "uint8"),
        (torch.zeros(1, 3, 33, 32), "32x33 pixels are no multiple of the patch size 8"),
    ],
)
def test_pixels_of_another_form_are_refused(pixels, message):
    with pytest.raises(ValueError, match=message):
        tiny()[0].encode_frames(pixels)


@pytest.fixture
def weights(tmp_path):
    """Pre-trained backbones on disk, as a hub would give them."""
    torch.manual_seed(1)
    clip = CLIPConfig(vision_config=VISION, text_config={**SMALL, "vocab_size": 99}, projection_dim=16)
    CLIPModel(clip).save_pretrained(tmp_path / "clip")
    SiglipModel(
        SiglipConfig(vision_config=VISION, text_config={**SMALL, "vocab_size": 99, "projection_size": 16})
    ).save_pretrained(tmp_path / "siglip")
    Dinov2Model(
        Dinov2Config(**{name: value for name, value in VISION.items() if name != "intermediate_size"})
    ).save_pretrained(tmp_path / "dinov2")
    tokenizer = build_tokenizer(512)
    for name, kind in {
        "llama": LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SMALL)),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer) + 64, num_key_value_heads=1, **SMALL)),
    }.items():
        kind.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(("vision", "llm"), [("clip", "llama"), ("siglip", "qwen2"), ("dinov2", "llama")])
def test_pretrained_backbones_are_taken_as_they_are(weights, vision, llm):
    settings = ModelSettings(
        num_visual_tokens=4, vision={"weights": str(weights / vision)}, llm={"weights": str(weights / llm)}
    )
    model, processor = build_model(settings, seed=0)
    text = {"llama": LlamaForCausalLM, "qwen2": Qwen2ForCausalLM}[llm].from_pretrained(weights / llm).state_dict()
    whole = {"clip": CLIPModel, "siglip": SiglipModel, "dinov2": Dinov2Model}[vision].from_pretrained(weights / vision)
    tower = getattr(whole, "vision_model", whole).state_dict()
    found = model.state_dict()
    assert all(torch.equal(found[f"language_model.{name}"], value) for name, value in text.items())
    assert all(torch.equal(found[f"vision_tower.{name}"], value) for name, value in tower.items())
    check_all_ways(model, processor)
    model.save_pretrained(weights / "joined")
    processor.save_pretrained(weights / "joined")
    assert str(weights) not in (weights / "joined" / "config.json").read_text(), "a folder of this machine"
    again, _ = load_checkpoint(weights / "joined")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_tokenizer_without_a_placeholder_gets_one_outside_the_embedding(weights):
    tokenizer = AutoTokenizer.from_pretrained(weights / "llama")
    data = (weights / "llama" / "tokenizer.json").read_text().replace("<image>", "<other>")
    (weights / "llama" / "tokenizer.json").write_text(data)
    config = (weights / "llama" / "tokenizer_config.json").read_text().replace("<image>", "<other>")
    (weights / "llama" / "tokenizer_config.json").write_text(config)
    settings = ModelSettings(
        num_visual_tokens=4, vision={"weights": str(weights / "clip")}, llm={"weights": str(weights / "llama")}
    )
    model, processor = build_model(settings, seed=0)
    assert model.config.image_token_id == len(tokenizer) == model.config.text_config.vocab_size
    check_all_ways(model, processor)


def test_sizes_that_contradict_the_weights_are_refused(weights):
    settings = ModelSettings(
        num_visual_tokens=4, vision={"weights": str(weights / "clip"), "hidden_size": 24, "num_attention_heads": 2}
    )
    with pytest.raises(UsageError, match=r"model\.vision\.hidden_size is 24, but .*clip has 16"):
        build_model(settings, seed=0)


def test_weights_that_are_nowhere_are_named():
    with pytest.raises(UsageError, match=r"model\.llm\.(weights|tokenizer)|the tokenizer /nowhere"):
        build_model(ModelSettings(llm={"weights": "/nowhere"}), seed=0)


def test_a_tokenizer_larger_than_the_embedding_is_refused(weights):
    settings = ModelSettings(num_visual_tokens=4, vision=VISION, llm={**SMALL, "vocab_size": 100})
    with pytest.raises(ValueError, match=r"writes ids up to \d+, but the language model's embedding has 100 rows"):
        build_model(settings, seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision": {"model_type": "clip_vison_model"}}, "did you mean 'clip_vision_model'"),
        ({"vision": {"config": {"hiden_act": "gelu"}}}, "no setting 'hiden_act'; did you mean 'hidden_act'"),
        ({"vision": {**VISION, "feature_layer": -9}, "num_visual_tokens": 4}, "lies between -4 and 3"),
    ],
)
def test_unknown_architectures_and_settings_are_named(changes, message):
    with pytest.raises(UsageError, match=message):
        build_model(ModelSettings(**changes), seed=0)


def test_a_whole_clip_configuration_serves_for_its_vision_part():
    config = ElysiumConfig(vision_config=CLIPConfig(vision_config=VISION), num_visual_tokens=4)
    assert isinstance(config.vision_config, CLIPVisionConfig)
    assert config.num_patches == 16


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ValueError, match="knows no architecture 'nope'"):
        ElysiumConfig(vision_config={"model_type": "nope"})


def test_frames_of_every_size_are_resized_to_the_towers(weights):
    model, processor = tiny()
    pixels = processor.pixel_values([np.zeros((9, 70, 3), np.uint8), np.zeros((64, 5, 3), np.uint8)])
    assert isinstance(model, ElysiumForConditionalGeneration)
    assert pixels.shape == (2, 3, 32, 32)
