"""What opening a large imported set takes, beside reading the same tracks from JSON lines into a list.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/data_sets.py --output benchmarks/results/data_sets.json

The tracks are made up: as many as ElysiumTrack-1M holds, each as long as its lines are on average (2.7 kB). Everything
is measured in a process of its own that has imported what it needs: seconds to open; the largest resident set (VmHWM)
less that of a process that only imports, which counts pages of the mapped file too; records a second in random order,
and samples of training whose lengths are found a second, which reads their records in the order of a shuffle.
Then workers are forked that read on, and the memory that each has for itself is asked for. The list takes about 10 GB
for a million records: --listed gives it fewer. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from reporting import finish

from elysium.data.records import TrackMetadata, TrackRecord, write_jsonl
from elysium.data.sets.schema import SetObject, SetRecord
from elysium.data.sets.store import DATA, open_writer

FRAMES = 22
SECONDS, MEGABYTES = 10.0, 1000.0
_COMMON = """
    import json, os, re, sys, time
    from pathlib import Path
    import numpy as np
    from elysium.config import PhaseSettings, load_settings
    from elysium.data.records import TrackRecord, read_jsonl
    from elysium.data.sets.schema import import_pyarrow
    from elysium.data.sets.store import SetReader
    from elysium.training.samples import TrainingSamples
    from elysium.training.sources import open_sources
    import_pyarrow()
    path, reads = Path(sys.argv[1]), int(sys.argv[2])

    def memory(file, *names):
        text = Path(f"/proc/self/{file}").read_text()
        return sum(int(re.search(name + r":\\s+(\\d+) kB", text)[1]) for name in names) / 1000

    def read(records, seed):
        rng = np.random.default_rng(seed)
        started = time.monotonic()
        for number in rng.integers(len(records), size=reads):
            records[int(number)]
        return reads / (time.monotonic() - started)

    idle, started = memory("status", "VmHWM"), time.monotonic()
"""
_READER = """
    records = SetReader(path)
    figures = {"seconds_to_open": time.monotonic() - started, "mb_to_open": memory("status", "VmHWM") - idle}
    figures["random_records_a_second"] = read(records, 0)
    figures["mb_after_random"] = memory("status", "VmHWM") - idle
    private = []
    for worker in range(4):
        pipe = os.pipe()
        if os.fork() == 0:
            read(records, worker + 1)
            os.write(pipe[1], str(memory("smaps_rollup", "Private_Clean", "Private_Dirty")).encode())
            os._exit(0)
        os.wait()
        private.append(float(os.read(pipe[0], 100)))
    figures["mb_of_a_forked_worker"] = max(private)
    started = time.monotonic()
    for count, record in enumerate(records, start=1):
        if count == 20 * reads:
            break
    figures["records_a_second_in_order"] = count / (time.monotonic() - started)
    phase = PhaseSettings(steps=1, learning_rate=1, mixture={"sot": 1, "rsot": 1}, sets={path.parent.name: 1})
    training = load_settings("nano", [f"training.sets_folder={path.parent.parent}"]).training
    samples = TrainingSamples(open_sources(path.parent, phase, training, 64), "finetune", phase, 64, 0)
    samples.size(0)
    started = time.monotonic()
    for number in range(5 * reads):
        samples.size(number)
    figures["lengths_of_samples_a_second"] = 5 * reads / (time.monotonic() - started)
    print(json.dumps({"records": len(records), **figures}))
"""
_LIST = """
    records = list(read_jsonl(path, TrackRecord))
    figures = {"seconds_to_open": time.monotonic() - started, "mb_to_open": memory("status", "VmHWM") - idle}
    print(json.dumps({"records": len(records), **figures}))
