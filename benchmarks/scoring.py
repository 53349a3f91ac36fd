"""How fast result files are scored, reading included, beside plain loops over the thresholds.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/scoring.py --output benchmarks/results/scoring.json

The files are those of LaSOT's 280 test sequences, 685,360 frames: SiamRPN++'s results, the truth and the flags of
absence, from the recorded references (`ELYSIUM_REFERENCE`), or random walks of the same lengths without them. 840 text
files are read, parsed and scored in each round by each way, in a process of its own on one core: `ours` is
`score_folders`, with all its checks, and `score_track` where reading does not count. `numpy` reads with `numpy.loadtxt`
and compares all frames of a sequence with one threshold after the other, as the toolkits do, and checks nothing.
`plain` does both without numpy, a frame and a threshold at a time. All figures must agree. The time is that of the
core in a process that has loaded its libraries; the memory is the process's peak. Ways take turns in rounds; medians
are shown. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from elysium.boxes import xywh_to_xyxy
from elysium.evaluation.metrics import TrackScore, score_track
from elysium.evaluation.scoring import score_folders
from elysium.evaluation.tracking.facts import frame_ranges

ROOT = Path(__file__).parents[1]
REFERENCE = Path(os.environ.get("ELYSIUM_REFERENCE", ROOT / "../shared/reference")) / "lasot"
WAYS = ("ours", "numpy", "plain")
SUCCESS = [k / 20 for k in range(21)]
PRECISION = list(range(51))
NORM_PRECISION = [k / 100 for k in range(51)]
Curves = tuple[list[float], list[float], list[float]]


def main() -> None:
    """Makes the files, has them scored in rounds and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments.folder)))
        return
    from reporting import finish

    with tempfile.TemporaryDirectory(prefix="elysium-benchmark-") as scratch:
        source = make_files(Path(scratch))
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(arguments.rounds):
            for way in WAYS:
                runs[way].append(in_a_process(way, Path(scratch)))
    rows = {way: medians(found) for way, found in runs.items()}
    for way, row in rows.items():
        for figure in ("auc", "precision", "norm_precision"):
            assert abs(row[figure] - rows["ours"][figure]) < 1e-6, f"{way} gives another {figure}"
        print(
            f"{way:<6}{row['seconds']:>8.2f} s, without reading{row['without_reading']:>8.2f} s,"
            f"{row['peak_mib']:>8.0f} MiB, AUC {row['auc']:.3f}"
        )
    frames = sum(frames.length for frames in frame_ranges("lasot").values())
    figures = {
        "what": "scoring LaSOT's result files on one core, reading included",
        "boxes": source,
        "files": 840,
        "frames": frames,
        "rounds": arguments.rounds,
        "ways": rows,
        "times_faster": {
            way: {key: round(rows[way][key] / rows["ours"][key], 1) for key in ("seconds", "without_reading")}
            for way in WAYS[1:]
        },
    }
    finish(figures, arguments.output)


def make_files(folder: Path) -> str:
    """Writes a file a sequence for results, truth and flags, and returns where the boxes come from."""
    lengths = {name: frames.length for name, frames in frame_ranges("lasot").items()}
    if REFERENCE.is_dir():
        truth, results = np.load(REFERENCE / "ground_truth.npz"), np.load(REFERENCE / "predictions.npz")
        ends = np.cumsum(truth["lengths"])[:-1]
        parts = [np.split(array, ends) for array in (results["boxes_xywh"], truth["boxes_xywh"], truth["absent"])]
        rows = zip(map(str, truth["names"]), *parts, strict=True)
        source = "SiamRPN++ on LaSOT"
    else:
        rng = np.random.default_rng(0)
        rows = ((name, *walk(rng, length)) for name, length in lengths.items())
        source = "random walks"
    for part in ("results", "truth", "absent"):
        (folder / part).mkdir()
    for name, boxes, true, absent in rows:
        np.savetxt(folder / "results" / f"{name}.txt", boxes, fmt="%.4f", delimiter=",")
        np.savetxt(folder / "truth" / f"{name}.txt", true, fmt="%d", delimiter=",")
        (folder / "absent" / f"{name}.txt").write_text(",".join(map(str, absent)))
    return source


