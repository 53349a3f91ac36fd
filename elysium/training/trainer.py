"""Hugging Face's Trainer, made to survive kill -9: whole checkpoints only, the same samples after a resume."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from elysium.config import Part, PhaseSettings, Schedule
from elysium.errors import ElysiumError, UsageError
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.cost import CostModel
from elysium.prompts import Task
from elysium.training.batches import Collator, GroupedOrder, NumberedSamples
from elysium.training.checkpoints import KEPT, check_processes, newest_checkpoint, seal_checkpoint
from elysium.training.effort import Effort, peak_flops
from elysium.training.losses import AnswerLoss
from elysium.training.processes import (
    accumulation,
    from_first,
    is_first,
    samples_per_step,
    world_size,
)
from elysium.training.samples import TrainingSamples
from elysium.training.shown import selection_statistics
from elysium.training.stopping import Signals, StopOnSignal, TrainingStopped
from elysium.training.watch import Guard, Tally, duration
from elysium.training.zero import optimizer_for, restore, zero_settings

logger = logging.getLogger(__name__)

_FREE = list(Task).index(Task.VQA)
# The speed is no part of the curve: two runs of the same settings must write the same one.
_FIGURES = ("loss", "learning_rate", "grad_norm")

LogMetrics = Callable[[dict[str, float], int], None]


def train_phase(
    model: ElysiumForConditionalGeneration,
    processor: ElysiumProcessor,
    samples: TrainingSamples,
    phase: PhaseSettings,
    folder: Path,
    seed: int,
    log_metrics: LogMetrics | None = None,
    show: Callable[[int], None] | None = None,
    sent: Callable[[Path], None] | None = None,
) -> list[dict[str, float]]:
    """Trains one phase to its end, from the newest whole checkpoint in `folder` if there is one.

    On a CPU a resumed phase ends with the very weights and curve of an undisturbed one (tested in float32 and not
    compiled).

    Args:
        model: Trained in place; what is frozen stays so.
        processor: Makes the batches.
        samples: Numbered samples.
        phase: Steps, rates, batch size.
        folder: For resumable checkpoints.
        seed: Of whatever is random in training beside the samples.
        log_metrics: Takes the figures of a step, and the step.
        show: Is called with the step after each checkpoint, by the first process; not where weights are divided.
        sent: Is called with each whole checkpoint, by the first process.

    Returns:
        The curve: step, loss, learning_rate, grad_norm at every logged step.

    Raises:
        ElysiumError: If the loss or a weight is no longer a number, or the loss jumps; the batch is saved.
        UsageError: If the model's tokenizer or attention does not fit the phase.
        TrainingStopped: After SIGTERM or SIGINT.
    """
    num_samples = phase.steps * samples_per_step(phase, world_size())
    if phase.questions > 1 and model.config.text_config._attn_implementation not in ("eager", "sdpa"):
        raise UsageError(
            f"questions={phase.questions} needs attention that takes a mask a token (sdpa or eager), but the model "
            f"runs {model.config.text_config._attn_implementation}; set questions to 1"
        )
    config = model.config
    each = config.num_patches if config.position_ids == "grid" else None
    supply = Supply(
        NumberedSamples(samples, num_samples),
        GroupedOrder(samples, num_samples, num_samples // phase.steps, seed, processor.tokens_per_frame),
        Collator(processor, mark_tasks=True, limit=config.max_positions, positions_per_frame=each),
        processor.decode,
    )
    loss = AnswerLoss(processor, phase.coordinate_smoothing)
    attention = model.config.text_config._attn_implementation
    if phase.compile and not torch.cuda.is_available():
        # Compiled, plain attention is a few loops over masks of any form.
        model.set_attn_implementation("eager")
    try:
        tally = Tally(Effort.of(CostModel(config), phase), peak_flops(), samples.names)
        rates = phase.learning_rates
        return fit(
            model, supply, phase, folder, seed, log_metrics, loss=loss, rates=rates, tally=tally, show=show, sent=sent
        )
    finally:
        model.set_attn_implementation(attention)


@dataclass(frozen=True)
class Supply:
    """What is trained on.

    Attributes:
        dataset: Numbered samples.
        order: Their numbers as they are trained on; None takes them one after the other.
        collate: Makes a batch of samples; None stacks them.
        decode: Token ids to text, for batches that people are to look at.
    """

    dataset: Dataset[Any]
    order: Sampler[int] | None = None
    collate: Callable[[list[Any]], Any] | None = None
    decode: Callable[[Any], str] | None = None


def fit(
    model: nn.Module,
    supply: Supply,
    schedule: Schedule,
    folder: Path,
    seed: int,
    log_metrics: LogMetrics | None = None,
    *,
    loss: AnswerLoss | None = None,
    rates: Mapping[Part, float] | None = None,
    tally: Tally | None = None,
    show: Callable[[int], None] | None = None,
    sent: Callable[[Path], None] | None = None,
) -> list[dict[str, float]]:
    """Trains anything that returns a loss, as `train_phase` does, and with its errors.

    Args:
        model: Trained in place.
        supply: Of one process.
        schedule: Steps, rates, batch size.
        folder: For resumable checkpoints.
        seed: Of whatever is random in training beside the samples.
        log_metrics: Takes the figures of a step, and the step.
        loss: Of logits and labels; None takes the model's own.
        rates: Of parts that do not learn at the schedule's.
        tally: Sums what the loss sees, for `log_metrics`.
        show: As of `train_phase`.
        sent: As of `train_phase`.

    Returns:
        The curve: step, loss, learning_rate, grad_norm at every logged step.
    """
    if not torch.cuda.is_available():
        # Where DeepSpeed is installed it is imported in any case, and warns of having to find this out.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    for handler in (transformers_logging.disable_progress_bar, transformers_logging.set_verbosity_error):
        handler()
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=schedule.steps,
        per_device_train_batch_size=schedule.batch_size,
        gradient_accumulation_steps=accumulation(schedule, world_size()),
        **(_checkpointing() if schedule.activation_checkpointing else {}),
        # Towers have layers behind the one that is read.
        ddp_find_unused_parameters=True if world_size() > 1 else None,
        deepspeed=zero_settings(schedule),
        dataloader_num_workers=schedule.loader_workers,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(schedule.warmup_ratio * schedule.steps),
        weight_decay=schedule.weight_decay,
        adam_beta2=schedule.adam_beta2,
        max_grad_norm=schedule.max_grad_norm,
        logging_steps=schedule.logging_steps,
        logging_nan_inf_filter=False,
        save_steps=schedule.save_steps,
        save_total_limit=KEPT,
        seed=seed,
        bf16=schedule.precision == "bfloat16" or (schedule.precision == "auto" and torch.cuda.is_available()),
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:
        # One process is one GPU: else the library drives all that it sees by threads, with as many times the samples.
        arguments._n_gpu = 1
    if schedule.compile:
        # In place: names and weights stay what they are. Batches differ in every length.
        model.compile(dynamic=True)
    tally = tally or Tally()
    with Signals() as signals:
        trainer = _ResumableTrainer(
            model=model,
            args=arguments,
            train_dataset=supply.dataset,
            data_collator=supply.collate,
            order=supply.order,
            loss=loss,
            rates=rates or {},
            tally=tally,
            guard=Guard(schedule.max_loss_jump, folder, supply.decode),
            sent=sent,
            optimizer_cls_and_kwargs=optimizer_for(schedule),
            callbacks=[_Recorder(log_metrics, tally), StopOnSignal(signals), *_showing(show, schedule)],
        )
        # Plain lines instead of the library's own prints, which would go to standard output.
        trainer.pop_callback(PrinterCallback)
        newest = from_first(newest_checkpoint(folder) if is_first() else None)
        if newest is not None:
            check_processes(newest, schedule)
            logger.info("going on from %s", newest.name)
        try:
            trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        except ElysiumError as error:
            raise _as_it_was(error) from error
        if signals.received is not None and trainer.state.global_step < schedule.steps:
            raise TrainingStopped(signals.received, trainer.state.global_step)
        if schedule.zero_stage:
            restore(model, trainer.model_wrapped)
    return [
        {"step": entry["step"], **{key: entry[key] for key in _FIGURES if key in entry}}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


class _ResumableTrainer(Trainer):
    def __init__(
        self,
        *args: Any,
        order: Sampler[int] | None,
        loss: AnswerLoss | None,
        rates: Mapping[Part, float],
        tally: Tally,
        guard: Guard,
        sent: Callable[[Path], None] | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._tally = tally
        self._guard = guard
        self._sent = sent
        self._order = order
        self._loss = loss
        self._rates = rates
        self._by_task: torch.Tensor | None = None

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Returns the library's optimiser, with groups of their own for parts that have a rate of their own."""
        made = self.optimizer is not None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if made:
            return optimizer
        groups = optimizer.param_groups
        for part, rate in self._rates.items():
            chosen = set(self.model.part(part).parameters())
            for group in list(groups):
                moved = [value for value in group["params"] if value in chosen]
                group["params"] = [value for value in group["params"] if value not in chosen]
                groups.append({**group, "params": moved, "lr": rate})
        groups[:] = [group for group in groups if group["params"]]
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        return SequentialSampler(dataset) if self._order is None else self._order

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if self._loss is None or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        given = dict(inputs)
        labels, tasks, sources = given.pop("labels"), given.pop("tasks", None), given.pop("sources", None)
        exact = None if tasks is None else tasks == _FREE
        each = self._loss.of_labels(model(**given, use_cache=False).logits, labels, exact)
        if tasks is not None:
            self._by_task = self._tally.add(each.detach(), tasks, given["pixel_values"], sources)
        if num_items_in_batch is None:
            return each.mean()
        # Counted over all processes, whose gradients are averaged.
        return each.sum() / num_items_in_batch * self.accelerator.num_processes

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        # Every step and not only the logged ones: no checkpoint may be written from weights that this loss spoiled.
        whole = float(loss) * self.current_gradient_accumulation_steps
        self._guard.check(whole, self.state.global_step + 1, inputs, self._by_task)
        return loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        for name, held in model.named_parameters():
            value = getattr(held, "ds_tensor", held)  # of ZeRO-3, this process's part
            if not torch.isfinite(value).all():
                raise ElysiumError(
                    f"{name} is not finite after step {self.state.global_step}: its gradient was not; lower the "
                    "learning rate; the checkpoint before is kept"
                )
        super()._save_checkpoint(model, trial)
        checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        seal_checkpoint(checkpoint)
        if is_first() and self._sent is not None:
            self._sent(checkpoint)


