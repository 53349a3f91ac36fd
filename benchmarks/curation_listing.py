"""What listing ten million captioned videos takes, beside Python's csv module reading them into a list of dicts.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/curation_listing.py --output benchmarks/results/curation_listing.json

The list is made up, in WebVid's columns; its captions have the words and lengths of stock video. Everything is measured
in a process of its own that has imported what it needs: seconds to list, and the largest resident set (VmHWM) less that
of a process that only imports, pages of mapped files included; then seconds to take the listing up again, milliseconds
a shard of 256 videos in random order (median, 99th percentile, worst), the memory after them, and milliseconds to find
a video by its id, or the nearest id of a misspelt one. The baseline would take about 10 GB for ten million rows:
--listed gives it fewer, and its row is set in proportion. The last line is JSON.
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
from pathlib import Path

import numpy as np
from reporting import finish

SHARD = 256
MILLISECONDS, MEGABYTES = 50.0, 1000.0
_TEXT = """
    aerial beach boat bridge bright business camera car cat child city close-up clouds coffee couple dancing dog drone
    evening field forest girl green hand happy horse house kitchen lake laptop man market morning mountain night ocean
    old park people phone playing rain red river road running sea shot sitting sky slow smiling snow street sun sunset
    table train tree view walking water white wind window winter woman working young
"""
_COMMON = """
    import csv, json, re, sys, time
    from pathlib import Path
    import numpy as np
    from elysium.config import IngestSettings
    from elysium.curation.sources.listing import Listing, make_listing
    from elysium.data.sets.schema import import_pyarrow
    from elysium.errors import UsageError
    import_pyarrow()
    path, folder, shard = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    settings = IngestSettings(source=str(path))

    def memory(name):
        text = Path("/proc/self/status").read_text()
        return int(re.search(name + r":\\s+(\\d+) kB", text)[1]) / 1000

    def timed(work):
        started = time.monotonic()
        work()
        return time.monotonic() - started

    idle = memory("VmHWM")
"""
_MAKE = """
    figures = {"seconds_to_list": timed(lambda: make_listing(settings, folder, shard_videos=shard))}
    print(json.dumps({**figures, "mb_to_list": memory("VmHWM") - idle}))
"""
_READ = """
    figures = {"seconds_to_take_up_again": timed(lambda: make_listing(settings, folder, shard_videos=shard))}
    figures["milliseconds_to_open"] = 1000 * timed(lambda: Listing(folder))
    listing = Listing(folder)
    rng = np.random.default_rng(0)
    listing.shard(0)
    times = [1000 * timed(lambda: listing.shard(int(n))) for n in rng.integers(listing.num_shards, size=500)]
    figures["milliseconds_a_shard"] = float(np.median(times))
    figures["milliseconds_a_shard_99th"] = float(np.percentile(times, 99))
    figures["milliseconds_a_shard_worst"] = max(times)
    ids = [listing.tasks(int(n), int(n) + 1)[0].id for n in rng.integers(listing.num_videos, size=100)]
    figures["mb_after_shards"] = memory("VmHWM") - idle
    figures["milliseconds_to_find"] = 1000 * float(np.median([timed(lambda: listing.find(one)) for one in ids]))

    def misspelt(name):
        try:
            listing.find(name)
        except UsageError as error:
            assert "did you mean" in str(error), error

    figures["milliseconds_to_the_nearest"] = 1000 * timed(lambda: misspelt(ids[0] + "x"))
    figures["milliseconds_to_one_that_contains"] = 1000 * timed(lambda: misspelt(ids[0][2:]))
    print(json.dumps({"videos": listing.num_videos, **figures}))
"""
_LIST = """
    def read():
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    started = time.monotonic()
    rows = read()
    print(json.dumps({"videos": len(rows), "seconds_to_list": time.monotonic() - started,
                      "mb_to_list": memory("VmHWM") - idle}))
"""


def main() -> None:
    """Makes the lists, lists them and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    parser.add_argument("--videos", type=int, nargs="+", default=[1_000_000, 10_000_000], help="lists of so many rows")
    parser.add_argument("--listed", type=int, default=500_000, help="rows for the baseline (default: 500000)")
    arguments = parser.parse_args()

    rows = {}
    folder = Path(tempfile.mkdtemp(prefix="elysium-benchmark-"))
    try:
        few = write_list(folder / "few.csv", arguments.listed)
        baseline = measure(_LIST, few, folder)
        for videos in arguments.videos:
            path = write_list(folder / f"{videos}.csv", videos)
            run = folder / f"run-{videos}"
            made, read = measure(_MAKE, path, run), measure(_READ, path, run)
            size = sum(file.stat().st_size for file in (run / "listing").iterdir())
            name = f"listing of {videos:,}"
            rows[name] = {**read, **made, "mb_of_csv": path.stat().st_size / 1e6, "mb_of_listing": size / 1e6}
            many = videos / baseline["videos"]
            rows[f"csv into a list of dicts, by proportion for {videos:,}"] = {
                "videos": videos,
                "seconds_to_list": baseline["seconds_to_list"] * many,
                "mb_to_list": baseline["mb_to_list"] * many,
            }
            path.unlink()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows["csv into a list of dicts"] = baseline
    rows = {name: {key: round(value, 3) for key, value in row.items()} for name, row in rows.items()}
    for name, row in rows.items():
        print(f"{name}: " + ", ".join(f"{key} {value:,}" for key, value in row.items()))
    figures = {
        "what": "listing a made-up CSV of videos and captions",
        "videos_a_shard": SHARD,
        "bound": {"milliseconds_a_shard": MILLISECONDS, "mb_to_list": MEGABYTES},
        "rows": rows,
    }
    finish(figures, arguments.output)
    listings = [row for row in rows.values() if "milliseconds_a_shard" in row]
    if any(row["milliseconds_a_shard_99th"] >= MILLISECONDS or row["mb_to_list"] >= MEGABYTES for row in listings):
        sys.exit(f"a shard takes {MILLISECONDS:g} ms, or listing {MEGABYTES:g} MB, and more")


def measure(work: str, path: Path, folder: Path) -> dict[str, float]:
    """Returns what a process of its own says of its work."""
    code = textwrap.dedent(_COMMON) + textwrap.dedent(work)
    command = [sys.executable, "-c", code, str(path), str(folder), str(SHARD)]
    figures: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return figures


def write_list(path: Path, count: int) -> Path:
    """Writes a list of made-up videos in WebVid's columns."""
    rng, started, vocabulary = np.random.default_rng(0), time.monotonic(), _TEXT.split()
    with path.open("w", encoding="utf-8") as file:
        file.write("videoid,contentUrl,duration,page_dir,name\n")
        for start in range(0, count, 10_000):
            lengths = rng.integers(6, 22, size=10_000)
            words = rng.integers(len(vocabulary), size=(10_000, 22))
            for row in range(min(10_000, count - start)):
                video = 1_000_000_000 + 7 * (start + row)
                caption = " ".join([vocabulary[word] for word in words[row, : lengths[row]]])
                name = f"{video}/preview/clip-{video}-{caption[:24].replace(' ', '-')}.mp4"
                address = f"https://videos.example.org/video/{name}"
                file.write(f'{video},{address},PT00H00M15S,"{start:06},{row % 50}",{caption.capitalize()}.\n')
    print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return path


if __name__ == "__main__":
    main()
