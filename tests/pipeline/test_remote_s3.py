"""S3 workspaces against a real server, named by the environment: what a small server cannot vouch for."""

import os
import signal
import subprocess
import sys
import uuid

import pytest

from elysium.data import object_transfer
from elysium.data.object_transfer import download, upload
from elysium.data.objects import ObjectStore
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.manifest import scan
from elysium.pipeline.remote_lease import Lease, Rhythm

ENDPOINT = os.environ.get("ELYSIUM_S3_ENDPOINT")

pytestmark = pytest.mark.skipif(
    not (ENDPOINT and os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")),
    reason="needs an S3 server: set ELYSIUM_S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(ENDPOINT))
    monkeypatch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    import boto3

    client = boto3.client("s3")
    name = f"elysium-test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    made = ObjectStore(f"s3://{name}/prefix")
    made.check()  # connects before a test changes the environment
    yield made
    made.remove(made.listed())
    client.delete_bucket(Bucket=name)


def test_files_of_all_sizes_and_names_go_there_and_back_once(store, tmp_path, monkeypatch):
    monkeypatch.setattr(object_transfer, "PART", 5 << 20)
    source = tmp_path / "source"
    source.mkdir()
    for name, content in {"empty": b"", "ü ?+%&#": b"x" * 1000, "large": os.urandom((12 << 20) + 1)}.items():
        (source / name).write_bytes(content)
    files = {name: (source / name, entry) for name, entry in scan(source).items()}
    assert upload(store, files, store.listed()).files == 3
    assert upload(store, files, store.listed()).kept == 3, "ETags are those that the files' bytes give"
    back = {name: (tmp_path / "back" / name, entry) for name, (_, entry) in files.items()}
    assert download(store, back).files == 3
    assert scan(tmp_path / "back") == scan(source)
    store.remove(files)
    assert store.listed() == {}


def test_an_upload_that_was_killed_goes_on_with_the_parts_that_arrived(store, tmp_path, monkeypatch):
    monkeypatch.setattr(object_transfer, "PART", 5 << 20)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(22 << 20))
    code = f"""
import os, signal
from pathlib import Path
from elysium.data import object_transfer
from elysium.data.objects import ObjectStore
from elysium.pipeline.manifest import scan
object_transfer.PART = 5 << 20
put, done = object_transfer._Parted.put, []
def put_or_die(self, index):
    if len(done) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, index)
    done.append(index)
object_transfer._Parted.put = put_or_die
path = Path({str(path)!r})
object_transfer.upload(ObjectStore({store.uri!r}, threads=1), {{"large": (path, scan(path.parent)["large"])}}, {{}})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert store.listed() == {}
    parts = []
    ask = object_transfer._Parted._ask
    monkeypatch.setattr(
        object_transfer._Parted, "_ask", lambda self, what, request: (parts.append(what), ask(self, what, request))[1]
    )
    upload(store, {"large": (path, scan(tmp_path)["large"])}, {})
    assert sorted(parts) == ["complete_multipart_upload", "upload_part", "upload_part"]
    assert store.read("large") == path.read_bytes()


def test_a_lease_keeps_others_out_and_a_dead_one_is_taken_over(store, caplog):
    rhythm = Rhythm(beat=0.2, lifetime=3, settle=0.1, poll=0.2)
    other = Lease(store, "lease-", "share-0-of-2", "two", rhythm)
    with Lease(store, "lease-", "whole", "one", rhythm).held(), pytest.raises(BlockingIOError), other.held():
        pass
    store.write("lease-whole.json", b'{"owner": "dead", "host": "node-7"}')
    with Lease(store, "lease-", "whole", "two", rhythm).held() as lease:
        assert lease.is_mine()
    assert "taking over from node-7" in caplog.text
    assert store.listed() == {}


def test_what_is_wrong_is_one_sentence(store, monkeypatch):
    with pytest.raises(UsageError, match="the bucket 'elysium-no-such-bucket' does not exist"):
        ObjectStore("s3://elysium-no-such-bucket/x").check()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UsageError, match=r"S3 refuses the credentials \(SignatureDoesNotMatch"):
        ObjectStore(store.uri).check()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ElysiumError, match="the S3 server cannot be reached"):
        ObjectStore(store.uri).check()
