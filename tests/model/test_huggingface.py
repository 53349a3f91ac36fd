"""The model behaves as any model of the transformers library does."""

import numpy as np
import pytest
import torch
from model_parts import PROMPTS, alone, batch, clips, frames, tiny
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig, LlamaConfig, pipeline

from elysium.data.video import write_video
from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration, load_checkpoint

ANSWERS = ["[10,20,30,40].", "[1,2,3,4]."]
VARIANTS = {
    "packed": {},
    "grid": {"position_ids": "grid"},
    "shared": {"share_visual_tokens": True},
    "shared-grid": {"share_visual_tokens": True, "position_ids": "grid"},
    "release": {"selector": "mixed"},
}
GREEDY = {"do_sample": False}


@pytest.fixture(scope="module", params=VARIANTS, ids=VARIANTS)
def variant(request):
    model, processor = tiny(**VARIANTS[request.param])
    return model.eval(), processor


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor = tiny()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def written(model, inputs, **options):
    ids = model.generate(**inputs, max_new_tokens=8, pad_token_id=0, **options)
    return ids[:, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_gives_what_each_sample_gives_alone(variant, side):
    model, processor = variant
    together = batch(processor, padding_side=side)
    logits = model(**together).logits
    for row in range(2):
        expected = model(**alone(processor, row)).logits[0]
        found = logits[row][together["attention_mask"][row].bool()]
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        GREEDY,
        {"num_beams": 3},
        {"num_beams": 4, "num_return_sequences": 2},
        {"do_sample": False, "repetition_penalty": 1.3},
        {"do_sample": False, "no_repeat_ngram_size": 2},
        {"do_sample": False, "use_cache": False},
        {"do_sample": False, "cache_implementation": "static"},
    ],
    ids=["greedy", "beams", "return-several", "penalty", "no-repeat", "no-cache", "static-cache"],
)
def test_generation_in_a_batch_is_generation_alone(variant, options):
    model, processor = variant
    each = options.get("num_return_sequences", 1)
    together = written(model, batch(processor), **options)
    for row in range(2):
        assert together[row * each : (row + 1) * each] == written(model, alone(processor, row), **options)


@pytest.mark.parametrize(
    "options",
    [{"use_cache": False}, {"cache_implementation": "static"}, {"prompt_lookup_num_tokens": 3}],
    ids=["no-cache", "static-cache", "prompt-lookup"],
)
def test_ways_of_computing_the_same_answer_agree(variant, options):
    model, processor = variant
    inputs = alone(processor, 0)
    assert written(model, inputs, **GREEDY, **options) == written(model, inputs, **GREEDY)


def test_sampling_follows_the_seed():
    model, processor = tiny()
    model.eval()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(written(model, batch(processor), do_sample=True, num_return_sequences=2, top_p=0.9))
    assert found[0] == found[1] != found[2]


def test_the_place_of_a_visual_token_is_never_written():
    model, processor = tiny()
    model.eval()
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        # The likeliest token by far, were it not ruled out.
        head[model.config.image_token_id] = 100 * head.abs().max() * torch.sign(head.mean(0))
        head[model.config.image_token_id + 1] = -head[model.config.image_token_id]
    ids = [token for row in written(model, batch(processor), num_beams=2) for token in row]
    assert model.config.image_token_id not in ids


