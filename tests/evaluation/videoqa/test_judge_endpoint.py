"""A judge behind an OpenAI-compatible endpoint, against a real server with real failures."""

import logging
import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from judge_server import HANG, Say

from elysium.errors import UsageError
from elysium.evaluation.videoqa.judges import (
    Declined,
    JudgeError,
    JudgeIdentity,
    JudgeOptions,
    JudgeRefused,
    open_judge,
)
from elysium.evaluation.videoqa.pace import Pace

QUESTION = (("system", "You grade."), ("user", "Is it right?"))
GO_ON = threading.Event()


def ask(judge, conversation=QUESTION):
    return judge.ask([conversation], GO_ON)[0]


def test_a_question_goes_out_as_a_chat_and_its_answer_comes_with_its_tokens(server, open_endpoint):
    server.script.append(Say("yes, 5"))
    reply = ask(open_endpoint({"ELYSIUM_JUDGE_KEY": "sk-secret"}, max_tokens=99))
    assert (reply.text, reply.model, reply.prompt_tokens, reply.completion_tokens) == ("yes, 5", "judge-2024", 100, 10)
    assert reply.counted
    assert server.bodies == [
        {
            "model": "judge",
            "messages": [{"role": "system", "content": "You grade."}, {"role": "user", "content": "Is it right?"}],
            "max_tokens": 99,
            "temperature": 0.0,
        }
    ]
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    assert server.headers[0]["path"] == "/v1/chat/completions"


@pytest.mark.parametrize(
    "failure",
    [
        Say(status=429, headers={"Retry-After": "0"}, body='{"error": {"message": "slow down"}}'),
        Say(status=500, body="oops"),
        Say(status=503, headers={"Retry-After": "0"}),
        Say(body="<html>not JSON"),
        Say(body='{"choices": []}'),
        Say(body='{"error": "overloaded"}'),
        Say(body=""),
    ],
    ids=["429", "500", "503", "not JSON", "no choice", "error in 200", "empty"],
)
def test_what_may_pass_is_tried_again(server, judge, failure):
    server.script += [failure, failure, Say("yes, 5")]
    assert ask(judge).text == "yes, 5"
    assert len(server.bodies) == 3


def test_the_check_is_one_cheap_question_and_names_the_judge(server, judge):
    server.script.append(Say("yes"))
    assert judge.check() == "judge-2024"
    assert [message["role"] for message in server.bodies[0]["messages"]] == ["user"]


def test_after_the_last_attempt_the_address_and_the_last_failure_are_told(server, open_endpoint):
    server.otherwise = lambda _: Say(status=500, body='{"error": {"message": "out of memory"}}')
    with pytest.raises(JudgeError, match="3 attempts failed, the last one with: 500 out of memory") as caught:
        ask(open_endpoint(attempts=3))
    assert server.url in str(caught.value)
    assert caught.value.exit_code == 1
    assert len(server.bodies) == 3


def test_a_server_that_is_not_there_is_told_by_its_address(open_endpoint):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(JudgeError, match=r"127\.0\.0\.1.*ConnectError"):
            open_endpoint(url=url).check()


def test_a_server_that_hangs_is_given_up(server, open_endpoint):
    server.otherwise = lambda _: HANG
    with pytest.raises(JudgeError, match=r"2 attempts failed, the last one with: no answer within 0\.05 s"):
        ask(open_endpoint(timeout=0.05, attempts=2))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            Say(status=401, body='{"error": {"message": "Incorrect API key: sk-secret"}}'),
            r"401: Incorrect.*\*\*\*.*KEY",
        ),
        (Say(status=403, body="forbidden"), "403: forbidden"),
        (Say(status=404, body='{"error": {"message": "no model"}}'), "404: no model. Is there a model judge"),
        (Say(status=302, headers={"Location": "http://elsewhere/"}), "302"),
        (Say(status=400, body='{"error": {"message": "temperature must be 1"}}'), "--judge-temperature none"),
    ],
    ids=["401", "403", "404", "302", "400"],
)
def test_what_cannot_pass_is_told_at_once_and_without_the_key(server, open_endpoint, answer, message, caplog):
    server.script.append(answer)
    with caplog.at_level(logging.DEBUG), pytest.raises(JudgeRefused, match=message) as caught:
        open_endpoint({"ELYSIUM_JUDGE_KEY": "sk-secret"}).check()
    assert caught.value.exit_code == 2
    assert len(server.bodies) == 1
    assert "sk-secret" not in str(caught.value) + caplog.text


def test_used_up_credit_is_not_waited_for(server, judge):
    server.script.append(Say(status=429, body='{"error": {"code": "insufficient_quota", "message": "no credit"}}'))
    with pytest.raises(JudgeError, match="no credit; its credit is used up"):
        ask(judge)
    assert len(server.bodies) == 1


def test_a_question_that_is_declined_leaves_the_others(server, judge):
    server.script += [Say(status=400, body='{"error": {"message": "filtered"}}'), Say("yes, 5")]
    assert ask(judge) == Declined("400 filtered")
    assert ask(judge).text == "yes, 5"


