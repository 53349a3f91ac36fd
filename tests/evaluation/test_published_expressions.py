"""RefCOCO and ElysiumTrack as they are measured: files of the published kinds, an engine whose answers are known."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from elysium.cli import run as elysium
from elysium.config import EvaluateSettings
from elysium.data.sets.schema import SetRecord, Turn
from elysium.errors import UsageError
from elysium.evaluation.leaks import of_set_record
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


def test_an_expression_that_is_not_there_cannot_be_chosen(refcoco):
    with pytest.raises(UsageError, match="there is no expression of refcoco testA typo"):
        works(refcoco, name="refcoco", split="testA", media=refcoco / "train2014", only=("typo",))


def named_in_training(dataset, frames):
    """What training data that was imported calls a video, and its record."""
    turn = Turn(question="?", answer="!")
    clip = of_set_record(SetRecord(id="10", dataset=dataset, frames=frames, turns=[turn]), "elsewhere")
    return clip.dataset, clip.video


def test_pictures_are_called_as_training_data_calls_them(refcoco):
    [work] = works(refcoco, name="refcoco", split="testA", media=refcoco / "train2014")
    clips = work.clips()
    picture = "train2014/COCO_train2014_000000000007.jpg"
    assert {(clip.dataset, clip.video) for clip in clips} == {named_in_training("refcoco", [picture])}
    assert not {"10", "1"} & {clip.id for clip in clips}, "sentences are not numbered as objects are"


def test_videos_are_called_as_training_data_calls_them(elysiumtrack):
    frames = [["0/0.jpg", "0/1.jpg"], ["1/0.jpg", "1/1.jpg"], ["2/0.jpg", "2/1.jpg"]]
    expected = {named_in_training("elysiumtrack", paths) for paths in frames}
    for task in ("video-reg", "sot"):
        [work] = works(elysiumtrack, task, name="elysiumtrack")
        assert {(clip.dataset, clip.video) for clip in work.clips()} == expected


def test_what_a_task_would_not_heed_is_refused(elysiumtrack, tmp_path):
    with pytest.raises(UsageError, match="--max-frames means nothing for --task rec, only for sot, rsot, video-reg"):
        works(elysiumtrack, name="refcoco", split="testA", max_frames=3)
    [work] = works(elysiumtrack, "video-reg", max_frames=2)
    result, _ = figures(work, Finder(["a car"]), tmp_path / "out")
    assert (result.protocol["max_frames"], result.protocol["clip_frames"]) == (2, 2)
    assert any("first 2 frames" in note for note in result.notes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--task", "rec", "--max-frames", "4"], "--max-frames means nothing for --task rec, only for sot, rsot"),
        (["--task", "vqa", "--annotations", "."], "--annotations means nothing for --task vqa, only for rec"),
        (["--task", "sot", "--boxes", "xywh"], "--boxes means nothing for --task sot, only for rec"),
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


def test_a_metric_that_cannot_be_had_is_missing_with_its_reason(elysiumtrack, tmp_path, monkeypatch):
    pytest.importorskip("pycocoevalcap", reason="the extra captions is not installed")
    monkeypatch.setattr("elysium.evaluation.captions.meteor.find_java", lambda: None)
    settings = EvaluateSettings(caption_metrics=("meteor", "cider"), baselines=())
    [work] = works(elysiumtrack, "video-reg", settings)
    result, _ = figures(work, Finder(["a red car", "a small dog", "a cat"]), tmp_path / "out")
    assert set(result.model) == {"exact_match", "head_noun", "cider"}
    assert any(note.startswith("meteor is missing: ") and "Java" in note for note in result.notes)


def test_how_a_files_boxes_are_meant_can_be_said(refcoco, tmp_path):
    row = {"image": "COCO_train2014_000000000007.jpg", "sent": "cup 1", "bbox": [62.5, 83.3, 125, 166.7]}
    (tmp_path / "refcoco_testA.jsonl").write_text(json.dumps(row | {"width": 160, "height": 120}) + "\n")
    options = {"annotations": (tmp_path / "refcoco_testA.jsonl",), "media": refcoco / "train2014"}
    [work] = works(refcoco, name="refcoco", split="testA", form="xywh", units="thousandths", **options)
    result, _ = figures(work, Finder(), tmp_path / "out")
    assert result.model["accuracy_90"] == 100
