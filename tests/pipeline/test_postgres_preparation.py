"""The script that makes Postgres ready in its pod, run by a real Postgres."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

SETTINGS = Path(__file__).parents[2] / "k8s" / "servers" / "postgres"
PROGRAMS = ("initdb", "pg_ctl", "postgres", "psql")


@pytest.fixture(scope="module")
def server():
    """Yields what runs a command as the owner of a fresh data folder."""
    # Debian keeps them off the path.
    places = [os.environ["PATH"], *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    path = os.pathsep.join(places)
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    if None in found.values():
        pytest.skip(f"needs Postgres on PATH: {', '.join(name for name in PROGRAMS if not found[name])} not found")
    version = subprocess.run([found["psql"], "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.split()[2].partition(".")[0]) < 15:
        pytest.skip(f"needs Postgres 15 or newer, found {version.strip()}")
    # Not below pytest's folder, which is one user's alone; and short, as a socket's path has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        shutil.copytree(SETTINGS, Path(folder, "settings"))
        # Postgres refuses to run as root.
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
        if user:
            shutil.chown(folder, "nobody", "nogroup")
        programs = os.pathsep.join([str(Path(found["initdb"]).resolve().parent), path])
        environment = {"PATH": programs, "PGDATA": f"{folder}/data", "PGHOST": folder, "LC_ALL": "C.UTF-8"}

        def run(*command, check=True, **more):
            return subprocess.run(
                command,
                env={**environment, **more},
                cwd=folder,
                check=check,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                **user,
            )

        run.folder = Path(folder)
        yield run


def prepare(run, mlflow, airflow):
    return run("sh", f"{run.folder}/settings/prepare.sh", MLFLOW_PASSWORD=mlflow, AIRFLOW_PASSWORD=airflow)


@contextlib.contextmanager
def serving(run):
    """Starts the server as its container does, and yields who asks it over TCP."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": run.folder,
        "hba_file": run.folder / "settings" / "pg_hba.conf",
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    run("pg_ctl", "start", "--wait", "--log", f"{run.folder}/log", "--options", options)

    def ask(user, database, password, question="SELECT current_user"):
        place = f"host=127.0.0.1 port={port} user={user} dbname={database}"
        command = ("psql", "--no-password", "--no-psqlrc", "--tuples-only", "--no-align", "--command", question, place)
        return run(*command, check=False, PGPASSWORD=password).stdout.strip()

    try:
        yield ask
    finally:
        run("pg_ctl", "stop", "--wait", "--mode=fast")


def test_each_server_owns_its_database_and_a_new_secret_holds_from_the_next_start(server):
    odd = "it's a \"p@ss:/w%rd\\ $HOME"
    prepare(server, mlflow=odd, airflow="one")
    with serving(server) as ask:
        assert ask("mlflow", "mlflow", odd) == "mlflow"
        assert "INSERT" in ask("airflow", "airflow", "one", "CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)")
        assert "permission denied for database" in ask("airflow", "mlflow", "one")
        assert "permission denied for database" in ask("mlflow", "airflow", odd)
        assert "password authentication failed" in ask("airflow", "airflow", "two")
        assert "no password supplied" in ask("postgres", "postgres", "")
    log = prepare(server, mlflow=odd, airflow="two").stdout
    assert odd not in log
    with serving(server) as ask:
        assert "password authentication failed" in ask("airflow", "airflow", "one")
        assert ask("airflow", "airflow", "two", "SELECT x FROM kept") == "7"


def test_a_first_start_that_was_cut_short_is_begun_again(server):
    data = server.folder / "data"
    server("mv", str(data), f"{data}.new")
    server("rm", f"{data}.new/PG_VERSION")
    prepare(server, mlflow="a", airflow="b")
    assert not Path(f"{data}.new").exists()
    with serving(server) as ask:
        assert ask("mlflow", "mlflow", "a") == "mlflow"
