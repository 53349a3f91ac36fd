"""What a phase asks for before it starts: tokens, memory, time and money, from the configuration alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from elysium.checkpoints import checkpoint_folder
from elysium.config import ModelSettings, PhaseSettings
from elysium.errors import UsageError
from elysium.model.build import described_config, described_processor
from elysium.model.configuration import ElysiumConfig
from elysium.model.cost import CostModel
from elysium.model.describe import text_tokens
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.model.processor import ElysiumProcessor
from elysium.model.roofline import published_memory, published_roofline
from elysium.prompts import PHRASINGS, Task, ask, boxes_answer, build_prompt, description_answer
from elysium.training.effort import Effort
from elysium.training.footprint import Activations, activations
from elysium.training.phases import freeze, longest_sample
from elysium.training.processes import samples_per_step
from elysium.training.questions import CONVERSATION

_GIB = 2**30
# An expression of the usual length; how long those of a data set are is not known here.
_EXPRESSION = "the man in a red shirt"
# Of a conversation about pictures, question and answer, where the mixture has vqa: likewise.
_CONVERSATION_TOKENS = 100
# Of Llama's tokenizer in English.
_TOKENS_PER_PIECE = 1.3
# Of a GPU's memory, what kernels, buffers and fragments leave.
_USABLE = 0.9


@dataclass(frozen=True)
class Row:
    """Rows of one kind that a phase draws.

    Attributes:
        share: Of all rows.
        num_frames: Of the row.
        num_tokens: Text and visual ones, of all its questions; the mean over tasks and phrasings.
    """

    share: float
    num_frames: int
    num_tokens: float


@dataclass(frozen=True)
class Stage:
    """One way to divide what training holds among GPUs; bytes a GPU.

    Attributes:
        name: Of the way.
        weights: In their working form.
        gradients: Of what trains.
        optimiser: AdamW's moments, and float32 weights where the working ones are bfloat16.
    """

    name: str
    weights: float
    gradients: float
    optimiser: float

    @property
    def total(self) -> float:
        """All three."""
        return self.weights + self.gradients + self.optimiser


@dataclass(frozen=True)
class Plan:
    """What a phase asks for.

    Attributes:
        parameters: Of the model.
        trained_parameters: Of them.
        steps: Of the phase.
        samples_per_step: Of all GPUs.
        tokens_per_step: Likewise, on average.
        longest_row: Tokens of the longest row, with all its questions.
        longest_conversation: Likewise, with one question: what must fit the context.
        context: Positions that the language model has.
        is_estimated: Whether the lengths of texts are estimates, because the tokenizer is not on this machine.
        stages: Ways to divide the model's state.
        activations: Of a GPU's samples, each of the longest row.
        flops_per_step: Of all GPUs, forward and backward.
        gpus: That share the work.
        gpu: Their name.
        hours: Of the whole phase, at the assumed utilisation.
        price: A GPU-hour.
    """

    parameters: int
    trained_parameters: int
    steps: int
    samples_per_step: int
    tokens_per_step: int
    longest_row: int
    longest_conversation: int
    context: int
    is_estimated: bool
    stages: tuple[Stage, ...]
    activations: Activations
    flops_per_step: float
    gpus: int
    gpu: str
    hours: float
    price: float | None

    @property
    def cost(self) -> float | None:
        """Of the phase, where a GPU-hour has a price."""
        return None if self.price is None else self.hours * self.gpus * self.price

    def fits(self, stage: Stage, *, checkpointed: bool) -> bool | None:
        """Says whether a GPU has the memory, with a tenth to spare; None where its memory is not known."""
        memory = published_memory(self.gpu)
        held = self.activations.checkpointed if checkpointed else self.activations.kept
        return None if memory is None else stage.total + held <= _USABLE * memory

    def as_json(self) -> dict[str, Any]:
        """Returns plain data; memory in GiB a GPU."""
        known = {name: value for name, value in asdict(self).items() if name not in ("stages", "activations")}
        held = {name: round(value / _GIB, 3) for name, value in asdict(self.activations).items()}
        stages = {
            stage.name: {
                **{name: round(getattr(stage, name) / _GIB, 3) for name in ("weights", "gradients", "optimiser")},
                "fits": self.fits(stage, checkpointed=False),
                "fits_checkpointed": self.fits(stage, checkpointed=True),
            }
            for stage in self.stages
        }
        return {**known, "cost": self.cost, "activations_gib": held, "stages_gib": stages}


def plan_phase(
    model: ModelSettings,
    phase: PhaseSettings,
    gpus: int,
    gpu: str,
    price: float | None = None,
    utilisation: float = 0.4,
) -> Plan:
    """Returns what a phase asks for, its tail left out; no weights are made or loaded.

    Args:
        model: That is trained.
        phase: Or the tail of one (`PhaseSettings.parts`).
        gpus: Devices that share the work, each with the phase's `batch_size` at once.
        gpu: As `torch.cuda.get_device_name` gives it, with or without `NVIDIA`.
        price: A GPU-hour, in any currency.
        utilisation: Of the GPU's published rate that training reaches (MFU): an assumption, in (0, 1].

    Raises:
        UsageError: If the GPU is not in the table, the checkpoint cannot be read, a frame has not so many tokens,
            the model cannot be planned, or so many GPUs cannot share the phase's `global_batch_size`.
    """
    roofline = published_roofline(gpu)
    if roofline is None:
        raise UsageError(
            f"{gpu}: its rate is not known here; name a GPU as torch.cuda.get_device_name does, for example "
            "'A100-SXM4-80GB' or 'H100 80GB HBM3'"
        )
    config, processor = _described(model)
    if phase.num_visual_tokens is not None:
        if not phase.num_visual_tokens <= config.num_patches:
            raise UsageError(
                f"num_visual_tokens={phase.num_visual_tokens}: a frame has {config.num_patches} patches; name as "
                "many at the most"
            )
        config.num_visual_tokens = phase.num_visual_tokens
    if processor is not None:
        processor.tokens_per_frame = config.tokens_per_frame
    rows = list(_rows(config, processor, phase))
    longest, conversation, most_frames = _longest(config, processor, phase)
    with torch.device("meta"):
        empty = ElysiumForConditionalGeneration(config)
    parameters, trained = sum(value.numel() for value in empty.parameters()), freeze(empty, phase)
    held = activations(config, phase, most_frames, longest)
    samples, effort = samples_per_step(phase, gpus), Effort.of(CostModel(config), phase)
    flops = samples * sum(row.share * effort.flops(row.num_tokens, row.num_tokens**2, row.num_frames) for row in rows)
    return Plan(
        parameters=parameters,
        trained_parameters=trained,
        steps=phase.steps,
        samples_per_step=samples,
        tokens_per_step=round(samples * sum(row.share * row.num_tokens for row in rows)),
        longest_row=longest,
        longest_conversation=conversation,
        context=config.max_positions,
        is_estimated=processor is None,
        stages=divide_state(parameters, trained, gpus),
        activations=Activations(phase.batch_size * held.kept, phase.batch_size * held.checkpointed),
        flops_per_step=flops,
        gpus=gpus,
        gpu=gpu,
        hours=phase.steps * flops / gpus / (roofline.flops_per_second * utilisation) / 3600,
        price=price,
    )


def _described(model: ModelSettings) -> tuple[ElysiumConfig, ElysiumProcessor | None]:
    if model.init_from is not None:
        folder = checkpoint_folder(model.init_from)
        try:
            return ElysiumConfig.from_pretrained(folder), ElysiumProcessor.from_pretrained(folder)
        except (OSError, ValueError, ImportError) as error:
            raise UsageError(
                f"model.init_from={model.init_from} is no checkpoint: {str(error).splitlines()[0]}; give a folder with "
                "config.json and a tokenizer"
            ) from error
    try:
        processor = described_processor(model)
    except UsageError:
        processor = None
    return described_config(model), processor


def _rows(config: ElysiumConfig, processor: ElysiumProcessor | None, phase: PhaseSettings) -> Iterator[Row]:
    """Yields the kinds of row that the phase draws; videos are taken to be long enough for every clip."""
    weights = {Task(name): weight for name, weight in phase.mixture.items() if weight > 0}
    for single in (True, False):
        kind = {task: weight for task, weight in weights.items() if (task in (Task.REC, Task.REG)) == single}
        counts = [1] if single else list(range(phase.clip_frames[0], phase.clip_frames[1] + 1))
        for count in counts if kind else ():
            total = sum(kind.values())
            shared, whole = 0.0, 0.0
            for task, weight in kind.items():
                first, length = _text(processor, task, count)
                shared += weight / total * first
                whole += weight / total * length
            tokens = shared + phase.questions * (whole - shared) + count * config.tokens_per_frame
            yield Row(total / sum(weights.values()) / len(counts), count, tokens)


def _text(processor: ElysiumProcessor | None, task: Task, count: int) -> tuple[float, float]:
    """Returns the text tokens of a question with its answer: those that questions share, and all."""
    if task is Task.VQA:
        shown = 0.0 if processor is None else float(len(processor.encode_prompt(build_prompt("", count))))
        first = shown - (0 if processor is None else count * processor.tokens_per_frame)
        return first, first + _CONVERSATION_TOKENS
    if processor is None:
        return 0.0, float(text_tokens(count))
    describes = task in (Task.REG, Task.VIDEO_REG)
    box = [0.11, 0.22, 0.33, 0.44]
    answer = description_answer(_EXPRESSION) if describes else boxes_answer([box] * count, processor.codec)
    shared, whole = [], []
    for phrasing in range(len(PHRASINGS[task])):
        prompt = ask(task, count, expression=_EXPRESSION, box=box, phrasing=phrasing, question=_EXPRESSION)
        ids = processor.encode_prompt(prompt)
        text = [token for token in ids if token != processor.image_token_id]
        last = len(ids) - ids[::-1].index(processor.image_token_id)
        shared.append(last - (len(ids) - len(text)))
        whole.append(len(text) + len(processor.encode_answer(answer)))
    return sum(shared) / len(shared), sum(whole) / len(whole)


def _longest(config: ElysiumConfig, processor: ElysiumProcessor | None, phase: PhaseSettings) -> tuple[int, int, int]:
    """Returns the tokens of the longest row and of one conversation in it, and its frames."""
    singles = {Task.REC.value, Task.REG.value}
    has_clips = any(weight > 0 and name not in singles for name, weight in phase.mixture.items())
    count = phase.clip_frames[1] if has_clips else 1
    if processor is None:
        text, visual = text_tokens(count), count * config.tokens_per_frame
        if phase.mixture.get(Task.VQA.value, 0) > 0:
            text = max(text, min(round(_TOKENS_PER_PIECE * CONVERSATION), config.max_positions - visual))
        return phase.questions * text + visual, text + visual, count
    each = config.num_patches if config.position_ids == "grid" else None
    longest = longest_sample(processor, phase, config.max_positions, each)
    return longest.row(phase.questions), longest.total, count


def divide_state(parameters: int, trained: int, gpus: int) -> tuple[Stage, ...]:
    """Returns the ways to divide the state: 4 bytes a number plainly, else mixed precision with ZeRO.

    Rajbhandari et al., 2020, arXiv 1910.02054, section 3.1 and figure 1: 2 bytes for a weight, 2 for its gradient, 12
    for what AdamW holds of it; stage 1 divides the last, stage 2 gradients too, stage 3 everything.
    """
    weights, gradients, optimiser = 2.0 * parameters, 2.0 * trained, 12.0 * trained
    return (
        Stage("float32, not divided", 4.0 * parameters, 4.0 * trained, 8.0 * trained),
        Stage("ZeRO-1", weights, gradients, optimiser / gpus),
        Stage("ZeRO-2", weights, gradients / gpus, optimiser / gpus),
        Stage("ZeRO-2, optimiser on CPU", weights, gradients / gpus, 0.0),
        Stage("ZeRO-3", weights / gpus, gradients / gpus, optimiser / gpus),
        Stage("ZeRO-3, optimiser on CPU", weights / gpus, gradients / gpus, 0.0),
    )
