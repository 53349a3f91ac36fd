"""How long the whole pipeline takes and how much memory it needs: through Airflow, beside the plain local runner.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/pipeline.py --output benchmarks/results/pipeline.json

Both runs use new workspaces below a temporary folder, one after the other on the same machine. Memory is the largest
sum of proportional set sizes (PSS) over all processes of a run, sampled every half second. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from reporting import finish


def main() -> None:
    """Runs the pipeline once with each runner and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    parser.add_argument("--runners", nargs="+", default=["local", "airflow"], choices=["local", "airflow"])
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()

    scratch = Path(tempfile.mkdtemp(prefix="elysium-benchmark-"))
    try:
        figures = {
            runner: measure(runner, scratch / runner / "run", arguments.overrides) for runner in arguments.runners
        }
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    result = {
        "what": "the whole retraining pipeline, nano preset, built-in samples",
        "overrides": arguments.overrides,
        "runners": figures,
    }
    finish(result, arguments.output)


def measure(runner: str, workspace: Path, overrides: list[str]) -> dict[str, Any]:
    """Runs the pipeline in `workspace` and returns its figures: seconds of wall time, MiB."""
    settings = [argument for override in overrides for argument in ("--set", override)]
    command = [sys.executable, "-m", "elysium.cli", "pipeline", "run", "--runner", runner, "--json"]
    started = time.monotonic()
    process = subprocess.Popen([*command, "--workspace", str(workspace), *settings], stdout=subprocess.PIPE, text=True)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, tree_mib(process.pid))
        time.sleep(0.5)
    seconds = time.monotonic() - started
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit(f"the run through {runner} ended with exit code {process.returncode}")
    summary = json.loads(output.splitlines()[-1])
    steps = {name: {key: step[key] for key in ("seconds", "peak_mib")} for name, step in summary["steps"].items()}
    return {
        "wall_seconds": round(seconds, 1),
        "peak_mib_all_processes": round(peak),
        "seconds_outside_steps": round(seconds - sum(step["seconds"] for step in steps.values()), 1),
        "steps": steps,
        "metrics": summary["metrics"],
    }


def tree_mib(pid: int) -> float:
    """Returns the proportional set size of a process and all its descendants, MiB."""
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for member in family:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 2**20


if __name__ == "__main__":
    main()
