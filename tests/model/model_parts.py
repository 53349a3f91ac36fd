"""Small models and inputs that the tests of this folder share."""

import numpy as np

from elysium.config import ModelSettings
from elysium.model import build_model
from elysium.prompts import Task, ask

TINY = {
    "num_visual_tokens": 4,
    "vision": {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "llm": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
}
PROMPTS = [ask(Task.SOT, 3, box=[0.1, 0.2, 0.3, 0.4]), ask(Task.REC, 1, expression="a red circle")]


def tiny(**changes):
    """Returns a model of 4 x 4 patches, 4 kept, and its processor."""
    return build_model(ModelSettings(**{**TINY, **changes}), seed=0)


def frames(count, side=40, seed=0):
    """Returns frames of noise."""
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def clips():
    """Returns the frames of `PROMPTS`: a clip of three and a single one."""
    return [frames(3), frames(1, seed=1)]


def batch(processor, **options):
    """Returns both prompts in one batch."""
    return processor(text=PROMPTS, videos=clips(), **options)


def alone(processor, row, **options):
    """Returns one of the prompts by itself."""
    return processor(text=PROMPTS[row], videos=[clips()[row]], **options)
