"""A tower taught by itself reads what frames show, and the phases start from it."""

import json
import shutil

import numpy as np
import pytest
import torch
from training_data import SETTINGS, settings

from elysium.cli import run
from elysium.data.simulator import simulate
from elysium.data.vocabulary import COLOURS, SHAPES, SIZES
from elysium.errors import ElysiumError
from elysium.model import build_model
from elysium.training.labels import draw_labels, label_patches
from elysium.training.tower import train_tower

TOWER = (
    *("training.tower.steps=4", "training.tower.save_steps=2", "training.tower.batch_size=8"),
    *("training.tower.num_clips=6", "training.tower.num_held_out_clips=2", "training.tower.clip_frames=6"),
)


def test_a_patch_is_labelled_by_the_object_in_front_of_it():
    grid, shown = 8, 0
    for seed in range(20):
        objects = simulate(seed, 4).annotations.objects
        visible = [thing for thing in objects if thing.boxes[0] is not None and thing.visibility[0] >= 0.5]
        covered, centred, boxes, words = label_patches([(thing.expression, thing.boxes[0]) for thing in visible], grid)
        for thing in objects:
            if thing.boxes[0] is None or thing.visibility[0] < 0.99:
                continue
            shown += 1
            x1, y1, x2, y2 = thing.boxes[0]
            patch = int((y1 + y2) / 2 * grid) * grid + int((x1 + x2) / 2 * grid)
            assert covered[patch]
            assert centred[patch]
            np.testing.assert_allclose(boxes[patch], thing.boxes[0], atol=1e-6)
            colour, shape, size = (
                list(known)[number] for known, number in zip((COLOURS, SHAPES, SIZES), words[patch], strict=True)
            )
            assert thing.expression.endswith(f"{colour} {shape}")
            assert size == (thing.expression.split()[1] if thing.expression.split()[1] in SIZES else "medium")
        assert not (centred & ~covered).any()
        assert centred.sum() <= len(objects)
    assert shown > 20


def test_frames_are_the_same_however_many_processes_draw_them():
    one, two = (draw_labels(range(150), 16, 4, 2, 2, jobs=jobs) for jobs in (1, 2))
    assert len(one) == 150
    for name in ("images", "covered", "centred", "boxes", "words"):
        assert torch.equal(getattr(one, name), getattr(two, name))


def test_a_tower_learns_to_read(tmp_path):
    wide = (
        *("model.vision.hidden_size=48", "model.vision.num_attention_heads=4", "model.vision.num_hidden_layers=3"),
        *("training.tower.num_clips=100", "training.tower.num_held_out_clips=20", "training.tower.batch_size=32"),
        *("training.tower.learning_rate=5e-3", "training.tower.coordinate_deviation=4"),
    )
    untaught = train_tower(settings(*TOWER, *wide, "training.tower.steps=1"), tmp_path / "untaught")
    taught = train_tower(settings(*TOWER, *wide, "training.tower.steps=600"), tmp_path / "taught")
    assert taught.mean_iou > untaught.mean_iou + 0.1
    assert taught.words[0] > untaught.words[0] + 0.3
    assert not (tmp_path / "taught" / "trainer").exists()


def test_a_tower_that_was_stopped_is_finished_as_if_it_had_not_been(tmp_path, monkeypatch):
    whole = train_tower(settings(*TOWER), tmp_path / "whole")

    def stop(*_):
        raise ElysiumError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr("elysium.training.tower.DenseTower.measure", stop)
        with pytest.raises(ElysiumError, match="stopped here"):
            train_tower(settings(*TOWER), tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "trainer" / "checkpoint-4")
    assert (tmp_path / "stopped" / "trainer" / "checkpoint-2").is_dir()
    assert train_tower(settings(*TOWER), tmp_path / "stopped") == whole
    first, second = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert first == second


def test_more_clips_than_there_are_seeds_is_an_error_that_says_so(tmp_path):
    with pytest.raises(ElysiumError, match="2000000 simulated clips were asked for, there are seeds for 1000000"):
        train_tower(settings(*TOWER, "training.tower.num_clips=2000000"), tmp_path / "tower")


def test_the_command_makes_a_tower_that_a_model_starts_from(tmp_path, capsys):
    changes = [argument for override in (*SETTINGS, *TOWER) for argument in ("--set", override)]
    assert run(["train", "tower", "--output", str(tmp_path / "tower"), "--json", *changes]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert 0 <= shown["mean_iou"] <= 1
    assert run(["train", "tower", "--output", str(tmp_path / "tower"), *changes]) == 2
    assert "--resume" in capsys.readouterr().err
    model, _ = build_model(settings(f"model.vision.weights={shown['model']}").model, 5)
    new, _ = build_model(settings().model, 5)
    table = "embeddings.patch_embedding.weight"
    assert not torch.equal(model.vision_tower.get_parameter(table), new.vision_tower.get_parameter(table))
