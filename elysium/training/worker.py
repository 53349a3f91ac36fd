"""One of the processes that a training step has torchrun start: `python -m elysium.training.worker REQUEST`.

The line to the step (`elysium.training.launch`) is watched from the first moment on, so what is heavy is imported late.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from elysium.config import parse_settings
from elysium.errors import ElysiumError
from elysium.logs import show_logs
from elysium.pipeline.execute import NO_SPACE
from elysium.pipeline.steps import StepContext, step
from elysium.pipeline.workspace import hold_output

_STANDARD_INPUT = 0


def main() -> None:
    """Trains, and tells the step what came of it."""
    line = _take_line()
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    context = _context(request)
    hold_output(context.output)
    # In this order: a new attempt either waits for this process, or this one sees that its step is dead.
    _watch(line)
    show_logs(request["log_level"])
    from elysium.training.processes import is_first, together
    from elysium.training.stopping import TrainingStopped

    try:
        with together():
            result = step(context.step).load()(context)
    except ElysiumError as error:
        # All stop at the same step, and the first may have checkpoints to copy still.
        _say(line, message=str(error), exit_code=error.exit_code, end_others=not isinstance(error, TrainingStopped))
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        _say(line, message=error.strerror, errno=error.errno, filename=error.filename, end_others=True)
    else:
        if is_first():
            _say(line, summary=result.summary, metrics=result.metrics)
        else:
            _say(line, done=True)


def _take_line() -> socket.socket:
    """Returns the line, and leaves nothing on standard input, which whatever is started here would have too."""
    line = socket.socket(fileno=os.dup(_STANDARD_INPUT))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STANDARD_INPUT)
    os.close(nothing)
    return line


def _watch(line: socket.socket) -> None:
    """Raises here what signals come down the line, and kills this process when it ends, at once if it has."""
    # KeyboardInterrupt would be a stack trace a process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with contextlib.suppress(BlockingIOError):
        if not line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
            os.kill(os.getpid(), signal.SIGKILL)

    def listen() -> None:
        while received := line.recv(1):
            if signal.getsignal(received[0]) is signal.SIG_DFL:
                # Nothing is trained yet, or any more: no step to finish.
                _say(line, end_others=True)
            else:
                os.kill(os.getpid(), received[0])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=listen, name="elysium-line", daemon=True).start()


def _say(line: socket.socket, **report: Any) -> None:
    """Sends a report; with `end_others`, those that do not know of it are ended."""
    line.sendall(json.dumps(report).encode() + b"\n")


def _context(request: dict[str, Any]) -> StepContext:
    return StepContext(
        step=request["step"],
        settings=parse_settings(request["settings"]),
        inputs={name: Path(path) for name, path in request["inputs"].items()},
        output=Path(request["output"]),
        home=Path(request["home"]),
        run_id=request["run_id"],
    )


if __name__ == "__main__":
    main()
