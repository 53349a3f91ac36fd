"""Items of every task as scenes to draw."""

import numpy as np
import pytest
from PIL import Image

from elysium.evaluation.report.showing import scene_finder, scene_of
from elysium.evaluation.results import ItemResult
from elysium.evaluation.tasks.describing import Described
from elysium.evaluation.tasks.finding import Named
from elysium.evaluation.tasks.following import Followed, Following
from elysium.evaluation.tasks.pictures import Pictures

BOXES = np.array([[16.0, 0, 32, 24], [np.nan] * 4])
SIZE = (64, 48)


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path in paths:
        Image.new("RGB", SIZE).save(path)
    return Pictures(paths, "test")


def test_a_track_is_shown_with_its_true_boxes(pictures):
    item = Followed("a", "v", pictures, BOXES, SIZE, "a red car")
    scene = scene_of(item, {"boxes": [[0, 0, 1, 1], None]})
    assert (scene.caption, len(scene.frames), scene.predicted) == ("a red car", 2, [[0, 0, 1, 1], None])
    assert scene.true[0].tolist() == [0.25, 0, 0.5, 0.5]
    assert np.isnan(scene.true[1]).all()


def test_a_find_is_one_picture(pictures):
    scene = scene_of(Named("a", "v", pictures.paths[0], "left one", BOXES[0], SIZE), {"box": None})
    assert (scene.caption, len(scene.frames), scene.predicted) == ("left one", 1, [None])


def test_a_description_shows_the_given_box_and_both_texts(pictures):
    item = Described("a", "v", pictures, BOXES[0], SIZE, ["a red car", "a car"])
    scene = scene_of(item, {"text": "a truck"})
    assert (scene.said, scene.answer, scene.predicted, len(scene.true)) == ("a truck", "a red car / a car", None, 1)


def test_items_are_found_by_task_and_id(pictures):
    work = Following("sot", "x", [Followed("a", "v", pictures, BOXES, SIZE)], baselines=())
    result = ItemResult(id="a", video="v", figures={"model": {"auc": 1.0}}, prediction={"boxes": [None, None]})
    find = scene_finder([work], {"sot-x": [result]})
    assert find("sot-x", "a").caption == "a"
    assert find("sot-x", "b") is None
    assert find("sot-y", "a") is None


def test_what_cannot_be_shown_is_nothing():
    assert scene_of(object(), {}) is None
