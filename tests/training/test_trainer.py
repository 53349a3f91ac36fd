"""The trainer trains, and being killed changes nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from functools import partialmethod
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_data import SETTINGS, settings, write_snapshot

from elysium.errors import ElysiumError, UsageError
from elysium.model import build_model, load_checkpoint
from elysium.training.checkpoints import newest_checkpoint
from elysium.training.phases import freeze
from elysium.training.samples import TrainingSamples
from elysium.training.sources import TrackSource
from elysium.training.step import train_folder
from elysium.training.trainer import train_phase

HERE = Path(__file__).parent
STEPS = tuple(
    f"training.finetune.{setting}"
    for setting in (
        "steps=8",
        "save_steps=3",
        "logging_steps=1",
        "batch_size=2",
        "questions=2",
        "coordinate_smoothing=2",
    )
)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return write_snapshot(tmp_path_factory.mktemp("snapshot"))


def train(snapshot, folder, *overrides, log=None):
    chosen = settings(*STEPS, *overrides)
    torch.set_num_threads(1)
    model, processor = build_model(chosen.model, 0)
    phase = chosen.training.finetune
    freeze(model, phase)
    supply = TrainingSamples([TrackSource(snapshot / "data", 32)], "finetune", phase, 32, 7, processor.codec)
    return model, train_phase(model, processor, supply, phase, folder, 7, log)


@pytest.fixture(scope="module")
def undisturbed(snapshot, tmp_path_factory):
    return train(snapshot, tmp_path_factory.mktemp("undisturbed"))


def same(model, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_curve_has_every_logged_step(undisturbed):
    _, history = undisturbed
    assert [entry["step"] for entry in history] == list(range(1, 9))
    assert all({"loss", "learning_rate", "grad_norm"} <= entry.keys() for entry in history)


def test_batches_that_are_made_in_the_background_are_the_same(snapshot, undisturbed, tmp_path):
    model, history = train(snapshot, tmp_path, "training.finetune.loader_workers=1")
    assert history == undisturbed[1]
    assert same(model, undisturbed[0])


def test_the_loss_falls_on_what_is_seen_again_and_again(snapshot, tmp_path):
    overrides = (
        "training.finetune.steps=60",
        "training.finetune.learning_rate=3e-3",
        "training.finetune.mixture={rec: 1}",
    )
    _, history = train(snapshot, tmp_path, *overrides)
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]


def test_frozen_parts_do_not_move_and_trained_ones_do(snapshot, tmp_path):
    before, _ = build_model(settings().model, 0)
    model, _ = train(snapshot, tmp_path, "training.finetune.trains=[selector, projector]")
    assert same(before.vision_tower, model.vision_tower)
    assert same(before.language_model, model.language_model)
    assert not same(before.projector, model.projector)
    assert not same(before.selector, model.selector)


def test_a_part_learns_at_its_own_rate_and_goes_on_at_it(snapshot, tmp_path):
    before, _ = build_model(settings().model, 0)
    slow = "training.finetune.learning_rates={vision: 1e-30}"
    model, history = train(snapshot, tmp_path, slow)
    torch.testing.assert_close(before.vision_tower.state_dict(), model.vision_tower.state_dict())
    assert not same(before.language_model, model.language_model)
    shutil.rmtree(tmp_path / "checkpoint-8")
    again, resumed = train(snapshot, tmp_path, slow)
    assert same(model, again)
    assert resumed == history


def test_a_compiled_phase_in_bfloat16_learns_what_a_plain_one_does(snapshot, undisturbed, tmp_path, monkeypatch):
    """Traced and differentiated by the compiler; the C++ that it would write takes minutes, and is torch's own."""
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(whole, backend="aot_eager"))
    model, history = train(snapshot, tmp_path, "training.finetune.compile=true", "training.finetune.precision=bfloat16")
    assert [entry["loss"] for entry in history] == pytest.approx([entry["loss"] for entry in undisturbed[1]], rel=0.02)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    assert model.config.text_config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("rates", "message"), [("{vision: 0}", "a rate is above 0"), ("{selector: 1e-3}", "does not train")]
)
def test_rates_that_cannot_be_are_refused(rates, message):
    with pytest.raises(UsageError, match=message):
        settings(f"training.finetune.learning_rates={rates}", "training.finetune.trains=[vision, llm]")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_phase_ends_with_the_very_weights_and_curve_of_an_undisturbed_one(
    snapshot, undisturbed, tmp_path, number
):
    code = f"""
        from pathlib import Path
        import test_trainer
        test_trainer.train(Path({str(snapshot)!r}), Path({str(tmp_path)!r}))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and newest(tmp_path) is None:
        time.sleep(0.005)
    process.send_signal(number)
    assert process.wait() != 0
    assert newest(tmp_path) is not None

    model, history = train(snapshot, tmp_path)
    assert history == undisturbed[1]
    assert same(undisturbed[0], model)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(snapshot, undisturbed, tmp_path):
    train(snapshot, tmp_path)
    kept = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert kept == ["checkpoint-6", "checkpoint-8"]
    weights = tmp_path / "checkpoint-8" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert newest_checkpoint(tmp_path).name == "checkpoint-6"
    model, _ = train(snapshot, tmp_path)
    assert same(undisturbed[0], model)


def test_a_loss_that_is_no_number_stops_the_phase(snapshot, tmp_path):
    with pytest.raises(ElysiumError, match="the loss is nan at step"):
        train(snapshot, tmp_path, "training.finetune.learning_rate=1e30", "training.finetune.max_grad_norm=1e30")


def test_the_batch_that_stopped_a_phase_can_be_looked_at(snapshot, tmp_path):
    with pytest.raises(ElysiumError, match=r"its batch is in .*stopped-at-") as error:
        train(snapshot, tmp_path, "training.finetune.learning_rate=1e30", "training.finetune.max_grad_norm=1e30")
    place = next(tmp_path.glob("stopped-at-*"))
    assert str(place) in str(error.value)
    assert {"input_ids", "labels", "pixel_values", "attention_mask"} <= load_file(place / "batch.safetensors").keys()
    note = json.loads((place / "batch.json").read_text())
    assert note["loss"] == "nan"
    assert len(note["rows"]) == 2
    assert all("ASSISTANT:" in row for row in note["rows"])


def test_a_loss_that_is_no_number_stops_before_anything_is_saved(snapshot, tmp_path):
    spoils = ("training.finetune.learning_rate=1e30", "training.finetune.max_grad_norm=1e30")
    with pytest.raises(ElysiumError, match=r"the loss is nan|is not finite"):
        train(snapshot, tmp_path, *spoils, "training.finetune.logging_steps=8", "training.finetune.save_steps=1")
    for path in tmp_path.rglob("model.safetensors"):
        assert all(torch.isfinite(value).all() for value in load_file(path).values())


def test_figures_go_out_step_by_step_and_the_speed_stays_out_of_the_curve(snapshot, tmp_path):
    logged = []
    _, history = train(snapshot, tmp_path, log=lambda values, step: logged.append((step, values)))
    assert [step for step, _ in logged] == [entry["step"] for entry in history]
    assert [values["loss"] for _, values in logged] == pytest.approx([entry["loss"] for entry in history])
    assert all(values["samples_per_second"] > 0 for _, values in logged)
    assert all("samples_per_second" not in entry for entry in history)
    for _, values in logged:
        tasks = [value for name, value in values.items() if name.startswith("loss_")]
        assert min(tasks) - 1e-4 <= values["loss"] <= max(tasks) + 1e-4
        assert 0 <= values["padding"] < 1
        assert values["tokens_per_second"] > 0
        assert values["teraflops_per_second"] > 0
    names = {name for _, values in logged for name in values if name.startswith("loss_")}
    assert {"loss_sot", "loss_rsot", "loss_video-reg"} <= names


def test_the_train_command_trains_one_phase_and_goes_on(snapshot, tmp_path):
    changes = [argument for override in (*SETTINGS, *STEPS) for argument in ("--set", override)]
    command = [
        *(sys.executable, "-m", "elysium.cli", "train", "run", "finetune", "--data", snapshot / "data"),
        *("--output", tmp_path / "out", "--json", *changes),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    shown = json.loads(result.stdout.splitlines()[-1])
    assert shown["steps"] == 8
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "--resume" in again.stderr


def newest(folder):
    """Returns a whole checkpoint without removing what is being written."""
    return next(iter(folder.glob("checkpoint-*/complete.json")), None)


TAIL = "training.finetune.tail={steps: 4, clip_frames: [8, 8], batch_size: 1}"


def test_a_tail_goes_on_with_longer_clips(snapshot, tmp_path):
    chosen = settings(*STEPS, TAIL)
    history = train_folder(chosen, "finetune", snapshot / "data", tmp_path / "whole")
    assert [entry["step"] for entry in history] == list(range(1, 13))
    rates = [entry["learning_rate"] for entry in history]
    assert rates[9] > rates[7], "a schedule of its own"
    plain = train_folder(settings(*STEPS), "finetune", snapshot / "data", tmp_path / "plain")
    assert history[:8] == plain
    assert not same(*(load_checkpoint(tmp_path / name / "model")[0] for name in ("whole", "plain")))
    left = {path.name for path in (tmp_path / "whole").iterdir()}
    assert left == {"answers", "history.json", "model", "training.json"}, "nothing to go on from"


@pytest.mark.parametrize("step", [8, 11])
def test_a_tail_that_is_killed_goes_on_from_where_it_was(snapshot, tmp_path, step):
    chosen = settings(*STEPS, TAIL)
    undisturbed = train_folder(chosen, "finetune", snapshot / "data", tmp_path / "whole")
    code = f"""
        import os, signal
        from elysium.training import trainer
        from training_data import settings
        from elysium.training.step import train_folder
        from pathlib import Path
        save, seen = trainer._ResumableTrainer._save_checkpoint, []
        def counted(self, model, trial):
            save(self, model, trial)
            seen.append(self.state.global_step)
            if len(seen) == {3 if step == 8 else 4}:
                os.kill(os.getpid(), signal.SIGKILL)
        trainer._ResumableTrainer._save_checkpoint = counted
        chosen = settings(*{STEPS!r}, {TAIL!r})
        train_folder(chosen, "finetune", Path({str(snapshot / "data")!r}), Path({str(tmp_path / "killed")!r}))
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = train_folder(chosen, "finetune", snapshot / "data", tmp_path / "killed")
    assert again == undisturbed
    assert same(*(load_checkpoint(tmp_path / name / "model")[0] for name in ("whole", "killed")))


def test_a_tail_that_does_not_fit_is_refused_before_anything_starts(snapshot, tmp_path):
    long = "training.finetune.tail={steps: 4, clip_frames: [64, 64]}"
    with pytest.raises(UsageError, match="a clip of 64 frames takes"):
        train_folder(settings(*STEPS, long), "finetune", snapshot / "data", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_tail_without_frames_is_refused():
    with pytest.raises(UsageError, match="fewest <= most"):
        settings("training.finetune.tail={steps: 4, clip_frames: [8, 2]}")
