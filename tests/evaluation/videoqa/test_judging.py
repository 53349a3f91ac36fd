"""Judging many answers: figures, what is kept, and what a run goes on with."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from judge_server import HANG, Say, field_of, grade, verdict

from elysium.errors import UsageError
from elysium.evaluation.videoqa.judges import JudgeError, JudgeRefused
from elysium.evaluation.videoqa.judging import JudgeItem, judge_all, judge_items
from elysium.evaluation.videoqa.prompt import JudgePrompt
from elysium.evaluation.videoqa.questions import VideoQuestion
from elysium.evaluation.videoqa.results import JudgeResult, comparable
from elysium.evaluation.videoqa.spending import JudgeLimits, PriceLimitReached, Prices


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "kept" / "judge.jsonl"


def test_accuracy_is_the_share_of_yes_and_score_the_mean(server, judge, items, cache):
    result = judge_all(items, judge, cache)
    assert (result.accuracy, result.score) == (50.0, 3.0)
    assert (result.num_questions, result.num_unjudged, result.num_empty, result.num_asked) == (4, 0, 0, 4)
    assert {name: (found.says, found.score) for name, found in result.per_question.items()} == {
        "q1": ("yes", 5),
        "q2": ("no", 1),
        "q3": ("yes", 5),
        "q4": ("no", 1),
    }
    assert [found.accuracy for found in result.per_question.values()] == [100, 0, 100, 0]


def test_who_judged_and_how_stands_in_the_result(judge, items, cache):
    result = judge_all(items, judge, cache)
    assert (result.protocol, result.prompt, len(result.prompt_digest)) == ("video-chatgpt", "elysium-1", 32)
    assert (result.judge.model, result.judge.temperature, result.reported) == ("judge", 0.0, ("judge-2024",))
    for part in ("judge (answered as judge-2024)", "prompt elysium-1", "50.00 %", "0 unjudged"):
        assert part in result.summary


def test_a_result_is_the_same_after_a_way_through_json(judge, items, cache):
    result = judge_all(items, judge, cache)
    assert JudgeResult.model_validate_json(result.model_dump_json()) == result


def test_a_second_run_asks_nothing(server, judge, items, cache):
    first = judge_all(items, judge, cache)
    server.close()
    second = judge_all(items, judge, cache)
    assert second == first.model_copy(update={"num_asked": 0})


@pytest.mark.parametrize("changed", ["question", "answer", "prediction", "prompt", "temperature", "model"])
def test_whatever_changes_the_answer_is_asked_anew(server, open_endpoint, items, cache, changed):
    judge = open_endpoint()
    judge_all(items, judge, cache)
    prompt = JudgePrompt("other", "", "Question: {question}\nReference answer: {answer}\nAnswer to grade: {prediction}")
    if changed in ("question", "answer", "prediction"):
        judge_all([replace(items[0], **{changed: "another"}), *items[1:]], judge, cache)
        assert len(server.bodies) == 4 + 1
    elif changed == "prompt":
        judge_all(items, judge, cache, prompt=prompt)
        assert len(server.bodies) == 4 + 4
    else:
        judge_all(items, open_endpoint(**{changed: 0.5 if changed == "temperature" else "other"}), cache)
        assert len(server.bodies) == 4 + 4


def test_the_same_question_and_answer_are_asked_once(server, judge, items, cache):
    twins = [replace(item, id=f"{item.id}-{copy}") for item in items for copy in range(3)]
    result = judge_all(twins, judge, cache)
    assert len(server.bodies) == 4
    assert (result.num_questions, result.num_asked, result.accuracy) == (12, 4, 50.0)
    assert result.prompt_tokens == 400


def test_several_workers_give_the_same_result(server, judge, open_endpoint, tmp_path):
    many = [JudgeItem(f"q{number}", f"question {number}?", "a", "a" if number % 3 else "b") for number in range(40)]
    alone = judge_all(many, judge, tmp_path / "alone.jsonl")
    together = judge_all(many, open_endpoint(concurrent=8), tmp_path / "together.jsonl")
    assert together == alone


def test_progress_is_told_after_every_answer(judge, items, cache):
    told = []
    judge_all(items[:1], judge, cache)
    limits = JudgeLimits(Prices(10_000, 0))  # 1 for the 100 tokens of a question
    judge_all(items, judge, cache, limits=limits, progress=lambda *figures: told.append(figures))
    assert told == [(2, 4, 2.0), (3, 4, 3.0), (4, 4, 4.0)]


def test_questions_without_a_prediction_are_failures_and_cost_nothing(server, judge, cache):
    questions = [VideoQuestion("a", None, "what?", ("cat", "kitten")), VideoQuestion("b", None, "who?", ("a man",))]
    questions.append(VideoQuestion("c", None, "how?", ("x", "y", "y", "z"), votes=True))
    items = judge_items(questions, {"a": "  \n", "c": "y"})
    assert [item.answer for item in items] == ["cat or kitten", "a man", "y"]
    result = judge_all(items, judge, cache)
    assert len(server.bodies) == 1
    assert (result.num_empty, result.num_unjudged) == (2, 0)
    assert result.accuracy == pytest.approx(100 / 3)
    assert (result.per_question["b"].says, result.per_question["b"].score) == ("no", 0)


def test_an_unreadable_reply_is_asked_for_once_more(server, judge, items, cache):
    server.script += [Say("Well …"), verdict("yes", 4)]
    result = judge_all(items[:1], judge, cache)
    assert (result.accuracy, result.score, result.num_unjudged) == (100, 4, 0)
    assert (result.prompt_tokens, result.completion_tokens) == (200, 20)
    assert [message["role"] for message in server.bodies[1]["messages"]] == ["system", "user", "assistant", "user"]


def test_what_stays_unreadable_is_unjudged_and_counts_as_no(server, judge, items, cache, caplog):
    server.script += [Say("Well …"), Say('{"correct": "yes", "score": 9}')]
    result = judge_all(items, judge, cache)
    assert (result.num_unjudged, result.accuracy, result.score) == (1, 25.0, 7 / 4)
    assert result.per_question["q1"].says is None
    assert "score" in result.per_question["q1"].reason
    assert "1 of 4 questions are unjudged" in caplog.text
    assert judge_all(items, judge, cache).num_unjudged == 1
    assert len(server.bodies) == 5
    again = judge_all(items, judge, cache, retry_unjudged=True)
    assert (again.num_unjudged, again.accuracy) == (0, 50.0)
    assert again.prompt_tokens == 600  # of three replies to the first question, and of three others


def test_a_declined_question_is_unjudged_and_the_others_are_not(server, judge, items, cache):
    server.script.append(Say(status=400, body='{"error": {"message": "filtered"}}'))
    result = judge_all(items, judge, cache)
    assert (result.num_unjudged, result.accuracy) == (1, 25.0)
    assert "filtered" in result.per_question["q1"].reason
    assert judge_all(items, judge, cache).num_unjudged == 0


def test_a_judge_that_declines_everything_is_not_asked_for_ever(server, judge, cache):
    server.otherwise = lambda _: Say(status=400, body="bad setting")
    many = [JudgeItem(f"q{number}", f"question {number}?", "a", "b") for number in range(100)]
    with pytest.raises(JudgeRefused, match="declined the first 20 questions, the last one with: 400 bad setting"):
        judge_all(many, judge, cache)
    assert len(server.bodies) == 20


def test_a_judge_that_says_nothing_readable_gives_no_figure_of_zero(server, judge, items, cache):
    many = [JudgeItem(f"q{number}", f"question {number}?", "a", "b") for number in range(100)]
    server.otherwise = lambda _: Say("banana")
    with pytest.raises(
        JudgeRefused, match="none of the judge's first 20 replies can be read, the last one is 'banana'"
    ):
        judge_all(many, judge, cache)
    assert len(server.bodies) == 40, "each is asked twice"


def test_a_judge_that_was_read_before_may_be_unreadable_for_long(server, judge, items, cache):
    many = [JudgeItem(f"q{number}", f"question {number}?", "a", "b") for number in range(30)]
    server.script.append(verdict("yes", 5))
    server.otherwise = lambda _: Say("banana")
    assert judge_all(many, judge, cache).num_unjudged == 29


def test_an_unreachable_judge_leaves_what_it_said_and_the_run_goes_on(server, judge, items, cache):
    server.script += [verdict("yes", 5), verdict("no", 0), *[Say(status=503, headers={"Retry-After": "0"})] * 6]
    with pytest.raises(JudgeError, match="503") as caught:
        judge_all(items, judge, cache)
    for part in (server.url, "2 of 4 answers are kept", str(cache), "run again"):
        assert part in str(caught.value)
    asked = len(server.bodies)
    result = judge_all(items, judge, cache)
    assert server.questions()[asked:] == ["question 3?", "question 4?"]
    assert (result.num_asked, result.accuracy) == (2, 50.0)


def test_a_wrong_key_in_the_middle_is_told_with_what_is_kept(server, judge, items, cache):
    server.script += [verdict("yes", 5), Say(status=401, body="expired")]
    with pytest.raises(JudgeRefused, match=r"401: expired.*1 of 4 answers are kept"):
        judge_all(items, judge, cache)


def test_cost_is_tokens_times_prices(judge, items, cache):
    result = judge_all(items, judge, cache, limits=JudgeLimits(Prices.parse("0.5,1.5")))
    assert (result.prompt_tokens, result.completion_tokens) == (400, 40)
    assert result.cost == pytest.approx((400 * 0.5 + 40 * 1.5) / 1e6)
    assert judge_all(items, judge, cache).cost is None


def test_the_cost_limit_stops_before_it_is_crossed(server, open_endpoint, cache):
    judge = open_endpoint(max_tokens=20, concurrent=4)
    many = [JudgeItem(f"q{number}", f"question {number}?", "a", "b") for number in range(50)]
    limits = JudgeLimits(Prices(1e6, 1e6), max_cost=8000)  # a token costs 1, a question 110 and at most 4355
    with pytest.raises(
        PriceLimitReached, match=r"limit of 8000 \(--judge-max-cost\).*of 50 answers are kept"
    ) as caught:
        judge_all(many, judge, cache, limits=limits)
    spent = len(server.bodies) * 110
    assert spent <= 8000
    assert spent > 8000 - 4355 - 110
    assert f"has cost {spent}" in str(caught.value)
    with pytest.raises(PriceLimitReached):
        judge_all(many, judge, cache, limits=limits)
    assert len(server.bodies) * 110 == spent
    result = judge_all(many, judge, cache, limits=JudgeLimits(limits.prices, max_cost=20_000))
    assert result.cost == 50 * 110


def test_tokens_that_the_judge_does_not_count_cost_the_most_they_can(server, judge, items, cache):
    server.otherwise = lambda body: replace(grade(body), usage=None)
    result = judge_all(items, judge, cache, limits=JudgeLimits(Prices(0, 1e6)))
    assert not result.tokens_counted
    assert result.cost == 4 * judge.max_tokens
    assert "cost at most 1024" in result.summary


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prices.parse("0.5"), "IN,OUT"),
        (lambda: Prices.parse("-1,2"), "IN,OUT"),
        (lambda: Prices.parse("nan,2"), "IN,OUT"),
        (lambda: JudgeLimits(max_cost=1), "needs its prices"),
        (lambda: JudgeLimits(Prices(1, 1), max_cost=0), "more than 0"),
    ],
)
def test_prices_and_limits_that_are_none_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_items_that_cannot_be_told_apart_are_refused(judge, items, cache):
    with pytest.raises(UsageError, match="same id"):
        judge_all([items[0], replace(items[1], id="q1")], judge, cache)
    with pytest.raises(UsageError, match="no answer to judge"):
        judge_all([], judge, cache)


_RUN = """
import sys
from pathlib import Path
from elysium.evaluation.videoqa.judges import JudgeOptions, open_judge
from elysium.evaluation.videoqa.judging import JudgeItem, judge_all

