"""Checkpoints outlive their machine: copied beside the local ones, and gone on from where those are lost."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import pytest
from training_data import settings, write_snapshot

from elysium.data.s3 import S3Storage
from elysium.data.storage import LocalStorage
from elysium.data.transfer import FetchError
from elysium.errors import UsageError
from elysium.training.mirror import Mirror, mirror_uri
from elysium.training.step import train_folder

HERE = Path(__file__).parent
RECIPE = tuple(
    f"training.finetune.{change}"
    for change in ("steps=8", "save_steps=2", "logging_steps=1", "batch_size=2", "precision=float32")
)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return write_snapshot(tmp_path_factory.mktemp("snapshot")) / "data"


@pytest.fixture(scope="module")
def undisturbed(snapshot, tmp_path_factory):
    return train_folder(settings(*RECIPE), "finetune", snapshot, tmp_path_factory.mktemp("whole"))


def train(snapshot, output, mirror, *changes, resume=True):
    return train_folder(
        settings(*RECIPE, f"checkpoints.mirror={mirror}", *changes), "finetune", snapshot, output, resume=resume
    )


@pytest.fixture(scope="module")
def killed(snapshot, tmp_path_factory):
    """What a run leaves that was killed when its third checkpoint, of step 6, had been copied."""
    folder = tmp_path_factory.mktemp("killed")
    code = f"""
        import os, signal
        from pathlib import Path
        from elysium.training import mirror
        from elysium.training.step import train_folder
        from training_data import settings
        copy, seen = mirror.Mirror._copy, []
        def send(self, checkpoint):
            copy(self, checkpoint)
            seen.append(checkpoint)
            if len(seen) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
        mirror.Mirror.send = send
        chosen = settings(*{RECIPE!r}, "checkpoints.mirror={folder / "mirror"}")
        train_folder(chosen, "finetune", Path({str(snapshot)!r}), Path({str(folder / "out")!r}))
    """
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    made = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True)
    assert made.returncode == -signal.SIGKILL, made.stderr
    return folder


@pytest.fixture
def left(killed, tmp_path):
    """A copy of it."""
    return shutil.copytree(killed, tmp_path / "left")


def kept(mirror):
    return sorted(path.parent.name for path in mirror.glob("*/checkpoint-*/complete.json"))


def test_a_lost_machine_costs_the_steps_since_the_last_copy(snapshot, undisturbed, left, caplog):
    assert kept(left / "mirror") == ["checkpoint-4", "checkpoint-6"], "older ones are let go"
    shutil.rmtree(left / "out")
    with caplog.at_level(logging.INFO, "elysium"):
        again = train(snapshot, left / "out", left / "mirror")
    assert "fetching checkpoint-6" in caplog.text
    assert "going on from checkpoint-6" in caplog.text
    assert again == undisturbed
    assert kept(left / "mirror") == ["checkpoint-6", "checkpoint-8"]


@pytest.mark.parametrize("damage", ["changed", "cut short"])
def test_a_damaged_copy_falls_back_to_the_one_before(snapshot, undisturbed, left, caplog, damage):
    shutil.rmtree(left / "out")
    newest = next((left / "mirror").glob("*/checkpoint-6"))
    if damage == "changed":
        (newest / "model.safetensors").write_bytes(b"damaged")
    else:
        (newest / "complete.json").unlink()
    with caplog.at_level(logging.INFO, "elysium"):
        assert train(snapshot, left / "out", left / "mirror") == undisturbed
    assert "going on from checkpoint-4" in caplog.text


def test_a_newer_local_one_is_gone_on_from(snapshot, left, undisturbed, caplog):
    next((left / "mirror").glob("*/checkpoint-6/complete.json")).unlink()
    with caplog.at_level(logging.INFO, "elysium"):
        assert train(snapshot, left / "out", left / "mirror") == undisturbed
    assert "fetching" not in caplog.text
    assert "going on from checkpoint-6" in caplog.text


def test_a_new_run_begins_anew_and_another_recipe_has_another_place(snapshot, left, undisturbed, caplog):
    with caplog.at_level(logging.INFO, "elysium"):
        assert train(snapshot, left / "new", left / "mirror", resume=False) == undisturbed
        train(snapshot, left / "other", left / "mirror", "training.finetune.learning_rate=1e-5")
    assert "fetching" not in caplog.text
    assert len(list((left / "mirror").iterdir())) == 2


def test_what_decides_the_weights_is_in_the_address(snapshot):
    def address(*changes):
        chosen = settings(*RECIPE, "checkpoints.mirror=s3://b/p/", *changes)
        return mirror_uri(chosen, "finetune", chosen.training.finetune, snapshot)

    assert address().startswith("s3://b/p/finetune-")
    assert address() == address("training.threads=2") == address("registry.experiment=x")
    others = {address("seed=8"), address("model.llm.hidden_size=64"), address("training.finetune.batch_size=4")}
    assert len({address(), *others}) == 4


class Failing(LocalStorage):
    def store(self, path, uri):
        raise FetchError("the disk is full")


def test_a_copy_that_fails_is_said_and_training_goes_on(tmp_path, caplog):
    checkpoint = tmp_path / "checkpoint-3"
    checkpoint.mkdir()
    (checkpoint / "complete.json").write_text("{}")
    mirror = Mirror(str(tmp_path / "mirror"), Failing())
    mirror.send(checkpoint)
    mirror.close()
    assert "checkpoint-3 was not copied" in caplog.text
    assert "the disk is full" in caplog.text


@pytest.mark.parametrize(
    ("uri", "message"),
    [("https://host/x", "is nowhere to write to"), ("s3://", "names no bucket"), ("/proc/nowhere", "cannot be made")],
)
def test_a_mirror_that_cannot_be_is_refused_before_training(snapshot, tmp_path, uri, message):
    with pytest.raises(UsageError, match=message):
        train(snapshot, tmp_path / "out", uri)
    assert not list((tmp_path / "out").glob("trainer/checkpoint-*"))


ENDPOINT = os.environ.get("ELYSIUM_S3_ENDPOINT")


@pytest.mark.skipif(
    not (ENDPOINT and os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")),
    reason="needs an S3 server: set ELYSIUM_S3_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)
def test_s3_holds_checkpoints_too(tmp_path, monkeypatch):
    import boto3

    monkeypatch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    client, bucket = boto3.client("s3", endpoint_url=ENDPOINT), f"elysium-test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    mirror = Mirror(f"s3://{bucket}/run", S3Storage(ENDPOINT))
    from elysium.pipeline.workspace import sha256

    for step in (2, 4, 6):
        checkpoint = tmp_path / f"checkpoint-{step}"
        (checkpoint / "global_step").mkdir(parents=True)
        (checkpoint / "global_step" / "state.pt").write_bytes(os.urandom(20 << 20))
        files = {"global_step/state.pt": sha256(checkpoint / "global_step" / "state.pt")}
        (checkpoint / "complete.json").write_text(json.dumps(files))
        mirror.send(checkpoint)
        mirror.close()
    listed = [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert sorted({key.split("/")[1] for key in listed}) == ["checkpoint-4", "checkpoint-6"]
    mirror.fetch(tmp_path / "back")
    state = Path("checkpoint-6/global_step/state.pt")
    assert (tmp_path / "back" / state).read_bytes() == (tmp_path / state).read_bytes()
    for key in listed:
        client.delete_object(Bucket=bucket, Key=key)
    client.delete_bucket(Bucket=bucket)