class _Recorder(TrainerCallback):
    """Prints and hands on what is logged, with the speed."""

    def __init__(self, log_metrics: LogMetrics | None, tally: Tally) -> None:
        self._log_metrics = log_metrics
        self._tally = tally
        self._since = (time.perf_counter(), 0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._since = (time.perf_counter(), state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        now, (before, step) = time.perf_counter(), self._since
        self._since = (now, state.global_step)
        seconds, steps = max(now - before, 1e-9), state.global_step - step
        speed = steps * args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size / seconds
        values = {key: float(logs[key]) for key in _FIGURES if key in logs}
        more = self._tally.take(seconds)
        model, frames = kwargs.get("model"), self._tally.frames
        if self._log_metrics is not None and frames is not None and isinstance(model, ElysiumForConditionalGeneration):
            more |= selection_statistics(model, frames)
        if not state.is_world_process_zero:
            return
        left = (state.max_steps - state.global_step) * seconds / max(steps, 1)
        logger.info(
            "step %d/%d  loss %.4f  learning rate %.2e  %.1f samples/s  %s left", state.global_step, state.max_steps,
            values["loss"], values.get("learning_rate", 0.0), speed, duration(left),
        )  # fmt: skip
        if self._log_metrics is not None:
            self._log_metrics({**values, **more, "samples_per_second": speed}, state.global_step)


class _Show(TrainerCallback):
    def __init__(self, show: Callable[[int], None]) -> None:
        self._show = show

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._show(state.global_step)


def _showing(show: Callable[[int], None] | None, schedule: Schedule) -> list[TrainerCallback]:
    return [] if show is None or schedule.zero_stage == 3 else [_Show(show)]


def _as_it_was(error: ElysiumError) -> ElysiumError:
    """Returns an error of a loader's process without the stack trace that PyTorch makes its message."""
    kind = type(error)
    text = str(error)
    if not text.startswith(f"Caught {kind.__name__} in DataLoader worker"):
        return error
    return kind(text.rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip())


def _checkpointing() -> dict[str, Any]:
    # Renamed in transformers 5.2x; the old name warns since.
    new = "activation_checkpointing" in TrainingArguments.__dataclass_fields__
    name = "activation_checkpointing" if new else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}
