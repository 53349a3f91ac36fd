import pytest
from judge_server import JudgeServer

from elysium.evaluation.videoqa.endpoint import EndpointJudge
from elysium.evaluation.videoqa.judges import JudgeOptions
from elysium.evaluation.videoqa.judging import JudgeItem


@pytest.fixture
def server():
    server = JudgeServer()
    yield server
    server.close()


@pytest.fixture
def open_endpoint(server):
    """Opens judges at the server, one request at a time and without pauses unless told otherwise."""
    opened = []

    def make(environment=None, **options):
        parts = {name: options.pop(name) for name in ("clock", "pausing") if name in options}
        defaults = {"url": server.url, "model": "judge", "backoff": 0.0, "concurrent": 1, "timeout": 20.0}
        judge = EndpointJudge(JudgeOptions(**{**defaults, **options}), environment or {}, **parts)
        opened.append(judge)
        return judge

    yield make
    for judge in opened:
        judge.close()


@pytest.fixture
def judge(open_endpoint):
    return open_endpoint()


@pytest.fixture
def items():
    """Four answers, of which the first and the third are right."""
    pairs = [("cat", "cat"), ("dog", "cat"), ("two", "two"), ("red", "blue")]
    return [
        JudgeItem(f"q{number}", f"question {number}?", answer, prediction)
        for number, (prediction, answer) in enumerate(pairs, start=1)
    ]
