import os
import pickle

import pytest
from set_files import about, boxes, lines

from elysium.data.sets.plain_pickle import load_plain
from elysium.errors import UsageError


def reference(number, *sentences, annotation=None, image=581857, split="train"):
    """One entry of refs(unc).p; its own file name carries the annotation's number and is no picture's."""
    said = [
        {"tokens": text.split(), "raw": text.upper(), "sent_id": i, "sent": text} for i, text in enumerate(sentences)
    ]
    return {
        "sent_ids": list(range(len(said))),
        "file_name": f"COCO_train2014_{image:012}_{number}.jpg",
        "ann_id": 100 + number if annotation is None else annotation,
        "ref_id": number,
        "image_id": image,
        "split": split,
        "sentences": said,
        "category_id": 1,
    }


INSTANCES = {
    "info": {"description": "refcoco"},
    "images": [
        {"license": 1, "file_name": "COCO_train2014_000000581857.jpg", "id": 581857, "height": 427, "width": 640},
        {"license": 1, "file_name": "COCO_train2014_000000000009.jpg", "id": 9},
        {"license": 1, "file_name": "COCO_train2014_000000000077.jpg", "id": 77, "height": 100, "width": 100},
    ],
    "annotations": [
        {"segmentation": [[1.0, 2.0]], "area": 9, "iscrowd": 0, "bbox": [64.0, 42.7, 128.0, 213.5], "id": 101},
        {"bbox": [100.0, 25.0, 50.0, 50.0], "id": 102},
        {"bbox": [10, 10, 0, 50], "id": 103},
        {"bbox": [10, 10, 10, 10], "id": 105},
    ],
    "categories": [{"supercategory": "person", "id": 1, "name": "person"}],
}


@pytest.fixture
def refer(tmp_path, write):
    """The published pair of files; Python 2 wrote the references, which protocol 0 to 2 stands for."""

    def make(references, protocol=2, name="refs(unc).p"):
        path = tmp_path / "refcoco" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(references, protocol=protocol))
        return path, write("refcoco/instances.json", INSTANCES)

    return make


@pytest.mark.parametrize("protocol", [0, 2])
def test_refcoco(pictures, bring_in, refer, protocol):
    pictures("train2014/COCO_train2014_000000581857.jpg", "train2014/COCO_train2014_000000000009.jpg")
    references = [
        reference(1, "the lady with the blue shirt", "lady", "Lady"),
        reference(2, "left pizza", image=9),
        reference(3, "no area"),
        reference(4, "no annotation"),
        reference(5, "no picture", image=77),
        reference(6, "no image", image=78, annotation=105),
        reference(7, "", annotation=105),
        reference(8, "held out", annotation=105, split="testA"),
    ]
    imported = bring_in("refcoco", *refer(references, protocol))
    first, second = imported.records.values()
    assert (first.id, first.dataset) == ("1", "refcoco")
    assert first.frames == ["train2014/COCO_train2014_000000581857.jpg"]
    # 64/640, 42.7/427, 192/640, 256.2/427
    box = about(0.1, 0.1, 0.3, 0.6)
    assert boxes(first) == {"the lady with the blue shirt": box, "lady": box}
    assert first.objects[0].object_class == "person"
    # The instances do not say this picture's size: 200 x 100, from its header.
    assert boxes(second) == {"left pizza": about(0.5, 0.25, 0.75, 0.75)}
    assert second.frame_size == (200, 100)
    assert imported.reasons == {
        "a box has no area": ["3"],
        "the annotation is not in instances.json": ["4"],
        "the image is missing": ["5"],
        "the image is not in instances.json": ["6"],
        "no object can be used": ["7"],
    }
    assert imported.report.passed_over == {"testA": 1}


def test_a_folder_with_the_pair_is_enough(pictures, bring_in, refer):
    pictures("train2014/COCO_train2014_000000581857.jpg")
    references, _ = refer([reference(1, "lady")], name="refs(umd).p")
    (record,) = bring_in("refcocog", references.parent).records.values()
    assert record.dataset == "refcocog"
    refer([reference(1, "lady")], name="refs(google).p")
    with pytest.raises(UsageError, match="several files of references"):
        bring_in("refcocog", references.parent)