url, cache, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
judge = open_judge(JudgeOptions(url=url, model="judge", concurrent=1))
judge_all([JudgeItem(f"q{n}", f"question {n}?", "a", "a") for n in range(count)], judge, cache)
"""


def test_a_run_that_is_killed_goes_on_where_it_was(server, judge, cache):
    server.script += [verdict("yes", 5)] * 5 + [HANG]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, "-c", _RUN, server.url, str(cache), "10"], env=environment) as process:
        try:
            assert server.hung.wait(60)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    # As if the kill had come in the middle of a line.
    with cache.open("ab") as file:
        file.write(b'{"key": "0123')
    result = judge_all([JudgeItem(f"q{n}", f"question {n}?", "a", "a") for n in range(10)], judge, cache)
    assert (result.num_asked, result.accuracy, result.prompt_tokens) == (5, 100.0, 1000)
    asked = server.questions()
    assert asked == [f"question {n}?" for n in range(6)] + [f"question {n}?" for n in range(5, 10)]


def test_results_of_different_judges_are_not_compared_without_a_warning(server, open_endpoint, judge, items, tmp_path):
    mine = judge_all(items, judge, tmp_path / "a.jsonl")
    assert comparable(mine, judge_all(items[1:], judge, tmp_path / "b.jsonl")) is None
    assert "judge judge (endpoint) and other (endpoint)" in comparable(
        mine, judge_all(items, open_endpoint(model="other"), tmp_path / "c.jsonl")
    )
    warm = judge_all(items, open_endpoint(temperature=0.5), tmp_path / "d.jsonl")
    assert "temperature 0.0 and 0.5" in comparable(mine, warm)
    server.otherwise = lambda body: replace(grade(body), model="judge-2025")
    newer = judge_all(items, judge, tmp_path / "e.jsonl")
    assert "answered as judge-2024 and as judge-2025" in comparable(mine, newer)
    prompt = JudgePrompt("mine", "", "Question: {question}\nReference answer: {answer}\nAnswer to grade: {prediction}")
    server.otherwise = grade
    worded = judge_all(items, judge, tmp_path / "f.jsonl", prompt=prompt)
    assert "prompt elysium-1" in comparable(mine, worded)
    assert comparable(mine, worded).endswith("have both judged by one before comparing them")


def test_a_judge_that_changed_under_way_is_told(server, judge, items, cache):
    judge_all(items[:2], judge, cache)
    server.otherwise = lambda body: replace(grade(body), model="judge-2025")
    mixed = judge_all(items, judge, cache)
    assert mixed.reported == ("judge-2024", "judge-2025")
    assert comparable(mixed, mixed) is not None


def test_each_request_names_the_texts_it_is_about(server, judge, items, cache):
    judge_all(items[1:2], judge, cache)
    body = json.loads(json.dumps(server.bodies[0]))
    assert [field_of(body, name) for name in ("Question", "Reference answer", "Answer to grade")] == [
        "question 2?",
        "cat",
        "dog",
    ]
