"""Steps, shares and machines for the tests of runs on S3."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

from elysium.data.objects import ObjectStore
from elysium.pipeline.execute import run_step
from elysium.pipeline.remote import RemoteWorkspace
from elysium.pipeline.remote_lease import Rhythm
from elysium.pipeline.steps import Artifact, Step, StepResult
from elysium.pipeline.workspace import Workspace

HERE = Path(__file__).parent
# A second of the server's clock passes at each listing where a test says so.
QUICK = Rhythm(beat=0.05, lifetime=45, settle=0.0, poll=0.02)
RUN = "prefix/run"


def write(context):
    """Writes three files, and perhaps dies or waits between them; says whether it found the first."""
    found = (context.output / "first").exists()
    (context.output / "deep").mkdir(exist_ok=True)
    (context.output / "first").write_text("first")
    if os.environ.get("AT") and not found:
        Path(os.environ["AT"]).touch()
        signal.pause()
    (context.output / "deep" / "second ü").write_text(f"seed {context.settings.seed}")
    (context.output / "empty").touch()
    if context.settings.seed == 9:
        (context.output / "empty").unlink()
    return StepResult("resumed" if found else "from the start", {"files": 3})


def read(context):
    """Copies what it reads."""
    for path in sorted(context.inputs["raw"].rglob("*")):
        if path.is_file() and not path.name.startswith("_"):
            (context.output / path.name).write_bytes(path.read_bytes())
    return StepResult("read")


def share_of(context, index, count):
    """Writes a part's files."""
    made = 0
    for part in range(index, 10, count):
        path = context.output / "parts" / f"{part:05d}" / "value"
        made += not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(part * part))
    return made


def all_parts(context):
    made = share_of(context, 0, 1)
    return StepResult("all", {"made": made})


def some_parts(context, index, count):
    return StepResult("some", {"made": share_of(context, index, count)})


def is_of_share(name, index, count):
    part = name.split("/")[1:2]
    return not part or int(part[0]) % count == index


ROW = Step("ingest", "", "remote_steps:write", (), Artifact("raw", "raw", "Dataset"), ("seed",))
READER = Step(
    "validate-raw", "", "remote_steps:read", ("raw",), Artifact("raw_report", "raw_report", "HTML"), ("seed",)
)
DIVIDED = dataclasses.replace(ROW, function="remote_steps:all_parts", share="remote_steps:some_parts")


def run(place, row=ROW, *overrides):
    return run_step(place, row, place.settings(overrides=overrides))


def changes(server, without=(".partial",)):
    """What was changed in the run, in order, but for half-done work and leases."""
    names = [change.replace(f"{RUN}/", "") for change in server.changes]
    return [name for name in names if not any(part in name for part in without)]


def machine_of(scratch):
    (mirror,) = scratch.glob("*/run")
    return RemoteWorkspace(ObjectStore(f"s3://bucket/{RUN}"), Workspace(mirror), QUICK)


def start_step(scratch, server, *, wait=True, **environment):
    """Starts the step in a process of its own."""
    code = f"""
        import sys
        from elysium.errors import ElysiumError
        from elysium.logs import show_logs
        from elysium.pipeline.execute import run_step
        from elysium.pipeline.workspace import open_workspace
        import remote_steps
        show_logs(20)
        place = open_workspace("s3://bucket/{RUN}")
        place._rhythm = remote_steps.QUICK
        try:
            run_step(place, remote_steps.ROW, place.settings("nano"))
        except ElysiumError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={
            **os.environ,
            "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1]}",
            "ELYSIUM_SCRATCH": str(scratch),
            **environment,
        },
        stderr=subprocess.PIPE if "ELYSIUM_SAVE_SECONDS" not in environment and wait else None,
        text=True,
    )


def until(true):
    """Returns when something holds; the time limit of the tests ends it where it never does."""
    while not true():
        threading.Event().wait(0.02)
