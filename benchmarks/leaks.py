"""How well the leak guard tells a copy of a training clip from another clip, and what it costs with a million clips.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/leaks.py --output benchmarks/results/leaks.json

Clips are simulated ones of 24 frames, and pieces of four seconds, at 12 frames a second and 384 pixels, of real video:
of the built-in clips, and of those in ELYSIUM_REFERENCE/videos where that is. Measured are

- `hashes`: for several hashes of a frame the smallest distance, in bits, of frames of different simulated clips (1,600
  against 60,000); of single frames that were changed as named, the share that is nearer than that to the original;
- `copies`: of whole clips that were changed as named, the share that the guard finds in an index of the originals;
- `others`: how many simulated evaluation clips it finds among the training ones, which all are different, and how many
  pairs of frames of different training clips are within so many bits; the same for pieces of different real videos;
- `same_camera`: of pieces of one real video, which share no frame, the share that another piece looks like;
- `built_in`: which of the built-in evaluation clips look like training, split by time and by video;
- `scale`: the index of a million made-up clips of 5 frames (simulated frames' hashes with a quarter of the bits
  changed), and 500 evaluation clips of 16 frames, 100 of them copies, looked up in it, mirrored too, in a process of
  its own. Seconds, and the largest resident set (VmHWM) less that of a process that only imports; beside comparing with
  every frame, by proportion of 20 queries.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from changes import CHANGES, FRAME_CHANGES, Pictures, jpeg, resized
from PIL import Image
from reporting import finish

from elysium.config import load_settings
from elysium.curation.curation import curate
from elysium.curation.step import list_raw
from elysium.data.pictures import read_grey
from elysium.data.records import RawClip, TrackRecord, read_jsonl, write_jsonl
from elysium.data.samples import sample_clips
from elysium.data.simulator import simulate
from elysium.data.video import iterate_video
from elysium.evaluation.leaks import Clip, find_leaks, of_track
from elysium.evaluation.leaks.building import build
from elysium.evaluation.leaks.fingerprint import NUM_BITS, SIDE, distances, fingerprints
from elysium.evaluation.leaks.index import CLIP, FRAME, RECORD, TrainingIndex
from elysium.evaluation.leaks.looking import of_training
from elysium.evaluation.leaks.rules import CLOSE, NEAR
from elysium.evaluation.leaks.search import find_near

SECONDS, MEGABYTES = 60.0, 1000.0
FRAMES, RATE, WIDTH, PIECE = 24, 12.0, 384, 48
EVALUATION_SEED = 1_000_000
BITS = (12, 16, 18, 20)
Bits = npt.NDArray[np.bool_]


def main() -> None:
    """Makes the clips, measures and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    parser.add_argument("--training", type=int, default=12_000, help="simulated training clips (default: 12000)")
    parser.add_argument("--evaluation", type=int, default=200, help="simulated evaluation clips (default: 200)")
    parser.add_argument("--copies", type=int, default=60, help="of them that are copied and changed (default: 60)")
    parser.add_argument("--clips", type=int, default=1_000_000, help="made-up training clips (default: 1000000)")
    arguments = parser.parse_args()

    trained = simulated_greys(range(arguments.training), of_training(FRAMES))
    held_out = range(EVALUATION_SEED, EVALUATION_SEED + arguments.evaluation)
    asked = simulated_greys(held_out, list(range(0, FRAMES, 3)))
    simulated = {f"simulated {seed}": pictures(seed) for seed in held_out[: arguments.copies]}
    real = dict(real_pieces())
    figures = {
        "what": "telling copies of training clips from other clips",
        "rule": {"one_frame_within_bits": CLOSE, "two_frames_within_bits": NEAR, "of_bits": NUM_BITS},
        "bound": {"seconds_to_look_up": SECONDS, "mb": MEGABYTES},
        "hashes": compare_hashes(trained, asked, list(simulated.values()) + list(real.values())),
        "copies": {"simulated": find_copies(simulated), "real": find_copies(real)},
        "others": {"simulated": find_others(trained, held_out), "real": find_other_videos(real)},
        "same_camera": same_camera(real),
        "built_in": built_in(),
        "scale": scale(trained, arguments.clips),
    }
    for name, part in figures.items():
        print(f"{name}: {json.dumps(part)}" if not isinstance(part, dict) else f"{name}:")
        for key, value in part.items() if isinstance(part, dict) else ():
            print(f"  {key}: {json.dumps(value)}")
    finish(figures, arguments.output)
    if figures["scale"]["seconds_to_look_up"] > SECONDS or figures["scale"]["mb"] > MEGABYTES:
        sys.exit(f"looking up takes more than {SECONDS:g} s or {MEGABYTES:g} MB")


