"""A step that trains in several processes: torchrun starts them, and the step's own process waits.

Between them is a line: a socket that torchrun and all that it starts have as their standard input. Down go the numbers
of signals, a byte each. Any one process takes it, for what one is told stops all (`StopOnSignal`). Up come reports, a
line of JSON each: the first process's result, or what one failed of. The kernel ends the line when one side is gone,
however it went: processes whose step has died kill themselves, and a step knows that all of its processes have ended.

Over several nodes, each node's step does so for its own processes, and hands reports on to the other nodes' steps
(`elysium.pipeline.meeting`): whatever ends one node ends all.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from elysium.config import TrainingSettings
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.meeting import Meeting, Word, failure
from elysium.pipeline.steps import StepContext, StepResult
from elysium.registry.tracking import phase_run
from elysium.training.processes import samples_per_step, world_size
from elysium.training.stopping import Signals

_MODULE = "elysium.training.worker"
_STANDARD_ERROR = 2
# Seconds after which a torchrun that was killed is noticed.
_PATIENCE = 1.0
# Seconds within which another node says why processes here lost theirs.
_EXPLANATION = 10.0


def num_processes(training: TrainingSettings) -> int:
    """Returns how many processes train a step: those that torchrun has started, else as many as the settings say.

    Over several nodes: how many on each.

    Raises:
        UsageError: If the machine has fewer GPUs.
    """
    if "WORLD_SIZE" in os.environ:
        return world_size()
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if training.processes == "auto":
        return max(gpus, 1)
    if gpus and training.processes > gpus:
        raise UsageError(
            f"training.processes={training.processes} needs as many GPUs, but {gpus} can be seen here; set at most "
            f"{gpus}, or auto"
        )
    return training.processes


def run_in_processes(context: StepContext, processes: int) -> StepResult:
    """Runs a training step in several processes, and returns when all of them have ended.

    SIGTERM and SIGINT are handed on; no process outlives this one.

    Args:
        context: Of the step. Where it has other nodes to meet, they train together.
        processes: How many train here.

    Returns:
        What the first of them returned; on another node than the first nothing, when its own have done their part.

    Raises:
        ElysiumError: As one of them did, with its message and exit code, or if they ended without a word.
        OSError: If one of them found no space left.
    """
    meeting = context.meeting
    nodes = 1 if meeting is None else meeting.node.count
    for part in getattr(context.settings.training, context.step).parts():
        samples_per_step(part, processes * nodes)
    port = None if meeting is None else meeting.meet(processes)
    first = meeting is None or meeting.node.index == 0
    line, theirs = socket.socketpair()
    with (
        line,
        tempfile.TemporaryDirectory(prefix="elysium-") as scratch,
        # The first process goes on with this run; should it be killed, the run is closed here.
        phase_run(context, context.step) if first else contextlib.nullcontext(),
        _HandedOn(line) as told,
    ):
        request = Path(scratch) / "request.json"
        request.write_text(json.dumps(_request(context)), encoding="utf-8")
        with theirs:
            place = ["--standalone", "--local-addr", "localhost"] if port is None else _place(meeting, port)
            torchrun = _start(processes, request, context.settings.training.threads, theirs, place)
        try:
            report = _listen(line, torchrun, processes, meeting)
        finally:
            _end(torchrun, line)
        if meeting is not None and "summary" not in report and not report.get("done"):
            report = _agree(report, meeting, context.step, told.received)
        return _result(report, context.step, told.received)


def _place(meeting: Meeting | None, port: int) -> list[str]:
    assert meeting is not None  # noqa: S101 - as there is a port
    node = meeting.node
    nodes = ["--nnodes", str(node.count), "--node-rank", str(node.index)]
    return [*nodes, "--master-addr", node.host, "--master-port", str(port)]


def _start(
    processes: int, request: Path, threads: int, line: socket.socket, place: list[str]
) -> subprocess.Popen[bytes]:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", *place),
        *("--nproc-per-node", str(processes), "--log-dir", str(request.parent), "-m", _MODULE, str(request)),
    ]
    return subprocess.Popen(
        command,
        # Torchrun warns where it has to choose this number.
        env={"OMP_NUM_THREADS": str(threads), **os.environ},
        stdin=line.fileno(),
        # The step's own standard output may hold a result for machines.
        stdout=_STANDARD_ERROR,
        # A terminal's interrupt is this process's to hand on: torchrun would give the others 30 seconds to save.
        start_new_session=True,
    )


def _listen(
    line: socket.socket, torchrun: subprocess.Popen[bytes], processes: int, meeting: Meeting | None
) -> dict[str, Any]:
    """Returns the first report that says how training ended, when all here have ended or are to be ended."""
    found: dict[str, Any] = {}
    said = 0
    for report in _reports(line, torchrun, meeting):
        # Of a process whose result another one tells.
        done = bool(report.get("done"))
        said += "other_node" not in report
        found = report if not found or (found.get("done") and not done) else found
        if report.get("end_others") or (meeting is not None and said == processes):
            # Torchrun would wait for those of the other nodes.
            break
    return found


def _reports(
    line: socket.socket, torchrun: subprocess.Popen[bytes], meeting: Meeting | None
) -> Iterator[dict[str, Any]]:
    """Yields what the processes say, and what ended other nodes, until all here have ended or torchrun has."""
    begun = b""
    while True:
        sockets = [line] if meeting is None else [line, *meeting.sockets()]
        ready, _, _ = select.select(sockets, [], [], _PATIENCE)
        while meeting is not None and (word := meeting.hear()):
            if "report" in word:
                yield _of_other_node(word)
        if line not in ready:
            if not ready and torchrun.poll() is not None:
                return
            continue
        try:
            received = line.recv(1 << 16)
        except ConnectionResetError:
            # They ended before they took a signal.
            return
        if not received:
            return
        *whole, begun = (begun + received).split(b"\n")
        yield from map(json.loads, whole)


def _of_other_node(word: Word) -> dict[str, Any]:
    return {**word["report"], "other_node": True}


def _agree(report: dict[str, Any], meeting: Meeting, name: str, told: int | None) -> dict[str, Any]:
    """Lets all nodes fail of the same: tells the others of a failure here, or learns of the one that was behind it."""
    if "other_node" in report:
        return report
    if told is None and "message" not in report:
        word = meeting.hear(_EXPLANATION)
        if word is not None and "report" in word:
            return _of_other_node(word)
    try:
        _result(report, name, told)
    except ElysiumError as error:
        shown, code = str(error), error.exit_code
    except OSError as error:
        shown, code = str(error), ElysiumError.exit_code
    who = f"node {meeting.node.index} ({socket.gethostname()})"
    # Those who have been told to stop all save at the same step, which the first may be writing still.
    end_others = bool(report.get("end_others", True))
    meeting.tell(report={"message": f"{who}: {shown}", "exit_code": code, "end_others": end_others})
    return report


def _end(torchrun: subprocess.Popen[bytes], line: socket.socket) -> None:
    """Leaves no process alive: first torchrun, which would print its own report, then the others by the line's end."""
    torchrun.kill()
    line.settimeout(None)
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_WR)
        while line.recv(1 << 16):
            pass
    torchrun.wait()


