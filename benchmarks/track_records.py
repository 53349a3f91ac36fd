"""Writing, opening and reading back as many track records as ElysiumTrack-1M holds, beside other ways to keep them.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/track_records.py --output benchmarks/results/track_records.json

The records are made up, each as long as ElysiumTrack's lines are on average (2.7 kB). They are published as `curate`
does it, JSON lines with their index and Parquet, and read back in processes of their own that have imported what they
need: seconds to open; records a second in random order, by id and in order, all parsed and checked; the largest
resident set (VmHWM) less that of a process that only imports. The baseline is every line parsed into a list, for as
many records by proportion. On fewer records (--compared) other ways are measured: the same lines parsed by the standard
library alone, Parquet in groups of 128 rows, and an Arrow file. The last line is JSON.
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

from data_sets import track
from reporting import finish

from elysium.config import load_settings
from elysium.curation.dataset.columns import to_table
from elysium.curation.dataset.publish import publish_dataset
from elysium.data.records import TrackRecord
from elysium.data.sets.schema import import_pyarrow

TEMPLATES = 4096  # made-up tracks that are told apart; the others differ from them in names alone
RANDOM, SECONDS, MEGABYTES = 5000.0, 5.0, 1000.0
_COMMON = """
    import json, re, sys, time
    from pathlib import Path
    import numpy as np
    import pyarrow as pa, pyarrow.parquet
    from elysium.curation.dataset.columns import from_rows
    from elysium.data.records import TrackRecord
    from elysium.data.track_set import TrackSet, build_index
    root, reads = Path(sys.argv[1]), int(sys.argv[2])

    def memory(name="VmHWM"):
        return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000

    def rate(read, count, total=reads):
        numbers = np.random.default_rng(0).integers(count, size=total).tolist()
        started = time.monotonic()
        for number in numbers:
            read(number)
        return total / (time.monotonic() - started)

    idle, started = memory(), time.monotonic()
