"""What is looked at while a model trains: which tokens it keeps of frames, and what it answers about a few samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from elysium.boxes import BoxCodec, FloatArray
from elysium.inference.engine import Engine, Prompt
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.training.questions import Question
from elysium.training.samples import Sample, TrainingSamples

# Colours of the reports.
_TRUE, _ANSWERED = (10, 160, 189), (224, 106, 0)
_SIDE, _TEXT, _GAP = 160, 16, 4
_LOOKED_THROUGH = 64


@torch.no_grad()
def selection_statistics(model: ElysiumForConditionalGeneration, pixel_values: Tensor) -> dict[str, float]:
    """Returns which tokens the selector keeps, and how spread they are; empty where all are kept.

    `selected_entropy` is that of how often each place of the grid is kept over the frames, as a share of the largest:
    1 means that all are alike, and a selector that always keeps the same places has log(kept) / log(places).
    `selected_spread` is the deviation of the kept places within a frame, as a share of that of the whole grid.

    Args:
        model: In any mode.
        pixel_values: Frames, shape `(F, 3, H, W)`.
    """
    visual = model.encode_frames(pixel_values)
    positions, places = visual.positions, visual.num_patches
    if visual.frames is not None or positions.shape[1] == places:
        return {}
    usage = torch.bincount(positions.flatten(), minlength=places).double() / positions.numel()
    entropy = float(torch.special.entr(usage).sum()) / math.log(places)
    side = math.isqrt(places)
    grid = torch.arange(places, device=positions.device)
    both = [(part // side, part % side) for part in (positions, grid)]
    (rows, columns), (all_rows, all_columns) = ([axis.double() for axis in axes] for axes in both)
    kept = (rows.var(1, correction=0) + columns.var(1, correction=0)).sqrt().mean()
    whole = (all_rows.var(correction=0) + all_columns.var(correction=0)).sqrt()
    return {"selected_entropy": entropy, "selected_spread": float(kept / whole)}


def draw_answers(
    model: ElysiumForConditionalGeneration,
    processor: ElysiumProcessor,
    samples: TrainingSamples,
    path: Path,
    most: int = 4,
) -> None:
    """Writes a picture of what a model answers about the first samples that ask for boxes, a row each.

    The true boxes are blue and the answered ones orange; where the object is gone, there is no true one.

    Args:
        model: Left in the mode that it was in.
        processor: Of the model.
        samples: Of the phase: always the same are drawn.
        path: A PNG file, replaced when it is there.
        most: Rows of the picture.
    """
    chosen = _boxes_asked(samples, most)
    was_training = model.training
    try:
        engine = Engine(model, processor, batch_size=len(chosen) or 1, drafts=False)
        rows = [
            _row(sample, question, _truth(samples.codec, question), _answer(engine, sample, question))
            for sample, question in chosen
        ]
    finally:
        model.train(was_training)
    if not rows:
        return
    width = max(row.width for row in rows)
    picture = Image.new("RGB", (width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}")
    picture.save(scratch, format="PNG")
    scratch.replace(path)


def _boxes_asked(samples: TrainingSamples, most: int) -> list[tuple[Sample, Question]]:
    found = []
    for index in range(_LOOKED_THROUGH):
        sample = samples[index]
        question = next((asked for asked in sample.questions if len(samples.codec.decode(asked.answer))), None)
        if question is not None and len(samples.codec.decode(question.answer)) == len(sample.frames):
            found.append((sample, question))
        if len(found) == most:
            break
    return found


def _answer(engine: Engine, sample: Sample, question: Question) -> FloatArray:
    answer = engine.grammars.boxes(len(sample.frames)).start()
    job = engine.job(engine.encode(list(sample.frames)), [Prompt(question.prompt, answer)])
    engine.decoder().run([job])
    return np.array(answer.boxes(), dtype=np.float64)


def _row(sample: Sample, question: Question, truth: Sequence[FloatArray | None], answered: FloatArray) -> Image.Image:
    count = len(sample.frames)
    row = Image.new("RGB", (count * (_SIDE + _GAP), _SIDE + _TEXT + _GAP), "white")
    draw = ImageDraw.Draw(row)
    asked = question.prompt.rpartition(">")[2].strip() or question.prompt
    draw.text((2, 2), f"{question.task.value}: {asked}"[: count * _SIDE // 6], fill="black")
    for number, frame in enumerate(sample.frames):
        left = number * (_SIDE + _GAP)
        row.paste(Image.fromarray(frame).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), (left, _TEXT))
        for boxes, colour in ((truth, _TRUE), (list(answered), _ANSWERED)):
            box = boxes[number]
            if box is not None:
                x1, y1, x2, y2 = (np.asarray(box) * (_SIDE - 1)).tolist()
                draw.rectangle((left + x1, _TEXT + y1, left + x2, _TEXT + y2), outline=colour, width=2)
    return row


def _truth(codec: BoxCodec, question: Question) -> list[FloatArray | None]:
    boxes = codec.decode(question.answer)
    gone = question.gone or (False,) * len(boxes)
    return [None if is_gone else box for box, is_gone in zip(boxes, gone, strict=True)]
