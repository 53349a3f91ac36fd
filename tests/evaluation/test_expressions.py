import json
import logging
import pickle

import pytest
from PIL import Image

from elysium.errors import UsageError
from elysium.evaluation.grounding.expressions import PUBLISHED_COUNTS, open_expressions

FIRST, SECOND = "COCO_train2014_000000000001.jpg", "COCO_train2014_000000000002.jpg"
INSTANCES = {
    "images": [
        {"id": 1, "file_name": FIRST, "width": 640, "height": 480},
        {"id": 2, "file_name": SECOND},
    ],
    "annotations": [
        {"id": 11, "bbox": [64.0, 48.0, 128.0, 96.0]},
        {"id": 12, "bbox": [20.5, 10.25, 100, 50]},
        {"id": 13, "bbox": [float("nan"), 10, 100, 50]},
        {"id": 14, "bbox": [10, 10, 0, 50]},
        {"id": 15, "bbox": [600, 10, 100, 50]},
    ],
    "categories": [{"id": 3, "name": "traffic light"}],
}


def reference(number, *sentences, annotation=11, image=1, split="testA"):
    said = [{"sent": text, "raw": text.upper(), "sent_id": 10 * number + i} for i, text in enumerate(sentences)]
    return {
        "ref_id": number,
        "ann_id": annotation,
        "image_id": image,
        "category_id": 3,
        "split": split,
        "sentences": said,
        "file_name": FIRST.replace(".jpg", f"_{number}.jpg"),
    }


@pytest.fixture
def images(tmp_path):
    """Two pictures in COCO's layout; the second one's size, 200 x 100, stands in its header alone."""
    folder = tmp_path / "images"
    (folder / "train2014").mkdir(parents=True)
    Image.new("RGB", (640, 480)).save(folder / "train2014" / FIRST)
    Image.new("RGB", (200, 100)).save(folder / "train2014" / SECOND)
    return folder


@pytest.fixture
def refer(tmp_path):
    """Writes the published pair of files."""

    def make(*references, name="refs(unc).p", folder="refcoco"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_bytes(pickle.dumps(list(references), protocol=2))
        (tmp_path / folder / "instances.json").write_text(json.dumps(INSTANCES))
        return [tmp_path / folder / name, tmp_path / folder / "instances.json"]

    return make


@pytest.fixture
def rows(tmp_path):
    """Writes JSON lines; a text is a line as it is."""

    def make(*entries, name="refcoco_testA.jsonl"):
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in entries))
        return [path]

    return make


def test_every_sentence_counts_also_one_that_names_two_things(images, refer):
    files = refer(
        reference(1, "left light", "Left light"),
        reference(2, "left light", annotation=12, image=2),
        reference(3, "held out", split="val"),
    )
    found = open_expressions("refcoco", "testA", files, images)
    assert [(one.id, one.text) for one in found] == [
        ("1-10", "left light"),
        ("1-11", "Left light"),
        ("2-20", "left light"),
    ]
    assert (found[0].box, found[0].size) == ((64, 48, 192, 144), (640, 480))
    assert (found[2].box, found[2].size) == ((20.5, 10.25, 120.5, 60.25), (200, 100))
    assert found[0].image == images / "train2014" / FIRST
    assert (found[0].split, found[0].object_class) == ("testA", "traffic light")
    assert [one.text for one in open_expressions("refcoco", "val", [files[0].parent], images)] == ["held out"]


def shikra(box, name=FIRST, text="left light", **fields):
    return {"img_path": name, "expression": text, "bbox": box, "dataset_name": "refcoco", **fields}


CORNERS, CORNER_AND_SIZE = [64, 48, 192, 144], [64, 48, 128, 96]
SIZE = {"width": 640, "height": 480}