"""
_TRACK_SET = """
    records = TrackSet(root)
    figures = {"records": len(records), "seconds_to_open": time.monotonic() - started, "mb_to_open": memory() - idle}
    figures["random_records_a_second"] = rate(records.__getitem__, len(records))
    names = [records[number].id for number in range(0, len(records), max(1, len(records) // 5000))]
    figures["records_by_id_a_second"] = rate(lambda number: records.by_id(names[number]), len(names))
    started = time.monotonic()
    for count, record in enumerate(records, start=1):
        if count == 10 * reads:
            break
    figures["records_a_second_in_order"] = count / (time.monotonic() - started)
    figures["mb_after_reading"] = memory() - idle
    started = time.monotonic()
    build_index(records.path)
    figures["seconds_to_index_again"] = time.monotonic() - started
    figures["mb_after_indexing"] = memory() - idle
    print(json.dumps(figures))
"""
_JSON = """
    records = TrackSet(root)
    index, file = records._index, (root / "train.jsonl").open("rb")
    figures = {"records": len(records), "seconds_to_open": time.monotonic() - started}
    def read(number):
        begin, end = index.span(number)
        file.seek(begin)
        return json.loads(file.read(end - begin))
    figures["random_records_a_second"] = rate(read, len(records))
    print(json.dumps({**figures, "mb_after_reading": memory() - idle}))
"""
_PARQUET = """
    file = pa.parquet.ParquetFile(root / "groups.parquet", memory_map=True)
    count = file.metadata.num_rows
    figures = {"records": count, "seconds_to_open": time.monotonic() - started}
    def read(number):
        table = file.read_row_group(number // 128, use_threads=False)
        return list(from_rows(table.slice(number % 128, 1).to_pylist()))[0]
    figures["random_records_a_second"] = rate(read, count, reads // 10)
    print(json.dumps({**figures, "mb_after_reading": memory() - idle}))
"""
_ARROW = """
    file = pa.ipc.open_file(pa.memory_map(str(root / "records.arrow")))
    count = sum(file.get_batch(number).num_rows for number in range(file.num_record_batches))
    figures = {"records": count, "seconds_to_open": time.monotonic() - started}
    def read(number):
        return list(from_rows(file.get_batch(number // 1000).slice(number % 1000, 1).to_pylist()))[0]
    figures["random_records_a_second"] = rate(read, count, reads // 10)
    print(json.dumps({**figures, "mb_after_reading": memory() - idle}))
"""
_LIST = """
    with (root / "train.jsonl").open("rb") as file:
        records = [json.loads(line) for line in file]
    figures = {"records": len(records), "seconds_to_open": time.monotonic() - started, "mb_to_open": memory() - idle}
    print(json.dumps({**figures, "random_records_a_second": rate(records.__getitem__, len(records))}))
"""


def main() -> None:
    """Writes the records, reads them and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    parser.add_argument("--records", type=int, default=1_270_000, help="default: 1270000")
    parser.add_argument("--compared", type=int, default=50_000, help="of them in other forms (default: 50000)")
    parser.add_argument("--reads", type=int, default=20_000, help="in random order (default: 20000)")
    parser.add_argument("--folder", type=Path, help="where to write them; by default a temporary folder")
    arguments = parser.parse_args()

    folder = Path(tempfile.mkdtemp(prefix="elysium-benchmark-", dir=arguments.folder))
    try:
        written = write(folder / "all", arguments.records)
        rows = {"lines and index": measure(_TRACK_SET, folder / "all", arguments.reads)}
        sizes = _sizes(folder / "all")
        write(folder / "some", arguments.compared)
        sizes["compared"] = {**_sizes(folder / "some"), **write_others(folder / "some", arguments.compared)}
        others = {
            "lines and index": _TRACK_SET,
            "lines and index, parsed by json alone": _JSON,
            "Parquet, groups of 128 rows": _PARQUET,
            "Arrow, mapped": _ARROW,
            "every line in a list": _LIST,
        }
        compared = {name: measure(code, folder / "some", arguments.reads) for name, code in others.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)

    many = arguments.records / arguments.compared
    listed = compared["every line in a list"]
    rows["every line in a list, by proportion"] = {
        name: listed[name] * many for name in ("records", "seconds_to_open", "mb_to_open")
    }
    for name, row in [
        *rows.items(),
        *((f"{name}, {arguments.compared} records", row) for name, row in compared.items()),
    ]:
        print(f"{name}: " + ", ".join(f"{key} {value:,.6g}" for key, value in row.items()))
    figures = {
        "what": "track records, made up: written, opened and read back",
        "bound": {"random_records_a_second": RANDOM, "seconds_to_open": SECONDS, "mb": MEGABYTES},
        "written": written,
        "bytes": sizes,
        "rows": _rounded(rows),
        "compared": _rounded(compared),
    }
    finish(figures, arguments.output)
    found = rows["lines and index"]
    if (
        found["random_records_a_second"] < RANDOM
        or found["seconds_to_open"] >= SECONDS
        or found["mb_after_indexing"] >= MEGABYTES
    ):
        sys.exit(f"under {RANDOM:g} records a second, or {SECONDS:g} s to open or {MEGABYTES:g} MB and more")


def write(root: Path, count: int) -> dict[str, float]:
    """Publishes records and returns how fast, and how much memory the process has taken for it at most."""
    templates = [track(number) for number in range(min(count, TEMPLATES))]
    before, started = _peak(), time.monotonic()
    publish_dataset(_records(templates, count), root, load_settings("nano").curate)
    seconds = time.monotonic() - started
    return {"records_a_second": round(count / seconds), "seconds": round(seconds, 1), "mb": round(_peak() - before, 1)}


def write_others(root: Path, count: int) -> dict[str, int]:
    """Writes the other forms and returns their bytes."""
    pa = import_pyarrow()
    table = to_table([TrackRecord.model_validate_json(line) for line in (root / "train.jsonl").open("rb")])
    pa.parquet.write_table(table, root / "groups.parquet", row_group_size=128, compression="zstd")
    with pa.OSFile(str(root / "records.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    assert len(table) == count
    return {name: (root / name).stat().st_size for name in ("groups.parquet", "records.arrow")}


def measure(work: str, root: Path, reads: int) -> dict[str, float]:
    """Returns what a process of its own says of its work."""
    code = textwrap.dedent(_COMMON) + textwrap.dedent(work)
    command = [sys.executable, "-c", code, str(root), str(reads)]
    figures: dict[str, float] = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    return figures


def _records(templates: list[TrackRecord], count: int) -> Iterator[TrackRecord]:
    for number in range(count):
        template = templates[number % len(templates)]
        video = str(1_000_000_000 + number // 3)
        names = [f"frames/{number // 100_000:05d}/{video}/{frame:06d}.jpg" for frame in range(len(template.frames))]
        yield template.model_copy(update={"id": f"ElysiumTrack_{number}", "vid": video, "frames": names})


def _sizes(root: Path) -> dict[str, int]:
    return {
        "train.jsonl": (root / "train.jsonl").stat().st_size,
        "train.index": (root / "train.index").stat().st_size,
        "parquet": sum(path.stat().st_size for path in (root / "parquet").iterdir()),
    }


def _peak() -> float:
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(text.partition("VmHWM:")[2].split()[0]) / 1000


def _rounded(rows: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: {key: round(value, 3) for key, value in row.items()} for name, row in rows.items()}


if __name__ == "__main__":
    main()
