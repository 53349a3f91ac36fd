"""Nodes that find each other, know of each other, and end alike: over real sockets, a thread for each node."""

import select
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from elysium.cli import run
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.meeting import Finished, FirstNode, Node, OtherNode, failure


@pytest.fixture
def node():
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    return Node(0, 3, "localhost", port, seconds=20)


@pytest.fixture
def others():
    """Runs nodes beside the test's own."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit


def other(node, index, key="same", finished=lambda: False):
    meeting = OtherNode(replace(node, index=index), finished)
    meeting.key = key
    return meeting


def first(node, key="same"):
    meeting = FirstNode(node)
    meeting.key = key
    return meeting


def together(node, others):
    """Returns three nodes that have met."""
    meetings = [first(node), other(node, 1), other(node, 2)]
    waiting = [others(meeting.meet, 2) for meeting in meetings[1:]]
    port = meetings[0].meet(2)
    assert [future.result() for future in waiting] == [port, port]
    return meetings


def close(meetings):
    for meeting in meetings:
        meeting.__exit__()


def test_nodes_begin_when_all_are_here_whoever_comes_first(node, others):
    # It asks again and again while nobody listens.
    early = other(node, 1)
    waiting = others(early.meet, 2)
    meeting, late = first(node), other(node, 2)
    leading = others(meeting.meet, 2)
    assert late.meet(2) == leading.result() == waiting.result() > 0
    close([meeting, early, late])


def test_a_node_joins_when_all_are_here_and_not_before(node, others):
    joined = []
    meeting, late = first(node), other(node, 2)
    early = OtherNode(replace(node, index=1), lambda: False, lambda: joined.append(len(meeting.sockets())))
    early.key = "same"
    waiting = [others(early.meet, 2), others(meeting.meet, 2)]
    assert joined == []
    port = late.meet(2)
    assert [future.result() for future in waiting] == [port, port]
    assert len(joined) == 1
    close([meeting, early, late])


def test_all_hear_what_the_first_says_and_it_hears_what_each_says(node, others):
    meetings = together(node, others)
    meetings[0].tell(published=True)
    assert [meeting.hear(20) for meeting in meetings[1:]] == [{"published": True}] * 2
    meetings[2].tell(report={"message": "out of luck", "exit_code": 1})
    assert meetings[0].hear(20) == {"report": {"message": "out of luck", "exit_code": 1}}
    close(meetings[2:])
    assert meetings[0].hear(0.05) is None, "one that has said why it ends is not missed"
    close(meetings[:2])


@pytest.mark.parametrize("gone", [0, 2])
def test_a_node_that_is_gone_without_a_word_is_missed(node, others, gone):
    meetings = together(node, others)
    close([meetings[gone]])
    word = meetings[1 if gone == 0 else 0].hear(20)
    error = failure(word["report"])
    assert str(error).startswith("node 0 was lost" if gone == 0 else f"node 2 ({socket.gethostname()}) was lost")
    assert error.exit_code == 1, "which a Job tries again"
    close(meeting for index, meeting in enumerate(meetings) if index != gone)


def test_a_node_that_comes_anew_has_been_lost(node, others):
    # Its machine went without a word, and nothing has come over the connection since.
    meetings = together(node, others)
    again = other(replace(node, seconds=0.5), 1)
    waiting = others(again.meet, 2)
    assert "node 1" in meetings[0].hear(20)["report"]["message"]
    close(meetings)
    with pytest.raises(ElysiumError):
        waiting.result()


def test_whoever_else_knocks_is_sent_away(node, others):
    meeting = first(replace(node, count=2))
    with socket.create_connection(("localhost", node.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        come = other(replace(node, count=2), 1)
        waiting = others(come.meet, 2)
        assert meeting.meet(2) == waiting.result()
        assert stranger.recv(1) == b""
    close([meeting, come])


@pytest.mark.parametrize(
    ("key", "processes", "message"),
    [
        ("other", 2, "has other settings or inputs than node 0"),
        ("same", 8, "has 8 GPUs or processes, and node 0 has 2"),
    ],
)
def test_nodes_that_do_not_fit_together_are_refused_on_all(node, others, key, processes, message):
    node = replace(node, count=2)
    meeting, come = first(node), other(node, 1, key)
    waiting = others(come.meet, processes)
    with pytest.raises(UsageError, match=message) as refused:
        meeting.meet(2)
    meeting.tell(report={"message": str(refused.value), "exit_code": 2})
    with pytest.raises(UsageError, match=message):
        waiting.result()
    close([meeting, come])


def test_those_who_wait_to_begin_are_told_why_the_first_does_not(node, others):
    come = other(node, 1)
    with FirstNode(node) as meeting:
        waiting = others(come.meet, 2)
        knocked, _, _ = select.select(meeting.sockets(), [], [], 20)
        assert knocked
        meeting.tell(report={"message": "node 0: no snapshot", "exit_code": 1})
    with pytest.raises(ElysiumError, match="node 0: no snapshot"):
        waiting.result()


def test_waiting_has_an_end_that_names_who_is_missing_and_where(node):
    short = replace(node, seconds=0.1)
    place = f"localhost:{node.port}"
    with first(short) as meeting, pytest.raises(ElysiumError, match=f"^nodes 1, 2 did not come to {place} within"):
        meeting.meet(1)
    with pytest.raises(ElysiumError, match=f"^node 0 did not begin at {place} within 0 s: Connection refused"):
        other(short, 1).meet(1)
    with pytest.raises(ElysiumError, match=r"^node 0 did not begin at nowhere\.invalid:"):
        other(replace(short, host="nowhere.invalid"), 1).meet(1)


def test_a_node_that_comes_late_finds_the_step_finished(node):
    with pytest.raises(Finished):
        other(node, 1, finished=lambda: True).meet(1)


def test_a_port_that_is_taken_is_told(node):
    with (
        FirstNode(node),
        pytest.raises(ElysiumError, match=f"cannot listen on port {node.port}: Address already in use"),
    ):
        FirstNode(node)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "JOB_COMPLETION_INDEX, is 0 to 1 where --nodes is 2, got ''"),
        ({"JOB_COMPLETION_INDEX": "2"}, "is 0 to 1 where --nodes is 2, got '2'"),
        ({"JOB_COMPLETION_INDEX": "1"}, "as HOST:PORT of the first one; got ''"),
        ({"JOB_COMPLETION_INDEX": "1", "ELYSIUM_RENDEZVOUS": "first"}, "as HOST:PORT of the first one; got 'first'"),
        (
            {"JOB_COMPLETION_INDEX": "1", "ELYSIUM_RENDEZVOUS": "a:1", "ELYSIUM_RENDEZVOUS_SECONDS": "soon"},
            "ELYSIUM_RENDEZVOUS_SECONDS is a whole number of seconds, got 'soon'",
        ),
    ],
)
def test_a_pod_that_does_not_know_where_it_is_says_so(tmp_path, monkeypatch, capsys, environment, message):
    for name in ("JOB_COMPLETION_INDEX", "ELYSIUM_RENDEZVOUS", "ELYSIUM_RENDEZVOUS_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(["step", "finetune", "--workspace", str(tmp_path), "--nodes", "2"]) == 2
    assert message in capsys.readouterr().err


def test_a_step_that_cannot_spread_says_which_can(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ELYSIUM_RENDEZVOUS", "localhost:29500")
    assert run(["step", "evaluate", "--workspace", str(tmp_path), "--nodes", "2", "--node", "0"]) == 2
    assert "step evaluate runs on one node; --nodes is for warmup, pretrain, finetune" in capsys.readouterr().err