def pictures(seed: int) -> Pictures:
    """Returns the frames of a simulated clip, as stored."""
    return [jpeg(Image.fromarray(image), 95) for image in simulate(seed, FRAMES).frames]


def simulated_greys(seeds: Sequence[int], numbers: list[int]) -> npt.NDArray[np.uint8]:
    """Returns the brightness of some frames of simulated clips, shape `(clips, frames, SIDE, SIDE)`."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return np.array(list(pool.map(_greys, seeds, [numbers] * len(seeds), chunksize=50)))


def _greys(seed: int, numbers: list[int]) -> npt.NDArray[np.uint8]:
    frames = simulate(seed, FRAMES).frames
    return np.array([read_grey(np.asarray(jpeg(Image.fromarray(frames[number]), 95)), SIDE) for number in numbers])


def real_pieces() -> Iterator[tuple[str, Pictures]]:
    """Yields name and frames of the pieces of real videos; the part before the slash names the video."""
    videos = {sample.id: sample.path for sample in sample_clips()}
    folder = Path(os.environ.get("ELYSIUM_REFERENCE", Path(__file__).parents[1] / "../shared/reference")) / "videos"
    if (folder / "captions.jsonl").is_file():
        lines = map(json.loads, (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines())
        videos |= {line["id"]: folder / line["file"] for line in lines}
    for name, path in videos.items():
        images, interval = [], -1
        for frame in iterate_video(path):
            if int(frame.timestamp * RATE + 1e-6) > interval:
                interval = int(frame.timestamp * RATE + 1e-6)
                image = Image.fromarray(frame.image)
                images.append(jpeg(resized(image, min(1, WIDTH / max(image.size))), 95))
        for number in range(max(1, len(images) // PIECE)):
            yield f"{name}/{number}", images[number * PIECE : (number + 1) * PIECE]


def as_clip(name: str, images: Pictures) -> Clip:
    """Returns a clip of frames."""
    return Clip(name, None, [np.asarray(image) for image in images])


def find_copies(clips: dict[str, Pictures]) -> dict[str, float]:
    """Returns for each change the share of changed clips, in percent, that are found in an index of the originals."""
    index = build([as_clip(name, images) for name, images in clips.items()])
    found = {}
    for name, change in CHANGES.items():
        leaks = find_leaks([as_clip(f"copy of {clip}", change(images)) for clip, images in clips.items()], [index])
        found[name] = round(100 * len(leaks.clips) / len(clips), 1)
    return {"clips": len(clips), **found}


def find_others(trained: npt.NDArray[np.uint8], held_out: Sequence[int]) -> dict[str, Any]:
    """Returns how many evaluation clips are found, and how many frames of different training clips are near."""
    hashes = fingerprints(trained.reshape(-1, SIDE, SIDE))[0]
    owner = np.repeat(np.arange(len(trained)), trained.shape[1])
    near = find_near(hashes, hashes, NEAR)
    others = owner[near.query] < owner[near.row]
    index = made_index(hashes, trained.shape[1])
    leaks = find_leaks([as_clip(str(seed), pictures(seed)) for seed in held_out], [index])
    return {
        "training_clips": len(trained),
        "evaluation_clips": len(held_out),
        "found": len(leaks.clips),
        "pairs_of_frames": (len(hashes) ** 2 - len(trained) * trained.shape[1] ** 2) // 2,
        "pairs_within_bits": {str(bits): int((others & (near.distance <= bits)).sum()) for bits in BITS},
    }


def find_other_videos(real: dict[str, Pictures]) -> dict[str, Any]:
    """Returns how many pieces are found among those of other videos, and the smallest distance of their frames."""
    hashes = {name: fingerprints(np.array([read_grey(np.asarray(image), SIDE) for image in images]))[0]
              for name, images in real.items()}  # fmt: skip
    others = [pair for pair in combinations(real, 2) if _video(pair[0]) != _video(pair[1])]
    smallest = min(int(distances(hashes[a][:, None], hashes[b][None]).min()) for a, b in others)
    found = 0
    for video in {_video(name) for name in real}:
        index = build([as_clip(name, images) for name, images in real.items() if _video(name) != video])
        asked = [as_clip(name, images) for name, images in real.items() if _video(name) == video]
        found += len(find_leaks(asked, [index]).clips)
    return {
        "videos": len({_video(name) for name in real}),
        "pieces": len(real),
        "found": found,
        "smallest_distance": smallest,
    }


def same_camera(real: dict[str, Pictures]) -> dict[str, str]:
    """Returns for each video with several pieces how many of them look like another one."""
    shown = {}
    for video, number in Counter(map(_video, real)).items():
        pieces = {name: images for name, images in real.items() if _video(name) == video}
        found = 0
        for name, images in pieces.items():
            index = build([as_clip(other, shown_by) for other, shown_by in pieces.items() if other != name])
            found += len(find_leaks([as_clip(name, images)], [index]).clips)
        if number > 1:
            shown[video] = f"{found} of {number}"
    return shown


def built_in() -> dict[str, Any]:
    """Returns which built-in evaluation records look like training, for both ways of splitting."""
    found = {}
    for way in ("time", "video"):
        settings = load_settings("nano", [f"curate.split_by={way}"])
        with tempfile.TemporaryDirectory() as scratch:
            raw, tracks = Path(scratch) / "raw", Path(scratch) / "tracks"
            raw.mkdir()
            for sample in sample_clips():
                shutil.copyfile(sample.path, raw / sample.path.name)
            clips = [
                RawClip(id=sample.id, path=sample.path.name, caption=sample.caption, source="", sha256=sample.sha256)
                for sample in sample_clips()
            ]
            write_jsonl(raw / "manifest.jsonl", clips)
            listing = list_raw(raw, settings.curate)
            curate(tracks, settings, listing, digest=listing.digest)
            sides = {
                side: [
                    of_track(record, tracks)
                    for record in read_jsonl(tracks / f"{side}.jsonl", TrackRecord, allow_empty=True)
                ]
                for side in ("train", "evaluation")
            }
            leaks = find_leaks(sides["evaluation"], [build(sides["train"])])
        found[way] = {
            "training": [clip.id for clip in sides["train"]],
            "evaluation": [clip.id for clip in sides["evaluation"]],
            "found": [leak.words for leak in leaks.found],
        }
    return found


def compare_hashes(
    trained: npt.NDArray[np.uint8], asked: npt.NDArray[np.uint8], clips: Sequence[Pictures]
) -> dict[str, Any]:
    """Returns for each hash the smallest distance of different frames, and the share of changed frames below it."""
    frames = [clip[number] for clip in clips for number in range(0, len(clip), max(1, len(clip) // 3))]
    changed = {
        name: np.array([read_grey(np.asarray(change(frame)), SIDE) for frame in frames])
        for name, change in {"": lambda image: image, **FRAME_CHANGES}.items()
    }
    found = {}
    for name, hash_of in HASHES.items():
        others = _smallest(hash_of(asked.reshape(-1, SIDE, SIDE)), hash_of(trained.reshape(-1, SIDE, SIDE)))
        originals = hash_of(changed[""])
        shares = {
            change: round(100 * float(((hash_of(greys) != originals).sum(axis=1) < others).mean()), 1)
            for change, greys in changed.items()
            if change
        }
        found[name] = {"bits": originals.shape[1], "different_frames": others, **shares}
    return found


def _smallest(asked: Bits, known: Bits) -> int:
    """Returns the smallest number of bits in which any two rows differ."""
    signs = (2 * known.astype(np.float32) - 1).T
    most = max(float((rows @ signs).max()) for rows in np.array_split(2 * asked.astype(np.float32) - 1, 20))
    return round((asked.shape[1] - most) / 2)


def cosine(greys: npt.NDArray[np.uint8], size: int) -> Bits:
    """Returns whether each of `size ** 2` coefficients of the cosine transform is above their median (pHash)."""
    pixel = np.arange(SIDE)
    basis = np.cos(np.pi * np.outer(np.arange(size), 2 * pixel + 1) / (2 * SIDE)).astype(np.float32)
    parts = [basis @ part.astype(np.float32) @ basis.T for part in np.array_split(greys, max(1, len(greys) // 4096))]
    coefficients = np.concatenate(parts).reshape(len(greys), -1)
    return coefficients > np.median(coefficients, axis=1, keepdims=True)


def across(greys: npt.NDArray[np.uint8]) -> Bits:
    """Returns the difference hash of 64 bits, which looks at neighbours across only (dHash)."""
    cells = greys.reshape(len(greys), 8, 9, 9, 8).astype(np.float32).mean(axis=(2, 4))
    return (np.diff(cells, axis=2) > 0).reshape(len(greys), -1)


def ours(greys: npt.NDArray[np.uint8]) -> Bits:
    """Returns the bits of the guard's hash."""
    hashes = fingerprints(greys)[0]
    return np.unpackbits(hashes.view(np.uint8), axis=1).astype(bool)


