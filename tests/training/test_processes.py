"""Processes that torchrun starts train one model together, with and without DeepSpeed, as one process would."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from training_data import SETTINGS, settings, write_snapshot

from elysium.config import Schedule
from elysium.errors import UsageError
from elysium.model import load_checkpoint
from elysium.training.batches import GroupedOrder
from elysium.training.processes import accumulation, samples_per_step

STEPS = 30
RECIPE = (
    f"steps={STEPS}", "logging_steps=1", "save_steps=20", "questions=2", "learning_rate=1e-3", "precision=float32",
    "coordinate_smoothing=1", "camera_motion=0.3", "global_batch_size=8", "mixture={sot: 1, rsot: 1, rec: 1}",
)  # fmt: skip
PLAIN = [sys.executable, "-m"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]


def command(start, data, output, *changes, resume=False):
    chosen = [*SETTINGS, *(f"training.finetune.{setting}" for setting in (*RECIPE, *changes))]
    overrides = [word for setting in chosen for word in ("--set", setting)]
    train = ["elysium.cli", "train", "run", "finetune", "--data", data / "data", "--output", output, *overrides]
    return [*map(str, [*start, *train]), *(["--resume"] if resume else [])]


@pytest.fixture(scope="module")
def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return write_snapshot(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture(scope="module")
def train(snapshot, tmp_path_factory, environment):
    def run(start, *changes):
        output = tmp_path_factory.mktemp("trained") / "out"
        made = subprocess.run(
            command(start, snapshot, output, *changes), env=environment, capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr[-4000:]
        return output

    return run


@pytest.fixture(scope="module")
def alone(train):
    return train(PLAIN, "batch_size=8")


def curve(output, key="loss"):
    return torch.tensor([entry[key] for entry in json.loads((output / "history.json").read_text())])


def assert_alike(output, other):
    """To 1e-3, over all steps, and in every weight."""
    assert len(curve(output)) == STEPS
    assert (curve(output) - curve(other)).abs().max() < 1e-3
    assert (curve(output, "grad_norm") / curve(other, "grad_norm") - 1).abs().max() < 1e-2
    models = [load_checkpoint(folder / "model")[0].state_dict() for folder in (output, other)]
    for name, value in models[0].items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, models[1][name], atol=2e-3), name


def test_the_curve_falls(alone):
    assert curve(alone)[-5:].mean() < 0.9 * curve(alone)[:5].mean()


def test_accumulated_batches_are_one_step(alone, train):
    assert_alike(train(PLAIN, "batch_size=2"), alone)


def test_two_processes_train_as_one_does(alone, train):
    assert_alike(train(TWO, "batch_size=4", "activation_checkpointing=true"), alone)


@pytest.mark.parametrize("changes", [("zero_stage=2",), ("zero_stage=3", "batch_size=2")], ids=["ZeRO-2", "ZeRO-3"])
def test_divided_state_trains_as_whole_state_does(alone, train, changes):
    assert_alike(train(TWO, "batch_size=4", *changes), alone)


def test_divided_state_goes_on_after_a_signal(alone, snapshot, tmp_path, environment):
    output, changes = tmp_path / "out", ("zero_stage=3", "batch_size=4", "offload=all")
    told = False
    with subprocess.Popen(
        command(TWO, snapshot, output, *changes), env=environment, stderr=subprocess.PIPE, text=True
    ) as running:
        for line in running.stderr:
            if not told and re.search(r"step 1\d/", line):
                running.send_signal(signal.SIGTERM)
                told = True
    assert told
    assert running.returncode != 0
    kept = [path.name for path in (output / "trainer").glob("checkpoint-*")]
    assert kept
    # Another number of processes is told of the first.
    refused = subprocess.run(
        command(PLAIN, snapshot, output, "zero_stage=3", "batch_size=8", resume=True),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "was written by 2 processes" in refused.stderr
    again = subprocess.run(
        command(TWO, snapshot, output, *changes, resume=True), env=environment, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr[-4000:]
    assert_alike(output, alone)


@pytest.mark.parametrize(
    ("whole", "at_once", "processes", "times"), [(None, 4, 8, 1), (512, 16, 32, 1), (512, 16, 8, 4), (8, 8, 1, 1)]
)
def test_what_processes_do_not_take_at_once_is_accumulated(whole, at_once, processes, times):
    schedule = Schedule(steps=1, learning_rate=1, batch_size=at_once, global_batch_size=whole)
    assert accumulation(schedule, processes) == times
    assert samples_per_step(schedule, processes) == (whole or at_once * processes)


def test_processes_that_cannot_share_a_step_are_told(snapshot):
    schedule = Schedule(steps=1, learning_rate=1, batch_size=16, global_batch_size=512)
    with pytest.raises(UsageError, match=r"global_batch_size=512 .* 24 processes .* no multiple of 384"):
        accumulation(schedule, 24)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("zero_stage=2", "compile=true"), "compile cannot be together with zero_stage=2"),
        (("zero_stage=2", "offload=all"), "offload=all needs zero_stage 3 or more, got 2"),
        (("offload=optimizer",), "offload=optimizer needs zero_stage 1 or more, got 0"),
    ],
)
def test_engines_that_cannot_be_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        settings(*(f"training.finetune.{change}" for change in changes))


def test_a_step_holds_the_same_samples_whoever_shares_it():
    class Lengths:
        def size(self, index):
            return 1 + index * 7 % 5, index % 11

    order = list(GroupedOrder(Lengths(), 160, 8, 3, 4))
    assert sorted(order) == list(range(160))
    for start in range(0, 160, 8):
        sizes = [sum(Lengths().size(index)) for index in order[start : start + 8]]
        assert max(sizes) - min(sizes) <= 12
