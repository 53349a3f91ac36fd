"""Question sets in the forms that they are published and repackaged in, and what is refused."""

import json

import pytest
from PIL import Image

from elysium.data.video import iterate_video
from elysium.errors import UsageError
from elysium.evaluation.videoqa.questions import QUESTION_SETS, VideoQuestion, open_question_set

# As the published files have them: ids are numbers, and the order of fields differs.
MSVD = [
    {"answer": "kitten", "id": 33319, "question": "what is playing?", "video_id": 1},
    {"answer": "two", "id": 33320, "question": "how many men dance?", "video_id": 2},
]
MSRVTT = [
    {"answer": "couch", "category_id": 14, "id": 158581, "question": "what are three people on?", "video_id": 7010}
]
FRAMEQA = (
    "gif_name\tquestion\tanswer\ttype\tvid_id\tkey\tdescription\n"
    "tumblr_no73_250\twhat is the color of the shirt ?\tblack\t2\tFRAMEQA1159\t27138\ta man in black .\n"
    "tumblr_nedt_250\tis one cat 's paw in another cat 's face ?\tcat\t0\tFRAMEQA9405\t2853\tone cat .\n"
)
QUESTIONS = [
    {"video_name": "1QIUV7WYKXg", "question": "is the athlete wearing trousers", "question_id": "v_1QIUV7WYKXg_3"},
    {"video_name": "_jV5sAOOHLk", "question": "how many people are there", "question_id": "v__jV5sAOOHLk_7"},
]
# In another order than the questions.
ANSWERS = [
    {"answer": "2", "type": 7, "question_id": "v__jV5sAOOHLk_7"},
    {"answer": "no", "type": 3, "question_id": "v_1QIUV7WYKXg_3"},
]
LINES = [
    {"id": "a", "video": "one.mp4", "question": "what?", "answer": "cat", "kind": "animal"},
    {"id": "b", "video": "deep/two", "question": "how many?", "answer": [2, "two"]},
    {"id": "c", "video": "one.mp4", "question": "is it?", "answers": [{"answer": "yes"}, "yes", "no", "yes"]},
]