HASHES: dict[str, Callable[[npt.NDArray[np.uint8]], Bits]] = {
    "cosine 64": lambda greys: cosine(greys, 8),
    "cosine 144": lambda greys: cosine(greys, 12),
    "cosine 256": lambda greys: cosine(greys, 16),
    "difference 64": across,
    "difference 128 (the guard's)": ours,
}


def made_index(hashes: npt.NDArray[np.uint64], num_frames: int) -> TrainingIndex:
    """Returns the index of clips of so many frames each, from their hashes."""
    count = len(hashes) // num_frames
    frames = np.zeros(len(hashes), dtype=FRAME)
    frames["clip"], frames["number"] = np.divmod(np.arange(len(hashes)), num_frames)
    frames["hash"], frames["file"] = hashes, np.arange(1, len(hashes) + 1)
    records = np.zeros(count, dtype=RECORD)
    records["id"], records["clip"] = np.arange(1, count + 1), range(count)
    names = [f"ElysiumTrack_{number}".encode() for number in range(count)]
    ends = np.cumsum([len(name) for name in names])
    return TrainingIndex(None, np.ones(count, CLIP), records, frames, np.frombuffer(b"".join(names), "u1"), ends)


_LOOK_UP = """
    import json, re, sys, time
    from pathlib import Path
    import numpy as np
    from elysium.evaluation.leaks.clips import Clip
    from elysium.evaluation.leaks.index import TrainingIndex
    from elysium.evaluation.leaks.looking import Looks
    from elysium.evaluation.leaks.rules import match_files, match_looks, match_names
    def memory():
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
    idle, started = memory(), time.monotonic()
    index = TrainingIndex.load(Path(sys.argv[1]))
    opened = time.monotonic()
    asked = np.load(sys.argv[2])
    clips = [Clip(f"e{number}", None, [], content=f"{number}") for number in range(len(asked))]
    flat, numbers = np.zeros(asked.shape[2], dtype=bool), np.arange(asked.shape[2], dtype=np.uint64)
    files = numbers + np.uint64(2**40)
    looks = [Looks(numbers, files, plain, mirrored, flat) for plain, mirrored in asked]
    found = [*match_names(clips, index), *match_files([files.tolist()] * len(clips), index)]
    alike = list(match_looks(looks, index))
    print(json.dumps({"seconds_to_open": opened - started, "seconds_to_look_up": time.monotonic() - opened,
        "mb": memory() - idle, "found": len({match.evaluation for match in alike}), "by_name": len(found)}))
"""


