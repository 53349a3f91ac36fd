"""What is looked at in training: which tokens are kept, and answers drawn beside the truth."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from training_data import settings, write_snapshot

from elysium.model import VisualTokens, build_model
from elysium.training.samples import TrainingSamples
from elysium.training.shown import draw_answers, selection_statistics
from elysium.training.sources import TrackSource
from elysium.training.step import train_folder


class Keeps:
    """Stands for a model whose selector keeps given places of a grid of 4 x 4."""

    def __init__(self, *frames):
        self.positions = torch.tensor(frames)

    def encode_frames(self, pixel_values):
        return VisualTokens(torch.zeros(*self.positions.shape, 8), self.positions, 16)


def test_a_selector_that_keeps_always_the_same_places():
    found = selection_statistics(Keeps([0, 3, 12, 15], [0, 3, 12, 15]), torch.zeros(2, 3, 8, 8))
    assert found["selected_entropy"] == pytest.approx(math.log(4) / math.log(16))
    # Corners lie 1.5 from the middle each way, places of the grid 1.5 and 0.5.
    assert found["selected_spread"] == pytest.approx(math.sqrt(1.5**2 / ((1.5**2 + 0.5**2) / 2)))


def test_a_selector_that_keeps_another_corner_of_each_frame():
    quarters = [0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]
    found = selection_statistics(Keeps(*quarters), torch.zeros(4, 3, 8, 8))
    assert found["selected_entropy"] == pytest.approx(1.0)
    assert found["selected_spread"] == pytest.approx(0.5 / math.sqrt((1.5**2 + 0.5**2) / 2))


def test_where_all_tokens_are_kept_there_is_nothing_to_say():
    assert selection_statistics(Keeps(list(range(16))), torch.zeros(1, 3, 8, 8)) == {}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return write_snapshot(tmp_path_factory.mktemp("snapshot"))


def test_answers_are_drawn_beside_the_truth(snapshot, tmp_path):
    chosen = settings("training.finetune.mixture={sot: 1, video-reg: 1}", "training.finetune.clip_frames=[3, 3]")
    model, processor = build_model(chosen.model, 0)
    model.train()
    samples = TrainingSamples([TrackSource(snapshot / "data", 32)], "finetune", chosen.training.finetune, 32, 1)
    for name in ("one.png", "two.png"):
        draw_answers(model, processor, samples, tmp_path / name)
    assert model.training
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        pixels = np.array(picture)
    assert pixels.shape == (4 * 180, 3 * 164, 3)
    for row in range(4):
        for colour in ((10, 160, 189), (224, 106, 0)):
            frames = pixels[row * 180 : (row + 1) * 180].reshape(180, 3, 164, 3)
            assert (frames == colour).all(-1).any(axis=(0, 2)).all()


def test_every_checkpoint_leaves_a_picture(snapshot, tmp_path):
    changes = ("steps=4", "save_steps=2", "batch_size=2", "mixture={rec: 1}")
    train_folder(
        settings(*(f"training.finetune.{change}" for change in changes)), "finetune", snapshot / "data", tmp_path
    )
    assert [path.name for path in sorted((tmp_path / "answers").iterdir())] == [
        "answers-000002.png",
        "answers-000004.png",
    ]


def test_a_picture_that_cannot_be_drawn_ends_no_training(snapshot, tmp_path, caplog):
    (tmp_path / "answers").write_text("where a folder should be")
    changes = ("steps=2", "save_steps=2", "logging_steps=1", "batch_size=2", "mixture={rec: 1}")
    history = train_folder(
        settings(*(f"training.finetune.{change}" for change in changes)), "finetune", snapshot / "data", tmp_path
    )
    assert history[-1]["step"] == 2
    assert "no answers were drawn after step 2" in caplog.text
