"""What curation itself costs beside its models and the codec: overhead, decoding, processes, memory, publication.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/curation.py --output benchmarks/results/curation.json
    .venv/bin/python benchmarks/curation.py --quick      everything, on little of it: to see that it runs

The videos are drawn (`curation_scenes.py`): 1280 x 720 pixels, 30 frames a second, 10 s, H.264 of 4 Mbit/s, no sound.

*Overhead* is all that is neither the models' nor the codec's (decoding, conversion, scaling, JPEG), of a whole run in
one process and one thread, told by a stop watch around the functions: hashing, container headers, scene cuts, filters,
judging, evidence, Parquet, checksums, and writing files. Once with stand-ins for the models that take the time that row
G5 of the GPU measurements allows at most, 1 s for 10 s of video, and once with the embedded parts. What a run
does once, whatever its length (making the parts, the card, the contact sheet), is shown apart.
*Decoding* is `read_pieces` beside PyAV alone, decoding every frame, a) converting the same ones to the same size,
b) converting none.
*Processes*: the same videos in one process on one core, and in two that take every other shard, each on a core, with
models that take no time; imports are done before. Ray is shown for information, its start included.
*Memory* of a run of small videos (a few files, each listed under many ids), and of its publication, apart.
*Publication* of made-up records through shards, without frames; `track_records.py` has how 1.27 million are read.

Shares and rates are of the processor's time, for other work on a machine stretches the clock's; the clock's are beside
them. Rounds of what is compared take turns; medians are quoted. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
from curation_parts import Watch, watch_curation
from curation_scenes import make_source
from reporting import finish

from elysium.config import load_settings
from elysium.curation.memory import reuse_memory
from elysium.curation.pieces import WORKING_SIDE, read_pieces
from elysium.curation.running import run

OVERHEAD, DECODING = 0.05, 0.9
STAND_INS = ["curate.grounder=curation_parts:grounder", "curate.tracker=curation_parts:tracker"]
FREE = ["curate.grounder=curation_parts:free_grounder", "curate.tracker=curation_parts:free_tracker"]
# What a run does once, and nothing that grows with its videos.
ONCE = ("making the parts", "contact sheet", "card")
SECONDS, LISTED = 10.0, 500  # of a video; videos between two looks at the memory
WORKER = Path(__file__).with_name("curation_worker.py")


def main() -> None:
    """Makes the videos, measures and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help="some of: overhead,decoding,processes,memory,publication")
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    arguments = parser.parse_args()
    quick, rounds = arguments.quick, 1 if arguments.quick else arguments.rounds
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="elysium-benchmark-", dir=arguments.folder) as scratch:
        folder = Path(scratch)
        made = make_source(folder / "videos", 2 if quick else 6, 2.0 if quick else SECONDS)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "overhead": lambda: overhead(folder, made, rounds, 1 if quick else 2),
            "decoding": lambda: decoding(made, rounds),
            "processes": lambda: processes(folder, made, rounds, ray=not quick),
            "memory": lambda: memory(folder, 60 if quick else 5000, 20 if quick else LISTED),
            "publication": lambda: publication(folder, [400] if quick else [20_000, 100_000]),
        }
        video = describe(made)
        chosen = arguments.only.split(",") if arguments.only else list(parts)
        rows = {}
        for name in chosen:
            rows[name] = parts[name]()
            print(f"{name}: {json.dumps(rows[name])}", flush=True)
    what = {"what": "curation beside its models and the codec", "quick": quick, "video": video}
    finish({**what, "aims": {"overhead": OVERHEAD, "decoding": DECODING}, **rows}, arguments.output)


def describe(source: Path) -> dict[str, Any]:
    """Returns what the videos are."""
    path = min((source / "clips").glob("*.mp4"))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return {
            "size": [stream.width, stream.height],
            "frames": stream.frames,
            "frames_a_second": float(stream.average_rate or 0),
            "megabits_a_second": round(container.bit_rate / 1e6, 2),
            "codec": f"{stream.codec_context.name} {stream.profile}",
        }


def overhead(folder: Path, source: Path, rounds: int, embedded: int) -> dict[str, Any]:
    """Returns where the time of a run goes, with stand-ins and with the embedded parts."""
    few = make_short(folder, source, embedded)
    watched(folder, few, FREE)  # imports what is imported when it is used
    return {
        "stand-ins at G5's bound": shares([watched(folder, source, STAND_INS) for _ in range(rounds)]),
        "embedded parts": shares([watched(folder, few, [])]),
    }


