"""The ablation runs its cells once, keeps what it has, and reports what came out."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from elysium.ablation.cell import Cell, Scale, build_cell, measure
from elysium.ablation.report import plot, table
from elysium.ablation.scenes import draw_scenes, load_scenes, save_scenes
from elysium.ablation.study import SCALES, Study, plan_cells, read_results, run_study
from elysium.ablation.tower import pretrain_tower, tower_features
from elysium.cli import run
from elysium.config import load_settings
from elysium.errors import UsageError
from elysium.model import build_model

SIZES = [
    "model.init_from=null",
    "model.llm.hidden_size=16", "model.llm.num_attention_heads=2", "model.llm.num_hidden_layers=1",
    "model.vision.hidden_size=16", "model.vision.num_attention_heads=2", "model.vision.num_hidden_layers=2",
]  # fmt: skip
SCALE = Scale(
    steps=3, batch=2, questions=2, describe_share=0.5, tower_steps=2, train_frames=6, held_out_frames=4, max_objects=3
)
MODEL = load_settings("nano", SIZES).model


def study(*cells, scale=SCALE):
    return Study(MODEL, scale, cells)


def test_the_table_is_selectors_times_budgets_times_seeds():
    cells = plan_cells(MODEL, ["none", "gated", "strided"], [0.08, 0.19], 3, ["packed"])
    assert {(cell.selector, cell.kept) for cell in cells} == {
        ("none", 64), ("gated", 5), ("gated", 12), ("strided", 5), ("strided", 12),
    }  # fmt: skip
    assert len(cells) == 5 * 3


@pytest.mark.parametrize(
    ("names", "shares", "message"),
    [(["gate"], [0.1], "no selector 'gate'"), (["gated"], [1.5], "above 0 and up to 1"), (["gated"], [], "above 0")],
)
def test_impossible_tables_are_refused(names, shares, message):
    with pytest.raises(UsageError, match=message):
        plan_cells(MODEL, names, shares, 1, ["packed"])


def test_scenes_are_the_same_for_the_same_seed_and_never_shared_between_splits(tmp_path):
    first, again, other = (draw_scenes(5, seed, 64, 2) for seed in (0, 0, 5))
    assert np.array_equal(first.images, again.images)
    assert first.names == again.names
    assert not any(np.array_equal(a, b) for a in first.images for b in other.images)
    save_scenes(first, tmp_path / "scenes.npz")
    loaded = load_scenes(tmp_path / "scenes.npz")
    assert loaded.names == first.names
    assert all(np.array_equal(a, b) for a, b in zip(loaded.boxes, first.boxes, strict=True))


def test_boxes_are_where_the_objects_are():
    scenes = draw_scenes(20, 0, 64, 1)
    for image, boxes in zip(scenes.images, scenes.boxes, strict=True):
        x1, y1, x2, y2 = (boxes[0] * 64).astype(int)
        inside = image[y1 : y2 + 1, x1 : x2 + 1].reshape(-1, 3).astype(float)
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).astype(float)
        middle = image[(y1 + y2) // 2 - 2 : (y1 + y2) // 2 + 3].reshape(-1, 3)
        assert len(middle)
        assert np.abs(inside - border.mean(0)).max() > 3 * border.std(0).max()


def test_results_are_kept_as_they_come_and_only_the_missing_are_run(tmp_path):
    cells = plan_cells(MODEL, ["none", "gated"], [0.1], 1, ["packed"])
    run_study(study(cells[0]), tmp_path, jobs=1)
    line = (tmp_path / "results.jsonl").read_text()
    results = run_study(study(*cells), tmp_path, jobs=1)
    assert (tmp_path / "results.jsonl").read_text().startswith(line)
    assert [result["selector"] for result in results] == ["none", "gated"]
    assert all(0 <= result["accuracy"] <= 100 and result["objects"] > 0 for result in results)


def test_a_line_that_was_cut_short_is_run_again(tmp_path):
    cells = plan_cells(MODEL, ["strided"], [0.1], 2, ["packed"])
    whole = run_study(study(*cells), tmp_path, jobs=1)
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text()[:-30])
    again = run_study(study(*cells), tmp_path, jobs=1)
    assert [result["accuracy"] for result in again] == [result["accuracy"] for result in whole]
    assert len(list(read_results(tmp_path))) == 2


def test_cells_in_processes_of_their_own_give_what_one_process_gives(tmp_path):
    cells = plan_cells(MODEL, ["gated"], [0.1, 0.2], 1, ["grid"])
    together = run_study(study(*cells), tmp_path / "two", jobs=2)
    (tmp_path / "one").mkdir()
    for name in ("tower.safetensors", "train.npz", "held-out.npz", "train.safetensors", "held-out.safetensors"):
        (tmp_path / "one" / name).write_bytes((tmp_path / "two" / name).read_bytes())
    alone = run_study(study(*cells), tmp_path / "one", jobs=1)
    for first, second in zip(together, alone, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], abs=1e-4)


def test_another_study_in_the_same_folder_is_refused(tmp_path):
    cell = Cell("strided", 5, "packed", 0)
    run_study(study(cell), tmp_path, jobs=1)
    other = Scale(**{**SCALE.__dict__, "steps": 4})
    with pytest.raises(UsageError, match="results of another model or scale"):
        run_study(study(cell, scale=other), tmp_path, jobs=1)


def test_the_shared_tower_is_trained_once_and_frozen_in_every_cell():
    model, processor = build_model(MODEL, 0)
    before = {name: value.clone() for name, value in model.vision_tower.state_dict().items()}
    scenes = draw_scenes(6, 0, 64, 2)
    pretrain_tower(model, processor, scenes, steps=2, seed=0)
    tower = model.vision_tower.state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in tower.items())
    cell, _ = build_cell(MODEL, Cell("gated", 5, "grid", 3), tower)
    assert all(torch.equal(value, tower[name]) for name, value in cell.vision_tower.state_dict().items())
    assert not any(value.requires_grad for value in cell.vision_tower.parameters())
    assert (cell.config.num_visual_tokens, cell.config.position_ids) == (5, "grid")


def test_every_object_is_measured_once():
    model, processor = build_model(MODEL, 0)
    scenes = draw_scenes(5, 0, 64, 3)
    overlaps = measure(model.eval(), processor, (scenes, tower_features(model, processor, scenes)), batch=4)
    assert overlaps.shape == (sum(map(len, scenes.names)),)
    assert ((overlaps >= 0) & (overlaps <= 1)).all()


def rows(*figures):
    return [
        {"selector": name, "kept": kept, "position_ids": place, "seed": seed, "accuracy": accuracy}
        for name, kept, place, seed, accuracy in figures
    ]


def test_the_table_shows_means_and_ranges_and_leaves_gaps():
    figures = rows(
        ("none", 64, "packed", 0, 80.0),
        ("gated", 12, "packed", 0, 70.0),
        ("gated", 12, "packed", 1, 72.0),
        ("gated", 12, "grid", 0, 75.0),
        ("strided", 5, "packed", 0, 10.0),
    )
    lines = table(study(), figures).splitlines()
    assert "| selector | 5 of 64 (8%) | 12 of 64 (19%) | all 64 |" in lines
    assert "| none |  |  | 80.0 |" in lines
    assert "| gated |  | 71.0 (70.0 to 72.0) |  |" in lines
    assert "| gated, grid positions |  | 75.0 |  |" in lines


def test_the_plot_is_a_picture_that_stands_by_itself():
    figures = rows(("none", 64, "packed", 0, 80.0), ("gated", 5, "packed", 0, 7.0), ("gated", 12, "packed", 0, 70.0))
    root = ElementTree.fromstring(plot(study(), figures))  # noqa: S314 # our own drawing
    assert root.tag.endswith("svg")
    assert [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")][-2:] == ["none", "gated"]


def test_the_command_writes_table_plot_and_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(SCALES, "reduced", SCALE)
    settings = [part for size in SIZES for part in ("--set", size)]
    command = [
        "ablate",
        "--output",
        str(tmp_path / "out"),
        "--selectors",
        "none,gated",
        "--shares",
        "0.1",
        "--jobs",
        "1",
    ]
    assert run([*command, "--json", *settings]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["cells"] == 3
    assert (tmp_path / "out" / "table.md").read_text().count("|") > 6
    assert (tmp_path / "out" / "plot.svg").read_text().startswith("<svg")


def test_presets_with_pretrained_weights_are_refused(tmp_path, capsys):
    assert run(["ablate", "--output", str(tmp_path / "out"), "--preset", "small"]) == 2
    assert "builds its own: use nano" in capsys.readouterr().err
