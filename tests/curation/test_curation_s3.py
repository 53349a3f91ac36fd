"""A whole curation from a real S3 server, named by the environment: what is missing, refused or cut off on the way."""

import contextlib
import csv
import os
import selectors
import socket
import threading
import uuid
from urllib.parse import urlsplit

import pytest

from elysium import cli
from elysium.curation.locating import find_curation
from elysium.curation.sources import fetching
from elysium.data.simulator import simulate
from elysium.data.video import write_video

ENDPOINT = os.environ.get("ELYSIUM_S3_ENDPOINT")

pytestmark = pytest.mark.skipif(
    not (ENDPOINT and os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")),
    reason="needs an S3 server: set ELYSIUM_S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)
NUM_VIDEOS = 10
MISSING = "v07"
SMALL = ("curate.shard_videos=4", "curate.batch_videos=1", "curate.batch_pieces=1", "ingest.retries=0")


@pytest.fixture(autouse=True)
def region(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Ten simulated videos with a list of them, as they lie on this machine."""
    folder = tmp_path_factory.mktemp("videos")
    with (folder / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "path", "caption", "annotations", "source"])
        for number in range(NUM_VIDEOS):
            clip, name = simulate(number, 5, 64), f"v{number:02d}"
            write_video(folder / f"{name}.mp4", clip.frames, clip.frame_rate)
            (folder / f"{name}.json").write_text(clip.annotations.model_dump_json())
            rows.writerow([name, f"{name}.mp4", clip.caption, f"{name}.json", "simulator"])
            (folder / f"{name}.txt").write_text(clip.caption)
    return folder


@pytest.fixture(scope="module")
def client():
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
        yield boto3.Session().client("s3", endpoint_url=ENDPOINT)


@pytest.fixture
def bucket(client, videos):
    """A bucket with all videos but one."""
    name = f"elysium-test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    for path in sorted(videos.iterdir()):
        if path.name != f"{MISSING}.mp4":
            client.put_object(Bucket=name, Key=f"in/{path.name}", Body=path.read_bytes())
    yield name
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for item in page.get("Contents", []):
            client.delete_object(Bucket=name, Key=item["Key"])
    client.delete_bucket(Bucket=name)


@pytest.fixture(scope="module")
def here(videos, tmp_path_factory):
    """What comes of the same list and the same videos on this machine."""
    output = tmp_path_factory.mktemp("here")
    assert run(videos / "list.csv", output) == 0
    return content(output)


def run(source, output, *options, endpoint=ENDPOINT):
    fetching._fetcher.cache_clear()  # a process of its own has connections of its own
    settings = [word for entry in (*SMALL, f"ingest.s3_endpoint={endpoint}") for word in ("--set", entry)]
    return cli.run(["curate", "run", "--source", str(source), "--output", str(output), *settings, *options])


def content(output):
    """Returns all files but those that tell where the source is: its listing and the plan."""
    root = output / "tracks"
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if name != "plan.json" and not name.startswith(("listing/", ".listing"))
    }


def outcomes(output):
    store = find_curation(output).store
    rows = [row for shard in store.published() for row in store.ledger(shard)]
    return {row.id: (row.outcome, row.stage, row.reason) for row in rows}


def add_missing(client, bucket, videos):
    client.put_object(Bucket=bucket, Key=f"in/{MISSING}.mp4", Body=(videos / f"{MISSING}.mp4").read_bytes())


def test_a_missing_object_has_failed_and_is_taken_when_it_comes_late(client, bucket, videos, here, tmp_path):
    source = f"s3://{bucket}/in/list.csv"
    assert run(source, tmp_path) == 0
    found = outcomes(tmp_path)
    assert found.pop(MISSING) == ("failed", "fetch", "missing")
    assert {outcome for outcome, _, _ in found.values()} == {"kept"}
    untouched = (tmp_path / "tracks/shards/00000/ledger.parquet").stat().st_mtime_ns
    add_missing(client, bucket, videos)
    assert run(source, tmp_path) == 0
    assert outcomes(tmp_path)[MISSING][0] == "failed"
    assert run(source, tmp_path, "--retry-failed") == 0
    assert content(tmp_path) == here
    assert (tmp_path / "tracks/shards/00000/ledger.parquet").stat().st_mtime_ns == untouched


def test_a_prefix_gives_what_the_folder_gives(client, bucket, videos, tmp_path):
    add_missing(client, bucket, videos)
    client.delete_object(Bucket=bucket, Key="in/list.csv")
    local = tmp_path / "videos"
    local.mkdir()
    for path in videos.glob("v*"):
        (local / path.name).symlink_to(path)
    assert run(local, tmp_path / "here") == 0
    assert run(f"s3://{bucket}/in/", tmp_path / "there") == 0
    rows = [list(csv_rows(tmp_path / name)) for name in ("here", "there")]
    assert len(rows[0]) == NUM_VIDEOS
    assert [row["source"] for row in rows[1]] == [f"s3://{bucket}/in/{row.pop('source')}" for row in rows[0]]
    for row in rows[1]:
        del row["source"]
    assert rows[0] == rows[1]


def csv_rows(output):
    from elysium.curation.tables import read_rows

    return read_rows(output / "tracks" / "ledger.parquet")


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "nobody:nowhere")]
)
def test_credentials_that_ended_stop_the_run_and_mark_nothing(
    client, bucket, videos, here, tmp_path, monkeypatch, capsys, name, value
):
    add_missing(client, bucket, videos)
    source = f"s3://{bucket}/in/list.csv"
    assert run(source, tmp_path, "--shard", "0/3") == 0  # the listing and one shard while they were good
    with monkeypatch.context() as patch:
        patch.setenv(name, value)
        assert run(source, tmp_path) in (1, 2)
        assert "renew them" in capsys.readouterr().err
    assert {outcome for outcome, _, _ in outcomes(tmp_path).values()} == {"kept"}
    assert not list((tmp_path / "tracks/work").glob("*/*.json"))
    assert run(source, tmp_path) == 0
    assert content(tmp_path) == here


def test_a_server_that_stops_and_starts_again_costs_nothing(client, bucket, videos, here, tmp_path, capsys):
    add_missing(client, bucket, videos)
    source = f"s3://{bucket}/in/list.csv"
    with Door(after=f"v{NUM_VIDEOS // 2:02d}.mp4") as door:
        assert run(source, tmp_path, endpoint=door.endpoint) == 1
        shown = capsys.readouterr().err
        assert "the S3 server cannot be reached" in shown
        found = outcomes(tmp_path)
        assert 0 < len(found) < NUM_VIDEOS
        assert {outcome for outcome, _, _ in found.values()} == {"kept"}
    assert run(source, tmp_path) == 0
    assert content(tmp_path) == here


class Door:
    """Passes connections on to the server, until one asks for a certain object: from then on nobody answers."""

    def __init__(self, after):
        self._after, self._open = after.encode(), True
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._shut()
        for thread in self._threads:
            thread.join()

    def _shut(self):
        self._open = False
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self):
        while self._open:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._pass, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass(self, client):
        parts = urlsplit(ENDPOINT)
        server = socket.create_connection((parts.hostname, parts.port or 80))
        other = {client: server, server: client}
        with client, server, selectors.DefaultSelector() as selector:
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            while self._open:
                for key, _ in selector.select(0.05):
                    with contextlib.suppress(OSError):
                        if not (data := key.fileobj.recv(1 << 16)):
                            return
                        if key.fileobj is client and self._after in data:
                            self._shut()
                            return
                        other[key.fileobj].sendall(data)
