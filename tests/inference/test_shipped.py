"""The checkpoint that Elysium carries does on unseen clips what its card says, and is small enough to be carried."""

import json
from pathlib import Path

import numpy as np
import pytest

from elysium.boxes import iou
from elysium.checkpoints import checkpoint_folder, shipped_checkpoints
from elysium.data.simulator import simulate
from elysium.evaluation.captions.descriptions import exact_match
from elysium.inference import Engine, FrameSource, Target, Tracker, TrackOptions, TrackRequest
from elysium.inference.checkpoints import find_checkpoint
from elysium.model import load_checkpoint

# Neither trained on nor among the clips that the card's figures are of.
FIRST_SEED = 8_000_000
MARGIN = 15  # percent, for a dozen clips instead of hundreds


@pytest.fixture(scope="module")
def engine():
    return Engine(*load_checkpoint(checkpoint_folder("nano")))


@pytest.fixture(scope="module")
def figures():
    return json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "nano.json").read_text())["tasks"]


@pytest.fixture(scope="module")
def objects():
    """Of a dozen clips the objects that stay in sight: frames, name and boxes."""
    found = []
    for seed in range(FIRST_SEED, FIRST_SEED + 12):
        clip = simulate(seed, 16)
        for thing in clip.annotations.objects:
            if min(thing.visibility) > 0.9:
                found.append((list(clip.frames), thing.expression, np.array(thing.boxes)))
    assert len(found) > 20
    return found


def test_it_finds_what_is_named(engine, objects, figures):
    boxes = engine.ground([frames[0] for frames, _, _ in objects], [name for _, name, _ in objects])
    hits = iou(np.array(boxes), np.array([truth[0] for _, _, truth in objects])) >= 0.5
    assert 100 * hits.mean() > figures["rec-simulated"]["model"]["accuracy"] - MARGIN


@pytest.mark.parametrize("given", ["sot", "rsot"])
def test_it_follows_what_is_shown_or_named(engine, objects, figures, given):
    requests = [
        TrackRequest(frames, box=truth[0] if given == "sot" else None, expression=name if given == "rsot" else None)
        for frames, name, truth in objects
    ]
    answers = engine.track(requests)
    overlap, still = (
        np.mean([iou(boxes[1:], truth[1:]).mean() for boxes, (_, _, truth) in zip(made, objects, strict=True)])
        for made in ([answer.boxes for answer in answers], [np.tile(truth[0], (16, 1)) for _, _, truth in objects])
    )
    assert 100 * overlap > figures[f"{given}-simulated"]["model"]["auc"] - MARGIN
    if given == "sot":
        assert overlap > still, "a box that never moves does worse"


def test_it_names_what_it_is_shown(engine, objects, figures):
    said = engine.describe([frames[:8] for frames, _, _ in objects], [truth[0] for _, _, truth in objects])
    right = [exact_match(text, name) for text, (_, name, _) in zip(said, objects, strict=True)]
    assert 100 * np.mean(right) > figures["video-reg-simulated"]["model"]["exact_match"] - MARGIN


def test_it_is_less_sure_of_what_is_not_there(engine, objects):
    frames, names = [clip[0] for clip, _, _ in objects], [name for _, name, _ in objects]
    looks = [tuple(name.split()[-2:]) for name in names]
    shown = {clip[0].tobytes(): set() for clip, _, _ in objects}
    for frame, look in zip(frames, looks, strict=True):
        shown[frame.tobytes()].add(look)
    strange = [
        next(
            name
            for name, look in zip(names[i:] + names, looks[i:] + looks, strict=True)
            if look not in shown[frame.tobytes()]
        )
        for i, frame in enumerate(frames)
    ]
    (_, sure), (_, unsure) = (engine.ground_scored(frames, asked) for asked in (names, strange))
    assert np.mean(sure[:, None] > unsure[None]) > 0.9


def test_it_says_what_left_and_finds_what_came_back(engine):
    results = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "beyond.json").read_text())
    row = next(row for row in results["absent"] if (row["given"], row["absent_below"]) == ("box and name", 0.2))
    gone, back = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + 150):
        clip = simulate(seed, 16)
        for thing in clip.annotations.objects:
            boxes = [*thing.boxes, *thing.boxes[::-1]]
            if thing.boxes[0] is None or thing.boxes[-1] is not None or len(gone) > 60:
                continue
            target = Target(box=tuple(128 * np.array(boxes[0])), expression=thing.expression)
            tracker = Tracker(engine, TrackOptions(absent_below=0.2))
            found = tracker.follow(FrameSource([*clip.frames, *clip.frames[::-1]]), [target])
            for number, (result, truth) in enumerate(zip(found, boxes, strict=True)):
                box = result.objects[0].box
                if truth is None:
                    gone.append(box is None)
                elif number >= 16:
                    back.append(box is not None and iou(np.array(box) / 128, truth) >= 0.5)
    assert 100 * np.mean(gone) > row["gone, said so"] - 2 * MARGIN
    assert 100 * np.mean(back) > row["came back, box right"] - 2 * MARGIN


def test_it_is_small_and_says_what_it_is():
    assert shipped_checkpoints() == ["nano"]
    folder = checkpoint_folder("nano")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 25 * 2**20
    card = (folder / "README.md").read_text()
    assert all(heading in card for heading in ("## Data", "## Recipe", "## Figures", "## Limits"))


def test_the_name_means_the_carried_one_whatever_lies_in_the_working_directory(tmp_path, monkeypatch):
    carried = checkpoint_folder("nano")
    monkeypatch.chdir(tmp_path)
    Path("nano").mkdir()
    assert checkpoint_folder("nano") == carried
    assert find_checkpoint("nano", tmp_path) == carried
    assert find_checkpoint("./nano", tmp_path) == Path("nano")
    assert checkpoint_folder("elsewhere") == Path("elsewhere")
