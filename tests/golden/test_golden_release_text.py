"""Conversations, ids and label masks under the release's settings are the ones its own processors gave.

Texts and ids are read from the recorded file (see the reference folder's README).
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from transformers import LlamaTokenizer

from elysium.boxes import BoxCodec
from elysium.model import ElysiumProcessor
from elysium.prompts import IMAGE_TOKEN, SYSTEM_TEXT, build_prompt

REFERENCE = Path(os.environ.get("ELYSIUM_REFERENCE", Path(__file__).parents[2] / "../shared/reference"))
TEXTS = REFERENCE / "release_text" / "text_golden.json"
SECTIONS = ("train_tasks", "eval_tasks", "vqa")
TURN = "ASSISTANT:"
# Seconds before each frame (`1s: <image>; `), or no newline after a single one: the processor takes these forms of the
# frames' text, but our prompts do not write them.
OTHER_FRAMES = ("1s: <image>; ", "<image>What")


def golden():
    return json.loads(TEXTS.read_text(encoding="utf-8")) if TEXTS.exists() else {}


def entries(*sections, turns=1, without=()):
    found = [
        pytest.param(section, name, id=f"{section}-{name}")
        for section in sections
        for name, entry in golden().get(section, {}).items()
        if entry["prompt"].count(TURN) == turns and not any(form in entry["prompt"] for form in without)
    ]
    reason = f"the recorded reference {TEXTS} is not here"
    return found or [pytest.param(None, None, marks=pytest.mark.skip(reason=reason))]


@pytest.fixture(scope="module")
def recorded():
    if not TEXTS.exists():
        pytest.skip(f"the recorded reference {TEXTS} is not here")
    return golden()


@pytest.fixture(scope="module")
def processor(recorded):
    vocabulary = REFERENCE / "tokenizer" / "tokenizer.model"
    if not vocabulary.exists():
        pytest.skip(f"the recorded reference {vocabulary} is not here")
    tokenizer = LlamaTokenizer.from_pretrained(vocabulary.parent)
    assert len(tokenizer) == recorded["tokenizer"]["vocab"]
    # One placeholder a frame, with the release's id: its rows can be compared as they are.
    return ElysiumProcessor(
        tokenizer, tokens_per_frame=1, image_token_id=-200, bos_after_image=True, coordinate_maximum=100
    )


def turns(recorded, section, name):
    """The prompts and answers of an entry's turns; the recorded strings are the turns joined with spaces."""
    entry = recorded[section][name]
    prompts = [text.removeprefix(" ") + TURN for text in entry["prompt"].split(TURN)[:-1]]
    if len(prompts) == 1:
        return [(prompts[0], entry["gt"])]
    # What is asked first is answered alone in the same conversation's entry for prediction.
    first = recorded[section]["two_turn_box_1f_predict"]["gt"]
    return list(zip(prompts, [first, entry["gt"].removeprefix(first).strip()], strict=True))


def encoded(processor, conversation, with_answers):
    prompts, answers = zip(*conversation, strict=True)
    frame = np.zeros((4, 4, 3), np.uint8)
    frames = [frame] * "".join(prompts).count(IMAGE_TOKEN)
    if not with_answers:
        return processor(text=prompts, images=[frames])["input_ids"][0].tolist(), None
    batch = processor(text=[prompts], images=[frames], answers=[answers])
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()


@pytest.mark.parametrize(("section", "name"), entries(*SECTIONS))
def test_ids_mask_and_labels_are_the_releases(section, name, processor, recorded):
    entry = recorded[section][name]
    ids, labels = encoded(processor, turns(recorded, section, name), "labels" in entry)
    assert ids == entry["input_ids"]
    assert [1] * len(ids) == entry["attention_mask"]
    assert labels == entry.get("labels", labels)


@pytest.mark.parametrize(("section", "name"), entries("vqa", turns=2))
def test_a_second_turn_is_encoded_like_a_first_one(section, name, processor, recorded):
    entry = recorded[section][name]
    ids, labels = encoded(processor, turns(recorded, section, name), with_answers=True)
    assert ids == entry["input_ids"]
    assert [1] * len(ids) == entry["attention_mask"]
    assert labels == entry["labels"]


@pytest.mark.parametrize(("section", "name"), entries(*SECTIONS, without=OTHER_FRAMES))
def test_prompts_are_written_as_the_release_writes_them(section, name, recorded):
    prompt = recorded[section][name]["prompt"]
    frames, question = prompt.removesuffix(TURN).split("\n", 1)
    made = build_prompt(question, frames.count(IMAGE_TOKEN), number_single_frame=section == "eval_tasks")
    assert made == prompt


def test_every_conversation_begins_with_the_releases_system_text(recorded):
    prompts = [entry["prompt"] for section in SECTIONS for entry in recorded[section].values()]
    assert prompts
    assert all(prompt.startswith(f"{SYSTEM_TEXT}USER: ") for prompt in prompts)


def test_the_length_of_a_tracking_conversation_grows_with_its_frames_as_in_the_release(processor, recorded):
    entry = recorded["train_tasks"]["SOT_8f"]
    question = entry["prompt"].removesuffix(TURN).split("\n", 1)[1]
    # The recorded table has another box in its question, so growth is compared, not length.
    table = {int(frames): counted["prompt_ids"] for frames, counted in recorded["sot_text_len_by_n_frames"].items()}
    made = {frames: len(processor.encode_prompt(build_prompt(question, frames))) for frames in table}
    assert {n: made[n] - made[1] for n in table} == {n: table[n] - table[1] for n in table}


def test_coordinates_in_range_are_rounded_as_in_the_release(recorded):
    table = {float(value): text for value, text in recorded["box_format"]["ours_v1"].items()}
    inside = {value: text for value, text in table.items() if 0 <= value <= 1}
    assert inside
    codec = BoxCodec(maximum=100)
    assert {value: codec.encode([value] * 4) for value in inside} == {
        value: "[" + ",".join([text] * 4) + "]" for value, text in inside.items()
    }


def test_coordinates_out_of_range_are_refused_where_the_release_writes_them(recorded):
    outside = [value for value in map(float, recorded["box_format"]["ours_v1"]) if not 0 <= value <= 1]
    assert outside
    for value in outside:
        with pytest.raises(ValueError, match=r"box must lie in \[0, 1\]"):
            BoxCodec(maximum=100).encode([value] * 4)


def test_any_answer_is_read_without_a_crash(recorded):
    for case in recorded["parse_box"]:
        boxes = BoxCodec(maximum=100).decode(case["text"])
        assert boxes.shape == (len(boxes), 4), case["text"]
        assert np.isfinite(boxes).all(), case["text"]


def test_a_box_that_is_read_is_one_that_the_release_reads(recorded):
    compared = 0
    for case in recorded["parse_box"]:
        # In angle brackets the release reads another notation; where one box is malformed it gives up on all.
        if case["eval"] and "<" not in case["text"]:
            boxes = BoxCodec(maximum=100).decode(case["text"]).round(9).tolist()
            assert all(box in case["eval"] for box in boxes), case["text"]
            compared += bool(boxes)
    assert compared
