"""Runs the DAG `elysium_retrain` in process: Airflow on SQLite, in a home of its own below the runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import elysium
from elysium.errors import UsageError
from elysium.pipeline.steps import STEPS
from elysium.pipeline.workspace import Workspace, now

DAG_ID = "elysium_retrain"
# The same as in `operators`, which only Airflow's own process imports.
_MARK = "[elysium] "


def run_dag(workspace: Path, *, say: Callable[[str], None]) -> int:
    """Runs every task of the DAG for one workspace, whose settings are written.

    Args:
        workspace: The run's folder.
        say: Takes the lines for the person at the terminal; all that Airflow prints goes to `logs/airflow.log`.

    Returns:
        0 when every step is done, 3 when a gate refused, else 1.

    Raises:
        UsageError: If Airflow or the DAG is not there.
    """
    place = Workspace.at(workspace)
    home = place.home / "airflow"
    environment = airflow_environment(home)
    log = place.log_path("airflow")
    log.parent.mkdir(parents=True, exist_ok=True)
    _migrate(home, environment, log)
    info = place.info()
    conf: dict[str, object] = {"workspace": str(place.root), "runner": "local", "overrides": []}
    if info is not None:
        conf["preset"] = info.preset
    begun = now()
    command = [sys.executable, "-m", "airflow", "dags", "test", DAG_ID, "--conf", json.dumps(conf)]
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                file.write(line)
                file.flush()
                _, mark, text = line.rstrip("\n").partition(_MARK)
                if mark:
                    say(text)
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()
            say(f"interrupted; go on with: elysium pipeline run --resume {place.root}")
            return 130
    manifests = [place.manifest(row) for row in STEPS]
    # An earlier attempt's refusal is no news: a gate that is asked again writes its answer again.
    if any(manifest.status == "refused" and manifest.started >= begun for manifest in manifests if manifest):
        return 3
    if code == 0 and all(manifest is not None and manifest.status == "done" for manifest in manifests):
        return 0
    if not any(place.log_path(row.name).exists() for row in STEPS):
        say(f"Airflow did not start a step; see {log}")
    return 1


def airflow_environment(home: Path) -> dict[str, str]:
    """Returns the environment of an Airflow that shares nothing with any other on this machine.

    Raises:
        UsageError: If Airflow is not installed, or the checkout with the DAG is not here.
    """
    dags = Path(elysium.__file__).resolve().parents[1] / "dags"
    if not (dags / f"{DAG_ID}.py").is_file():
        raise UsageError(f"the DAG is not at {dags}: run from a checkout, or use --runner local")
    try:
        metadata.version("apache-airflow")
    except metadata.PackageNotFoundError:
        raise UsageError(
            "Airflow is not installed: pip install 'elysium[orchestrate]', or use --runner local"
        ) from None
    ours = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "ELYSIUM_ATTENDED": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW__")}
    return {**inherited, **ours}


def _migrate(home: Path, environment: dict[str, str], log: Path) -> None:
    """Makes Airflow's tables, once for each version of Airflow."""
    marker = home / f".migrated-{metadata.version('apache-airflow')}"
    if marker.exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        code = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise UsageError(f"Airflow could not make its tables in {home}; see {log}")
    marker.touch()
