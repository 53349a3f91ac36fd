import pytest

from elysium.errors import UsageError


def vqa_question(number, image=9):
    return {"image_id": image, "question": f"Question {number}?", "question_id": number}


def vqa_annotation(number, answer="net", image=9):
    return {
        "question_type": "what is",
        "multiple_choice_answer": answer,
        "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": 1}],
        "image_id": image,
        "answer_type": "other",
        "question_id": number,
    }


@pytest.fixture
def vqa(write):
    """The two files of VQAv2, as their names and fields are."""

    def make(questions, annotations, part="train2014"):
        head = {"info": {"version": "2.0"}, "task_type": "Open-Ended", "data_type": "mscoco", "data_subtype": part}
        return [
            write(f"v2_OpenEnded_mscoco_{part}_questions.json", {**head, "questions": questions}),
            write(
                f"v2_mscoco_{part}_annotations.json",
                {"info": {}, "data_subtype": part, "annotations": annotations, "data_type": "mscoco"},
            ),
        ]

    return make


def test_coco_vqa(pictures, vqa, bring_in):
    pictures("train2014/COCO_train2014_000000000009.jpg", "train2014/COCO_train2014_000000000025.jpg")
    files = vqa(
        [vqa_question(1), vqa_question(2, 25), vqa_question(3), vqa_question(4), vqa_question(5, 77)],
        [vqa_annotation(2, "two", 25), vqa_annotation(1), vqa_annotation(4, ""), vqa_annotation(5, image=77)],
    )
    imported = bring_in("coco-vqa", *files)
    second, first = imported.records.values()
    assert (first.id, first.frames) == ("1", ["train2014/COCO_train2014_000000000009.jpg"])
    assert [(turn.question, turn.answer) for turn in first.turns] == [("Question 1?", "net")]
    assert (second.frames, second.turns[0].answer) == (["train2014/COCO_train2014_000000000025.jpg"], "two")
    assert imported.reasons == {
        "multiple_choice_answer is missing": ["4"],
        "the image is missing": ["5"],
        "the question has no annotation": ["3"],
    }


@pytest.mark.parametrize("name", ["COCO_train2014_000000000009.jpg", "train2017/000000000009.jpg", "000000000009.jpg"])
def test_pictures_of_coco_are_found_in_every_layout(pictures, vqa, bring_in, name):
    pictures(name)
    imported = bring_in("coco-vqa", *vqa([vqa_question(1)], [vqa_annotation(1)]))
    assert imported.records["1"].frames == [name]


def test_the_part_of_vqa_is_what_the_file_says(pictures, vqa, bring_in):
    pictures("val2014/COCO_val2014_000000000009.jpg")
    files = vqa([vqa_question(1)], [vqa_annotation(1)], "val2014")
    assert list(bring_in("coco-vqa", *files, split="val").records) == ["1"]
    with pytest.raises(UsageError, match="hold no sample of 'train', only of val"):
        bring_in("coco-vqa", *files)


def test_vqa_needs_both_files(pictures, vqa, bring_in):
    questions, annotations = vqa([vqa_question(1)], [vqa_annotation(1)])
    for given, missing in ((questions, "annotations"), (annotations, "questions")):
        with pytest.raises(UsageError, match=f"there is no file of {missing}"):
            bring_in("coco-vqa", given)


def gqa(image, question="Is the sky dark?", answer="yes"):
    return {
        "semantic": [{"operation": "select", "dependencies": [], "argument": "sky (2486325)"}],
        "entailed": [],
        "question": question,
        "imageId": image,
        "isBalanced": True,
        "answer": answer,
        "fullAnswer": "Yes, the sky is dark.",
    }


