"""Teaching a vision tower by itself: the stand-in for CLIP's pre-training, for towers of the simulator's size.

A language model can only point to what the patch features tell. A head on them, thrown away afterwards, says of each
patch whether an object is there, where its box lies, and its colour, shape and size; box sides are told as the language
model will have to tell them, as one of the numbers of box text.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elysium.boxes import iou
from elysium.config import Settings, TowerSettings
from elysium.data.samples import seeds
from elysium.errors import UsageError
from elysium.model import ElysiumConfig, build_model
from elysium.model.visual_encoder import encode_patches
from elysium.pipeline.workspace import publish_folder, write_atomic
from elysium.training.labels import NUM_WORDS, NumberedPatches, PatchLabels, draw_labels
from elysium.training.processes import samples_per_step, world_size
from elysium.training.trainer import Supply, fit

_STEPS = 100  # of a box side, as in box text
# Presence is right for most patches from the start, and a head of its own words the rest: the weights even them out.
_PRESENCE = 4.0


@dataclass(frozen=True)
class TowerResult:
    """How well a head reads held-out patches in which an object's centre lies.

    Attributes:
        history: The curve, as of any phase.
        mean_iou: Of the boxes.
        words: Share of right colours, shapes and sizes.
    """

    history: list[dict[str, float]]
    mean_iou: float
    words: tuple[float, float, float]


class DenseTower(nn.Module):
    """A vision tower and the head that reads its patches.

    Args:
        tower: Trained in place.
        config: Of the model that the tower belongs to: which of its layers is read.
        mean: Of the pixels of each channel, on the scale [0, 255].
        std: Their standard deviation.
        deviation: Of the bell around a box side that is as good as exact, in steps of box text.
    """

    def __init__(self, tower: nn.Module, config: ElysiumConfig, mean: Tensor, std: Tensor, deviation: float) -> None:
        super().__init__()
        self.tower = tower
        self.head = nn.Linear(config.vision_config.hidden_size, 2 + 4 * _STEPS + sum(NUM_WORDS))
        self.config = config
        self._sides = torch.arange(_STEPS, dtype=torch.float32)
        self._mean, self._std = mean.view(1, 3, 1, 1), std.view(1, 3, 1, 1)
        self._deviation = deviation

    def read(self, images: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Returns what the head says: presence `(F, N, 2)`, box sides `(F, N, 4, 100)` and words `(F, N, …)` a kind."""
        pixels = (images.permute(0, 3, 1, 2).float() - self._mean.to(images.device)) / self._std.to(images.device)
        told = self.head(encode_patches(self.tower, pixels, self.config)).float()
        presence, sides, *words = torch.split(told, [2, 4 * _STEPS, *NUM_WORDS], dim=-1)
        return presence, sides.reshape(*sides.shape[:-1], 4, _STEPS), tuple(words)

    def forward(
        self, images: Tensor, covered: Tensor, centred: Tensor, boxes: Tensor, words: Tensor
    ) -> dict[str, Tensor]:
        """Returns the loss under `loss`; arguments as in `PatchLabels`."""
        presence, sides, named = self.read(images)
        functional = nn.functional
        there = torch.stack([covered, centred], dim=-1).float()
        loss = _PRESENCE * 2 * functional.binary_cross_entropy_with_logits(presence, there)
        distance = (self._sides.to(images.device) - boxes[covered].unsqueeze(-1) * _STEPS) / self._deviation
        bells = torch.softmax(-(distance**2) / 2, dim=-1)
        loss = loss - (bells * sides[covered].log_softmax(-1)).sum(-1).mean()
        for number, told in enumerate(named):
            loss = loss + functional.cross_entropy(told[covered], words[covered][:, number])
        return {"loss": loss}

    @torch.no_grad()
    def measure(self, labels: PatchLabels) -> tuple[float, tuple[float, float, float]]:
        """Returns mean IoU and the shares of right words over the patches in which an object's centre lies."""
        overlaps, right = [], []
        for start in range(0, len(labels), 256):
            part = slice(start, start + 256)
            _, sides, named = self.read(labels.images[part])
            chosen = labels.centred[part]
            told = (sides[chosen].softmax(-1) * self._sides).sum(-1) / _STEPS
            overlaps.append(torch.from_numpy(iou(told.numpy(), labels.boxes[part][chosen].numpy())))
            truth = labels.words[part][chosen]
            said = torch.stack([words[chosen].argmax(-1) for words in named], dim=-1)
            right.append((said == truth).float())
        colours, shapes, sizes = torch.cat(right).mean(0).tolist()
        return float(torch.cat(overlaps).mean()), (colours, shapes, sizes)


def train_tower(settings: Settings, output: Path) -> TowerResult:
    """Trains the vision tower that the settings describe, from new weights or from where `output` was left.

    `output/model` is a checkpoint of the tower alone, to be named as `model.vision.weights`.

    Args:
        settings: Of model and tower.
        output: Goes on with what it holds.

    Raises:
        UsageError: If the tower's patches make no square grid.
        ElysiumError: If more clips are asked for than there are seeds.
    """
    chosen: TowerSettings = settings.training.tower
    torch.set_num_threads(settings.training.threads)
    model, processor = build_model(settings.model.model_copy(update={"init_from": None}), settings.seed)
    side, grid = model.config.image_size, model.config.grid_side
    if grid * grid != model.config.num_patches:
        raise UsageError(f"dense labels need a square grid of patches, got {model.config.num_patches}")
    known = seeds()
    # The seeds at the end of the range: those at its start are the clips that the next phases train on.
    clips = known.train_seeds.take_last(chosen.num_clips)
    size = (side, grid, chosen.clip_frames, chosen.clip_interval)
    jobs = min(os.cpu_count() or 1, chosen.num_clips // 500 + 1)
    train = draw_labels(clips, *size, jobs=jobs)
    held_out = draw_labels(known.evaluation_seeds.take(chosen.num_held_out_clips), *size)
    mean, std = (torch.tensor(values) * 255 for values in (processor.image_mean, processor.image_std))
    tower: Any = model.vision_tower.train()
    dense = DenseTower(tower, model.config, mean, std, chosen.coordinate_deviation)
    supply = Supply(NumberedPatches(train, chosen.steps * samples_per_step(chosen, world_size()), settings.seed))
    history = fit(dense, supply, chosen, output / "trainer", settings.seed)
    dense.eval()
    mean_iou, words = dense.measure(held_out)
    publish_folder(output / "model", tower.save_pretrained)
    result = TowerResult(history, mean_iou, words)
    write_atomic(output / "history.json", json.dumps(history, indent=1))
    shutil.rmtree(output / "trainer", ignore_errors=True)
    return result