def test_a_model_that_names_the_limit_otherwise_is_asked_so_from_then_on(server, judge):
    told = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server.script += [Say(status=400, body=f'{{"error": {{"message": "{told}"}}}}'), Say("a"), Say("b")]
    assert [ask(judge).text, ask(judge).text] == ["a", "b"]
    names = [sorted(body.keys() & {"max_tokens", "max_completion_tokens"}) for body in server.bodies]
    assert names == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


def test_a_temperature_of_none_is_not_sent(server, open_endpoint):
    ask(open_endpoint(temperature=None), (("user", "Question: a\nAnswer to grade: b\nReference answer: b"),))
    assert "temperature" not in server.bodies[0]


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": None, "completion_tokens": 3}, {"prompt_tokens": -1}])
def test_tokens_that_are_not_counted_are_bounded(server, judge, usage):
    server.script.append(Say("yes, 5", usage=usage))
    reply = ask(judge)
    assert not reply.counted
    assert reply.prompt_tokens >= len("You grade.Is it right?")
    assert reply.completion_tokens == judge.max_tokens


@pytest.mark.parametrize("content", [None, [{"type": "text", "text": "yes, "}, {"type": "text", "text": "5"}]])
def test_content_may_be_missing_or_in_parts(server, judge, content):
    server.script.append(Say(text=content))
    assert ask(judge).text == ("yes, 5" if content else "")


def test_pauses_double_with_jitter_up_to_the_longest(server, open_endpoint):
    server.otherwise = lambda _: Say(body="")
    pauses = []
    judge = open_endpoint(backoff=2.0, max_wait=6.0, attempts=5, pausing=lambda seconds, _: pauses.append(seconds))
    with pytest.raises(JudgeError):
        ask(judge)
    waits = [seconds for seconds in pauses if seconds > 0]
    assert len(waits) == 4
    for wait, longest in zip(waits, [2, 4, 6, 6], strict=True):
        assert longest / 2 <= wait <= longest


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_everyone_for_as_long_as_the_server_says(server, open_endpoint, form):
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server.script += [Say(status=429, headers={"Retry-After": "3600" if form == "seconds" else later}), Say("yes, 5")]
    pauses = []
    judge = open_endpoint(max_wait=4000, clock=lambda: 0.0, pausing=lambda seconds, _: pauses.append(seconds))
    assert ask(judge).text == "yes, 5"
    assert pauses[0] == 0
    assert 3000 < pauses[1] <= 3600


def test_a_pause_beyond_the_longest_is_told_and_not_waited(server, open_endpoint):
    server.script.append(Say(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(JudgeError, match="asks for a pause of 3600 s, over the limit of 120 s"):
        ask(open_endpoint())


def test_requests_are_spaced_evenly():
    pauses = []
    now = [100.0]
    pace = Pace(30, lambda: now[0], lambda seconds, _: pauses.append(seconds))
    for _ in range(3):
        pace.wait(GO_ON)
    now[0] = 110.0
    pace.wait(GO_ON)
    assert pauses == [0, 2, 4, 0]


def test_once_stopped_nothing_is_sent_any_more(server, judge):
    stop = threading.Event()
    stop.set()
    with pytest.raises(JudgeError, match="not wanted"):
        judge.ask([QUESTION], stop)
    assert not server.bodies


@pytest.mark.parametrize(
    ("url", "environment", "key"),
    [
        ("https://api.openai.com/v1", {"OPENAI_API_KEY": "o"}, "o"),
        ("https://api.openai.com/v1", {"OPENAI_API_KEY": "o", "ELYSIUM_JUDGE_KEY": "e"}, "e"),
        ("https://elsewhere.example/v1", {"OPENAI_API_KEY": "o"}, None),
        ("https://elsewhere.example/v1", {"ELYSIUM_JUDGE_KEY": " e\n"}, "e"),
    ],
)
def test_openais_key_goes_to_openai_alone(open_endpoint, url, environment, key):
    assert open_endpoint(environment, url=url)._key == key


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:8000/v1/", "http://host:8000/v1/"),
        ("https://host/v1/chat/completions?api-version=1&token=x", "https://host/v1/chat/completions"),
    ],
)
def test_who_judged_is_told_without_what_may_be_secret(open_endpoint, url, shown):
    judge = open_endpoint(url=url)
    assert judge.identity == JudgeIdentity(backend="endpoint", model="judge", temperature=0.0, url=shown)
    assert judge._address.partition("?")[0].endswith("/v1/chat/completions")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8000"}, "'localhost:8000' is none"),
        ({"url": "ftp://host/v1"}, "is none"),
        ({"url": "http://host:port/v1"}, "is none"),
        ({"url": "https://me:secret@host/v1"}, "holds a user or password"),
        ({"model": " "}, "needs a name"),
        ({"timeout": 0}, "timeout is more than 0"),
        ({"temperature": -1}, "temperature is 0 or more"),
        ({"requests_per_minute": 0}, "requests_per_minute is more than 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        open_judge(JudgeOptions(**{"url": "http://host/v1", "model": "judge", **options}))
    assert "secret" not in str(caught.value)


def test_a_key_that_no_header_can_hold_is_refused(open_endpoint):
    with pytest.raises(JudgeRefused, match="ELYSIUM_JUDGE_KEY holds characters"):
        open_endpoint({"ELYSIUM_JUDGE_KEY": "sk-…"})