def test_other_parts_can_be_asked_for(pictures, bring_in, refer):
    pictures("train2014/COCO_train2014_000000581857.jpg")
    files = refer([reference(1, "lady", split="val"), reference(5, "man", split="train")])
    assert list(bring_in("refcoco", *files, split="val").records) == ["1"]
    assert list(bring_in("refcoco", *files, split="all").records) == ["1", "5"]
    with pytest.raises(UsageError, match="hold no sample of 'testB', only of train, val"):
        bring_in("refcoco", *files, split="testB")


def row(name, expression, box, **fields):
    return {"img_path": name, "expression": expression, "bbox": box, "dataset_name": "refcoco+", **fields}


def test_rows_of_one_expression_each(pictures, bring_in, write):
    pictures("train2014/COCO_train2014_000000000001.jpg", "a.jpg")
    sample = [
        row("COCO_train2014_000000000001.jpg", "left man", [64, 48, 320, 240], height=480, width=640),
        row("coco/a.jpg", "dog", [0.1, 0.2, 0.3, 1.01]),
        row("a.jpg", "cat", [20, 10, 100, 50]),
        row("a.jpg", "cow", [20, 10, 10, 50]),
        row("a.jpg", "hen", [0, 0, 9, 9], dataset_name="refcocog"),
        '{"img_path": "a.jpg", ',
    ]
    imported = bring_in("refcoco+", write("REC_ref3_train.jsonl", lines(sample)))
    assert [boxes(record) for record in imported.records.values()] == [
        {"left man": about(0.1, 0.1, 0.5, 0.5)},
        {"dog": about(0.1, 0.2, 0.3, 1.0)},
        {"cat": about(0.1, 0.1, 0.5, 0.5)},
    ]
    assert imported.reasons == {
        "a box has no area": ["REC_ref3_train-3"],
        "not a JSON object": ["REC_ref3_train-5"],
    }
    assert imported.report.passed_over == {"refcocog": 1}


class Code:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_names_code_is_refused_and_runs_nothing(tmp_path, pictures, bring_in, refer, protocol):
    mark = tmp_path / "ran"
    files = refer([reference(1, "lady"), Code(os.mkdir, str(mark))], protocol)
    with pytest.raises(UsageError, match=r"it asks for \w+\.mkdir; a pickle of plain lists"):
        bring_in("refcoco", *files)
    assert not mark.exists()


@pytest.mark.parametrize("thing", [Code(eval, "1"), {1, 2}, pytest.approx, BaseException("x")])
def test_no_class_or_function_is_taken_from_a_pickle(tmp_path, thing):
    (tmp_path / "x.p").write_bytes(pickle.dumps([thing], protocol=2))
    with pytest.raises(UsageError, match="it asks for"):
        load_plain(tmp_path / "x.p")


@pytest.mark.parametrize("content", [b"x", b"\x80\x02]q\x00(", b"(lp0\nI1\n", pickle.dumps([1] * 1000)[:-9]])
def test_a_broken_pickle_is_explained(tmp_path, content):
    (tmp_path / "x.p").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.p is not read"):
        load_plain(tmp_path / "x.p")


def test_texts_of_python_2_are_read(tmp_path):
    # pickle.dumps(["caf\xe9", u"\xe9", 5L]) of Python 2, protocol 2.
    (tmp_path / "x.p").write_bytes(b"\x80\x02]q\x01(U\x04caf\xe9q\x02X\x02\x00\x00\x00\xc3\xa9q\x03\x8a\x01\x05e.")
    assert load_plain(tmp_path / "x.p") == ["café", "é", 5]


def test_the_pair_must_be_whole(pictures, bring_in, refer, write):
    references, instances = refer([reference(1, "lady")])
    with pytest.raises(UsageError, match=r"needs one instances\.json beside it, 0 are named"):
        bring_in("refcoco", references)
    with pytest.raises(UsageError, match=r"comes with a file of references, for example refs\(unc\)\.p"):
        bring_in("refcoco", instances)
    with pytest.raises(UsageError, match="is no list of references"):
        bring_in("refcoco", *refer({"refs": []}))
