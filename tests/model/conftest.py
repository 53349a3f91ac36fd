"""A release checkpoint."""

import pytest
import torch
from made_release import TINY, describe, release_name
from safetensors.torch import save_file

from elysium.config import ModelSettings
from elysium.model import build_model


@pytest.fixture(scope="module")
def model():
    return build_model(ModelSettings(**TINY), seed=0)


@pytest.fixture(scope="module")
def state(model):
    """A release checkpoint of float16, which a random number fills, so that no two tensors are alike."""
    torch.manual_seed(1)
    named = {release_name(name): torch.randn(value.shape) for name, value in model[0].state_dict().items()}
    return {name: value.half() for name, value in named.items()}


@pytest.fixture
def source(model, state, tmp_path):
    """The release's folder, in one safetensors file."""
    folder = tmp_path / "release"
    describe(folder, model)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
