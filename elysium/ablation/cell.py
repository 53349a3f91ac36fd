"""One cell of the table: a model with one selector and budget, trained to find named objects, and measured."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elysium.ablation.scenes import Scenes
from elysium.boxes import iou
from elysium.config import ModelSettings
from elysium.inference.engine import Engine, Prompt
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor, build_model
from elysium.prompts import PHRASINGS, Task, ask, boxes_answer, description_answer
from elysium.training.batches import Collator
from elysium.training.losses import AnswerLoss
from elysium.training.questions import Question
from elysium.training.samples import Sample

logger = logging.getLogger(__name__)

_RATE, _WARMUP, _BETAS = 2e-3, 50, (0.9, 0.98)
_SMOOTHING = 3.0
_HIT = 0.5
_CURVE = 50


@dataclass(frozen=True)
class Cell:
    """What is varied.

    Attributes:
        selector: One of `elysium.model.SELECTORS`.
        kept: Tokens of a frame that the language model sees.
        position_ids: `packed` or `grid`.
        seed: Of weights and batches.
    """

    selector: str
    kept: int
    position_ids: str
    seed: int

    @property
    def key(self) -> str:
        """A name for files and lines."""
        return f"{self.selector}-{self.kept}-{self.position_ids}-{self.seed}"


@dataclass(frozen=True)
class Scale:
    """What is the same for all cells: how much is trained and measured.

    Attributes:
        steps: Of the language model, projector and selector.
        batch: Frames a step.
        questions: About each frame.
        describe_share: Of the questions that ask for the name of a box, not for the box of a name.
        tower_steps: Of the vision tower, before.
        train_frames: Different frames to train on.
        held_out_frames: To measure on.
        max_objects: Shown in a frame.
    """

    steps: int
    batch: int
    questions: int
    describe_share: float
    tower_steps: int
    train_frames: int
    held_out_frames: int
    max_objects: int


@dataclass(frozen=True)
class CellResult:
    """How it went.

    Attributes:
        cell: What was varied.
        accuracy: REC Acc@0.5 over held-out objects, in percent.
        mean_iou: Over the same.
        loss: Mean of the last steps.
        curve: Steps and mean losses.
        objects: Held-out objects measured.
        seconds: Of training and measuring.
    """

    cell: Cell
    accuracy: float
    mean_iou: float
    loss: float
    curve: list[tuple[int, float]]
    objects: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Returns plain data, the cell's fields beside the others."""
        values = asdict(self)
        return {**values.pop("cell"), **values}


def build_cell(
    settings: ModelSettings, cell: Cell, tower: dict[str, Tensor]
) -> tuple[ElysiumForConditionalGeneration, ElysiumProcessor]:
    """Returns the cell's model with the shared tower in it."""
    changes = {"selector": cell.selector, "position_ids": cell.position_ids}
    if cell.selector != "none":
        changes |= {"num_visual_tokens": cell.kept}  # type: ignore[dict-item] # settings of several types
    model, processor = build_model(settings.model_copy(update=changes), cell.seed)
    model.vision_tower.load_state_dict(tower)
    model.vision_tower.requires_grad_(False)
    return model, processor


def run_cell(
    settings: ModelSettings,
    scale: Scale,
    cell: Cell,
    tower: dict[str, Tensor],
    train: tuple[Scenes, Tensor],
    held_out: tuple[Scenes, Tensor],
    device: str = "cpu",
) -> CellResult:
    """Trains and measures one cell.

    Args:
        settings: Of the model; selector, budget and positions are the cell's.
        scale: How much.
        cell: What is varied.
        tower: Weights of the vision tower, which is not trained any more.
        train: Frames, and their patch features `(F, N, C)`.
        held_out: The same, to measure on.
        device: Where to compute.
    """
    begun = time.perf_counter()
    model, processor = build_cell(settings, cell, tower)
    model.to(device)
    curve = _train(model, processor, scale, cell.seed, train)
    overlaps = measure(model, processor, held_out)
    return CellResult(
        cell=cell,
        accuracy=round(100 * float((overlaps >= _HIT).mean()), 3),
        mean_iou=round(float(overlaps.mean()), 4),
        loss=curve[-1][1],
        curve=curve,
        objects=len(overlaps),
        seconds=round(time.perf_counter() - begun, 1),
    )


