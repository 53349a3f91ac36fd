"""Backing up and restoring the registry and the data versions, as docs/operations.md says: on a real Postgres and S3.

    ELYSIUM_S3_ENDPOINT=http://HOST:PORT AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
      pytest tests/cluster/test_backup_restore.py

Postgres is started for the tests, from the programs on this machine (Debian: `apt-get install postgresql`), and
MLflow's server as in k8s/servers/mlflow: rows in Postgres, models on S3 through the server.
"""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from elysium import cli
from elysium.config import RegistrySettings
from elysium.data.undelete import undelete
from elysium.data.versions import pull_folder, push_folder
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.workspace import sha256
from elysium.registry import models
from elysium.registry.store import open_store

ENDPOINT = os.environ.get("ELYSIUM_S3_ENDPOINT") or os.environ.get("ELYSIUM_CLUSTER_S3")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
INITDB = str(BINARIES[-1] / "initdb") if BINARIES else shutil.which("initdb")

pytestmark = [
    pytest.mark.skipif(
        not (ENDPOINT and all(os.environ.get(name) for name in KEYS)),
        reason="needs an S3 server: set ELYSIUM_S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
]
needs_postgres = pytest.mark.skipif(
    INITDB is None or importlib.util.find_spec("psycopg2") is None,
    reason="needs Postgres's programs (apt-get install postgresql) and psycopg2 (pip install 'elysium[server]')",
)
PASSWORD = "only for this test"


class Postgres:
    """A Postgres of its own, with a socket and a port; not run as root, which it refuses."""

    def __init__(self, folder):
        self.folder, self.user = folder, "postgres" if os.geteuid() == 0 else None
        self.port = free_port()
        self.run("initdb", f"--pgdata={folder}/data", "--username=postgres", "--auth=trust", "--encoding=UTF8")
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={folder}"
        self.run("pg_ctl", "start", f"--pgdata={folder}/data", "--wait", f"--log={folder}/log", f"--options={options}")

    def run(self, program, *arguments, **more):
        command = [str(Path(INITDB).with_name(program)), *arguments]
        return subprocess.run(command, user=self.user, cwd=self.folder, check=True, capture_output=True, **more).stdout

    def call(self, program, *arguments, **more):
        """Runs a program as the runbook does: as superuser through the socket."""
        return self.run(
            program, f"--host={self.folder}", f"--port={self.port}", "--username=postgres", *arguments, **more
        )

    def stop(self):
        self.run("pg_ctl", "stop", f"--pgdata={self.folder}/data", "--mode=immediate", "--wait")


@pytest.fixture(scope="module")
def postgres():
    folder = Path(tempfile.mkdtemp(prefix="elysium-test-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    server = Postgres(folder)
    server.call("psql", "--command", f"CREATE ROLE mlflow LOGIN PASSWORD '{PASSWORD}'")
    server.call("psql", "--command", "CREATE DATABASE mlflow OWNER mlflow")
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def client(monkeypatch):
    import boto3

    monkeypatch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", ENDPOINT)
    return boto3.Session().client("s3")


@pytest.fixture
def buckets(client):
    """Makes buckets, and removes them with all versions of what is in them."""
    made = []

    def make(*, versions):
        name = f"elysium-test-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=name)
        made.append(name)
        if versions:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    yield make
    for name in made:
        for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
            for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                client.delete_object(Bucket=name, Key=entry["Key"], VersionId=entry["VersionId"])
        client.delete_bucket(Bucket=name)


@contextlib.contextmanager
def mlflow_server(postgres, bucket, folder):
    """Runs MLflow's server as k8s/servers/mlflow does, tables brought up to date first, and yields its address."""
    store = f"postgresql+psycopg2://mlflow@127.0.0.1:{postgres.port}/mlflow"
    environment = {**os.environ, "PGPASSWORD": PASSWORD, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    port = free_port()
    script = str(Path(sys.executable).with_name("mlflow"))
    subprocess.run([script, "db", "upgrade", store], env=environment, check=True, capture_output=True, cwd=folder)
    command = [script, "server", "--host=127.0.0.1", f"--port={port}", "--serve-artifacts", "--workers=1"]
    destination = [f"--backend-store-uri={store}", f"--artifacts-destination=s3://{bucket}/mlflow"]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *destination], env=environment, stdout=log, stderr=log, start_new_session=True, cwd=folder
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(30)


def wait_for(url, process, log):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(url, timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"{url} does not answer; its log ends with {log.read_text()[-2000:]}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def register(uri, tmp_path):
    """Registers two versions with a model each; the second is champion."""
    store = open_store(RegistrySettings(tracking_uri=uri), tmp_path)
    for number in ("1", "2"):
        checkpoint = tmp_path / f"checkpoint{number}"
        checkpoint.mkdir()
        (checkpoint / "config.json").write_text(f'{{"number": {number}}}')
        (checkpoint / "model.safetensors").write_bytes(os.urandom(1 << 20))
        models.register(store, f"run{number}", checkpoint, {models.CARD_FILE: f"# card {number}"}, {})
        models.make_champion(store, number)
    return [sha256(tmp_path / f"checkpoint{number}" / "model.safetensors") for number in ("1", "2")]


def read_back(uri, home):
    """Returns the digests of what the champion and the one before it load as, fetched anew."""
    store = open_store(RegistrySettings(tracking_uri=uri), home)
    assert models.history(store) == ["1", "2"]
    folders = [models.checkpoint_of(store, models.find(store, name), home) for name in ("1", "champion")]
    return [sha256(folder / "model.safetensors") for folder in folders]


@needs_postgres
def test_a_wiped_registry_comes_back_with_its_models(postgres, client, buckets, tmp_path):
    bucket = buckets(versions=True)
    with mlflow_server(postgres, bucket, tmp_path) as uri:
        known = register(uri, tmp_path)
        dump = postgres.call("pg_dump", "--format=custom", "mlflow")
    before = datetime.now(UTC) - timedelta(seconds=1)

    postgres.call("psql", "--command", "DROP DATABASE mlflow WITH (FORCE)")
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket, Prefix="mlflow/")["Contents"]]
    for key in keys:
        client.delete_object(Bucket=bucket, Key=key)
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)

    postgres.call("psql", "--command", "CREATE DATABASE mlflow OWNER mlflow")
    postgres.call("pg_restore", "--dbname=mlflow", "--exit-on-error", "--no-owner", "--role=mlflow", input=dump)
    assert undelete(client, f"s3://{bucket}/mlflow", before, dry_run=True) == len(keys)
    assert undelete(client, f"s3://{bucket}/mlflow", before) == len(keys)
    with mlflow_server(postgres, bucket, tmp_path) as uri:
        assert read_back(uri, tmp_path / "elsewhere") == known
        # What comes after a restore goes on counting where the dump ended.
        store = open_store(RegistrySettings(tracking_uri=uri), tmp_path)
        assert models.register(store, "run3", tmp_path / "checkpoint1", {}, {}).version == "3"


def test_lost_data_versions_come_back_from_a_copy_of_the_remote(client, buckets, tmp_path):
    bucket, copy = buckets(versions=False), buckets(versions=False)
    (tmp_path / "made" / "data").mkdir(parents=True)
    for name in ("train.jsonl", "frames.bin"):
        (tmp_path / "made" / "data" / name).write_bytes(os.urandom(4096))
    remote = f"s3://{bucket}/dvc"
    version = push_folder(tmp_path / "made", remote, ENDPOINT)

    def move(source, target, *, remove=False):
        for entry in client.list_objects_v2(Bucket=source).get("Contents", []):
            body = client.get_object(Bucket=source, Key=entry["Key"])["Body"].read()
            client.put_object(Bucket=target, Key=entry["Key"], Body=body)
            if remove:
                client.delete_object(Bucket=source, Key=entry["Key"])

    move(bucket, copy)
    for entry in client.list_objects_v2(Bucket=bucket)["Contents"]:
        client.delete_object(Bucket=bucket, Key=entry["Key"])
    with pytest.raises(ElysiumError, match=version):
        pull_folder(version, remote, tmp_path / "lost", ENDPOINT)
    # The copy serves by itself, and fills the remote again.
    pull_folder(version, f"s3://{copy}/dvc", tmp_path / "from-copy", ENDPOINT)
    move(copy, bucket)
    pull_folder(version, remote, tmp_path / "back", ENDPOINT)
    for name in ("train.jsonl", "frames.bin"):
        assert sha256(tmp_path / "back" / name) == sha256(tmp_path / "from-copy" / name)
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "made" / "data" / name).read_bytes()


def test_only_what_was_deleted_since_a_moment_comes_back(client, buckets, capsys):
    bucket = buckets(versions=True)
    for key in ("mlflow/a", "mlflow/b", "other/c"):
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
        client.delete_object(Bucket=bucket, Key=key)
    late = datetime.now(UTC) + timedelta(days=1)
    assert undelete(client, f"s3://{bucket}/mlflow", late) == 0
    moment = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M")
    assert cli.run(["data", "undelete", f"s3://{bucket}/mlflow", "--since", moment, "--json"]) == 0
    assert '"objects": 2' in capsys.readouterr().out
    assert client.get_object(Bucket=bucket, Key="mlflow/a")["Body"].read() == b"mlflow/a"
    assert undelete(client, f"s3://{bucket}/mlflow", datetime(2020, 1, 1, tzinfo=UTC)) == 0


def test_a_bucket_without_versions_gives_nothing_back(client, buckets):
    with pytest.raises(UsageError, match="keeps no versions"):
        undelete(client, f"s3://{buckets(versions=False)}/mlflow", datetime(2020, 1, 1, tzinfo=UTC))
