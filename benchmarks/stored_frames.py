"""Frames stored as JPEG files and as clips: how many bytes, what is lost, and what reading them takes.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/stored_frames.py --output benchmarks/results/stored_frames.json

The frames are those of the built-in real clips, sampled and scaled as `curate` does it, in pieces of up to 64. Measured
are kilobytes a frame, the processor's milliseconds to store a frame, to read a whole piece in order (a frame of it), to
read one frame at random, and to read a training sample of 8 frames at random distances of up to 8; and the peak
signal-to-noise ratio against the frames before they were stored (mean, and the worst frame). Files are in the page
cache: what small files cost a network disk is not in it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from reporting import finish

from elysium.config import CurateSettings, load_settings
from elysium.curation.dataset.media import Stored, fit, store_piece
from elysium.curation.protocols import Frame
from elysium.data.samples import sample_clips
from elysium.data.stored_frames import read_all_stored, read_stored
from elysium.data.video import iterate_video

PIECE, SAMPLE, READS = 64, 8, 200
CASES = {
    "frames, quality 95": {"store": "frames"},
    "frames, quality 85": {"store": "frames", "jpeg_quality": 85},
    "clips, crf 14": {"store": "clips", "clip_crf": 14},
    "clips, crf 18": {"store": "clips"},
    "clips, crf 23": {"store": "clips", "clip_crf": 23},
    "clips, crf 18, every frame a key frame": {"store": "clips", "clip_key_frames": 1},
    "clips, crf 18, key frames 32 apart": {"store": "clips", "clip_key_frames": 32},
}


def main() -> None:
    """Stores the pieces in each way, reads them and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pieces = read_pieces()
    rows = {}
    for name, changes in CASES.items():
        settings = load_settings("nano", [f"curate.{key}={value}" for key, value in changes.items()]).curate
        rows[name] = {key: round(value, 3) for key, value in measure(pieces, settings).items()}
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in rows[name].items()))
    what = {"what": "frames stored as files and as clips", "pieces": len(pieces), "frames": sum(map(len, pieces))}
    finish({**what, "rows": rows}, arguments.output)


def measure(pieces: list[list[Frame]], settings: CurateSettings) -> dict[str, float]:
    """Returns the figures of one way to store."""
    root = Path(tempfile.mkdtemp(prefix="elysium-benchmark-"))
    try:
        stored: list[Stored] = []
        encoding = _milliseconds(lambda: stored.extend(store(pieces, root, settings)))
        count = sum(map(len, pieces))
        size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        names = [[root / name for name in one.paths] for one in stored]
        rng = np.random.default_rng(0)
        singles = [_pick(rng, names[number % len(names)], 1) for number in range(READS)]
        samples = [_pick(rng, names[number % len(names)], SAMPLE) for number in range(READS)]
        whole = _milliseconds(lambda: [read_stored(name) for piece in names for name in piece])
        return {
            "kilobytes_a_frame": size / count / 1000,
            "files_a_piece": sum(1 for path in root.rglob("*") if path.is_file()) / len(pieces),
            "ms_to_store_a_frame": encoding / count,
            "ms_a_frame_in_order": whole / count,
            "ms_for_one_frame": _milliseconds(lambda: [read_all_stored(one) for one in singles]) / READS,
            "ms_for_a_sample": _milliseconds(lambda: [read_all_stored(one) for one in samples]) / READS,
            **_loss(pieces, names, settings),
        }
    finally:
        shutil.rmtree(root)


def store(pieces: list[list[Frame]], root: Path, settings: CurateSettings) -> list[Stored]:
    """Returns where each piece is stored."""
    return [store_piece(frames, f"piece-{number}", root, settings, 0) for number, frames in enumerate(pieces)]


def read_pieces() -> list[list[Frame]]:
    """Returns the sampled frames of the built-in clips."""
    pieces = []
    for sample in sample_clips():
        frames, next_time = [], 0.0
        for number, frame in enumerate(iterate_video(sample.path)):
            if frame.timestamp + 1e-6 >= next_time:
                frames.append(Frame(frame.image, number, frame.timestamp))
                next_time = frame.timestamp + 1 / 12
        pieces += [frames[start : start + PIECE] for start in range(0, len(frames), PIECE)]
    return pieces


def _pick(rng: np.random.Generator, names: list[Path], count: int) -> list[Path]:
    step = int(rng.integers(1, 9))
    count = min(count, -(-len(names) // step))
    start = int(rng.integers(len(names) - (count - 1) * step))
    return names[start : start + (count - 1) * step + 1 : step]


def _loss(pieces: list[list[Frame]], names: list[list[Path]], settings: CurateSettings) -> dict[str, float]:
    ratios = []
    for frames, piece in zip(pieces, names, strict=True):
        for frame, image in zip(frames, read_all_stored(piece), strict=True):
            true = fit(frame.image, settings.max_side, even=settings.store == "clips").astype(np.float64)
            ratios.append(10 * np.log10(255**2 / np.mean((true - image) ** 2)))
    return {"psnr_db": float(np.mean(ratios)), "psnr_db_worst": float(np.min(ratios))}


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started)


if __name__ == "__main__":
    main()
