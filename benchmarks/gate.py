"""What the scale of the gate's gradient does to everything else: the measurement behind `GatedSelector`'s weight.

A kept token x is `x + (w - stop(w)) (x - mean)` in training. The optimiser does not care how w is scaled, but the norm
of all gradients is clipped together. Here the same checkpoint is trained on the same simulated frames, with
`w = softmax(scores)`, with N times that, and with no gradient for the gate. Columns: the median norm of the gradients
of each part, the share of steps in which clipping left the language model less than a tenth of its gradient, and the
mean loss of the first and of the last steps.

    python benchmarks/gate.py [--checkpoint nano] [--steps 250] [--rate 3e-4] [--output benchmarks/results/gate.json]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from reporting import finish
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from elysium.checkpoints import checkpoint_folder
from elysium.data.simulator import simulate
from elysium.model import ElysiumForConditionalGeneration, load_checkpoint
from elysium.model.frames import resize_frame
from elysium.model.t_selector import GatedSelector, take
from elysium.prompts import PHRASINGS, Task, ask, boxes_answer, description_answer
from elysium.training.batches import Collator
from elysium.training.losses import AnswerLoss
from elysium.training.questions import Question
from elysium.training.samples import Sample

PARTS = ("vision", "selector", "projector", "llm")
SCALES = {"softmax (GatedSelector)": "one", "N softmax": "many", "no gradient for the gate": "none"}
FIRST_SEED = 500_000
CLIP_NORM = 1.0
WARMUP = 30
REPORTED = 50


def main() -> None:
    """Trains with each scale and prints a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="nano")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    print(
        f"{'weight':26}", *(f"{part:>10}" for part in PARTS), f"{'starved':>8} {'first':>7} {'last':>7} {'seconds':>8}"
    )
    figures = {}
    for name, scale in SCALES.items():
        figures[name] = row = train(checkpoint_folder(arguments.checkpoint), scale, arguments.steps, arguments.rate)
        norms = (f"{row[f'norm_{part}']:10.3f}" for part in PARTS)
        print(f"{name:26}", *norms, f"{row['starved']:7.0f}% {row['first_loss']:7.4f}", end=" ")
        print(f"{row['last_loss']:7.4f} {row['seconds']:8.0f}", flush=True)
    finish({"figures": figures}, arguments.output)


def train(folder: Path, scale: str, steps: int, rate: float, batch: int = 16) -> dict[str, float]:
    """Returns what training with one scale was like."""
    model, processor = load_checkpoint(folder, torch.float32)
    model.train()
    rows = DataLoader(Frames(steps * batch), batch_size=batch, collate_fn=Collator(processor))
    measure = AnswerLoss(processor, 1.5)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    losses, norms = [], []
    ours, begun = GatedSelector._keep, time.perf_counter()
    GatedSelector._keep = keep(scale)  # type: ignore[method-assign, assignment] # what is compared
    try:
        for step, inputs in enumerate(rows):
            optimiser.param_groups[0]["lr"] = rate * min((step + 1) / WARMUP, 1)
            labels = inputs.pop("labels")
            loss = measure(model(**inputs, use_cache=False).logits, labels)
            optimiser.zero_grad()
            loss.backward()
            norms.append([_norm(model, part) for part in PARTS])
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimiser.step()
            losses.append(float(loss.detach()))
    finally:
        GatedSelector._keep = ours  # type: ignore[method-assign]
    measured = np.array(norms)
    kept = CLIP_NORM / np.maximum(np.linalg.norm(measured, axis=1), CLIP_NORM)
    return {
        **{f"norm_{part}": float(np.median(measured[:, number])) for number, part in enumerate(PARTS)},
        "starved": 100 * float((kept < 0.1).mean()),
        "first_loss": float(np.mean(losses[:REPORTED])),
        "last_loss": float(np.mean(losses[-REPORTED:])),
        "seconds": time.perf_counter() - begun,
    }


def _norm(model: ElysiumForConditionalGeneration, part: str) -> float:
    grads = [value.grad.norm() for value in model.part(part).parameters() if value.grad is not None]
    return float(torch.stack(grads).norm()) if grads else 0.0


def keep(scale: str) -> object:
    """Returns a method for `GatedSelector._keep` with one scale of the weight."""

    def method(
        self: GatedSelector, tokens: Tensor, scores: Tensor, count: int, always: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        positions = scores.detach().float().topk(count, dim=-1).indices.sort(dim=-1).values
        kept = take(tokens, positions)
        if scale == "none":
            return kept, positions
        weights = scores.float().softmax(-1) * (scores.shape[1] if scale == "many" else 1)
        share = torch.gather(weights, 1, positions).unsqueeze(-1)
        gain = (kept - tokens.mean(1, keepdim=True)).detach()
        return kept + (share - share.detach()) * gain, positions

    return method


class Frames(Dataset[Sample]):
    """Single simulated frames, each with questions to find and to name its objects."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        clip = simulate(FIRST_SEED + index, 2)
        questions = []
        for number, thing in enumerate(clip.annotations.objects):
            box = thing.boxes[0]
            if box is None or thing.visibility[0] < 0.9:
                continue
            for task in (Task.REC, Task.REG):
                phrasing = (index + number) % len(PHRASINGS[task])
                prompt = ask(task, 1, expression=thing.expression, box=np.array(box), phrasing=phrasing)
                boxes = boxes_answer(np.array([box]))
                answer = boxes if task is Task.REC else description_answer(thing.expression)
                questions.append(Question(task, prompt, answer))
        return Sample(tuple(questions), resize_frame(clip.frames[0], 64)[None])


if __name__ == "__main__":
    main()