def test_a_checkpoint_comes_back_bit_for_bit_through_every_door(checkpoint):
    model, processor = tiny()
    assert not [path for path in checkpoint.iterdir() if path.suffix in (".bin", ".pt", ".pth")]
    for loaded in (load_checkpoint(checkpoint)[0], AutoModelForImageTextToText.from_pretrained(checkpoint)):
        state = loaded.state_dict()
        assert state.keys() == model.state_dict().keys()
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert loaded.config.to_dict().items() >= {"selector_type": "gated", "num_visual_tokens": 4}.items()
    first, second = batch(processor), batch(AutoProcessor.from_pretrained(checkpoint))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_a_loaded_model_is_saved_as_is_the_same_again(checkpoint, tmp_path):
    model, processor = load_checkpoint(checkpoint)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    names = {path.name for path in checkpoint.iterdir()}
    assert names == {path.name for path in tmp_path.iterdir()}
    for name in ("model.safetensors", "processor_config.json", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (checkpoint / name).read_bytes(), name


def test_another_architectures_checkpoint_is_refused(tmp_path):
    LlamaConfig(hidden_size=16, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"architecture 'llama', not 'elysium'.*model\.llm\.weights"):
        ElysiumForConditionalGeneration.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("asked", "vision", "text"),
    [
        ("eager", "eager", "eager"),
        ("sdpa", "sdpa", "sdpa"),
        ({"vision_config": "eager", "text_config": "sdpa"}, "eager", "sdpa"),
    ],
)
def test_the_attention_is_chosen_for_both_parts_or_each(checkpoint, asked, vision, text):
    model = ElysiumForConditionalGeneration.from_pretrained(checkpoint, attn_implementation=asked).eval()
    assert model.vision_tower.config._attn_implementation == vision
    assert model.language_model.config._attn_implementation == text
    reference, processor = tiny()
    inputs = alone(processor, 0)
    assert torch.allclose(model(**inputs).logits, reference.eval()(**inputs).logits, atol=1e-5)