def walk(rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns results, truth and flags of one sequence."""
    corner = 400 + np.cumsum(rng.normal(0, 2, (length, 2)), axis=0)
    truth = np.concatenate([corner, rng.uniform(30, 200, (length, 2))], axis=1).round()
    results = truth + np.concatenate([np.zeros((1, 4)), np.cumsum(rng.normal(0, 0.3, (length - 1, 4)), axis=0)])
    results[:, 2:] = np.maximum(results[:, 2:], 1)
    return results, truth, np.array([0] + [int(value) for value in rng.random(length - 1) < 0.03])


def in_a_process(way: str, folder: Path) -> dict[str, float]:
    """Returns what one way takes, in a fresh process on one core."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(way: str, folder: Path) -> dict[str, float]:
    """Scores the files one way and returns the times, the peak and the figures."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    read, score = {"ours": (read_numpy, ours), "numpy": (read_numpy, with_numpy), "plain": (read_plainly, plainly)}[way]
    started = time.process_time()
    if way == "ours":
        mean = score_folders(folder / "results", folder / "truth", "lasot", folder / "absent").mean
    else:
        mean = mean_figures([score(*sequence) for sequence in read(folder)])
    seconds, peak = time.process_time() - started, peak_mib()
    sequences = list(read(folder))
    started = time.process_time()
    for sequence in sequences:
        score(*sequence)
    figures = {"auc": mean.auc, "precision": mean.precision, "norm_precision": mean.norm_precision}
    return {"seconds": seconds, "without_reading": time.process_time() - started, "peak_mib": peak, **figures}


def peak_mib() -> float:
    """Returns the most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.is_file():
        # What `getrusage` says of a fresh process may be its parent's.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_numpy(folder: Path) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields results, truth and flags of each sequence."""
    for path in sorted((folder / "truth").glob("*.txt")):
        yield tuple(np.loadtxt(folder / part / path.name, delimiter=",") for part in ("results", "truth", "absent"))


def read_plainly(folder: Path) -> Iterator[tuple[list[list[float]], list[list[float]], list[float]]]:
    """Yields the same without numpy."""
    for path in sorted((folder / "truth").glob("*.txt")):
        results, truth, absent = (
            [[float(word) for word in line.split(",")] for line in (folder / part / path.name).read_text().splitlines()]
            for part in ("results", "truth", "absent")
        )
        yield results, truth, absent[0]


def ours(p: np.ndarray, g: np.ndarray, absent: np.ndarray) -> TrackScore:
    """Scores one sequence as `score_folders` does."""
    return score_track(xywh_to_xyxy(p), xywh_to_xyxy(g), absent)


def with_numpy(p: np.ndarray, g: np.ndarray, absent: np.ndarray) -> Curves:
    """Scores one sequence with numpy, one comparison of all frames for each threshold."""
    good = (absent == 0) & (g[:, 2] > 0) & (g[:, 3] > 0)
    inner = np.minimum(p[:, :2] + p[:, 2:], g[:, :2] + g[:, 2:]) - np.maximum(p[:, :2], g[:, :2])
    overlap = np.maximum(inner, 0).prod(1)
    union = p[:, 2:].prod(1) + g[:, 2:].prod(1) - overlap
    share = np.where(good, overlap / np.where(good, union, 1), -1)
    offset = p[:, :2] + p[:, 2:] / 2 - g[:, :2] - g[:, 2:] / 2
    distance = np.where(good, np.sqrt((offset**2).sum(1)), np.inf)
    relative = np.where(good, np.sqrt(((offset / np.where(good[:, None], g[:, 2:], 1)) ** 2).sum(1)), np.inf)
    return (
        [float(100 * np.mean(share > threshold)) for threshold in SUCCESS],
        [float(100 * np.mean(distance <= threshold)) for threshold in PRECISION],
        [float(100 * np.mean(relative <= threshold)) for threshold in NORM_PRECISION],
    )


def plainly(results: list[list[float]], truth: list[list[float]], absent: list[float]) -> Curves:
    """Scores one sequence without numpy, a frame and a threshold at a time."""
    shares, distances, relatives = [], [], []
    for p, g, flag in zip(results, truth, absent, strict=True):
        if flag or g[2] <= 0 or g[3] <= 0:
            shares.append(-1.0)
            distances.append(float("inf"))
            relatives.append(float("inf"))
            continue
        w = max(0, min(p[0] + p[2], g[0] + g[2]) - max(p[0], g[0]))
        h = max(0, min(p[1] + p[3], g[1] + g[3]) - max(p[1], g[1]))
        shares.append(w * h / (p[2] * p[3] + g[2] * g[3] - w * h))
        x, y = p[0] + p[2] / 2 - g[0] - g[2] / 2, p[1] + p[3] / 2 - g[1] - g[3] / 2
        distances.append((x * x + y * y) ** 0.5)
        relatives.append(((x / g[2]) ** 2 + (y / g[3]) ** 2) ** 0.5)
    count = len(truth)
    return (
        [100 * sum(value > threshold for value in shares) / count for threshold in SUCCESS],
        [100 * sum(value <= threshold for value in distances) / count for threshold in PRECISION],
        [100 * sum(value <= threshold for value in relatives) / count for threshold in NORM_PRECISION],
    )


def mean_figures(curves: list[Curves]) -> TrackScore:
    """Returns the three figures over sequences."""
    success, precision, norm_precision = (np.mean(curve, axis=0) for curve in zip(*curves, strict=True))
    return TrackScore(success.mean(), precision[20], norm_precision[20], success, precision, norm_precision)


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Returns the median of each figure."""
    return {key: round(statistics.median(run[key] for run in runs), 6) for key in runs[0]}


if __name__ == "__main__":
    main()
