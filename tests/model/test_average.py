"""The mean of checkpoints is a checkpoint, and only of one model."""

import pytest
import torch

from elysium.cli import run
from elysium.config import ModelSettings
from elysium.model import build_model, load_checkpoint

SMALL = ModelSettings(
    num_visual_tokens=4,
    vision={"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    llm={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
)  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    wider = SMALL.model_copy(update={"llm": SMALL.llm.model_copy(update={"hidden_size": 64})})
    for name, settings, seed in (("a", SMALL, 1), ("b", SMALL, 2), ("c", SMALL, 3), ("wide", wider, 1)):
        for part in build_model(settings, seed=seed):
            part.save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_weight_is_the_mean(saved, tmp_path, dtype):
    folders = [str(saved / name) for name in "abc"]
    assert run(["model", "average", *folders, "--output", str(tmp_path / "mean"), "--dtype", dtype]) == 0
    weights = [load_checkpoint(folder)[0].state_dict() for folder in folders]
    for name, value in load_checkpoint(tmp_path / "mean")[0].state_dict().items():
        expected = torch.stack([one[name].double() for one in weights]).mean(0)
        rounded = expected.to(getattr(torch, dtype)).double()
        assert torch.allclose(value.double(), rounded, rtol=1e-6, atol=1e-8), name


@pytest.mark.parametrize(
    ("names", "message"), [(["a"], "two checkpoints or more, got 1"), (["a", "wide"], "no model like")]
)
def test_what_has_no_mean_is_told(saved, tmp_path, names, message, capsys):
    folders = [str(saved / name) for name in names]
    assert run(["model", "average", *folders, "--output", str(tmp_path / "mean")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()


def test_nothing_is_written_over(saved, tmp_path, capsys):
    folders = [str(saved / name) for name in "ab"]
    (tmp_path / "mean").mkdir()
    assert run(["model", "average", *folders, "--output", str(tmp_path / "mean")]) == 2
    assert "is there already" in capsys.readouterr().err
