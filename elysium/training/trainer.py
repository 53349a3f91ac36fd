"""Hugging Face's Trainer, made to survive kill -9: whole checkpoints only, the same samples after a resume."""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.utils.data import Dataset, SequentialSampler
from transformers import BatchFeature, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from elysium.config import PhaseSettings
from elysium.errors import ElysiumError
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.pipeline.workspace import sha256, write_atomic
from elysium.training.samples import Sample, TrackSamples

logger = logging.getLogger(__name__)

_COMPLETE = "complete.json"
_KEPT = 2

LogMetrics = Callable[[dict[str, float], int], None]


class TrainingStopped(ElysiumError):
    """A signal asked training to stop; it saved, and goes on when it is started again."""

    def __init__(self, number: int, step: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}; the state is saved: run it again to go on"
        )
        self.exit_code = 128 + number


def train_phase(
    model: ElysiumForConditionalGeneration,
    processor: ElysiumProcessor,
    samples: TrackSamples,
    phase: PhaseSettings,
    folder: Path,
    seed: int,
    log_metrics: LogMetrics | None = None,
) -> list[dict[str, float]]:
    """Trains one phase to its end, from the newest whole checkpoint in `folder` if there is one.

    On a CPU a resumed phase ends with the very weights and curve of an undisturbed one.

    Args:
        model: Trained in place; what is frozen stays so.
        processor: Makes the batches.
        samples: Numbered samples.
        phase: Steps, rates, batch size.
        folder: For resumable checkpoints.
        seed: Of whatever is random in training beside the samples.
        log_metrics: Takes the figures of a step, and the step.

    Returns:
        The curve: step, loss, learning_rate, grad_norm at every logged step.

    Raises:
        ElysiumError: If the loss is no longer a number.
        TrainingStopped: After SIGTERM or SIGINT.
    """
    for handler in (transformers_logging.disable_progress_bar, transformers_logging.set_verbosity_error):
        handler()
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=phase.steps,
        per_device_train_batch_size=phase.batch_size,
        learning_rate=phase.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(phase.warmup_ratio * phase.steps),
        weight_decay=phase.weight_decay,
        max_grad_norm=phase.max_grad_norm,
        logging_steps=phase.logging_steps,
        logging_nan_inf_filter=False,
        save_steps=phase.save_steps,
        save_total_limit=_KEPT,
        seed=seed,
        bf16=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )
    recorder = _Recorder(log_metrics)
    with _Signals() as signals:
        trainer = _ResumableTrainer(
            model=model,
            args=arguments,
            train_dataset=_Numbered(samples, phase.steps * phase.batch_size),
            data_collator=_Collator(processor),
            callbacks=[recorder, _StopOnSignal(signals)],
        )
        # Plain lines instead of the library's own prints, which would go to standard output.
        trainer.pop_callback(PrinterCallback)
        newest = newest_checkpoint(folder)
        if newest is not None:
            logger.info("going on from %s", newest.name)
        trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        if signals.received is not None and trainer.state.global_step < phase.steps:
            raise TrainingStopped(signals.received, trainer.state.global_step)
    kept = ("loss", "learning_rate", "grad_norm")
    return [
        {"step": entry["step"], **{key: entry[key] for key in kept if key in entry}}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def newest_checkpoint(folder: Path) -> Path | None:
    """Returns the newest whole checkpoint in `folder`; those that were cut short or changed are removed."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True):
        if _is_whole(checkpoint):
            return checkpoint
        logger.warning("%s is not whole; falling back to the one before", checkpoint.name)
        shutil.rmtree(checkpoint)
    return None


class _ResumableTrainer(Trainer):
    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        files = {path.name: sha256(path) for path in sorted(checkpoint.iterdir()) if path.name != _COMPLETE}
        write_atomic(checkpoint / _COMPLETE, json.dumps(files))


class _Numbered(Dataset[Sample]):
    """The first `length` of the numbered samples."""

    def __init__(self, samples: TrackSamples, length: int) -> None:
        self._samples = samples
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


class _Collator:
    def __init__(self, processor: ElysiumProcessor) -> None:
        self._processor = processor

    def __call__(self, samples: list[Sample]) -> BatchFeature:
        return self._processor(
            [sample.prompt for sample in samples],
            [list(sample.frames) for sample in samples],
            [sample.answer for sample in samples],
        )


class _Recorder(TrainerCallback):
    """Prints and hands on what is logged, and stops when the loss is no number."""

    def __init__(self, log_metrics: LogMetrics | None) -> None:
        self._log_metrics = log_metrics

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        values: dict[str, float] = {
            key: float(logs[key]) for key in ("loss", "learning_rate", "grad_norm") if key in logs
        }
        if not math.isfinite(values["loss"]):
            raise ElysiumError(
                f"the loss is {values['loss']} at step {state.global_step}; lower the learning rate, or look at the "
                "newest samples; the checkpoint before is kept"
            )
        logger.info(
            "step %d/%d  loss %.4f  learning rate %.2e", state.global_step, state.max_steps, values["loss"],
            values.get("learning_rate", 0.0),
        )  # fmt: skip
        if self._log_metrics is not None:
            self._log_metrics(values, state.global_step)


class _StopOnSignal(TrainerCallback):
    def __init__(self, signals: _Signals) -> None:
        self._signals = signals

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._signals.received is not None:
            control.should_save = True
            control.should_training_stop = True


class _Signals:
    """Remembers SIGTERM and SIGINT while training runs; the step at hand is finished first."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _: FrameType | None) -> None:
        self.received = number


def _is_whole(checkpoint: Path) -> bool:
    try:
        files: dict[str, str] = json.loads((checkpoint / _COMPLETE).read_text(encoding="utf-8"))
        return all(sha256(checkpoint / name) == digest for name, digest in files.items())
    except (OSError, ValueError):
        return False
