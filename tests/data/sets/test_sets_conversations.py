import json

import pytest

from elysium.boxes import BoxCodec
from elysium.data.sets.conversations import DESCRIBE, pair_turns, write_boxes
from elysium.data.sets.source import BrokenSample


def llava(number, *said, image=None):
    speakers = ["human", "gpt"]
    return {
        "id": f"{number:09}",
        "image": image or f"00{number:03}/{number:09}.jpg",
        "conversations": [{"from": speakers[i % 2], "value": text} for i, text in enumerate(said)],
    }


def test_llava_558k(pictures, write, bring_in):
    pictures("00001/000000001.jpg", "00002/000000002.jpg", "00004/000000004.jpg", "00005/000000005.jpg")
    sample = [
        llava(1, "Render a clear and concise summary of the photo.\n<image>", "select luxury furniture"),
        llava(2, "<image>\nWhere is the dog?", "At [0.1, 0.25, 0.5, 0.75].", "And now?", "It sleeps."),
        llava(3, "<image>\nWhat is this?", "a picture that was never downloaded"),
        llava(4, "<image>\nWhat is this?"),
        llava(5, "<image>", "nobody asked"),
    ]
    imported = bring_in("llava-558k", write("blip_laion_cc_sbu_558k.json", sample))
    first, second = imported.records.values()
    assert (first.id, first.dataset, first.frames) == ("000000001", "llava-558k", ["00001/000000001.jpg"])
    assert [(turn.question, turn.answer) for turn in first.turns] == [
        ("Render a clear and concise summary of the photo.", "select luxury furniture")
    ]
    assert [(turn.question, turn.answer) for turn in second.turns] == [
        ("Where is the dog?", "At [10,25,50,75]."),
        ("And now?", "It sleeps."),
    ]
    assert imported.reasons == {
        "the image is missing": ["000000003"],
        "question and answer do not take turns": ["000000004"],
        "a question is empty": ["000000005"],
    }


@pytest.fixture
def cogvlm(tmp_path, pictures):
    """The unpacked archive: two of its three folders, pictures and labels beside each other."""

    def label(part, number, content, folder="labels_en"):
        path = tmp_path / "images" / part / folder / f"{number:08}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")

    details, multi = "llava_details-minigpt4_3500_formate", "llava_instruction_multi_conversation_formate"
    pictures(*(f"{details}/images/{n:08}.jpg" for n in (1, 2)), *(f"{multi}/images/{n:08}.jpg" for n in (1, 2, 3)))
    label(details, 1, {"captions": [{"role": "caption", "content": "A beach with a surfer [[100,200,300,400]]."}]})
    label(details, 2, '{"captions": [')
    label(details, 2, {"captions": [{"role": "caption", "content": "海滩"}]}, "labels_zh")
    said = ["What do the zebras do?", "They graze [[000,500,499,999;500,500,999,999]].", "Where?", "In a field."]
    roles = ["user", "assistant"] * 2
    talk = [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]
    label(multi, 1, {"conversations": talk})
    label(multi, 2, {"conversations": talk[1:]})
    label(multi, 3, {"conversations": []})
    return tmp_path / "images"


def test_cogvlm_sft_311k(cogvlm, bring_in):
    imported = bring_in("cogvlm-sft", cogvlm)
    details, multi = imported.records.values()
    assert details.id == "llava_details-minigpt4_3500_formate/00000001"
    assert details.frames == ["llava_details-minigpt4_3500_formate/images/00000001.jpg"]
    assert [(turn.question, turn.answer) for turn in details.turns] == [
        (DESCRIBE, "A beach with a surfer [10,20,30,40].")
    ]
    assert [turn.answer for turn in multi.turns] == ["They graze [0,50,50,99], [50,50,99,99].", "In a field."]
    assert imported.reasons == {
        "the label file is no JSON": ["llava_details-minigpt4_3500_formate/00000002"],
        "question and answer do not take turns": ["llava_instruction_multi_conversation_formate/00000002"],
        "the conversation is empty": ["llava_instruction_multi_conversation_formate/00000003"],
    }


def test_one_part_of_cogvlm_may_be_given_alone(cogvlm, tmp_path, bring_in):
    part = cogvlm / "llava_details-minigpt4_3500_formate"
    part.rename(tmp_path / "details")
    (tmp_path / "details/images").rename(cogvlm / "images")
    (record,) = bring_in("cogvlm-sft", tmp_path / "details").records.values()
    assert (record.id, record.frames) == ("details/00000001", ["images/00000001.jpg"])


def test_videochat_11k(tmp_path, write, bring_in):
    for name in ("images/010201_010250/1001.mp4", "images/1003.mp4"):
        write(name, "not looked into")
    sample = [
        {"video": "010201_010250/1001.mp4", "QA": [{"i": "", "q": "What happens?", "a": "A cat jumps."}]},
        {
            "video": "010201_010250/1001.mp4",
            "QA": [{"i": "Be brief.", "q": "", "a": "A cat."}, {"q": "Why?", "a": "Fun."}],
        },
        {"video": "053501_053550/1003.mp4", "QA": [{"q": "", "a": "A pan on a stove."}]},
        {"video": "053501_053550/1004.mp4", "QA": [{"q": "What?", "a": "A video that is not there."}]},
        {"video": "053501_053550/1003.mp4", "QA": []},
    ]
    imported = bring_in("videochat", write("videochat_instruct_11k.json", sample))
    first, second, third = imported.records.values()
    assert (first.id, first.video, first.frames, first.timestamps) == (
        "videochat_instruct_11k-0",
        "010201_010250/1001.mp4",
        [],
        [],
    )
    assert [(turn.question, turn.answer) for turn in second.turns] == [("Be brief.", "A cat."), ("Why?", "Fun.")]
    assert (third.video, third.turns[0].question) == ("1003.mp4", DESCRIBE)
    assert imported.reasons == {
        "the image is missing": ["videochat_instruct_11k-3"],
        "the conversation is empty": ["videochat_instruct_11k-4"],
    }


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("[[000,000,999,999]]", "[0,0,99,99]"),
        ("[[ 100 , 200 , 300 , 400 ; 500,600,700,800 ]]", "[10,20,30,40], [50,60,70,80]"),
        ("[0.231, 0.452, 0.458, 0.722] and [.5,0,1,1]", "[23,45,46,72] and [50,0,99,99]"),
        ("a list [1, 2, 3, 4], bits [0,1,0,1], a time [0.5]", "a list [1, 2, 3, 4], bits [0,1,0,1], a time [0.5]"),
    ],
)
def test_boxes_in_text_are_written_as_this_model_writes_them(text, written):
    assert write_boxes(text, BoxCodec()) == written


def test_boxes_in_text_follow_the_codec():
    assert write_boxes("[[123,200,300,400]]", BoxCodec(1000, 999)) == "[123,200,300,400]"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[[500,0,400,999]]", "no area"), ("[[0,0,1200,999]]", "outside the image"), ("[0.5,0.5,0.5,0.9]", "no area")],
)
def test_a_box_in_text_that_is_none_breaks_its_sample(text, reason):
    with pytest.raises(BrokenSample, match=reason):
        write_boxes(text, BoxCodec())


@pytest.mark.parametrize(
    "speakers", [["gpt", "human"], ["human", "human"], ["human", "gpt", "human"], ["system", "gpt"]]
)
def test_question_and_answer_must_take_turns(speakers):
    with pytest.raises(BrokenSample, match="do not take turns"):
        pair_turns([(speaker, "text") for speaker in speakers], BoxCodec())
