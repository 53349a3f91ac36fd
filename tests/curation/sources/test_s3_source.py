"""A source on a real S3 server, named by the environment; `test_s3_meaning` needs none."""

import gzip
import hashlib
import os
import uuid

import pytest

from elysium.config import IngestSettings
from elysium.curation.sources.fetching import fetch_video
from elysium.curation.sources.listing import make_listing
from elysium.data.s3 import S3Storage
from elysium.data.transfer import FetchError, Patience
from elysium.errors import UsageError

ENDPOINT = os.environ.get("ELYSIUM_S3_ENDPOINT")

pytestmark = pytest.mark.skipif(
    not (ENDPOINT and os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")),
    reason="needs an S3 server: set ELYSIUM_S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)


@pytest.fixture(scope="module")
def client():
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
        yield boto3.Session().client("s3", endpoint_url=ENDPOINT)


@pytest.fixture(scope="module")
def bucket(client):
    name = f"elysium-test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    yield name
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for item in page.get("Contents", []):
            client.delete_object(Bucket=name, Key=item["Key"])
    client.delete_bucket(Bucket=name)


@pytest.fixture
def put(client, bucket):
    prefix = uuid.uuid4().hex[:8]

    def put(key, content):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{key}", Body=content)
        return f"s3://{bucket}/{prefix}/{key}"

    return put


def settings_for(source):
    return IngestSettings(source=source, s3_endpoint=ENDPOINT, retries=0)


def test_a_prefix_is_listed_with_the_captions_beside_and_its_videos_fetched(put, tmp_path):
    for name in ("b.mp4", "a/z.mp4", "é ü.mp4"):
        put(name, name.encode() * 1000)
    put("b.txt", b"Not this one.")
    put("é ü.txt", b"A dog.")
    source = put("captions.csv", b"path,caption\nb.mp4,A cat.\n").removesuffix("/captions.csv")
    settings = settings_for(source)
    tasks = make_listing(settings, tmp_path / "run", shard_videos=9).shard(0)
    assert [(task.id, task.caption) for task in tasks] == [("a_z", ""), ("b", "A cat."), ("clip", "A dog.")]
    for task, name in zip(tasks, ("a/z.mp4", "b.mp4", "é ü.mp4"), strict=True):
        assert task.source == task.uri == f"{source}/{name}"
        video = fetch_video(task, tmp_path / "scratch", settings)
        assert video.sha256 == hashlib.sha256(name.encode() * 1000).hexdigest()
        video.remove()
    put("c.mp4", b"new")
    with pytest.raises(UsageError, match="it held 3 videos, now 4"):
        make_listing(settings, tmp_path / "run", shard_videos=9)


def test_a_packed_list_is_listed_and_its_change_told(put, tmp_path):
    source = put("list.csv.gz", gzip.compress(b"videoid,contentUrl,name\n7,clips/7.mp4,A dog.\n"))
    settings = settings_for(source)
    (task,) = make_listing(settings, tmp_path / "run", shard_videos=9).shard(0)
    assert (task.id, task.uri, task.caption) == ("7", f"{source.rpartition('/')[0]}/clips/7.mp4", "A dog.")
    with pytest.raises(FetchError, match="NoSuchKey") as caught:
        fetch_video(task, tmp_path / "scratch", settings)
    assert (caught.value.kind, caught.value.scope) == ("missing", "video")
    make_listing(settings, tmp_path / "run", shard_videos=9)
    put("list.csv.gz", gzip.compress(b"videoid,contentUrl,name\n8,clips/8.mp4,A dog.\n"))
    with pytest.raises(UsageError, match="is not what it was when it was listed"):
        make_listing(settings, tmp_path / "run", shard_videos=9)


def test_more_objects_than_one_answer_holds_are_all_listed(put, monkeypatch, client):
    uris = [put(f"{number:02d}.mp4", b"x") for number in range(7)]
    storage = S3Storage(ENDPOINT)
    ask = storage._listed
    monkeypatch.setattr(storage, "_listed", lambda uri, request: ask(uri, {**request, "MaxKeys": 3}))
    assert [entry.uri for entry in storage.iterate_files(uris[0].rpartition("/")[0])] == uris


def test_a_download_that_broke_off_is_gone_on_with(put, tmp_path):
    content = os.urandom(3 << 20)
    uri = put("a.mp4", content)
    storage = S3Storage(ENDPOINT, Patience(retries=1, sleep=lambda wait: None))
    client, asked = storage._connect(), []

    class Breaking:
        def get_object(self, **request):
            asked.append(request.get("Range"))
            answer = client.get_object(**request)
            if len(asked) == 1:
                read, left = answer["Body"].read, [1 << 20]
                answer["Body"].read = lambda size: read(left.pop()) if left else b""
            return answer

    storage._clients[1] = Breaking()
    assert storage.fetch(uri, tmp_path / "a", 1 << 30) == hashlib.sha256(content).hexdigest()
    assert asked == [None, f"bytes={1 << 20}-"]


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_SECRET_ACCESS_KEY", "wrong"), ("AWS_ACCESS_KEY_ID", "nobody:nowhere")]
)
def test_wrong_credentials_stop_the_run(put, tmp_path, monkeypatch, name, value):
    uri = put("a.mp4", b"clip")
    monkeypatch.setenv(name, value)
    with pytest.raises(FetchError, match="renew them") as caught:
        S3Storage(ENDPOINT, Patience(retries=0)).fetch(uri, tmp_path / "a", 100)
    assert (caught.value.kind, caught.value.scope) == ("credentials", "run")


def test_a_bucket_that_is_not_there_stops_the_run(tmp_path):
    with pytest.raises(FetchError, match="the bucket 'elysium-no-such-bucket' does not exist") as caught:
        S3Storage(ENDPOINT, Patience(retries=0)).fetch("s3://elysium-no-such-bucket/a.mp4", tmp_path / "a", 100)
    assert caught.value.scope == "run"