def _train(
    model: ElysiumForConditionalGeneration,
    processor: ElysiumProcessor,
    scale: Scale,
    seed: int,
    data: tuple[Scenes, Tensor],
) -> list[tuple[int, float]]:
    scenes, features = data
    collate, lossy = Collator(processor), AnswerLoss(processor, _SMOOTHING)
    parameters = [value for value in model.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=_RATE, betas=_BETAS, weight_decay=0.0)
    rng = np.random.default_rng([seed, 2])
    curve: list[tuple[int, float]] = []
    losses: list[float] = []
    model.train()
    for step in range(scale.steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min((step + 1) / _WARMUP, 1) * 0.5 * (1 + math.cos(math.pi * step / scale.steps))
        chosen = rng.integers(len(scenes), size=scale.batch)
        batch = collate([_sample(rng, scenes, int(index), scale, processor) for index in chosen]).to(model.device)
        loss = lossy(_logits(model, batch, features[chosen].to(model.device)), batch["labels"])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % _CURVE == 0 or step + 1 == scale.steps:
            curve.append((step + 1, round(float(np.mean(losses[-_CURVE:])), 5)))
    model.eval()
    return curve


def _logits(model: ElysiumForConditionalGeneration, batch: Any, features: Tensor) -> Tensor:
    """Returns the logits of a batch, the tower's work being done already."""
    visual, mask = model.select(features), batch["attention_mask"]
    embeddings, positions, _ = model.prepare(batch["input_ids"], visual, mask, batch.get("position_ids"))
    outputs = model(inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False)
    logits: Tensor = outputs.logits
    return logits


def _sample(rng: np.random.Generator, scenes: Scenes, index: int, scale: Scale, processor: ElysiumProcessor) -> Sample:
    order = rng.permutation(len(scenes.names[index]))
    questions = []
    for number in range(scale.questions):
        place = order[number % len(order)]
        name, box = scenes.names[index][place], scenes.boxes[index][place]
        task = Task.REG if rng.random() < scale.describe_share else Task.REC
        phrasing = int(rng.integers(len(PHRASINGS[task])))
        prompt = ask(task, 1, expression=name, box=box, phrasing=phrasing, codec=processor.codec)
        answer = description_answer(name) if task is Task.REG else boxes_answer([box], processor.codec)
        questions.append(Question(task, prompt, answer))
    return Sample(tuple(questions), scenes.images[index][None])


@torch.no_grad()
def measure(
    model: ElysiumForConditionalGeneration, processor: ElysiumProcessor, data: tuple[Scenes, Tensor], batch: int = 64
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns the IoU of the model's box with the true one, for every object of held-out frames."""
    scenes, features = data
    asked = [(index, place) for index in range(len(scenes)) for place in range(len(scenes.names[index]))]
    engine, overlaps = Engine(model, processor, batch_size=batch), []
    decoder = engine.decoder()
    for start in range(0, len(asked), batch):
        chunk = asked[start : start + batch]
        visual = model.select(features[[index for index, _ in chunk]].to(model.device))
        answers = [engine.grammars.boxes(1).start() for _ in chunk]
        prompts = [ask(Task.REC, 1, expression=scenes.names[index][place]) for index, place in chunk]
        decoder.run(
            [
                engine.job(visual[row : row + 1], [Prompt(prompt, answer)])
                for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
            ]
        )
        found = np.array([answer.boxes()[0] for answer in answers])
        overlaps.append(iou(found, np.array([scenes.boxes[index][place] for index, place in chunk])))
    return np.concatenate(overlaps)