def _result(report: dict[str, Any], name: str, told: int | None) -> StepResult:
    if "summary" in report:
        return StepResult(summary=report["summary"], metrics=report["metrics"])
    if report.get("done"):
        return StepResult(summary="")
    if "errno" in report:
        raise OSError(report["errno"], report["message"], report["filename"])
    if "message" in report:
        raise failure(report)
    if told is not None:
        stopped = f"stopped by {signal.Signals(told).name} while nothing was trained: run it again to go on"
        raise failure({"message": stopped, "exit_code": 128 + told})
    raise ElysiumError(
        f"the processes that train {name} ended without a result: what they printed last says why; if nothing does, "
        "they were killed, for want of memory, say; run it again to go on from the newest checkpoint"
    )


class _HandedOn(Signals):
    """Hands SIGTERM and SIGINT on to the processes that train."""

    def __init__(self, line: socket.socket) -> None:
        super().__init__()
        self._line = line

    def _take(self, number: int, frame: FrameType | None) -> None:
        super()._take(number, frame)
        with contextlib.suppress(OSError):
            self._line.send(bytes([number]))


def _request(context: StepContext) -> dict[str, Any]:
    return {
        "step": context.step,
        "settings": context.settings.model_dump(mode="json"),
        "inputs": {name: str(path) for name, path in context.inputs.items()},
        "output": str(context.output),
        "home": str(context.home),
        "run_id": context.run_id,
        "log_level": logging.getLogger().level,
    }
