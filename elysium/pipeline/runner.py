"""The local runner: one process a step, in the table's order, and what a person sees of it."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.run_info import Run
from elysium.pipeline.steps import STEPS, Step
from elysium.pipeline.workspace import Workspace

RUNS = Path("runs")
_TAIL = 20

Say = Callable[[str], None]


@dataclass(frozen=True)
class RunEnd:
    """How a walk through the table ended.

    Attributes:
        exit_code: 0 when every step is done, 3 when a gate refused, 130 after an interrupt, else 1 (2 for bad usage).
        failed: The step that stopped the walk.
    """

    exit_code: int
    failed: str | None = None


def new_run(folder: Path = RUNS) -> Path:
    """Returns the folder of a new run, named after the time; nothing is made yet."""
    name = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    candidate, number = folder / name, 2
    while candidate.exists():
        candidate, number = folder / f"{name}-{number}", number + 1
    return candidate


def find_run(name: str, folder: Path = RUNS) -> Path:
    """Returns the folder of an earlier run.

    Args:
        name: A run id, a path, or `latest`.
        folder: Where runs are kept.

    Raises:
        UsageError: If there is no such run; the message lists the newest ones.
    """
    known = sorted(path.parent for path in folder.glob("*/run.json"))
    if name == "latest" and known:
        return max(known, key=lambda path: (path / "run.json").stat().st_mtime)
    for candidate in (folder / name, Path(name)):
        if (candidate / "run.json").is_file():
            return candidate
    shown = ", ".join(path.name for path in known[-5:]) or "none yet"
    raise UsageError(f"there is no run {name!r} in {folder.resolve()}; runs there: {shown}")


def run_table(workspace: Workspace, say: Say) -> RunEnd:
    """Runs every step of the table in a process of its own; finished ones are skipped.

    Args:
        workspace: The run, with its settings written.
        say: Takes the lines for the person at the terminal.
    """
    for number, row in enumerate(STEPS, start=1):
        say(f"[{number:2}/{len(STEPS)}] {row.name:<16} …")
        code, tail = run_process(step_command(row, workspace), workspace.log_path(row.name))
        manifest = workspace.manifest(row)
        if code == 0 and manifest is not None:
            say(f"        {manifest.seconds:6.1f} s  {manifest.peak_mib:6.0f} MiB  {manifest.summary}")
            continue
        for line in failure_lines(workspace, row, code, tail):
            say(line)
        return RunEnd(code or 1, failed=row.name)
    return RunEnd(0)


def step_command(row: Step, workspace: Run) -> list[str]:
    """Returns the command line of one step; every runner starts steps by it."""
    return [sys.executable, "-m", "elysium.cli", "step", row.name, "--workspace", workspace.uri]


def run_process(
    command: Sequence[str],
    log: Path,
    say: Say | None = None,
    started: Callable[[subprocess.Popen[str]], None] | None = None,
) -> tuple[int, list[str]]:
    """Runs a command to its end.

    Args:
        command: Program and arguments.
        log: File that what it prints is appended to, as it comes.
        say: Takes every line it prints too.
        started: Takes the process, for who may have to stop it.

    Returns:
        Exit code (130 after an interrupt, which the command receives too) and the last lines it printed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=_TAIL)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        ) as process,
    ):
        try:
            if started is not None:
                started(process)
            for line in process.stdout or ():
                file.write(line)
                file.flush()
                tail.append(line.rstrip("\n"))
                if say is not None:
                    say(tail[-1])
            return _shell_code(process.wait()), list(tail)
        except KeyboardInterrupt:
            _stop(process)
            return 130, list(tail)
        except BaseException:
            # Such as the time limit of an Airflow task: nobody waits for the process any more.
            _stop(process, patience=0.0)
            raise


def failure_lines(workspace: Run, row: Step, code: int, tail: Sequence[str]) -> list[str]:
    """Returns what to tell a person whose run stopped at `row`: the last lines, the log and the way on."""
    what = {3: "refused by its quality gate", 130: "interrupted"}.get(code, f"failed (exit code {code})")
    return [
        "",
        f"step {row.name} {what}; its last lines:",
        *(f"    {line}" for line in tail),
        f"  whole log:  {workspace.log_path(row.name)}",
        f"  go on with: elysium pipeline run --resume {workspace.uri}",
    ]


def write_report(workspace: Workspace) -> Path | None:
    """Renders the run's report from what is published so far; returns its path, None where it cannot be made."""
    from elysium.evaluation.report import render
    from elysium.pipeline.workspace import write_atomic

    path = workspace.root / "report.html"
    try:
        write_atomic(path, render(workspace.root))
    except (ElysiumError, OSError):
        return None
    return path


def _shell_code(code: int) -> int:
    return 128 - code if code < 0 else code


def _stop(process: subprocess.Popen[str], patience: float = 60.0) -> None:
    """Waits for a child that shares the terminal's interrupt; asks again, then insists.

    Args:
        process: The child.
        patience: Seconds before it is asked; 0 for a child that knows of no interrupt.
    """
    for ask, seconds in ((None, patience), (signal.SIGTERM, 30.0), (signal.SIGKILL, 10.0)):
        if ask is not None:
            process.send_signal(ask)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                process.wait(timeout=1)
                return
            except subprocess.TimeoutExpired:
                continue
            except KeyboardInterrupt:
                break
