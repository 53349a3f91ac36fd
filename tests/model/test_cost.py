"""What passes are said to cost is what PyTorch counts when a model runs, and what it holds in memory."""

import timeit

import pytest
import torch
from model_parts import frames, tiny
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from elysium.config import load_settings
from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration
from elysium.model.build import described_config
from elysium.model.cost import Cost, CostModel
from elysium.model.roofline import (
    Meter,
    Roofline,
    find_roofline,
    measure_roofline,
    published_roofline,
    speed_of_light,
)

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 24}
VISION = {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, **SMALL}
TOWERS = ["clip_vision_model", "siglip_vision_model", "dinov2", "dinov2_with_registers", "dinov3_vit", "vit"]
WORDS = {"vocab_size": 50, "max_position_embeddings": 128}
LANGUAGE_MODELS = {
    "llama": {"model_type": "llama", **SMALL, **WORDS},
    "grouped heads": {"model_type": "llama", **SMALL, **WORDS, "num_key_value_heads": 2},
    "tied": {"model_type": "llama", **SMALL, **WORDS, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "wide heads": {"model_type": "qwen3", **SMALL, **WORDS, "num_key_value_heads": 2, "head_dim": 8},
    "biases": {"model_type": "qwen2", **SMALL, **WORDS, "num_key_value_heads": 2},
    "gpt2": {"model_type": "gpt2", "n_embd": 16, "n_layer": 3, "n_head": 4, "vocab_size": 50, "n_positions": 128},
    "gpt_neox": {"model_type": "gpt_neox", **SMALL, **WORDS},
    "experts": {"model_type": "mixtral", **SMALL, **WORDS, "num_key_value_heads": 2, "num_local_experts": 4},
}


def config_of(llm=None, vision=None, **changes):
    """A small model's configuration."""
    options = {"num_visual_tokens": 4, **changes}
    llm = llm or LANGUAGE_MODELS["llama"]
    return ElysiumConfig(vision_config={**VISION, **(vision or {})}, text_config=llm, **options)


def counted(action):
    """What PyTorch counts; the counter sees matrix products, and does not see into a CPU's fused attention."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = action()
    return counter.get_total_flops(), found


def language_model(name):
    """A language model with weights, and the costs that are said of it."""
    config = config_of(llm=LANGUAGE_MODELS[name])
    model = AutoModelForCausalLM.from_config(config.text_config, attn_implementation="eager").eval()
    if name == "experts":
        model.set_experts_implementation("eager")
    return model, CostModel(config, torch.float32)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_reading_prompts_costs_what_pytorch_counts(name):
    model, costs = language_model(name)
    flops, _ = counted(lambda: model(torch.ones((2, 9), dtype=torch.long), logits_to_keep=1))
    assert costs.prefill(9, num_rows=2).flops == flops


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_pass_behind_a_cache_costs_what_pytorch_counts(name):
    model, costs = language_model(name)
    ids = torch.ones((3, 7), dtype=torch.long)
    _, before = counted(lambda: model(ids, use_cache=True))
    flops, _ = counted(lambda: model(ids[:, :2], past_key_values=before.past_key_values, use_cache=True))
    assert costs.decode(3, new_tokens=2, cached_tokens=7).flops == flops


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_the_cache_takes_what_generation_holds(name):
    model, costs = language_model(name)
    cache = model(torch.ones((2, 5), dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert costs.cache_bytes_per_token * 10 == held
    more = costs.decode(2, cached_tokens=6).bytes - costs.decode(2, cached_tokens=1).bytes
    assert more == held, "it is read once in every pass"


@pytest.mark.parametrize("name", [name for name in LANGUAGE_MODELS if name != "experts"])
def test_a_pass_reads_every_weight_once_but_embeddings(name):
    model, costs = language_model(name)
    embeddings = {id(part.weight) for part in model.modules() if isinstance(part, torch.nn.Embedding)}
    embeddings -= {id(model.get_output_embeddings().weight)}
    weights = sum(value.nbytes for value in model.parameters() if id(value) not in embeddings)
    states = 2 * 3 * 16 * 4
    assert costs.decode(1).bytes == weights + costs.cache_bytes_per_token + states


def test_a_pass_reads_no_more_experts_than_its_tokens_choose():
    _, costs = language_model("experts")
    one, two, many = (costs.decode(rows, logits_per_row=0).bytes for rows in (1, 2, 3))
    # Two of four are chosen: one token reads half of them, two tokens all.
    experts = 3 * 4 * 3 * 16 * 24 * 4
    rest = many - two
    assert two - one == pytest.approx(experts / 2 + rest)


@pytest.mark.parametrize("size", [32, 48, (32, 64)])
@pytest.mark.parametrize("kind", [*TOWERS, "siglip2_vision_model"])
def test_encoding_frames_costs_what_pytorch_counts(kind, size):
    config = config_of(vision={"model_type": kind})
    model = ElysiumForConditionalGeneration(config).eval()
    model.vision_tower.set_attn_implementation("eager")
    pixels = torch.zeros(3, 3, *((size, size) if isinstance(size, int) else size))
    flops, _ = counted(lambda: model.encode_frames(pixels))
    assert CostModel(config).encode(3, size).flops == flops


@pytest.mark.parametrize("selector", ["gated", "mixed", "strided", "concat", "cross_attention", "none"])
def test_every_selector_costs_what_pytorch_counts(selector):
    config = config_of(selector_type=selector)
    model = ElysiumForConditionalGeneration(config).eval().requires_grad_(False)
    model.vision_tower.set_attn_implementation("eager")
    with sdpa_kernel(SDPBackend.MATH):
        flops, _ = counted(lambda: model.encode_frames(torch.zeros(2, 3, 32, 32)))
    assert CostModel(config).encode(2).flops == flops


def test_another_budget_is_projected_in_part():
    costs = CostModel(config_of())
    per_token = 2 * (16 * 16 + 16 * 16)
    assert costs.encode(1, num_visual_tokens=9).flops - costs.encode(1).flops == 5 * per_token


def test_frames_of_one_batch_read_the_weights_once():
    model, _ = tiny()
    costs = CostModel(model.config, torch.float32)
    weights = sum(
        value.nbytes for part in ("vision", "selector", "projector") for value in model.part(part).parameters()
    )
    one, two = costs.encode(1).bytes, costs.encode(2).bytes
    assert 2 * one - two == weights


def test_a_frame_size_that_the_tower_cannot_take_is_refused():
    with pytest.raises(ValueError, match="multiple of the patch size"):
        CostModel(config_of()).encode(1, 30)


def test_a_prefix_that_rows_share_is_read_once():
    costs = CostModel(config_of())
    shared = costs.prefill(30, num_rows=4, shared_tokens=20)
    prefix, rest = costs.prefill(20), costs.decode(4, 10, cached_tokens=20, shared_tokens=20, logits_per_row=1)
    head = 2 * 16 * 50
    assert shared.flops == prefix.flops - head + rest.flops
    assert shared.flops < costs.prefill(30, num_rows=4).flops
    alone = costs.decode(4, 10, cached_tokens=20, logits_per_row=1)
    assert alone.flops == rest.flops, "every row attends to it"
    assert alone.bytes - rest.bytes == 3 * 20 * costs.cache_bytes_per_token, "but it is fetched once"


def test_a_grammar_needs_only_some_rows_of_the_head():
    costs = CostModel(config_of(), torch.float32)
    whole, digits = costs.decode(2), costs.decode(2, vocabulary_rows=10)
    assert whole.flops - digits.flops == 2 * 2 * 16 * 40
    assert whole.bytes - digits.bytes == 4 * 16 * 40


def test_numbers_of_half_the_size_move_half_the_bytes():
    config = config_of()
    single, half = (CostModel(config, dtype) for dtype in (torch.float32, torch.bfloat16))
    for one, other in ((single.encode(2), half.encode(2)), (single.prefill(9), half.prefill(9))):
        assert one == Cost(other.flops, 2 * other.bytes)


def test_the_papers_model_computes_two_operations_a_parameter_and_token():
    costs = CostModel(described_config(load_settings("vicuna-7b").model))
    # 6.74 B parameters (model card), of which the embedding's 0.13 B are looked up; no attention to speak of.
    assert costs.decode(1).flops == pytest.approx(2 * (6.738e9 - 0.131e9), rel=1e-3)
    assert costs.decode(1).bytes == pytest.approx(2 * (6.738e9 - 0.131e9), rel=1e-3)


def test_random_numbers_go_on_as_they_would_have():
    torch.manual_seed(0)
    CostModel(config_of(vision={"model_type": "siglip2_vision_model"})).encode(1)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)


def test_the_model_computes_attention_as_before():
    model, _ = tiny()
    before = model.vision_tower.config._attn_implementation
    CostModel(model.config).encode(1)
    assert before != "eager"
    assert model.vision_tower.config._attn_implementation == before


def test_costs_add_up():
    assert sum([Cost(1, 2), Cost(3, 4)], Cost()) == Cost(4, 6)
    assert Cost(1, 2) * 3 == 3 * Cost(1, 2) == Cost(3, 6)


def test_counting_a_pass_takes_microseconds():
    costs, meter = CostModel(config_of()), Meter()
    costs.encode(8)
    for action in (
        lambda: meter.add("decode", costs.decode(16, 3, 900.5, vocabulary_rows=100)),
        lambda: meter.add("prefill", costs.prefill(900, 16)),
        lambda: meter.add("encode", costs.encode(8)),
    ):
        # Ten times what it takes here, for machines that others use.
        assert min(timeit.repeat(action, number=100, repeat=5)) / 100 < 50e-6


def test_the_slower_of_computing_and_moving_decides():
    machine = Roofline(100, 10, "a machine")
    assert machine.seconds(Cost(500, 10)) == 5
    assert machine.seconds(Cost(500, 80)) == 8


def test_a_machine_without_speed_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        Roofline(0, 1, "a stone")


def test_the_line_says_speed_passes_share_and_where_the_time_should_go():
    meter = Meter()
    meter.add("encode", Cost(1.2e11, 1e9))
    meter.add("prefill", Cost(3.3e11, 3e9), passes=2)
    meter.add("prefill", Cost(2.2e11, 2e9), passes=1)
    meter.add("decode", Cost(1e10, 3.3e10), passes=20)
    line = speed_of_light(10, 27.0, meter, Roofline(1e11, 1e10, "a machine"))
    assert line == (
        "0.4 frames/s, 2.3 passes/frame, 37 % of what a machine (100 GFLOP/s, 10 GB/s) could do: "
        "encode 12 %, prefill 55 %, decode 33 %"
    )


def test_a_run_that_counted_nothing_still_has_a_line():
    line = speed_of_light(10, 2.0, Meter(), Roofline(2e11, 1.45e10, "a machine"))
    assert line == "5.0 frames/s, 0.0 passes/frame, 0 % of what a machine (200 GFLOP/s, 14 GB/s) could do"


@pytest.mark.parametrize(("number", "seconds"), [(0, 1.0), (3, 0.0)])
def test_no_frames_and_no_time_have_no_speed(number, seconds):
    with pytest.raises(ValueError, match="above 0"):
        speed_of_light(number, seconds, Meter(), Roofline(1, 1, "a machine"))


def test_an_unknown_kind_of_pass_is_refused():
    with pytest.raises(ValueError, match="one of encode, prefill, decode; got 'train'"):
        Meter().add("train", Cost(1, 1))


def test_published_figures_are_dense():
    hopper = published_roofline("NVIDIA H100 80GB HBM3")
    # 1,979 TFLOP/s with sparsity and 3.35 TB/s on the data sheet.
    assert hopper.flops_per_second == pytest.approx(1979e12 / 2, rel=1e-3)
    assert hopper.bytes_per_second == 3.35e12
    assert published_roofline("NVIDIA H100 80GB HBM3", torch.float32) is None
    assert published_roofline("NVIDIA A10G") is None, "is no A10"


@pytest.fixture(scope="module")
def cpu():
    """What this machine's CPU was measured to do."""
    return measure_roofline("cpu", torch.float32)


def test_a_cpu_is_measured(cpu):
    side = torch.rand(512, 512)
    seconds = min(timeit.repeat(lambda: side @ side, number=1, repeat=5))
    # Only the order of magnitude of the fastest product timed by itself: others may use the machine meanwhile.
    assert 0.02 < cpu.flops_per_second / (2 * 512**3 / seconds) < 50
    assert cpu.bytes_per_second > 1e8
    assert f"with {torch.get_num_threads()} thread" in cpu.name


def test_another_device_is_refused():
    with pytest.raises(ValueError, match="cpu and cuda"):
        measure_roofline("meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_reaches_most_of_what_is_published_and_no_more():
    published, measured = find_roofline("cuda"), measure_roofline("cuda", torch.bfloat16)
    assert 0.4 < measured.flops_per_second / published.flops_per_second < 1.05
    assert 0.6 < measured.bytes_per_second / published.bytes_per_second < 1.05


def test_a_real_run_is_not_faster_than_light(cpu):
    model, processor = tiny()
    costs, meter = CostModel(model.config, torch.float32), Meter()
    pixels = processor.pixel_values(frames(8))
    with torch.inference_mode():
        taken = min(timeit.repeat(lambda: model.encode_frames(pixels), number=1, repeat=5))
    meter.add("encode", costs.encode(8))
    assert meter.seconds(cpu)["encode"] < taken