def make_short(folder: Path, source: Path, count: int) -> Path:
    """Returns a source of the first videos of another."""
    short = folder / "some"
    short.mkdir(exist_ok=True)
    lines = (source / "manifest.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (short / "manifest.jsonl").write_text("".join(lines[:count]), encoding="utf-8")
    if not (short / "clips").exists():
        (short / "clips").symlink_to(source / "clips")
    return short


def watched(folder: Path, source: Path, parts: list[str]) -> dict[str, Any]:
    """Runs curation in this thread, and returns seconds by label: the clock's and the processor's."""
    settings = load_settings("nano", [f"ingest.source={source}", "engine.decode_ahead=0", *parts])
    watch = Watch()
    watch_curation(watch)
    try:
        with watch.timed("the rest"), tempfile.TemporaryDirectory(dir=folder) as output:
            stats = run(Path(output) / "tracks", settings)
    finally:
        watch.stop()
    if not stats or stats["outcomes"] != {"kept": stats["num_clips"]}:
        raise RuntimeError(f"not every video was kept: {stats and (stats['outcomes'], stats['rejects'])}")
    waited = {name: wall for name, wall in watch.wall.items() if name.startswith("models")}
    sleeping = any("curation_parts" in part for part in parts)
    return {
        "wall": dict(watch.wall),
        # A stand-in's time is what it slept.
        "cpu": {**watch.cpu, **(waited if sleeping else {})},
        "videos": stats["num_clips"],
        "tracks": stats["num_records"],
    }


def shares(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns medians over runs: milliseconds a video by label, and the share of what is overhead."""

    def share(kind: str, *, all_of_it: bool) -> float:
        return statistics.median(
            1 - sum(s for label, s in one.items() if _is_work(label)) / sum(one.values())
            for one in (
                {label: s for label, s in found[kind].items() if all_of_it or label not in ONCE} for found in runs
            )
        )

    labels = sorted(runs[0]["cpu"], key=lambda label: (not _is_work(label), -runs[0]["cpu"][label]))
    return {
        "videos": runs[0]["videos"],
        "tracks": runs[0]["tracks"],
        "runs": len(runs),
        "overhead": round(share("cpu", all_of_it=False), 4),
        "overhead_by_the_clock": round(share("wall", all_of_it=False), 4),
        "overhead_with_what_is_done_once": round(share("cpu", all_of_it=True), 4),
        "aim_holds_from_ms_of_models_a_video": round(_least_models(runs)),
        "seconds_done_once": round(statistics.median(sum(one["cpu"].get(name, 0) for name in ONCE) for one in runs), 3),
        "ms_a_video": {
            label: round(1000 * statistics.median(one["cpu"].get(label, 0.0) / one["videos"] for one in runs), 2)
            for label in labels
            if label not in ONCE
        },
    }


def _least_models(runs: list[dict[str, Any]]) -> float:
    """Returns how long the models must take, a video, for the overhead to be within its aim."""

    def milliseconds(label_is: Callable[[str], bool]) -> float:
        return statistics.median(
            1000 * sum(s for label, s in one["cpu"].items() if label_is(label) and label not in ONCE) / one["videos"]
            for one in runs
        )

    over = milliseconds(lambda label: not _is_work(label))
    return over * (1 - OVERHEAD) / OVERHEAD - milliseconds(lambda label: label.startswith("codec"))


def _is_work(label: str) -> bool:
    return label.startswith(("models", "codec"))


def decoding(source: Path, rounds: int) -> dict[str, Any]:
    """Returns frames a second of the decode stage and of PyAV alone."""
    reuse_memory()
    settings = load_settings("nano").curate
    files = sorted((source / "clips").glob("*.mp4"))

    def ours(path: Path) -> int:
        return sum(len(piece.frames) for piece in read_pieces(path, settings, split="train"))

    def converting(path: Path) -> int:
        last = -1
        count = 0
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                current = int(frame.time * settings.frame_rate + 1e-6)
                if current > last:
                    height = round(frame.height * WORKING_SIDE / frame.width)
                    frame.to_ndarray(format="rgb24", width=WORKING_SIDE, height=height, interpolation="AREA")
                    last, count = current, count + 1
        return count

    def decoding_alone(path: Path) -> int:
        with av.open(str(path)) as container:
            return sum(1 for _ in container.decode(video=0))

    ways = {"read_pieces": ours, "PyAV, same frames converted": converting, "PyAV, none converted": decoding_alone}
    frames = {path: decoding_alone(path) for path in files}
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for path in files:
            for name, way in ways.items():
                began, clock = time.process_time(), time.perf_counter()
                way(path)
                spent = time.process_time() - began, time.perf_counter() - clock
                times[name].append((frames[path] / spent[0], frames[path] / spent[1]))

    def ratio(name: str, kind: int) -> float:
        pairs = zip(times["read_pieces"], times[name], strict=True)
        return round(statistics.median(one[kind] / other[kind] for one, other in pairs), 3)

    plain = list(ways)[1:]
    return {
        "frames_kept_of": [ours(files[0]), frames[files[0]]],
        "frames_a_second": {
            name: round(statistics.median(cpu for cpu, _ in values), 1) for name, values in times.items()
        },
        "ratio": {name: ratio(name, 0) for name in plain},
        "ratio_by_the_clock": {name: ratio(name, 1) for name in plain},
        "pairs": len(times["read_pieces"]),
    }


def processes(folder: Path, source: Path, rounds: int, *, ray: bool) -> dict[str, Any]:
    """Returns how much faster two processes on two cores are than one on one."""
    make_source(folder / "tiny", 1, 1.0, side=160)
    cores = sorted(os.sched_getaffinity(0))[:2]
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(rounds):
        found["one"].append(together(folder, source, [(cores[0], "0/1")]))
        if len(cores) > 1:
            found["two"].append(together(folder, source, [(core, f"{n}/2") for n, core in enumerate(cores)]))
    figures: dict[str, Any] = {
        name: {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
        for name, rows in found.items()
    }
    pairs = list(zip(found["one"], found["two"], strict=False))
    if pairs:
        figures["times_as_fast"] = round(statistics.median(one["wall"] / two["wall"] for one, two in pairs), 3)
        # What the second process adds if each has its core to itself: the cores are shared with other work here.
        figures["times_as_fast_by_processor_time"] = round(
            statistics.median(one["cpu"] / two["longest_cpu"] for one, two in pairs), 3
        )
    if ray:
        rows = [together(folder, source, [(-1, "0/1")], ["engine.name=ray", "engine.decode_workers=1"])]
        figures["ray_on_two_cores, once"] = {"wall": round(rows[0]["wall"], 3)}
    return {**figures, "rounds": rounds}


def together(folder: Path, source: Path, work: list[tuple[int, str]], more: Sequence[str] = ()) -> dict[str, float]:
    """Starts one process for each core and share, lets them go at once, and returns how long they took."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        options = [f"ingest.source={source}", "curate.shard_videos=1", "curate.sheet_tracks=0", *FREE, *more]
        started = [
            subprocess.Popen(
                [sys.executable, str(WORKER), "run", f"{output}/tracks", share, str(core), f"{folder}/tiny", *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for core, share in work
        ]
        for process in started:
            assert process.stdout
            process.stdout.readline()  # `ready`
        began = time.perf_counter()
        for process in started:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]
        wall = time.perf_counter() - began
    spent = [answer["cpu"] for answer in answers]
    # How much of its core a process got: the rest went to other work on the machine.
    got = min(answer["cpu"] / answer["wall"] for answer in answers)
    return {"wall": wall, "cpu": sum(spent), "longest_cpu": max(spent), "share_of_core_got": got}


def memory(folder: Path, count: int, every: int) -> dict[str, Any]:
    """Returns the resident set of a run of many small videos, as it goes on."""
    source = make_source(folder / "small", 4, 1.0, entries=count, side=160)
    options = [f"ingest.source={source}", "curate.sheet_tracks=0", "curate.duplicate_bits=-1", *FREE]
    return worker("memory", f"{folder}/memory", str(count), str(every), *options)


def publication(folder: Path, counts: list[int]) -> dict[str, Any]:
    """Returns what publishing made-up records through shards takes."""
    return {str(count): worker("publish", f"{folder}/published-{count}", str(count)) for count in counts}


def worker(*arguments: str) -> dict[str, Any]:
    """Returns what a process of its own says."""
    command = [sys.executable, str(WORKER), *arguments]
    answer: dict[str, Any] = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
    )
    return answer


if __name__ == "__main__":
    main()
