"""RefCOCO and ElysiumTrack as they are measured: files of the published kinds, an engine whose answers are known."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from elysium.cli import run as elysium
from elysium.config import EvaluateSettings
from elysium.errors import UsageError
from elysium.evaluation.opening import open_works
from elysium.evaluation.request import EvaluationRequest, SetRequest
from elysium.evaluation.running import figures_of, measure
from elysium.inference.spending import DecodingStats

BOXES = {1: [10, 10, 20, 20], 2: [40, 30, 50, 40]}  # x, y, w, h
SIZE = (160, 120)


@pytest.fixture
def refcoco(tmp_path):
    """Two referents with two sentences each; `the cup` names both."""
    (tmp_path / "train2014").mkdir()
    Image.new("RGB", SIZE, "grey").save(tmp_path / "train2014" / "COCO_train2014_000000000007.jpg")
    refs = [
        {
            "ref_id": number,
            "ann_id": number,
            "image_id": 7,
            "category_id": 1,
            "split": "testA",
            "file_name": f"COCO_train2014_000000000007_{number}.jpg",
            "sentences": [
                {"sent_id": 10 * number, "sent": "the cup"},
                {"sent_id": 10 * number + 1, "sent": f"cup {number}"},
            ],
        }
        for number in BOXES
    ]
    with (tmp_path / "refs(unc).p").open("wb") as file:
        pickle.dump(refs, file)
    instances = {
        "images": [{"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "width": SIZE[0], "height": SIZE[1]}],
        "annotations": [{"id": number, "image_id": 7, "bbox": box} for number, box in BOXES.items()],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    return tmp_path


class Finder:
    """Finds the first cup whatever is asked, and says what `words` say."""

    batch_size = 3
    stats = DecodingStats()

    def __init__(self, words=()):
        self._words = list(words)

    def ground(self, images, expressions):
        x, y, w, h = BOXES[1]
        return np.tile(np.array([x, y, x + w, y + h]) / np.array(SIZE * 2), (len(images), 1))

    def describe(self, clips, boxes):
        return [self._words[place % len(self._words)] for place in range(len(clips))]


def works(data, task="rec", settings=None, **options):
    request = EvaluationRequest(
        checkpoint=data,
        sets=(SetRequest(task=task, data=data, **options),),
        settings=settings or EvaluateSettings(caption_metrics=()),
    )
    return open_works(request)


def figures(work, engine, folder):
    measure(work, lambda: engine, folder)
    return figures_of(work, folder, samples=100, seed=0)


def test_every_sentence_of_a_split_counts_also_one_that_fits_two_objects(refcoco, tmp_path):
    [work] = works(refcoco, name="refcoco", split="testA", media=refcoco / "train2014")
    result, items = figures(work, Finder(), tmp_path / "out")
    assert (work.name, result.num_sequences) == ("rec-refcoco-testA", 4)
    assert result.model["accuracy"] == 50
    assert result.groups["pixels"]["small"].figures["accuracy"] == 100
    assert result.groups["pixels"]["medium"].figures["accuracy"] == 0
    assert set(result.videos.values()) == {items[0].video}, "one picture is one draw"
    assert any("published with 5,657" in note for note in result.notes)


def test_a_part_of_a_split_is_said_to_be_one(refcoco):
    [work] = works(refcoco, name="refcoco", split="testA", media=refcoco / "train2014", limit=3)
    assert len(work.sizes) == 3


def test_an_expression_that_is_not_in_the_split_is_refused_where_others_are(refcoco):
    [work] = works(refcoco, name="refcoco", split="testA", media=refcoco / "train2014")
    known = next(iter(work.sizes))
    with pytest.raises(UsageError, match="of the 4 expressions of refcoco testA none is typo"):
        works(refcoco, name="refcoco", split="testA", media=refcoco / "train2014", only=(known, "typo"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--task", "rec", "--max-frames", "4"], "--max-frames means nothing for --task rec, only for sot and rsot"),
        (["--task", "vqa", "--annotations", "."], "--annotations means nothing for --task vqa, only for rec"),
        (["--task", "sot", "--media", "."], "--media means nothing for --task sot"),
        (["--task", "rsot", "--judge-model", "m"], "--judge-model means nothing for --task rsot, only for vqa"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(refcoco, capsys, given, message):
    options = ["--data", str(refcoco), "--checkpoint", "nano", "--output", str(refcoco / "out")]
    assert elysium(["evaluate", "run", *given, *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "rec needs --dataset"),
        ({"name": "refcoco"}, "rec needs --dataset"),
        ({"name": "coco", "split": "val"}, "no set"),
    ],
)
def test_a_set_that_is_not_named_is_asked_for(refcoco, options, message):
    with pytest.raises(UsageError, match=message):
        works(refcoco, **options)


@pytest.fixture
def elysiumtrack(tmp_path):
    lines = []
    for number, name in enumerate(("a red car", "a small dog", "the tall man")):
        (tmp_path / str(number)).mkdir()
        for frame in range(3):
            Image.new("RGB", SIZE, "grey").save(tmp_path / str(number) / f"{frame}.jpg")
        lines.append(
            {
                "source": "test", "id": str(number), "vid": str(number), "metadata": {},
                "frames": [f"{number}/{frame}.jpg" for frame in range(3)], "object_class": name.split()[-1],
                "box": [[0.1, 0.1, 0.4, 0.4]] * 3, "object_description": name, "frame_size": list(SIZE),
            }
        )  # fmt: skip
    (tmp_path / "ElysiumTrack-val500.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_descriptions_of_published_records_are_matched_and_cider_comes_without_java(elysiumtrack, tmp_path):
    pytest.importorskip("pycocoevalcap", reason="the extra captions is not installed")
    settings = EvaluateSettings(caption_metrics=("cider",), baselines=())
    [work] = works(elysiumtrack, "video-reg", settings)
    result, _ = figures(work, Finder(["a red car", "a small dog", "a cat"]), tmp_path / "out")
    assert work.name == "video-reg-elysiumtrack"
    assert result.model["exact_match"] == pytest.approx(200 / 3, abs=1e-3)
    each = [found["model"]["cider"] for found in result.per_sequence.values()]
    assert result.model["cider"] == pytest.approx(np.mean(each), abs=1e-3)
    assert each[2] == 0 < min(each[:2])
    assert result.protocol["tokeniser"]


def test_descriptions_of_fewer_frames_are_said_to_be_so(elysiumtrack, tmp_path):
    [work] = works(elysiumtrack, "video-reg", max_frames=2)
    result, _ = figures(work, Finder(["a red car", "a small dog", "a cat"]), tmp_path / "out")
    assert any(note.startswith("only the first 2 frames of each clip were shown") for note in result.notes)


def test_a_metric_that_cannot_be_had_is_missing_with_its_reason(elysiumtrack, tmp_path, monkeypatch):
    pytest.importorskip("pycocoevalcap", reason="the extra captions is not installed")
    monkeypatch.setattr("elysium.evaluation.captions.meteor.find_java", lambda: None)
    settings = EvaluateSettings(caption_metrics=("meteor", "cider"), baselines=())
    [work] = works(elysiumtrack, "video-reg", settings)
    result, _ = figures(work, Finder(["a red car", "a small dog", "a cat"]), tmp_path / "out")
    assert set(result.model) == {"exact_match", "head_noun", "cider"}
    assert any(note.startswith("meteor is missing: ") and "Java" in note for note in result.notes)