@pytest.mark.parametrize(
    "row",
    [
        shikra(CORNERS, **SIZE),
        shikra([0.1, 0.1, 0.3, 0.3], **SIZE),
        shikra(CORNERS),
        # Qwen-VL's and InternVL's
        {"image": f"data/coco/train2014/{FIRST}", "sent": "left light", "bbox": CORNERS, **SIZE},
        # lmms-eval's: the file's name carries the reference's number
        {
            "question_id": "7",
            "question": "Box?",
            "answer": ["left light"],
            "bbox": CORNER_AND_SIZE,
            "file_name": FIRST.replace(".jpg", "_4.jpg"),
            "image": {"bytes": None, "path": None},
        },
        # jxu124's: the annotation as text, and another box beside it
        {
            "ref_id": 7,
            "split": "testA",
            "sentences": [{"sent": "left light", "raw": "Left light", "sent_id": 3}],
            "raw_anns": json.dumps({"bbox": CORNER_AND_SIZE}),
            "raw_image_info": json.dumps({"file_name": FIRST, **SIZE}),
            "bbox": [0, 0, 1, 1],
            "file_name": FIRST.replace(".jpg", "_4.jpg"),
        },
    ],
    ids=["shikra", "shares", "size from the picture", "qwen-vl", "lmms-eval", "jxu124"],
)
def test_rows_of_all_common_kinds_say_the_same(images, rows, row):
    (found,) = open_expressions("refcoco", "testA", rows(row), images)
    assert found.text == "left light"
    assert found.box == pytest.approx((64, 48, 192, 144))
    assert (found.size, found.image) == ((640, 480), images / "train2014" / FIRST)


def test_mdetrs_images_with_captions(images, tmp_path):
    path = tmp_path / "finetune_refcoco_testA.json"
    captioned = [{"id": 5, "file_name": FIRST, "caption": "left light", "dataset_name": "refcoco", **SIZE}]
    path.write_text(json.dumps({"images": captioned, "annotations": [{"image_id": 5, "bbox": CORNER_AND_SIZE}]}))
    (found,) = open_expressions("refcoco", "testA", [path], images)
    assert (found.text, found.box) == ("left light", (64, 48, 192, 144))


def test_rows_in_parquet_with_several_sentences_each(images, tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow (pip install 'elysium[sets]')")
    import pyarrow as pa
    import pyarrow.parquet

    row = {"answer": ["left light", "the light"], "bbox": [64.0, 48, 128, 96], "file_name": FIRST}
    pa.parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "testA-00000-of-00001.parquet")
    found = open_expressions("refcoco", "testA", [tmp_path / "testA-00000-of-00001.parquet"], images)
    assert [(one.id, one.text) for one in found] == [
        ("testA-00000-of-00001-0-0", "left light"),
        ("testA-00000-of-00001-0-1", "the light"),
    ]
    assert {one.box for one in found} == {(64, 48, 192, 144)}


def test_boxes_are_what_the_caller_says_they_are(images, rows):
    def only(box, **how):
        (found,) = open_expressions("refcoco", "testA", rows(shikra(box, **SIZE)), images, **how)
        return pytest.approx(found.box)

    assert only(CORNER_AND_SIZE, form="xywh") == (64, 48, 192, 144)
    assert only([100, 100, 300, 300], units="thousandths") == (64, 48, 192, 144)
    assert only([0.1, 0.1, 0.2, 0.2], form="xywh", units="normalised") == (64, 48, 192, 144)
    # No number of the file is above 1, so it cannot be pixels; one that is makes it so.
    with pytest.raises(UsageError, match=r"row 1: a box lies within one pixel\. Boxes were read as xyxy in pixels"):
        open_expressions("refcoco", "testA", rows(shikra([0.1, 0.1, 0.3, 0.3]), shikra(CORNERS)), images)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([64, 48, 10, 20], "a box has no area"),  # x, y, width, height
        ([100, 100, 900, 900], "a box reaches out of its picture"),  # thousandths
        ([64, 48, 64, 90], "a box has no area"),
        ([64, 48, None, 90], "a box is not four numbers"),
        ([64, 48, 90], "a box is not four numbers"),
        ([float("nan"), 48, 90, 90], "a box is not finite"),
        ("[64, 48, 90, 90]", "bbox is of the wrong kind"),
    ],
)
def test_a_box_that_contradicts_what_it_is_read_as_is_named(images, rows, box, reason):
    files = rows(shikra(CORNERS), shikra(box, **SIZE))
    message = (
        rf"1 entries of refcoco testA cannot be used: refcoco_testA\.jsonl, row 2: {reason}\. Boxes were read as xyxy"
    )
    with pytest.raises(UsageError, match=message):
        open_expressions("refcoco", "testA", files, images)


def test_broken_entries_are_an_error_and_not_left_out(images, refer):
    references = [
        reference(1, "good"),
        reference(2, "nan", annotation=13),
        reference(3, "empty", annotation=14),
        reference(4, "outside", annotation=15),
        reference(5, "unknown", annotation=99),
        reference(6),
        reference(7, "  "),
        reference(8, "elsewhere", annotation=99, split="val"),
    ]
    with pytest.raises(UsageError, match="6 entries of refcoco testA cannot be used: ") as caught:
        open_expressions("refcoco", "testA", refer(*references), images)
    for part in ("ref_id 5: the annotation is not in instances.json", "ref_id 6: there is no sentence", "and 1 more"):
        assert part in str(caught.value)


