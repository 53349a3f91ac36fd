"""The steps `warmup`, `pretrain` and `finetune`."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from elysium.config import PhaseSettings, Settings
from elysium.errors import ElysiumError
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor, build_model, load_checkpoint
from elysium.pipeline.steps import StepContext, StepResult, step
from elysium.pipeline.versions import code_version
from elysium.pipeline.workspace import publish_folder, write_atomic
from elysium.registry.tracking import PhaseRun, phase_run
from elysium.training.launch import num_processes, run_in_processes
from elysium.training.mirror import Mirror, mirror_uri
from elysium.training.outside import check, digests
from elysium.training.phases import Lengths, check_lengths, freeze, set_token_budget
from elysium.training.processes import is_first, samples_per_step, wait_for_all, world_size
from elysium.training.samples import TrainingSamples
from elysium.training.shown import draw_answers
from elysium.training.sources import open_sources
from elysium.training.trainer import LogMetrics, train_phase
from elysium.training.zero import zero_settings

logger = logging.getLogger(__name__)


def warmup(context: StepContext) -> StepResult:
    """Trains the new parts of a new model (paper §4, stage 1; PROTOCOL §4)."""
    return _run(context, "warmup", lambda: build_model(context.settings.model, context.settings.seed))


def pretrain(context: StepContext) -> StepResult:
    """Trains the whole model on single frames."""
    return _run(context, "pretrain", lambda: load_checkpoint(context.inputs["warmup"] / "model"))


def finetune(context: StepContext) -> StepResult:
    """Trains the whole model on clips of tracked objects."""
    return _run(context, "finetune", lambda: load_checkpoint(context.inputs["pretrain"] / "model"))


def _run(
    context: StepContext, name: str, make: Callable[[], tuple[ElysiumForConditionalGeneration, ElysiumProcessor]]
) -> StepResult:
    processes = num_processes(context.settings.training)
    if context.meeting is not None or processes > world_size():
        return run_in_processes(context, processes)
    phase: PhaseSettings = getattr(context.settings.training, name)
    _check(context.settings, name)
    model, processor = make()
    data = context.inputs["snapshot"] / "data"
    started = time.monotonic()
    with phase_run(context, name) as run:
        reads = digests(context.settings, name)
        run.log_params({**phase.model_dump(mode="json"), "data": _data_hash(context), "reads": reads})
        history, longest = _train(model, processor, context.settings, name, phase, data, context.output, run)
        mlflow_run = run.run_id
    parts = phase.parts()
    steps, sizes = sum(part.steps for part in parts), [samples_per_step(part, world_size()) for part in parts]
    trained = sum(parameter.numel() for part in phase.trains for parameter in model.part(part).parameters())
    details = {
        "phase": phase.model_dump(mode="json"),
        "trained_parameters": trained,
        "longest_sample": {"text": longest.text, "visual": longest.visual, "limit": longest.limit},
        "samples": sum(part.steps * size for part, size in zip(parts, sizes, strict=True)),
        "questions": sum(part.steps * size * part.questions for part, size in zip(parts, sizes, strict=True)),
        "seconds": round(time.monotonic() - started, 1),
        "mlflow_run": mlflow_run,
    }
    if is_first():
        write_atomic(context.output / "training.json", json.dumps(details, indent=1))
    loss = history[-1]["loss"] if history else float("nan")
    shown = "/".join(map(str, sizes))
    return StepResult(
        summary=f"{steps} steps of {shown} samples, {trained / 1e6:.2f} M parameters, loss {loss:.3f}",
        metrics={"steps": steps, "trained_parameters": trained, "loss": loss},
    )


def _train(
    model: ElysiumForConditionalGeneration,
    processor: ElysiumProcessor,
    settings: Settings,
    name: str,
    phase: PhaseSettings,
    data: Path | None,
    output: Path,
    run: PhaseRun | None,
    *,
    fetch: bool = True,
) -> tuple[list[dict[str, float]], Lengths]:
    torch.set_num_threads(settings.training.threads)
    budget = model.config.tokens_per_frame
    each = model.config.num_patches if model.config.position_ids == "grid" else None
    codec, parts, lengths = processor.codec, phase.parts(), []
    for part in parts:
        set_token_budget(model, processor, part.num_visual_tokens or budget)
        lengths.append(check_lengths(processor, part, name, model.config.max_positions, each))
    # All parts' samples first: what the tail cannot be trained on is told before anything is.
    side, titles = processor.image_size, [name, f"{name}-tail"]
    supplies = [
        TrainingSamples(open_sources(data, part, settings.training, side), title, part, side, settings.seed, codec)
        for title, part in zip(titles, parts, strict=False)
    ]
    history: list[dict[str, float]] = []
    # The phase's own last checkpoint stays until the tail is done: it goes on from there.
    folders = [output / folder for folder in step(name).goes_on_from]
    for number, (part, folder, samples) in enumerate(zip(parts, folders, supplies, strict=False)):
        done = sum(before.steps for before in parts[:number])
        set_token_budget(model, processor, part.num_visual_tokens or budget)
        freeze(model, part)
        pictures = Pictures(model, processor, samples, output / "answers", done, run)
        log_metrics = None if run is None else _later(run.log_metrics, done)
        with _mirrored(settings, titles[number], part, data, folder, fetch=fetch) as sent:
            curve = train_phase(
                model, processor, samples, part, folder, settings.seed, log_metrics, pictures.draw, sent
            )
        history += [{**entry, "step": entry["step"] + done} for entry in curve]
    set_token_budget(model, processor, budget)
    if is_first():
        save_model(model, processor, output / "model")
        write_atomic(output / "history.json", json.dumps(history, indent=1))
    wait_for_all()
    return history, max(lengths, key=lambda found: found.total)


def _check(settings: Settings, name: str) -> None:
    """Refuses, before any weights are read, data sets that are not there and what these processes cannot share."""
    check(settings, name)
    phase: PhaseSettings = getattr(settings.training, name)
    for part in phase.parts():
        samples_per_step(part, world_size())
        zero_settings(part)


@contextlib.contextmanager
def _mirrored(
    settings: Settings, title: str, part: PhaseSettings, data: Path | None, folder: Path, *, fetch: bool
) -> Iterator[Callable[[Path], None] | None]:
    """Brings what a mirror has of a phase, and yields what copies checkpoints there; waits for the last copy."""
    uri = mirror_uri(settings, title, part, data) if is_first() else None
    if uri is None:
        yield None
        return
    mirror = Mirror.of(uri, settings.checkpoints.s3_endpoint)
    if fetch:
        mirror.fetch(folder)
    try:
        yield mirror.send
    finally:
        mirror.close()


def _later(log_metrics: LogMetrics, steps: int) -> LogMetrics:
    return lambda values, step: log_metrics(values, step + steps)


@dataclass(frozen=True)
class Pictures:
    """Draws what a model in training answers: into a folder and, where there is one, into its MLflow run."""

    model: ElysiumForConditionalGeneration
    processor: ElysiumProcessor
    samples: TrainingSamples
    folder: Path
    steps_before: int
    run: PhaseRun | None

    def draw(self, step: int) -> None:
        """Draws the answers after a step; says why where it cannot, for no picture is worth a training run."""
        path = self.folder / f"answers-{self.steps_before + step:06}.png"
        try:
            draw_answers(self.model, self.processor, self.samples, path)
        except (ElysiumError, ValueError, OSError) as error:
            logger.warning("no answers were drawn after step %d: %s", self.steps_before + step, error)
        if self.run is not None and path.is_file():
            self.run.log_artifact(path)


def train_folder(
    settings: Settings, name: str, data: Path | None, output: Path, *, resume: bool = True
) -> list[dict[str, float]]:
    """Trains one phase outside the pipeline: from a data folder to `model/`, `history.json` and `training.json`.

    Args:
        settings: Of the phase and of the model it starts from (`model.init_from`, else a new one).
        name: Of the phase.
        data: With `train.jsonl` and its frames; None if the phase learns from imported sets alone.
        output: Goes on with what it holds.
        resume: Whether it may go on with what a mirror holds, too.

    Returns:
        The curve.
    """
    phase: PhaseSettings = getattr(settings.training, name)
    _check(settings, name)
    model, processor = build_model(settings.model, settings.seed)
    history, _ = _train(model, processor, settings, name, phase, data, output, None, fetch=resume)
    if is_first():
        details = {"phase": phase.model_dump(mode="json"), "data": data and str(data), "code": code_version()}
        write_atomic(output / "training.json", json.dumps(details, indent=1))
        for folder in step(name).goes_on_from:
            shutil.rmtree(output / folder, ignore_errors=True)
    return history


def save_model(model: ElysiumForConditionalGeneration, processor: ElysiumProcessor, folder: Path) -> None:
    """Writes a checkpoint folder that is either whole or not there."""

    def write(scratch: Path) -> None:
        model.requires_grad_(True)
        model.save_pretrained(scratch)
        processor.save_pretrained(scratch)

    publish_folder(folder, write)


def _data_hash(context: StepContext) -> str:
    lineage = json.loads((context.inputs["snapshot"] / "lineage.json").read_text(encoding="utf-8"))
    return str(lineage["data_hash"])