def scale(trained: npt.NDArray[np.uint8], num_clips: int) -> dict[str, float]:
    """Returns what looking up 500 clips in the index of a million takes, and what making that index would."""
    rng = np.random.default_rng(0)
    real = fingerprints(trained.reshape(-1, SIDE, SIDE))[0]

    def changed(count: int) -> npt.NDArray[np.uint64]:
        parts = [rng.random((part, NUM_BITS), dtype=np.float32) < 1 / 4 for part in _parts(count, 200_000)]
        flips = np.concatenate([np.packbits(part, axis=1).view(np.uint64) for part in parts])
        return real[rng.integers(len(real), size=count)] ^ flips

    hashes = changed(5 * num_clips)
    asked = changed(500 * 2 * 16).reshape(500, 2, 16, 2)
    planted = rng.integers(num_clips, size=100)
    for number, clip in enumerate(planted):  # one evaluation clip in five is a training clip's copy
        asked[number * 5, 0, :5] = hashes[5 * clip : 5 * clip + 5]
    with tempfile.TemporaryDirectory(prefix="elysium-benchmark-") as scratch:
        folder = Path(scratch) / "index"
        made_index(hashes, 5).save(folder)
        np.save(Path(scratch) / "asked.npy", asked)
        command = [sys.executable, "-c", textwrap.dedent(_LOOK_UP), str(folder), f"{scratch}/asked.npy"]
        figures = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        figures["index_mb"] = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    first, second = np.ascontiguousarray(hashes.T)
    queries, started = asked.reshape(-1, 2)[:20], time.monotonic()
    for query in queries:
        np.flatnonzero(np.bitwise_count(first ^ query[0]) + np.bitwise_count(second ^ query[1]) <= NEAR)
    figures["seconds_comparing_with_every_frame"] = (time.monotonic() - started) * asked[..., 0].size / len(queries)
    rates = {f"jpegs_of_{side}_pixels_a_second": frame_rate(side) for side in (128, 384, 1280)}
    hours = 5 * num_clips / rates["jpegs_of_384_pixels_a_second"] / 3600
    rows = {**figures, **rates, "hours_to_make_on_this_machine": hours}
    return {"clips": num_clips, "frames": 5 * num_clips, **{name: round(value, 2) for name, value in rows.items()}}


def frame_rate(side: int) -> float:
    """Returns how many frames a second are read from JPEG files and looked at."""
    with tempfile.TemporaryDirectory() as scratch:
        frames = []
        for number, image in enumerate(simulate(0, FRAMES, 384).frames):
            frames.append(Path(scratch) / f"{number}.jpg")
            Image.fromarray(image).resize((side, side)).save(frames[-1], quality=95)
        clips = [Clip(str(number), None, frames[number % 5 :]) for number in range(100)]
        build(clips[:1])
        started = time.monotonic()
        made = [build(clips[start : start + 20]) for start in range(0, 100, 20)]
        return sum(len(index.frames) for index in made) / (time.monotonic() - started)


def _parts(count: int, size: int) -> Iterator[int]:
    yield from (min(size, count - start) for start in range(0, count, size))


def _video(name: str) -> str:
    return name.rpartition("/")[0]


if __name__ == "__main__":
    main()
