"""What a plan says is what a step does: operations, memory and tokens, against real steps and published figures."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from training_data import settings, write_snapshot

from elysium.cli import run
from elysium.config import load_settings
from elysium.errors import UsageError
from elysium.model import build_model
from elysium.model.cost import CostModel
from elysium.training.batches import Collator
from elysium.training.effort import Effort
from elysium.training.footprint import activations
from elysium.training.phases import freeze
from elysium.training.plan import divide_state, plan_phase
from elysium.training.samples import TrainingSamples
from elysium.training.sources import TrackSource

GPU = "A100-SXM4-80GB"


def real_batch(phase, folder, processor):
    supply = TrainingSamples(
        [TrackSource(folder / "data", processor.image_size)], "finetune", phase, processor.image_size, 1
    )
    return Collator(processor)([supply[0]])


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return write_snapshot(tmp_path_factory.mktemp("snapshot"))


def wide(*overrides):
    """Wide enough that what is not counted (norms, softmax) does not weigh."""
    sizes = ("model.vision.hidden_size=64", "model.llm.hidden_size=128", "model.llm.num_hidden_layers=3")
    return settings(*sizes, "training.finetune.mixture={sot: 1.0}", *overrides)


@pytest.mark.parametrize("trains", ["[vision, selector, projector, llm]", "[selector, projector]", "[llm]"])
def test_operations_are_those_of_a_real_step(snapshot, trains):
    chosen = wide(f"training.finetune.trains={trains}", "training.finetune.questions=1")
    phase = chosen.training.finetune
    model, processor = build_model(chosen.model, 0)
    model.vision_tower.set_attn_implementation("eager")
    model.language_model.set_attn_implementation("eager")
    freeze(model, phase)
    batch = real_batch(phase, snapshot, processor)
    with FlopCounterMode(display=False) as counter:
        model(**batch, use_cache=False).loss.backward()
    tokens = batch["input_ids"].shape[1]
    found = Effort.of(CostModel(model.config), phase).flops(tokens, tokens**2, len(batch["pixel_values"]))
    assert found == pytest.approx(counter.get_total_flops(), rel=0.05)


@pytest.mark.parametrize("trains", ["[vision, selector, projector, llm]", "[selector, projector]", "[llm]"])
def test_activations_are_what_a_real_step_holds(snapshot, trains):
    chosen = wide(f"training.finetune.trains={trains}", "training.finetune.questions=1")
    phase = chosen.training.finetune
    model, processor = build_model(chosen.model, 0)
    model.to(torch.bfloat16).train()
    freeze(model, phase)
    batch = real_batch(phase, snapshot, processor)
    frames, length = len(batch["pixel_values"]), batch["input_ids"].shape[1]
    weights = {value.untyped_storage().data_ptr() for value in model.parameters()}
    held = {}

    def hold(value):
        if value.untyped_storage().data_ptr() not in weights:
            held[value.untyped_storage().data_ptr()] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda value: value):
        loss = model(**{**batch, "pixel_values": batch["pixel_values"].bfloat16()}, use_cache=False).loss
    real = sum(value.untyped_storage().nbytes() for value in held.values())
    del loss
    planned = activations(model.config, phase, frames, length)
    logits = length * model.config.text_config.vocab_size * 4
    assert planned.kept - logits == pytest.approx(real, rel=0.1)
    assert planned.checkpointed < planned.kept


def test_state_is_divided_as_the_paper_of_zero_says():
    # Rajbhandari et al., 2020, figure 1: 7.5 B parameters on 64 GPUs, Adam: 120, 31.4, 16.6 and 1.9 GB.
    stages = {stage.name: stage.total / 1e9 for stage in divide_state(7_500_000_000, 7_500_000_000, 64)}
    whole = {stage.name: stage.total / 1e9 for stage in divide_state(7_500_000_000, 7_500_000_000, 1)}
    assert whole["ZeRO-1"] == pytest.approx(120)
    assert stages["ZeRO-1"] == pytest.approx(31.4, abs=0.05)
    assert stages["ZeRO-2"] == pytest.approx(16.6, abs=0.05)
    assert stages["ZeRO-3"] == pytest.approx(1.9, abs=0.05)


def test_tokens_are_those_of_drawn_samples(snapshot):
    chosen = settings("training.finetune.clip_interval=[1, 1]", "training.finetune.clip_frames=[2, 6]")
    plan = plan_phase(chosen.model, chosen.training.finetune, 1, GPU)
    phase = chosen.training.finetune
    _, processor = build_model(chosen.model, 0)
    supply = TrainingSamples([TrackSource(snapshot / "data", 32)], "finetune", phase, 32, 1)
    rows = [Collator(processor)([supply[index]])["input_ids"].shape[1] for index in range(600)]
    assert not plan.is_estimated
    assert plan.tokens_per_step == pytest.approx(phase.batch_size * sum(rows) / len(rows), rel=0.1)
    assert max(rows) <= plan.longest_row


def test_the_papers_run_is_planned_without_its_tokenizer():
    following = "training.finetune.mixture={sot: 1, rsot: 1, video-reg: 1, rec: 1, reg: 1, vqa: 0}"
    chosen = load_settings("vicuna-7b", [following])
    plan = plan_phase(chosen.model, chosen.training.finetune, 32, "NVIDIA " + GPU, price=2.0, utilisation=0.5)
    assert plan.is_estimated
    # PROTOCOL §2: SOT over 8 frames is 277 text tokens beside 8 x 108 visual ones.
    assert plan.longest_conversation == pytest.approx(277 + 8 * 108, abs=2)
    assert plan.samples_per_step == 512
    # Chinchilla's rule of thumb: 6 operations a parameter and token; the tower's patches come to it.
    text = 6 * 6.74e9 * plan.tokens_per_step
    assert text < plan.flops_per_step < 1.35 * text
    assert plan.hours == pytest.approx(plan.steps * plan.flops_per_step / 32 / (312e12 * 0.5) / 3600)
    assert plan.cost == pytest.approx(plan.hours * 64)
    by_name = {stage.name: stage for stage in plan.stages}
    assert not plan.fits(by_name["ZeRO-1"], checkpointed=False)
    assert plan.fits(by_name["ZeRO-3"], checkpointed=True)


def test_twice_the_gpus_take_as_long_for_twice_the_samples():
    chosen = load_settings("small")
    few, many = (plan_phase(chosen.model, chosen.training.pretrain, gpus, GPU) for gpus in (4, 8))
    assert many.hours == pytest.approx(few.hours)
    assert (many.samples_per_step, many.tokens_per_step) == (2 * few.samples_per_step, 2 * few.tokens_per_step)
    assert few.cost is None


def test_a_gpu_that_is_not_known_is_refused():
    chosen = load_settings("nano")
    with pytest.raises(UsageError, match="Voodoo2: its rate is not known here"):
        plan_phase(chosen.model, chosen.training.finetune, 1, "Voodoo2")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.init_from=/nowhere", "model.init_from=/nowhere is no checkpoint"),
        ("training.finetune.num_visual_tokens=65", "a frame has 64 patches"),
    ],
)
def test_what_cannot_be_planned_is_an_error_that_names_the_value(setting, message, capsys):
    assert run(["train", "plan", "finetune", "--set", setting]) == 2
    assert message in capsys.readouterr().err


def test_the_command_says_it_all(capsys):
    assert run(["train", "plan", "finetune", "--preset", "vicuna-7b", "--gpus", "32", "--price", "2.5"]) == 0
    text = capsys.readouterr().out
    assert "finetune on 32 x A100-SXM4-80GB" in text
    assert "finetune, tail on 32 x A100-SXM4-80GB" in text
    assert "texts estimated" in text
    assert "2.5 a GPU-hour" in text
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  ZeRO")] == 2 * [
        "ZeRO-1", "ZeRO-2", "ZeRO-2,", "ZeRO-3", "ZeRO-3,",
    ]  # fmt: skip
    assert "! more than 90 %" in text


def test_the_papers_long_clips_fit_the_context():
    long = load_settings("vicuna-7b").training.finetune.parts()[1]
    assert (long.clip_frames, long.steps, long.batch_size, long.learning_rate) == ((32, 32), 2000, 1, 5e-5)
    plan = plan_phase(load_settings("vicuna-7b").model, long, 32, GPU)
    # With all 108 tokens a frame, 31 frames exceed the context (PROTOCOL §2).
    assert 3500 < plan.longest_conversation <= 4096
    more = long.model_copy(update={"num_visual_tokens": 108})
    assert plan_phase(load_settings("vicuna-7b").model, more, 32, GPU).longest_conversation > 4096


def test_the_plan_as_json(capsys):
    assert run(["train", "plan", "warmup", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["warmup"]
    assert found["trained_parameters"] < found["parameters"]
    assert found["stages_gib"]["ZeRO-2"]["fits"] is True
