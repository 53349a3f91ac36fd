"""VideoQA as it is run: videos, questions, an engine, and a judge that is a real server."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent / "videoqa"))
from judge_server import JudgeServer, Say

from elysium.config import EvaluateSettings
from elysium.errors import ElysiumError, UsageError
from elysium.evaluation.evaluating import collect, measure_all
from elysium.evaluation.opening import open_works
from elysium.evaluation.request import EvaluationRequest, SetRequest
from elysium.evaluation.results import MODEL
from elysium.evaluation.running import Shard, figures_of, measure
from elysium.evaluation.tasks.answering import COMMON, Answering, Judging
from elysium.evaluation.videoqa.judges import JudgeOptions
from elysium.evaluation.videoqa.questions import open_question_set
from elysium.inference.spending import DecodingStats

GREYS = {"dark": 10, "light": 240}
QUESTIONS = [
    {"id": "1", "video": "dark.gif", "question": "how bright is it?", "answer": "dark"},
    {"id": "2", "video": "light.gif", "question": "how bright is it?", "answer": "light"},
    {"id": "3", "video": "light.gif", "question": "is there a cat?", "answer": "no"},
    {"id": "4", "video": "dark.gif", "question": "is there a dog?", "answer": "no"},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    for name, grey in GREYS.items():
        frames = [Image.new("L", (32, 24), grey + number % 2) for number in range(20)]
        frames[0].save(tmp_path / "videos" / f"{name}.gif", save_all=True, append_images=frames[1:], duration=40)
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    return tmp_path


@pytest.fixture
def server():
    server = JudgeServer()
    yield server
    server.close()


class Seer:
    """Sees how bright a video is, never finds a cat, and cannot be asked about dogs."""

    batch_size = 3
    stats = DecodingStats()

    def __init__(self):
        self.shown = []

    def most_frames(self, question, most, max_tokens):
        return most

    def ask(self, clips, questions):
        if any("dog" in question for question in questions):
            raise RuntimeError("too many dogs")
        self.shown += [len(clip) for clip in clips]
        brightness = ["dark" if np.mean(clip) < 128 else "light" for clip in clips]
        return [seen if "bright" in q else "Yes." for seen, q in zip(brightness, questions, strict=True)]


def work(folder, judging=None, baselines=()):
    questions = open_question_set(None, folder / "test.jsonl", folder / "videos")
    return Answering(questions, baselines=baselines, judging=judging)


def judging(server, **options):
    options = {"url": server.url, "model": "judge", "backoff": 0.0, "concurrent": 1} | options
    return Judging(JudgeOptions(**options))


def figures(answering, out, engine=None):
    measure(answering, lambda: engine or Seer(), out)
    return figures_of(answering, out, samples=100, seed=0)


def test_answers_are_matched_and_failures_counted(folder, tmp_path):
    engine = Seer()
    result, items = figures(work(folder), tmp_path / "out", engine)
    right = {item.id: item.figures[MODEL]["exact_match"] for item in items}
    assert right == {"1": 100, "2": 100, "3": 0, "4": 0}
    assert result.failures["crashed"] == result.num_failures == 1
    assert set(engine.shown) == {16}, "frames evenly spread, of a GIF too"
    assert result.baselines[COMMON]["exact_match"] == 50, "always no"
    assert any("no judge" in note for note in result.notes)
    assert result.videos["2"] == result.videos["3"] != result.videos["1"]


def test_a_judge_decides_and_stands_in_the_result(folder, server, tmp_path):
    result, items = figures(work(folder, judging(server)), tmp_path / "out")
    assert (result.primary, result.model["judge_accuracy"]) == ("judge_accuracy", 50)
    # yes, 5 twice; no, 1 for the wrong one; the one without an answer is not asked about: 0.
    assert result.model["judge_score"] == pytest.approx((5 + 5 + 1 + 0) / 4)
    assert len(server.bodies) == 3
    assert result.protocol["judge"] == "judge-2024"
    assert result.protocol["judge_prompt"].startswith("elysium-1")
    assert items[0].prediction["judge"]["says"] == "yes"


def test_an_answer_without_a_readable_verdict_is_a_failure_that_is_shown(folder, server, tmp_path):
    server.otherwise = lambda body: Say("banana")
    result, _ = figures(work(folder, judging(server)), tmp_path / "out")
    assert result.model["judge_accuracy"] == 0
    assert {kind: count for kind, count in result.failures.items() if count} == {"crashed": 1, "unjudged": 3}


def test_a_second_run_asks_the_judge_nothing(folder, server, tmp_path):
    first, _ = figures(work(folder, judging(server)), tmp_path / "out")
    asked = len(server.bodies)
    second, _ = figures(work(folder, judging(server)), tmp_path / "out")
    assert len(server.bodies) == asked
    assert second.model == first.model


def test_the_model_is_also_shown_one_frame(folder, tmp_path):
    engine = Seer()
    result, _ = figures(work(folder, baselines=["frame_by_frame"]), tmp_path / "out", engine)
    assert {1, 16} == set(engine.shown)
    assert result.baselines["frame_by_frame"]["exact_match"] == 50


class Crammed(Seer):
    """Takes another number of frames with each length of question, and says how many it is shown."""

    def __init__(self, batch_size):
        self.batch_size = batch_size

    def most_frames(self, question, most, max_tokens):
        return most - len(question(most)) % 7

    def ask(self, clips, questions):
        return [str(len(clip)) for clip in clips]


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("shards", [1, 3])
def test_how_many_frames_are_shown_does_not_depend_on_what_is_asked_together(folder, tmp_path, together, shards):
    def shown(out, batch_size, count):
        engine = Crammed(batch_size)
        for index in range(count):
            measure(work(folder), lambda: engine, out, shard=Shard(index, count))
        _, items = figures_of(work(folder), out, samples=100, seed=0)
        return {item.id: item.prediction["text"] for item in items}

    assert shown(tmp_path / "a", together, shards) == shown(tmp_path / "b", 2, 1)


def test_a_missing_video_is_a_draw_like_any_other(folder, tmp_path):
    (folder / "videos" / "dark.gif").unlink()
    questions = open_question_set(None, folder / "test.jsonl", folder / "videos", missing="fail")
    result, _ = figures(Answering(questions, baselines=()), tmp_path / "out")
    assert result.failures["missing"] == 2
    assert result.videos["1"] == result.videos["4"] == "dark.gif"


def test_a_wrong_key_is_told_before_the_model_is_loaded(folder, server, tmp_path):
    server.otherwise = lambda body: Say(status=401, body='{"error": {"message": "wrong key"}}')
    request = EvaluationRequest(
        checkpoint=tmp_path,
        sets=(SetRequest(task="vqa", data=folder / "test.jsonl", media=folder / "videos", judging=judging(server)),),
        settings=EvaluateSettings(),
    )
    with pytest.raises(ElysiumError, match="401"):
        measure_all(open_works(request), request, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("shard-*"))


def test_an_unreachable_judge_keeps_the_answers(folder, server, tmp_path):
    answering = work(folder, judging(server, attempts=1))
    measure(answering, Seer, tmp_path / "out")
    server.otherwise = lambda body: Say(status=500, body="{}")
    with pytest.raises(ElysiumError, match="run again to go on"):
        figures_of(answering, tmp_path / "out", samples=100, seed=0)
    del server.otherwise
    from judge_server import grade

    server.otherwise = grade
    result, _ = figures(answering, tmp_path / "out", engine=None)
    assert result.model["judge_accuracy"] == 50


def test_a_part_of_the_questions_is_said_to_be_one(folder, tmp_path):
    part = SetRequest(task="vqa", data=folder / "test.jsonl", media=folder / "videos", limit=2)
    request = EvaluationRequest(checkpoint=tmp_path, sets=(part,), settings=EvaluateSettings(baselines=()))
    [answering] = open_works(request)
    measure(answering, Seer, tmp_path / "out" / answering.name)
    found = collect([answering], tmp_path / "out", request)
    [(result, _)] = found.values()
    assert result.num_sequences == 2
    assert any("2 of 4 questions were asked" in note for note in result.notes)


def test_a_question_that_is_not_in_the_set_is_refused(folder, tmp_path):
    part = SetRequest(task="vqa", data=folder / "test.jsonl", media=folder / "videos", only=("2", "77"))
    request = EvaluationRequest(checkpoint=tmp_path, sets=(part,), settings=EvaluateSettings())
    with pytest.raises(UsageError, match="there is no question of test 77; --only takes their ids"):
        open_works(request)


def test_a_model_that_takes_fewer_frames_is_said_to_have_seen_fewer(folder, tmp_path):
    class Small(Seer):
        def most_frames(self, question, most, max_tokens):
            return 12

    questions = open_question_set(None, folder / "test.jsonl", folder / "videos")
    result, _ = figures(Answering(questions, baselines=()), tmp_path / "out", Small())
    assert "4 of 4 questions were shown with 12 frames instead of 16" in " ".join(result.notes)
