"""What sharing frames and grouping by length bring in training, and what a step of each phase costs.

    python benchmarks/training.py [--data FOLDER] [--rounds 3] [--steps 6] [--output benchmarks/results/training.json]

batching: the same questions about the same clips, as the official release batches them (each question a conversation
of its own with frames of its own, in random order, padded to the longest of the batch) and as `train_phase` does
(questions share their frames, samples of like length share a batch). One step is the same number of questions, forward,
backward and AdamW. Rounds are interleaved; medians.
loading: making those batches, without training on them.
phases: seconds a step, padding, and the largest resident memory over that of the loaded model, each in a process of its
own. Of `nano-scratch`, not compiled. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nano import make_data
from reporting import finish
from transformers import BatchFeature

from elysium.checkpoints import checkpoint_folder
from elysium.config import PHASES, PhaseSettings, load_settings
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor, load_checkpoint
from elysium.training.batches import PADDED, Collator, GroupedOrder
from elysium.training.losses import AnswerLoss
from elysium.training.phases import freeze, set_token_budget
from elysium.training.samples import Sample, TrainingSamples
from elysium.training.sources import TrackSource

PRESET, SEED, SIDE = "nano-scratch", 7, 64
Batches = list[list[Sample]]


def main() -> None:
    """Prints the tables, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a snapshot's data folder; by default a small one is made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="of a round")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.phase:
        print(json.dumps(one_phase(arguments.phase, arguments.data, arguments.steps)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data or make_data(Path(scratch), clips=2, train_clips=200)
        batching = compare(data, arguments.rounds, arguments.steps)
        phases = {name: in_its_own_process(name, data, arguments.steps) for name in PHASES}
    for table in (batching, phases):
        for name, row in table.items():
            print(f"{name:<14}", "  ".join(f"{key} {value}" for key, value in row.items()))
    finish({"batching": batching, "phases": phases}, arguments.output)


def compare(data: Path, rounds: int, steps: int) -> dict[str, dict[str, float]]:
    """Returns speed and padding of both ways to batch the same questions."""
    phase = load_settings(PRESET).training.finetune
    model, processor = load_checkpoint(checkpoint_folder("nano"), torch.float32)
    ways: dict[str, Callable[[], Batches]] = {
        "release": lambda: as_the_release(phase, data, processor, rounds * steps),
        "elysium": lambda: as_elysium(phase, data, processor, rounds * steps),
    }
    batches = {name: make() for name, make in ways.items()}
    collate = Collator(processor, mark_tasks=True)
    figures: dict[str, dict[str, list[float]]] = {name: {"train": [], "load": []} for name in ways}
    step = stepper(model, phase, processor)
    for name in ways:
        step(collate(batches[name][0]))
    for number in range(rounds):
        for name in ways:
            for batch in batches[name][number * steps : (number + 1) * steps]:
                begun = time.perf_counter()
                made = collate(batch)
                loaded = time.perf_counter()
                step(made)
                figures[name]["load"].append(loaded - begun)
                figures[name]["train"].append(time.perf_counter() - loaded)
    found = {}
    for name, times in figures.items():
        tasks = [collate(batch)["tasks"] for batch in batches[name]]
        seconds = statistics.mean(times["train"])
        found[name] = {
            "questions_per_second": round(phase.batch_size * phase.questions / seconds, 1),
            "padding_percent": round(100 * share_of_padding(tasks), 1),
            "rows_per_step": len(batches[name][0]),
            "tokens_per_step": round(statistics.mean(int((marks != PADDED).sum()) for marks in tasks)),
            "seconds_per_step": round(seconds, 3),
            "seconds_of_loading": round(statistics.mean(times["load"]), 3),
        }
    return found


def as_elysium(phase: PhaseSettings, data: Path, processor: ElysiumProcessor, count: int) -> Batches:
    """Returns batches as training makes them."""
    supply = TrainingSamples([TrackSource(data, SIDE)], "finetune", phase, SIDE, SEED, processor.codec)
    order = list(GroupedOrder(supply, count * phase.batch_size, phase.batch_size, SEED, processor.tokens_per_frame))
    return [[supply[index] for index in part] for part in cut(order, phase.batch_size)]


def as_the_release(phase: PhaseSettings, data: Path, processor: ElysiumProcessor, count: int) -> Batches:
    """Returns batches of the same questions, each with frames of its own, in random order."""
    supply = TrainingSamples([TrackSource(data, SIDE)], "finetune", phase, SIDE, SEED, processor.codec)
    samples = [supply[index] for index in range(count * phase.batch_size)]
    alone = [Sample((question,), sample.frames) for sample in samples for question in sample.questions]
    shuffled = [alone[place] for place in np.random.default_rng(SEED).permutation(len(alone))]
    return list(cut(shuffled, phase.batch_size * phase.questions))


def cut(items: list[Any], size: int) -> Iterator[list[Any]]:
    """Yields the items in pieces of so many."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def share_of_padding(marks: list[torch.Tensor]) -> float:
    """Returns which share of all places holds no token."""
    return sum(int((tasks == PADDED).sum()) for tasks in marks) / sum(tasks.numel() for tasks in marks)


def stepper(
    model: ElysiumForConditionalGeneration, phase: PhaseSettings, processor: ElysiumProcessor
) -> Callable[[BatchFeature], None]:
    """Returns what trains a model by one batch, in the phase's precision."""
    freeze(model, phase)
    model.train()
    optimiser = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-6)
    measure = AnswerLoss(processor, phase.coordinate_smoothing)
    is_half = phase.precision == "bfloat16"

    def step(batch: BatchFeature) -> None:
        given = {name: value for name, value in batch.items() if name not in ("labels", "tasks", "sources")}
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            loss = measure(model(**given, use_cache=False).logits, batch["labels"])
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def one_phase(name: str, data: Path, steps: int) -> dict[str, float]:
    """Returns what the steps of a phase cost."""
    phase: PhaseSettings = getattr(load_settings(PRESET).training, name)
    model, processor = load_checkpoint(checkpoint_folder("nano"), torch.float32)
    set_token_budget(model, processor, phase.num_visual_tokens)
    supply = TrainingSamples([TrackSource(data, SIDE)], name, phase, SIDE, SEED, processor.codec)
    order = list(GroupedOrder(supply, 16 * phase.batch_size, phase.batch_size, SEED, processor.tokens_per_frame))
    step, collate = stepper(model, phase, processor), Collator(processor, mark_tasks=True)
    loaded, seconds, marks = resident(), [], []
    for number, part in enumerate(cut(order, phase.batch_size)):
        batch = collate([supply[index] for index in part])
        marks.append(batch["tasks"])
        if number > steps:
            continue
        begun = time.perf_counter()
        step(batch)
        seconds.append(time.perf_counter() - begun)
    return {
        "seconds_per_step": round(statistics.median(seconds[1:]), 3),
        "questions_per_step": phase.batch_size * phase.questions,
        "padding_percent": round(100 * share_of_padding(marks), 1),
        "peak_mib_over_model": round(peak() - loaded),
    }


def in_its_own_process(name: str, data: Path, steps: int) -> dict[str, float]:
    """Runs `one_phase` where nothing else was before."""
    command = [sys.executable, __file__, "--phase", name, "--data", str(data), "--steps", str(steps)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def resident() -> float:
    """Returns the resident memory in MiB, and lets its peak begin anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """Returns the largest resident memory in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
