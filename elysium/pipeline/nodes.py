"""A step that several nodes do together: all run the same command, and end alike."""

from __future__ import annotations

import contextlib
import logging

from elysium.config import Settings
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.execute import (
    AnyWorkspace,
    Outcome,
    call_step,
    find_finished,
    find_whole,
    run_step,
    step_context,
    step_key,
)
from elysium.pipeline.meeting import Finished, FirstNode, Node, OtherNode, failure
from elysium.pipeline.steps import STEPS, Step
from elysium.pipeline.workspace import Manifest

logger = logging.getLogger(__name__)


def run_on_nodes(workspace: AnyWorkspace, step: Step, settings: Settings, node: Node) -> Outcome:
    """Runs a step on this node, together with all others.

    The first node holds the step's lock, decides whether it is finished, and publishes. The others work with it, and
    end when it has published: a node that ends without an error leaves nothing to do.

    Args:
        workspace: Where the artifacts are; the same for all.
        step: A row of the table that can spread over nodes.
        settings: The run's settings.
        node: Which node this is.

    Raises:
        UsageError: If the step cannot spread, or the nodes do not fit together.
        ElysiumError: As `run_step`; on all nodes if one of them fails or is lost.
    """
    if not step.multi_node:
        spread = ", ".join(row.name for row in STEPS if row.multi_node)
        raise UsageError(f"step {step.name} runs on one node; --nodes is for {spread}")
    return _lead(workspace, step, settings, node) if node.index == 0 else _follow(workspace, step, settings, node)


def _lead(workspace: AnyWorkspace, step: Step, settings: Settings, node: Node) -> Outcome:
    with FirstNode(node) as meeting:
        try:
            outcome = run_step(workspace, step, settings, meeting)
        except ElysiumError as error:
            shown = str(error) if str(error).startswith("node ") else f"node 0: {error}"
            meeting.tell(report={"message": shown, "exit_code": error.exit_code, "end_others": True})
            raise
        meeting.tell(published=True)
        return outcome


def _follow(workspace: AnyWorkspace, step: Step, settings: Settings, node: Node) -> Outcome:
    inputs = workspace.inputs(step)
    key = step_key(step, settings, inputs, node.count)
    whole = find_whole(workspace, step, key)
    if whole is not None:
        workspace.forget(step, key, node.index)
        return Outcome(whole, skipped=True)
    # What is damaged does not count, and node 0 replaces it.
    before = find_finished(workspace, step, key)

    def published() -> Manifest | None:
        manifest = find_finished(workspace, step, key)
        return None if manifest == before else manifest

    adapted = workspace.adapted(settings, step)
    # What may take long comes before the nodes meet. Half-done work comes after: by then the first node, which may have
    # had to wait for an earlier attempt to end, has what it goes on from, and this one brings the same.
    workspace.bring_inputs(step, inputs)
    with contextlib.ExitStack() as stack:

        def join() -> None:
            stack.enter_context(workspace.joining(step, key, inputs, node.index))

        meeting = stack.enter_context(OtherNode(node, lambda: published() is not None, join))
        meeting.key = key
        try:
            # Nothing to decide here: the first node has made the folder ready before it begins with others.
            call_step(step, step_context(workspace, step, adapted, meeting))
            logger.info("node %d has done its part of %s; node 0 publishes", node.index, step.name)
            word = meeting.hear(None) or {}
        except Finished:
            word = {}
        if "report" in word:
            raise failure(word["report"])
    manifest = published()
    if manifest is None:
        raise ElysiumError(
            f"node 0 has published {step.name}, but it is not in {workspace.uri}: all nodes need the same workspace"
        )
    # Node 0 has removed what there was, but this one may have saved something since.
    workspace.forget(step, key, node.index)
    return Outcome(manifest, skipped=False)