@pytest.fixture
def put(tmp_path):
    """Writes a file: text as it is, a list as JSON or JSON lines, nothing as an empty video."""

    def make(name, content=b"video"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            lines = path.suffix == ".jsonl"
            content = "\n".join(map(json.dumps, content)) + "\n" if lines else json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def test_msvd_qa_finds_its_videos_under_their_names_on_youtube(put, tmp_path):
    put("test_qa.json", MSVD)
    put("youtube_mapping.txt", "-4wsuPCjDBc_5_15 vid1\n-7KMZQEsJW4_205_208 vid2\n")
    videos = [put(f"YouTubeClips/{name}.avi") for name in ("-4wsuPCjDBc_5_15", "-7KMZQEsJW4_205_208")]
    found = open_question_set(None, tmp_path)
    assert (found.name, found.layout, found.split) == ("msvd-qa", "list", "test")
    assert list(found) == [
        VideoQuestion("33319", videos[0], "what is playing?", ("kitten",), "what"),
        VideoQuestion("33320", videos[1], "how many men dance?", ("two",), "how"),
    ]


def test_msvd_qa_also_finds_videos_that_were_renamed_as_the_set_numbers_them(put, tmp_path):
    put("val_qa.json", MSVD)
    videos = [put("video/vid1.avi"), put("video/vid2.avi")]
    found = open_question_set("msvd-qa", tmp_path, split="val")
    assert [question.video for question in found] == videos


def test_msrvtt_qa_is_told_by_its_categories(put, tmp_path):
    put("test_qa.json", MSRVTT)
    video = put("TestVideo/video7010.mp4")
    found = open_question_set(None, tmp_path)
    assert found.name == "msrvtt-qa"
    assert list(found) == [VideoQuestion("158581", video, "what are three people on?", ("couch",), "what")]


@pytest.mark.parametrize("suffix", ["gif", "mp4"])
def test_tgif_qa_is_read_from_its_table_with_gifs_or_videos(put, tmp_path, suffix):
    put("dataset/Test_frameqa_question.csv", FRAMEQA)
    videos = [put(f"gifs/tumblr_{name}_250.{suffix}") for name in ("no73", "nedt")]
    found = open_question_set(None, tmp_path)
    assert (found.name, found.layout) == ("tgif-qa", "frameqa")
    assert list(found) == [
        VideoQuestion("FRAMEQA1159", videos[0], "what is the color of the shirt ?", ("black",), "color"),
        VideoQuestion("FRAMEQA9405", videos[1], "is one cat 's paw in another cat 's face ?", ("cat",), "object"),
    ]


def test_activitynet_qa_joins_questions_and_answers_by_their_ids(put, tmp_path):
    put("test_q.json", QUESTIONS)
    put("test_a.json", ANSWERS)
    videos = [put("videos/v_1QIUV7WYKXg.mp4"), put("videos/v__jV5sAOOHLk.mkv")]
    found = open_question_set(None, tmp_path)
    assert (found.name, found.layout) == ("activitynet-qa", "pairs")
    assert list(found) == [
        VideoQuestion("v_1QIUV7WYKXg_3", videos[0], "is the athlete wearing trousers", ("no",), "yes/no"),
        VideoQuestion("v__jV5sAOOHLk_7", videos[1], "how many people are there", ("2",), "number"),
    ]


@pytest.mark.parametrize(
    ("video", "name"),
    [
        ("8HB7ywgJuTg_131_142", "msvd-qa"),
        ("video7010", "msrvtt-qa"),
        ("tumblr_nk172bbdPI1u1lr18o1_250", "tgif-qa"),
        ("my clip", "questions"),
    ],
)
def test_repackaged_sets_are_told_by_how_their_videos_are_called(put, tmp_path, video, name):
    put("questions/test_q.json", [{"video_name": video, "question": "who sings", "question_id": f"v_{video}_0"}])
    put("questions/test_a.json", [{"answer": "girl", "type": 3, "question_id": f"v_{video}_0"}])
    path = put(f"questions/videos/{video}.mp4")
    found = open_question_set(None, tmp_path / "questions")
    assert found.name == name
    assert list(found) == [VideoQuestion(f"v_{video}_0", path, "who sings", ("girl",), "who")]


def test_own_sets_are_json_lines_with_one_or_several_answers(put, tmp_path):
    file = put("questions.jsonl", LINES)
    one, two = put("clips/one.mp4"), put("clips/deep/two.webm")
    put("clips/other/two.mp4")
    expected = [
        VideoQuestion("a", one, "what?", ("cat",), "animal"),
        VideoQuestion("b", two, "how many?", ("2", "two")),
        VideoQuestion("c", one, "is it?", ("yes", "yes", "no", "yes"), votes=True),
    ]
    for place in (tmp_path, file):
        found = open_question_set("mine", place, tmp_path / "clips")
        assert (found.name, list(found)) == ("mine", expected)
    assert [question.answer for question in expected] == ["cat", "2 or two", "yes"]


def test_an_animated_gif_is_a_video(tmp_path, put):
    pictures = [Image.new("RGB", (8, 8), (10 * number, 0, 0)) for number in range(20)]
    (tmp_path / "gifs").mkdir()
    pictures[0].save(tmp_path / "gifs/g.gif", save_all=True, append_images=pictures[1:], duration=100)
    put("test.jsonl", [{"id": "a", "video": "g", "question": "what?", "answer": "red"}])
    (question,) = open_question_set(None, tmp_path)
    frames = list(iterate_video(question.video))
    assert len(frames) == 20
    assert [round(frame.timestamp, 3) for frame in frames[:3]] == [0.0, 0.1, 0.2]


def test_missing_videos_are_refused_with_their_number_and_the_first_names(put, tmp_path):
    put("test_qa.json", [{**MSRVTT[0], "id": number, "video_id": number // 2} for number in range(20)])
    put("videos/video0.mp4")
    with pytest.raises(UsageError) as caught:
        open_question_set("msrvtt-qa", tmp_path)
    assert "18 of 20 questions" in str(caught.value)
    assert "9 videos, first video1, video2, video3, video4, video5." in str(caught.value)
    found = open_question_set("msrvtt-qa", tmp_path, missing="fail")
    assert (len(found), len(found.missing)) == (20, 18)
    assert found.missing[0].id == "2"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([LINES[0], {**LINES[1], "id": "a"}], r"1 entries have the id of one before them: .*jsonl, entry 2 \(a\)"),
        ([LINES[0], {**LINES[1], "answer": ""}], r"1 entries cannot be used: .*entry 2 \(b\): answer is missing"),
        ([{**LINES[0], "answer": []}], "answer is missing"),
        ([{**LINES[0], "answer": ["cat", None]}], "answer is missing"),
        ([{**LINES[0], "answer": True}], "answer is of the wrong kind"),
        ([{**LINES[0], "question": "  "}], "question is missing"),
        ([{"video": "one.mp4", "question": "what?", "answer": "cat"}], "id is missing"),
        ([{**LINES[0], "answers": ["a", "b", "c", "d"]}], "has both answer"),
        ([{**LINES[2], "answers": ["a", "b"]}], "at least 4 people"),
        ([["a", "b"]], "not a JSON object"),
        ([{**LINES[0], "video": "../one.mp4"}], "leads out of the videos' folder"),
        ([], "holds no question"),
    ],
)
def test_broken_entries_are_refused_with_file_and_place(put, tmp_path, entries, message):
    put("test.jsonl", entries or "\n")
    put("videos/one.mp4")
    with pytest.raises(UsageError, match=message):
        open_question_set(None, tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"test_q.json": QUESTIONS}, r"test_a\.json is missing: .*test_q\.json needs its answers"),
        ({"test_a.json": ANSWERS}, r"test_q\.json is missing"),
        ({"test_q.json": QUESTIONS, "test_a.json": ANSWERS[:1]}, r"\(v_1QIUV7WYKXg_3\): it has no answer"),
        ({"test_q.json": QUESTIONS[:1], "test_a.json": ANSWERS}, r"\(v__jV5sAOOHLk_7\): the answer has no question"),
        ({"test_q.json": QUESTIONS, "test_a.json": [*ANSWERS, ANSWERS[0]]}, "two answers"),
        ({"test_q.json": QUESTIONS * 2, "test_a.json": ANSWERS}, "2 entries have the id of one before them"),
        ({"test_qa.json": "{}"}, "no JSON array of entries; it begins with '{'"),
        ({"test_qa.json": json.dumps(MSVD)[:-9]}, "the file is cut short"),
        ({"test_qa.json": ""}, "is empty"),
        ({"Test_frameqa_question.csv": FRAMEQA.replace("\t", ",")}, "no column gif_name"),
        ({"Test_frameqa_question.csv": FRAMEQA + "a\tb\n"}, "another number of columns"),
        ({"val_qa.json": MSVD}, r"no questions of 'test': test_qa\.json, .* is needed; it holds val_qa\.json"),
        ({"test_qa.json": MSVD, "test.jsonl": LINES}, "holds questions twice"),
        ({"a.jsonl": LINES, "b.jsonl": LINES}, r"it holds a\.jsonl, b\.jsonl"),
        ({"test_qa.json": MSVD, "youtube_mapping.txt": "one two three\n"}, "line 1: a video's name and its vidN"),
    ],
)
def test_files_that_are_no_question_set_are_refused(put, tmp_path, files, message):
    for name, content in files.items():
        put(name, content)
    put("videos/one.mp4")
    with pytest.raises(UsageError, match=message):
        open_question_set(None, tmp_path)


