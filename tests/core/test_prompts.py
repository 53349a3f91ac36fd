import json
import os
from pathlib import Path

import pytest

from elysium.boxes import BoxCodec
from elysium.prompts import IMAGE_TOKEN, PHRASINGS, SYSTEM_TEXT, Task, ask, boxes_answer, build_prompt, frames_text

REFERENCE = Path(os.environ.get("ELYSIUM_REFERENCE", Path(__file__).parents[2] / "../shared/reference"))
GIVEN = {"expression": "the red car", "box": [0.1, 0.2, 0.3, 0.4], "question": "What happens?"}


def test_a_clip_numbers_its_frames_and_a_single_frame_does_not():
    assert frames_text(3) == "Frame 1: <image>, Frame 2: <image>, Frame 3: <image>\n"
    assert frames_text(1) == "<image>\n"
    assert frames_text(1, number_single_frame=True) == "Frame 1: <image>\n"


@pytest.mark.parametrize("task", list(Task))
def test_every_phrasing_shows_every_frame_and_ends_where_the_answer_begins(task):
    for phrasing in range(len(PHRASINGS[task])):
        prompt = ask(task, 4, phrasing=phrasing, **GIVEN)
        assert prompt.startswith(SYSTEM_TEXT + "USER: Frame 1: ")
        assert prompt.count(IMAGE_TOKEN) == 4
        assert prompt.endswith("ASSISTANT:")
        assert "{" not in prompt


@pytest.mark.parametrize("task", [task for task in Task if task is not Task.VQA])
def test_training_draws_from_several_phrasings(task):
    assert len({ask(task, 2, phrasing=index, **GIVEN) for index in range(len(PHRASINGS[task]))}) > 1


@pytest.mark.parametrize(
    ("task", "missing"),
    [(Task.SOT, "box"), (Task.RSOT, "expression"), (Task.REC, "expression"), (Task.VQA, "question")],
)
def test_a_question_without_its_object_is_refused(task, missing):
    with pytest.raises(ValueError, match=f"needs {missing}="):
        ask(task, 2, **{**GIVEN, missing: None})


def test_no_frames_and_no_boxes_are_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        frames_text(0)
    with pytest.raises(ValueError, match="at least one box"):
        boxes_answer([])


def test_prompts_and_answers_are_the_releases_word_for_word():
    path = REFERENCE / "release_tiny" / "golden.json"
    if not path.is_file():
        pytest.skip(f"the recorded reference {path} is not here")
    golden = json.loads(path.read_text())
    prompt, answer = golden["prompt"], golden["answer"]
    boxes = BoxCodec().decode(answer)
    question = prompt.split("\n")[-1].removesuffix("ASSISTANT:")
    assert build_prompt(question, len(boxes)) == prompt
    assert boxes_answer(golden["boxes"], BoxCodec(maximum=100), full_stop=False) == answer