def test_gqa(pictures, write, bring_in):
    pictures("images/2354786.jpg", "2375429.jpg")
    sample = {
        "02930152": gqa("2354786"),
        "07333408": gqa("2375429", "What is on the white wall?", "pipe"),
        "07333405": gqa("2375429", answer=""),
        "15736264": gqa("999"),
        "111007521": {"question": "Who?", "imageId": "2354786"},
    }
    imported = bring_in("gqa", write("train_balanced_questions.json", sample))
    first, second = imported.records.values()
    assert (first.id, first.frames) == ("02930152", ["images/2354786.jpg"])
    assert [(turn.question, turn.answer) for turn in first.turns] == [("Is the sky dark?", "yes")]
    assert (second.frames, second.turns[0].answer) == (["2375429.jpg"], "pipe")
    assert imported.reasons == {
        "answer is missing": ["07333405", "111007521"],
        "the image is missing": ["15736264"],
    }


def test_gqa_in_several_files_is_read_as_one(pictures, write, bring_in):
    pictures("1.jpg")
    for number in range(3):
        write(f"questions/train_all_questions_{number}.json", {f"q{number}": gqa("1")})
    folder = write("questions/val_all_questions.json", {"v": gqa("1")}).parent
    imported = bring_in("gqa", folder)
    assert list(imported.records) == ["q0", "q1", "q2"]
    assert imported.report.passed_over == {"val": 1}


def visual7w(image, *pairs, split="train"):
    return {"image_id": image, "filename": f"v7w_{image}.jpg", "split": split, "qa_pairs": list(pairs)}


def telling(number, answer="In the sky."):
    choices = ["On the bed.", "In the tree.", "At home."]
    return {
        "qa_id": number,
        "question": f"Where {number}?",
        "answer": answer,
        "multiple_choices": choices,
        "type": "where",
    }


def test_visual7w_telling(pictures, write, bring_in):
    pictures("images/v7w_1.jpg", "images/v7w_2.jpg", "images/v7w_3.jpg")
    sample = [
        visual7w(1, telling(11), telling(12, "Here.")),
        visual7w(2, telling(21), telling(22, "")),
        visual7w(3, telling(31, "")),
        visual7w(4, telling(41)),
        visual7w(1, telling(51), split="test"),
    ]
    imported = bring_in("visual7w", write("dataset_v7w_telling.json", {"dataset": "visual7w", "images": sample}))
    first, second = imported.records.values()
    assert (first.id, first.frames, first.frame_size) == ("telling-1", ["images/v7w_1.jpg"], None)
    assert [(turn.question, turn.answer) for turn in first.turns] == [
        ("Where 11?", "In the sky."),
        ("Where 12?", "Here."),
    ]
    assert [turn.question for turn in second.turns] == ["Where 21?"]
    assert imported.reasons == {"no question can be used": ["telling-3"], "the image is missing": ["telling-4"]}
    assert imported.report.dropped == {"answer is missing": 2}
    assert imported.report.passed_over == {"test": 1}


def test_visual7w_pointing_answers_with_boxes(pictures, write, bring_in):
    pictures("v7w_1.jpg", "v7w_2.jpg", size=(400, 200))
    boxes = [
        {"box_id": 5, "name": "pillow", "x": 40, "y": 20, "width": 100, "height": 80, "image_id": 1},
        {"box_id": 6, "name": "wall", "x": -1, "y": 0, "width": 201, "height": 100, "image_id": 2},
        {"box_id": 7, "name": "lamp", "x": 300, "y": 0, "width": 300, "height": 100, "image_id": 2},
    ]
    pair = {
        "qa_id": 1,
        "question": "Which pillow is farther?",
        "answer": 5,
        "multiple_choices": [6, 7],
        "type": "which",
    }
    sample = [
        visual7w(1, pair),
        visual7w(2, {**pair, "answer": 6}, {**pair, "answer": 7}, {**pair, "answer": 8}),
    ]
    imported = bring_in("visual7w", write("dataset_v7w_pointing.json", {"boxes": boxes, "images": sample}))
    first, second = imported.records.values()
    # 40/400, 20/200, 140/400, 100/200; and -1/400 cut to 0, 200/400, 100/200.
    assert [turn.answer for turn in first.turns] == ["[10,10,35,50]."]
    assert [turn.answer for turn in second.turns] == ["[0,0,50,50]."]
    assert first.frame_size == (400, 200)
    assert imported.report.dropped == {"a box lies outside the image": 1, "the answer's box is missing": 1}
