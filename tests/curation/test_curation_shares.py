"""The step `curate` in shares: by several processes, killed and repeated ones too, with the bytes of one process."""

import os
import signal
import subprocess
import sys

import pytest

from elysium.pipeline.execute import run_share, run_step
from elysium.pipeline.manifest import Manifest, digest_of, scan
from elysium.pipeline.steps import producer, step
from elysium.pipeline.workspace import Share, Workspace, write_atomic

SETTINGS = ["curate.shard_videos=1", "curate.sheet_tracks=0"]
ROW = step("curate")


@pytest.fixture
def begin(raw, tmp_path):
    """Makes a run that has what `curate` reads."""

    def make(name):
        place = Workspace.at(tmp_path / name)
        place.create("nano", SETTINGS)
        for artifact in ROW.inputs:
            source = producer(artifact)
            folder = place.folder(source)
            if artifact == "raw":
                folder.symlink_to(_copied(raw, tmp_path / f"raw-{name}"))
            else:
                folder.mkdir()
            files = scan(folder)
            digest = digest_of({path: entry.sha256 for path, entry in files.items()})
            said = {"summary": "", "metrics": {}, "started": "", "seconds": 0, "peak_mib": 0, "code": ""}
            manifest = Manifest(step=source.name, status="done", key="", digest=digest, files=files, **said)
            write_atomic(folder / "_manifest.json", manifest.model_dump_json())
        return place

    return make


def _copied(source, target):
    for path in source.rglob("*"):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).write_bytes(path.read_bytes())
    return target


def test_shares_come_to_the_bytes_of_one_process(begin):
    alone, shared = begin("alone"), begin("shared")
    settings = alone.settings()
    whole = run_step(alone, ROW, settings).manifest

    killed = _share_process(shared, "1/3")
    assert killed == -signal.SIGKILL
    first = run_share(shared, ROW, settings, Share(0, 3))
    assert first.summary == "2 of 4 shards, 2 of 4 clips, are there"
    assert shared.manifest(ROW) is None, "shares publish nothing"
    again = run_share(shared, ROW, settings, Share(0, 3))
    assert again == first
    run_share(shared, ROW, settings, Share(1, 3))
    # The third share is nobody's: the step does what is missing.
    made = run_step(shared, ROW, settings).manifest
    assert (made.digest, made.files) == (whole.digest, whole.files)
    assert run_share(shared, ROW, settings, Share(2, 3)) is None


def _share_process(place, share):
    """Runs the command, which is killed when it would publish its first shard."""
    code = f"""
import os, signal
from elysium.cli import main
from elysium.curation.shards import ShardStore
def die(self, *arguments):
    os.kill(os.getpid(), signal.SIGKILL)
ShardStore.publish = die
main(["step", "curate", "--workspace", {str(place.root)!r}, "--shard", "{share}"])
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode
