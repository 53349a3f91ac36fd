"""A step that several nodes do: the first decides and publishes, and all end as it does."""

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from elysium.errors import ElysiumError
from elysium.pipeline.meeting import Node
from elysium.pipeline.nodes import run_on_nodes
from elysium.pipeline.steps import Artifact, Step, StepResult
from elysium.pipeline.workspace import Workspace

ROW = Step(
    name="toy",
    summary="",
    function=f"{__name__}:toy",
    inputs=(),
    output=Artifact("toy", "toy", "Artifact"),
    sections=("seed",),
    multi_node=True,
)


def toy(context):
    """Each node does its part, of which the first makes the whole."""
    node = context.meeting.node
    context.meeting.meet(1)
    if node.index == 0:
        if context.settings.seed == 13:
            raise ElysiumError("thirteen brings no luck")
        (context.output / "made.txt").write_text(f"by {node.count}")
    return StepResult(summary=f"{node.count} nodes")


@pytest.fixture
def node():
    with socket.create_server(("localhost", 0)) as free:
        return Node(0, 3, "localhost", free.getsockname()[1], seconds=20)


def run_all(place, node, row=ROW):
    """Returns how each node ended: its outcome, or its error."""
    settings = place.settings()
    with ThreadPoolExecutor() as pool:
        nodes = [replace(node, index=index) for index in range(node.count)]
        ended = [pool.submit(run_on_nodes, place, row, settings, each) for each in nodes]
        return [future.exception() or future.result() for future in ended]


def test_the_first_publishes_and_the_others_end_when_it_has(tmp_path, node):
    place = Workspace.at(tmp_path / "run")
    outcomes = run_all(place, node)
    assert [outcome.skipped for outcome in outcomes] == [False] * 3
    assert {outcome.manifest.digest for outcome in outcomes} == {place.manifest(ROW).digest}
    assert (place.folder(ROW) / "made.txt").read_text() == "by 3"


def test_a_finished_step_is_skipped_on_each_by_itself(tmp_path, node):
    place = Workspace.at(tmp_path / "run")
    run_all(place, node)
    for index in (1, 0):
        assert run_on_nodes(place, ROW, place.settings(), replace(node, index=index)).skipped


def test_a_finished_step_that_is_damaged_is_done_again_by_all(tmp_path, node):
    place = Workspace.at(tmp_path / "run")
    run_all(place, node)
    (place.folder(ROW) / "made.txt").write_text("by me")
    assert [outcome.skipped for outcome in run_all(place, node)] == [False] * 3
    assert (place.folder(ROW) / "made.txt").read_text() == "by 3"


def test_what_the_first_fails_of_all_others_say(tmp_path, node):
    place = Workspace.at(tmp_path / "run")
    place.settings("nano", ("seed=13",))
    first, *others = run_all(place, node)
    assert str(first) == "thirteen brings no luck"
    assert [str(error) for error in others] == ["node 0: thirteen brings no luck"] * 2
    assert place.manifest(ROW) is None
