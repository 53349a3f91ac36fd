"""A vision tower that has seen something before, as CLIP has: trained to say of each patch what it belongs to.

The paper selects among features of a tower pre-trained on 400 M pictures. A new tower's features say nothing yet, and
which of them are kept cannot matter.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from torch import Tensor, nn

from elysium.ablation.scenes import Scenes
from elysium.data.vocabulary import COLOURS, SHAPES
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor
from elysium.model.visual_encoder import encode_patches
from elysium.training.labels import label_patches

logger = logging.getLogger(__name__)

_BATCH, _RATE, _WARMUP = 64, 2e-3, 30
_SIZES = [1, 4, len(COLOURS), len(SHAPES)]


def pretrain_tower(
    model: ElysiumForConditionalGeneration, processor: ElysiumProcessor, scenes: Scenes, steps: int, seed: int
) -> None:
    """Trains the vision tower, in place, to tell of each patch: object or not, its box, its colour, its shape."""
    tower, side = model.vision_tower.train(), model.config.grid_side
    head = nn.Linear(model.config.vision_config.hidden_size, sum(_SIZES))
    parameters = [*tower.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=0.01)
    rng = np.random.default_rng([seed, 1])
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min((step + 1) / _WARMUP, 1) * 0.5 * (1 + math.cos(math.pi * step / steps))
        chosen = rng.integers(len(scenes), size=_BATCH)
        features = encode_patches(tower, processor.pixel_values(list(scenes.images[chosen])), model.config)
        labels = [label_patches(list(zip(scenes.names[i], scenes.boxes[i], strict=True)), side) for i in chosen]
        covered, _, boxes, words = (torch.from_numpy(np.stack(column)) for column in zip(*labels, strict=True))
        loss = _loss(head(features), covered, boxes, words)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if (step + 1) % 100 == 0:
            logger.info("vision tower: step %d/%d, loss %.3f", step + 1, steps, float(loss.detach()))
    tower.eval().requires_grad_(False)


@torch.no_grad()
def tower_features(model: ElysiumForConditionalGeneration, processor: ElysiumProcessor, scenes: Scenes) -> Tensor:
    """Returns the patch features of all frames, `(F, N, C)`."""
    starts = range(0, len(scenes), 256)
    pixels = (processor.pixel_values(list(scenes.images[start : start + 256])) for start in starts)
    return torch.cat([encode_patches(model.vision_tower, chunk, model.config) for chunk in pixels])


def _loss(told: Tensor, covered: Tensor, boxes: Tensor, words: Tensor) -> Tensor:
    """Returns the loss; as simple as it was when the ablation was measured, where `DenseTower` has grown."""
    is_object, box, colour, shape = torch.split(told, _SIZES, dim=-1)
    functional = nn.functional
    presence = functional.binary_cross_entropy_with_logits(is_object.squeeze(-1), covered.float())
    place = (box - boxes)[covered].abs().mean()
    look = functional.cross_entropy(colour[covered], words[covered][:, 0])
    look = look + functional.cross_entropy(shape[covered], words[covered][:, 1])
    # The weights bring the three to like size early in training.
    total: Tensor = 4 * presence + 8 * place + look
    return total
