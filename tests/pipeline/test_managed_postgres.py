"""The databases on a managed Postgres, made by an administrator who is no superuser, on a real Postgres."""

import shutil

from rendered_overlays import K8S
from test_postgres_preparation import prepare, server, serving

__all__ = ["server"]


def test_an_administrator_who_is_no_superuser_makes_both_databases(server):
    prepare(server, mlflow="x", airflow="x")
    shutil.copy(K8S / "examples" / "mine" / "managed-postgres" / "databases.sql", server.folder / "managed.sql")
    with serving(server) as ask:
        for name in ("mlflow", "airflow"):
            own("DROP DATABASE " + name, server)
            own("DROP ROLE " + name, server)
        own("CREATE ROLE keeper LOGIN CREATEDB CREATEROLE PASSWORD 'k'", server)
        passwords = {"MLFLOW_PASSWORD": "it's a \"p@ss", "AIRFLOW_PASSWORD": "two"}
        command = ("psql", "--username=keeper", "--dbname=postgres", "--no-psqlrc", "--set=ON_ERROR_STOP=1")
        server(*command, f"--file={server.folder}/managed.sql", PGPORT=port(server), **passwords)
        assert ask("mlflow", "mlflow", passwords["MLFLOW_PASSWORD"]) == "mlflow"
        assert "CREATE" in ask("airflow", "airflow", "two", "CREATE TABLE kept (x int)")
        assert "permission denied for database" in ask("airflow", "mlflow", "two")


def own(command, server):
    """Runs a command as the superuser, who comes in through the socket."""
    server("psql", "--username=postgres", "--dbname=postgres", "--no-psqlrc", "--command", command, PGPORT=port(server))


def port(server):
    """Returns the port that names the socket: the fourth line of the server's own file."""
    return (server.folder / "data" / "postmaster.pid").read_text().splitlines()[3]