"""


def main() -> None:
    """Makes the files, opens them and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    parser.add_argument("--records", type=int, default=1_270_000, help="in the Parquet file (default: 1270000)")
    parser.add_argument("--listed", type=int, default=200_000, help="of them as JSON lines (default: 200000)")
    parser.add_argument("--reads", type=int, default=2000, help="records read in random order (default: 2000)")
    parser.add_argument("--folder", type=Path, help="keeps the files there, and takes those that are there")
    arguments = parser.parse_args()

    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="elysium-benchmark-"))
    try:
        parquet, listed = folder / DATA, folder / "tracks.jsonl"
        written = None if parquet.is_file() else write_parquet(parquet, arguments.records)
        if not listed.is_file():
            write_jsonl(listed, map(track, range(min(arguments.listed, arguments.records))))
        opened = measure(_READER, parquet, arguments.reads)
        baseline = measure(_LIST, listed, arguments.reads)
        sizes = {"parquet_mb": parquet.stat().st_size / 1e6, "json_lines_mb": listed.stat().st_size / 1e6}
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)

    many = opened["records"] / baseline["records"]
    rows = {
        "parquet": opened,
        "json lines into a list": baseline,
        "the list for as many records, by proportion": {
            "records": opened["records"],
            "seconds_to_open": baseline["seconds_to_open"] * many,
            "mb_to_open": baseline["mb_to_open"] * many,
        },
    }
    rows = {name: {key: round(value, 3) for key, value in row.items()} for name, row in rows.items()}
    for name, row in rows.items():
        print(f"{name}: " + ", ".join(f"{key} {value:,}" for key, value in row.items()))
    figures = {
        "what": "opening an imported set of tracks, made up",
        "frames_a_record": FRAMES,
        "bound": {"seconds_to_open": SECONDS, "mb_to_open": MEGABYTES},
        **{key: round(value, 1) for key, value in sizes.items()},
        "records_written_a_second": None if written is None else round(written),
        "rows": rows,
    }
    finish(figures, arguments.output)
    if opened["seconds_to_open"] >= SECONDS or opened["mb_to_open"] >= MEGABYTES:
        sys.exit(f"opening takes {SECONDS:g} s or {MEGABYTES:g} MB and more")


def measure(work: str, path: Path, reads: int) -> dict[str, float]:
    """Returns what a process of its own says of its work."""
    code = textwrap.dedent(_COMMON) + textwrap.dedent(work)
    command = [sys.executable, "-c", code, str(path), str(reads)]
    figures: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return figures


def write_parquet(path: Path, count: int) -> float:
    """Writes tracks as an import does, and returns how many a second."""
    started = time.monotonic()
    with open_writer(path, "frames") as writer:
        for made in map(track, range(count)):
            named = SetObject(expression=made.object_description, object_class=made.object_class, boxes=list(made.box))
            record = SetRecord(
                id=made.id, dataset="elysiumtrack", frames=made.frames, frame_size=made.frame_size, objects=[named]
            )
            writer.add(record)
    return count / (time.monotonic() - started)


def track(number: int) -> TrackRecord:
    """Returns one made-up track, the same for the same number."""
    corners = np.sort(np.random.default_rng(number).random((FRAMES, 2, 2)), axis=1).reshape(FRAMES, 4)
    return TrackRecord(
        source="webvid",
        id=f"ElysiumTrack_{number}",
        vid=str(1_000_000_000 + number // 3),
        metadata=TrackMetadata(
            content_sha256="0" * 64,
            timestamps=[frame / 2 for frame in range(FRAMES)],
            decoder="none",
            caption="a caption of some words about what is seen",
            clip=str(number // 3),
            split="train",
            kind="real",
            confidence=0.9,
        ),
        frames=list(_frames(1_000_000_000 + number // 3)),
        object_class="dog",
        box=[tuple(box) for box in corners.tolist()],
        object_description=f"the running dog number {number}",
        frame_size=(596, 336),
    )


def _frames(video: int) -> Iterator[str]:
    for frame in range(FRAMES):
        yield f"frames/{video}/{frame:06}.jpg"


if __name__ == "__main__":
    main()