def test_checkpointing_of_activations_changes_no_gradient():
    model, processor = tiny()
    model.train()
    inputs = batch(processor, answers=ANSWERS)
    gradients = []
    for enabled in (False, True):
        if enabled:
            # transformers 5.17 knows only the old name, and newer versions warn of it.
            name = "activation_checkpointing_enable"
            getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()
            names = {type(part).__name__ for part in model.modules() if getattr(part, "gradient_checkpointing", False)}
            assert {"CLIPEncoderLayer", "LlamaDecoderLayer"} <= names
        torch.manual_seed(0)
        model.zero_grad()
        model(**inputs, use_cache=False).loss.backward()
        gradients.append([None if value.grad is None else value.grad.clone() for value in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert (plain is None and recomputed is None) or torch.equal(plain, recomputed)


def test_the_forward_is_one_graph_to_the_compiler(variant):
    model, processor = variant
    inputs = batch(processor)
    # A shared budget reads the lengths of clips from the ids, and the graph breaks there.
    compiled = torch.compile(model, fullgraph=not model.config.share_visual_tokens, backend="eager")
    assert torch.allclose(compiled(**inputs).logits, model(**inputs).logits, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_compiled_forward_computes_the_same():
    model, processor = tiny()
    inputs = batch(processor)
    compiled = torch.compile(model.eval(), fullgraph=True)
    assert torch.allclose(compiled(**inputs).logits, model(**inputs).logits, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_peft_trains_and_brings_back_adapters(tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    model, processor = tiny()
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], modules_to_save=["projector"]))
    optimiser = torch.optim.SGD([value for value in adapted.parameters() if value.requires_grad], lr=0.5)
    adapted(**batch(processor, answers=ANSWERS)).loss.backward()
    optimiser.step()
    adapted.eval().save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(tiny()[0], tmp_path).eval()
    inputs = batch(processor)
    assert torch.equal(again(**inputs).logits, adapted(**inputs).logits)
    assert not torch.equal(again(**inputs).logits, tiny()[0].eval()(**inputs).logits)
    assert written(again, inputs, **GREEDY) == written(adapted, inputs, **GREEDY)


def test_parts_go_where_the_device_map_says(checkpoint, tmp_path):
    parts = ["embed_tokens", "layers.0", "norm", "rotary_emb"]
    device_map = {
        **dict.fromkeys(["vision_tower", "selector", "projector", "language_model.lm_head"], "cpu"),
        **dict.fromkeys([f"language_model.model.{part}" for part in parts], "cpu"),
        "language_model.model.layers.1": "disk",
    }
    model = ElysiumForConditionalGeneration.from_pretrained(checkpoint, device_map=device_map, offload_folder=tmp_path)
    reference, processor = tiny()
    inputs = batch(processor)
    assert torch.equal(model.eval()(**inputs).logits, reference.eval()(**inputs).logits)
    whole = ElysiumForConditionalGeneration.from_pretrained(checkpoint, device_map="auto")
    assert torch.equal(whole.eval()(**inputs).logits, reference(**inputs).logits)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.filterwarnings("ignore")
def test_weights_load_in_few_bits(bits, tmp_path):
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {"image_size": 32, "patch_size": 8, "hidden_size": 64, **sizes}
    full, processor = tiny(vision=vision, llm={"hidden_size": 128, "config": {}, **sizes})
    full.eval().save_pretrained(tmp_path)
    options = {"bnb_4bit_compute_dtype": torch.float32} if bits == 4 else {}
    # Which token is kept hangs on small differences of scores; and so few weights are no gain.
    config = BitsAndBytesConfig(
        **{f"load_in_{bits}bit": True}, llm_int8_skip_modules=["selector", "lm_head"], **options
    )
    model = ElysiumForConditionalGeneration.from_pretrained(tmp_path, quantization_config=config).eval()
    kinds = {
        name.split(".")[0]: type(part).__name__ for name, part in model.named_modules() if "bit" in type(part).__name__
    }
    assert set(kinds) == {"vision_tower", "projector", "language_model"}, "the selector keeps its precision"
    inputs = batch(processor)
    pair = torch.stack([model(**inputs).logits.flatten(), full(**inputs).logits.flatten()])
    assert torch.corrcoef(pair)[0, 1] > (0.99 if bits == 8 else 0.9)
    assert model.get_memory_footprint() < 0.5 * full.get_memory_footprint()
    assert len(written(model, inputs, **GREEDY)) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_same(checkpoint, dtype):
    model = ElysiumForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype).eval()
    reference, processor = tiny()
    inputs = batch(processor)
    found = model(**inputs).logits
    assert found.dtype == dtype
    pair = torch.stack([found.float().flatten(), reference.eval()(**inputs).logits.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.99


@pytest.mark.filterwarnings("ignore")
def test_the_librarys_pipeline_takes_pictures_chats_and_videos(checkpoint, tmp_path):
    ask = pipeline("image-text-to-text", model=str(checkpoint))
    options = {"return_full_text": False, "generate_kwargs": {"max_new_tokens": 4, "do_sample": False}}
    picture = Image.fromarray(clips()[1][0])
    plain = ask(images=[picture], text=PROMPTS[1], **options)[0]["generated_text"]
    question = {"type": "text", "text": "Please find a red circle and provide its coordinates."}
    chat = [{"role": "user", "content": [{"type": "image", "image": picture}, question]}]
    assert ask(text=chat, **options)[0]["generated_text"] == plain
    model, processor = load_checkpoint(checkpoint)
    ids = model.generate(**alone(processor, 1), max_new_tokens=4, do_sample=False)[0, -4:]
    assert plain == processor.tokenizer.decode(ids, skip_special_tokens=True)
    write_video(tmp_path / "clip.mp4", np.stack(frames(12)), 10)
    film = [{"role": "user", "content": [{"type": "video", "path": str(tmp_path / "clip.mp4")}, question]}]
    assert isinstance(ask(text=film, **options)[0]["generated_text"], str)


def test_the_default_configuration_is_the_papers():
    config = ElysiumConfig()
    assert (config.image_size, config.num_patches, config.tokens_per_frame, config.vision_config.hidden_size) == (
        336, 576, 108, 1024,
    )  # fmt: skip
    assert (config.text_config.hidden_size, config.text_config.num_hidden_layers, config.max_positions) == (
        4096,
        32,
        4096,
    )