def test_a_cut_line_is_named(images, rows):
    with pytest.raises(UsageError, match=r"refcoco_testA\.jsonl, row 2: not a JSON object"):
        open_expressions("refcoco", "testA", rows(shikra(CORNERS), '{"img_path": "COCO_tr'), images)


def test_missing_pictures_are_counted_and_named(images, refer):
    (images / "train2014" / FIRST).unlink()
    files = refer(reference(1, "one", "two"), reference(2, "three", annotation=12, image=2))
    with pytest.raises(UsageError, match=rf"the image is missing below .* for 2 of 3 expressions .*: {FIRST}"):
        open_expressions("refcoco", "testA", files, images)


def test_ids_that_come_twice_are_named(images, refer):
    with pytest.raises(UsageError, match="2 ids more than once: 1-10, 1-11; are files named twice"):
        open_expressions("refcoco", "testA", refer(*[reference(1, "a", "b")] * 2), images)


def test_other_splits_and_sets_are_named(images, refer, rows):
    files = refer(reference(1, "a"), reference(2, "b", split="val"), reference(3, "c", split="val"))
    with pytest.raises(
        UsageError, match=r"hold no expression of refcoco testB; the splits there are: testA \(1\), val \(2\)"
    ):
        open_expressions("refcoco", "testB", files, images)
    with pytest.raises(UsageError, match=r"lies in a folder of refcoco, and refcoco\+ is asked for"):
        open_expressions("refcoco+", "testA", files, images)
    with pytest.raises(UsageError, match="no set 'refclef' of referring expressions, only refcoco, refcoco"):
        open_expressions("refclef", "val", files, images)
    with pytest.raises(UsageError, match=r"no expression of refcoco testB; the splits there are: testA \(1\)"):
        open_expressions("refcoco", "testB", rows(shikra(CORNERS)), images)
    with pytest.raises(UsageError, match="no expression of refcocog val, only of refcoco"):
        open_expressions("refcocog", "val", rows(shikra(CORNERS)), images)


def test_files_and_rows_of_all_sets_may_lie_together(images, rows, tmp_path):
    rows(shikra(CORNERS, text="plus", dataset_name="refcoco_plus"), name="refcoco+_val.jsonl")
    rows(shikra(CORNERS, text="g", dataset_name="refcocog"), shikra(CORNERS, text="none"), name="val.jsonl")
    rows(shikra(CORNERS, text="other split"), name="refcoco_testB.jsonl")
    folder = [tmp_path]
    assert [one.text for one in open_expressions("refcoco", "val", folder, images)] == ["none"]
    assert [one.text for one in open_expressions("refcoco+", "val", folder, images)] == ["plus"]
    assert [one.text for one in open_expressions("refcocog", "val", folder, images)] == ["g"]


def test_a_count_that_is_not_the_published_one_is_told(images, refer, monkeypatch, caplog):
    files = refer(reference(1, "a", "b", split="val"), name="refs(google).p", folder="refcocog")
    with caplog.at_level(logging.WARNING):
        open_expressions("refcocog", "val", files, images)
    assert caplog.messages == [
        "refcocog val (google) is published with 9,536 expressions, here are 2: figures are not the published split's"
    ]
    caplog.clear()
    monkeypatch.setitem(PUBLISHED_COUNTS[("refcocog", "google")], "val", 2)
    with caplog.at_level(logging.WARNING):
        assert len(open_expressions("refcocog", "val", files, images)) == 2
    assert not caplog.messages


def test_several_references_or_none_are_refused(images, refer):
    files = refer(reference(1, "a")) + refer(reference(1, "a"), name="refs(google).p")
    with pytest.raises(UsageError, match="several files of references are named"):
        open_expressions("refcoco", "testA", files, images)
    with pytest.raises(UsageError, match=r"needs one instances\.json beside it, 0 are named"):
        open_expressions("refcoco", "testA", files[:1], images)
    with pytest.raises(UsageError, match=r"comes with a file of references, for example refs\(unc\)\.p"):
        open_expressions("refcoco", "testA", files[1:2], images)


class Danger:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_that_names_code_is_refused(images, refer, capsys):
    with pytest.raises(UsageError, match="it asks for"):
        open_expressions("refcoco", "testA", refer(Danger()), images)
    assert capsys.readouterr().out == ""
