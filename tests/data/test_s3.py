"""Against a real S3 server, named by the environment: every other test needs none."""

import os
import uuid

import pytest

from elysium.data.ingest import SkippedClip, run
from elysium.data.records import RawClip, read_jsonl
from elysium.data.s3 import S3Storage
from elysium.data.transfer import FetchError
from elysium.data.versions import pull_folder, push_folder
from elysium.errors import UsageError
from elysium.pipeline.workspace import sha256

ENDPOINT = os.environ.get("ELYSIUM_S3_ENDPOINT")

pytestmark = pytest.mark.skipif(
    not (ENDPOINT and os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")),
    reason="needs an S3 server: set ELYSIUM_S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)


@pytest.fixture(autouse=True)
def region(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))


@pytest.fixture
def bucket(region):
    import boto3

    client = boto3.client("s3", endpoint_url=ENDPOINT)
    name = f"elysium-test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    yield name
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for item in page.get("Contents", []):
            client.delete_object(Bucket=name, Key=item["Key"])
    client.delete_bucket(Bucket=name)


@pytest.fixture
def upload(bucket):
    import boto3

    client = boto3.client("s3", endpoint_url=ENDPOINT)

    def put(key, content):
        client.put_object(Bucket=bucket, Key=key, Body=content)

    return put


def test_objects_are_listed_below_a_prefix_and_fetched(bucket, upload, tmp_path):
    for key in ("in/b.mp4", "in/a/c.mp4", "in-not/d.mp4"):
        upload(key, key.encode() * 1000)
    storage = S3Storage(ENDPOINT)
    entries = storage.list_files(f"s3://{bucket}/in")
    assert [(entry.name, entry.size) for entry in entries] == [("a/c.mp4", 10000), ("b.mp4", 8000)]
    storage.fetch(entries[1].uri, tmp_path / "b", 1 << 20)
    assert (tmp_path / "b").read_bytes() == b"in/b.mp4" * 1000


def test_what_cannot_be_fetched_is_an_error(bucket, upload, tmp_path):
    upload("big", b"x" * 2000)
    storage = S3Storage(ENDPOINT)
    with pytest.raises(FetchError, match="exceed the limit"):
        storage.fetch(f"s3://{bucket}/big", tmp_path / "a", 1000)
    with pytest.raises(FetchError, match=r"NoSuchKey|404|does not exist"):
        storage.fetch(f"s3://{bucket}/gone", tmp_path / "a", 1000)
    with pytest.raises(UsageError, match="cannot be listed"):
        storage.list_files("s3://elysium-no-such-bucket/in")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_secret_is_an_error(bucket, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UsageError, match="cannot be listed"):
        S3Storage(ENDPOINT).list_files(f"s3://{bucket}/in")


def test_a_prefix_with_captions_is_ingested(bucket, upload, make_context, make_video, tmp_path):
    video = make_video(tmp_path / "v.mp4")
    upload("in/a.mp4", video.read_bytes())
    upload("in/b.mp4", video.read_bytes())
    upload("in/empty.mp4", b"")
    upload("in/captions.jsonl", b'{"path": "a.mp4", "caption": "A wall."}\n')
    upload("in/b.txt", b"Another wall.")
    context = make_context("ingest", f"ingest.source=s3://{bucket}/in", f"ingest.s3_endpoint={ENDPOINT}")
    run(context)
    clips = list(read_jsonl(context.output / "manifest.jsonl", RawClip))
    assert [(clip.id, clip.caption) for clip in clips] == [("a", "A wall."), ("b", "Another wall.")]
    assert clips[0].source == f"s3://{bucket}/in/a.mp4"
    assert {clip.sha256 for clip in clips} == {sha256(video)}
    (skipped,) = read_jsonl(context.output / "skipped.jsonl", SkippedClip)
    assert skipped.id == "empty"


def test_a_list_on_s3_names_clips_beside_it(bucket, upload, make_context, make_video, tmp_path):
    upload("in/clips/a.mp4", make_video(tmp_path / "v.mp4").read_bytes())
    upload("in/list.csv", b"path,caption\nclips/a.mp4,A wall.\n")
    context = make_context("ingest", f"ingest.source=s3://{bucket}/in/list.csv", f"ingest.s3_endpoint={ENDPOINT}")
    run(context)
    assert [clip.id for clip in read_jsonl(context.output / "manifest.jsonl", RawClip)] == ["a"]


def test_a_list_on_s3_may_not_name_local_files(bucket, upload, make_context):
    upload("in/list.csv", b"path,caption\n/etc/passwd,x\n")
    with pytest.raises(UsageError, match="names the local file '/etc/passwd'; a remote list may not"):
        run(make_context("ingest", f"ingest.source=s3://{bucket}/in/list.csv", f"ingest.s3_endpoint={ENDPOINT}"))


def test_a_data_version_goes_to_s3_and_comes_back(bucket, tmp_path):
    for number in range(30):
        path = tmp_path / f"r/data/frames/{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * 500)
    remote = f"s3://{bucket}/dvc"
    version = push_folder(tmp_path / "r", remote, ENDPOINT)
    assert push_folder(tmp_path / "r", remote, ENDPOINT) == version
    pull_folder(version, remote, tmp_path / "back", ENDPOINT)
    assert sorted(path.name for path in (tmp_path / "back/frames").iterdir()) == [f"{n:03d}.jpg" for n in range(30)]