def test_what_is_asked_for_must_be_what_is_there(put, tmp_path):
    put("test_qa.json", MSVD)
    put("videos/vid1.avi")
    with pytest.raises(
        UsageError, match=r"no file of TGIF-QA .FrameQA., but of the layout 'list'; get the set from http"
    ):
        open_question_set("tgif-qa", tmp_path)
    with pytest.raises(UsageError, match="no question set 'msvdqa'; did you mean msvd-qa"):
        open_question_set("msvdqa", tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        open_question_set(None, tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is no folder; name the one with the set's videos"):
        open_question_set(None, tmp_path, tmp_path / "nowhere")
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="holds no video"):
        open_question_set(None, tmp_path, tmp_path / "none")


def test_two_videos_of_one_name_are_told_unless_one_is_the_repackaged_other(put, tmp_path):
    put("test.jsonl", LINES[:1])
    put("videos/gifs/one.gif")
    first = put("videos/train/one.mp4")
    assert open_question_set(None, tmp_path).questions[0].video == first
    put("videos/test/one.mp4")
    with pytest.raises(UsageError, match=r"two videos answer to one\.mp4: .*test/one\.mp4 and .*train/one\.mp4"):
        open_question_set(None, tmp_path)


def test_a_part_that_is_not_whole_is_told(put, tmp_path, caplog):
    put("test_qa.json", MSRVTT)
    put("videos/video7010.mp4")
    found = open_question_set(None, tmp_path)
    assert "holds 1 questions, and MSRVTT-QA has 72821 in its part 'test'" in found.note
    assert found.note in caplog.text


def test_the_published_parts_add_up_to_the_published_wholes():
    """The papers give both: 50,505, 243,680, 53,083 (FrameQA) and 58,000 pairs."""
    wholes = {name: sum(known.counts.values()) for name, known in QUESTION_SETS.items()}
    assert wholes == {"msvd-qa": 50_505, "msrvtt-qa": 243_680, "tgif-qa": 53_083, "activitynet-qa": 58_000}


def test_the_digest_moves_with_questions_and_not_with_places(put, tmp_path):
    put("a/test.jsonl", LINES[:1])
    put("a/one.mp4")
    put("b/test.jsonl", LINES[:1])
    put("b/videos/one.avi")
    first = open_question_set(None, tmp_path / "a")
    assert first.digest == open_question_set(None, tmp_path / "b").digest
    put("b/test.jsonl", [{**LINES[0], "answer": "dog"}])
    assert first.digest != open_question_set(None, tmp_path / "b").digest
