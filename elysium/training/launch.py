"""A step that trains in several processes: torchrun starts them, and the step's own process waits.

Between them is a line: a socket that torchrun and all that it starts have as their standard input. Down go the numbers
of signals, a byte each. Any one process takes it, for what one is told stops all (`StopOnSignal`). Up come reports, a
line of JSON each: the first process's result, or what one failed of. The kernel ends the line when one side is gone,
however it went: processes whose step has died kill themselves, and a step knows that all of its processes have ended.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
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
from elysium.pipeline.steps import StepContext, StepResult
from elysium.registry.tracking import phase_run
from elysium.training.processes import samples_per_step, world_size
from elysium.training.stopping import Signals

_MODULE = "elysium.training.worker"
_STANDARD_ERROR = 2
# Seconds after which a torchrun that was killed is noticed.
_PATIENCE = 1.0


def num_processes(training: TrainingSettings) -> int:
    """Returns how many processes train a step: those that torchrun has started, else as many as the settings say.

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
        context: Of the step.
        processes: How many train together.

    Returns:
        What the first of them returned.

    Raises:
        ElysiumError: As one of them did, with its message and exit code, or if they ended without a word.
        OSError: If one of them found no space left.
    """
    for part in getattr(context.settings.training, context.step).parts():
        samples_per_step(part, processes)
    line, theirs = socket.socketpair()
    with (
        line,
        tempfile.TemporaryDirectory(prefix="elysium-") as scratch,
        # The first process goes on with this run; should it be killed, the run is closed here.
        phase_run(context, context.step),
        _HandedOn(line) as told,
    ):
        request = Path(scratch) / "request.json"
        request.write_text(json.dumps(_request(context)), encoding="utf-8")
        with theirs:
            torchrun = _start(processes, request, context.settings.training.threads, theirs)
        try:
            found: dict[str, Any] = {}
            for report in _reports(line, torchrun):
                found = found or report
                if report.get("end_others"):
                    break
        finally:
            _end(torchrun, line)
        return _result(found, context.step, told.received)


def _start(processes: int, request: Path, threads: int, line: socket.socket) -> subprocess.Popen[bytes]:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "localhost"),
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


def _reports(line: socket.socket, torchrun: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Yields what the processes say, until all have ended or torchrun has."""
    line.settimeout(_PATIENCE)
    begun = b""
    while True:
        try:
            received = line.recv(1 << 16)
        except TimeoutError:
            if torchrun.poll() is None:
                continue
            return
        except ConnectionResetError:
            # They ended before they took a signal.
            return
        if not received:
            return
        *whole, begun = (begun + received).split(b"\n")
        yield from map(json.loads, whole)


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
    if "errno" in report:
        raise OSError(report["errno"], report["message"], report["filename"])
    if "message" in report:
        raise _failure(report["message"], report["exit_code"])
    if told is not None:
        stopped = f"stopped by {signal.Signals(told).name} while nothing was trained: run it again to go on"
        raise _failure(stopped, 128 + told)
    raise ElysiumError(
        f"the processes that train {name} ended without a result: what they printed last says why; if nothing does, "
        "they were killed, for want of memory, say; run it again to go on from the newest checkpoint"
    )


def _failure(message: str, exit_code: int) -> ElysiumError:
    error = UsageError(message) if exit_code == UsageError.exit_code else ElysiumError(message)
    error.exit_code = exit_code
    return error


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
