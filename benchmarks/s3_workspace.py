"""Artifacts to and from S3: a workspace against a plain parallel boto3 script, side by side.

Run it from the repository's root after `make install`, with a server and an empty bucket:

    export AWS_ENDPOINT_URL=http://…
    .venv/bin/python benchmarks/s3_workspace.py s3://bucket/x --output benchmarks/results/s3_workspace.json

One large file, and many small ones in several artifacts. The plain script is a pool of as many threads around boto3's
`put_object` and `get_object`, and `upload_file` and `download_file` for the large file; it lists nothing, checks
nothing, leaves no manifest and could not go on after a kill. The workspace does all of that. The two take turns, which
begins changes, and the median of each one's rates counts. Bytes are random. The last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from reporting import finish

from elysium.data.objects import THREADS, ObjectStore
from elysium.data.storage import split_s3
from elysium.pipeline.manifest import FileEntry, Manifest, scan
from elysium.pipeline.remote import RemoteWorkspace
from elysium.pipeline.steps import Artifact, Step, step
from elysium.pipeline.workspace import Workspace


def main() -> None:
    """Makes the files, moves them in both ways and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", help="s3://bucket/prefix; what is written there is removed")
    parser.add_argument("--large-mib", type=int, default=2048)
    parser.add_argument("--large-rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--artifacts", type=int, default=8, help="that the small files are divided among")
    parser.add_argument("--small-kib", type=int, default=10)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    root = Path(tempfile.mkdtemp(prefix="elysium-benchmark-"))
    try:
        bench = Bench(arguments.place, root)
        each = arguments.files // arguments.artifacts
        rows = {
            "large": bench.compare("large", 1, arguments.large_mib << 20, arguments.large_rounds),
            "small": bench.compare("small", each, arguments.small_kib << 10, arguments.artifacts),
        }
    finally:
        shutil.rmtree(root, ignore_errors=True)
    what = {
        "what": "artifacts to and from S3, MiB/s for the large file, files/s for the small ones",
        "server": os.environ.get("ELYSIUM_S3_SERVER", "unnamed"),
        "threads": THREADS,
        "large_mib": arguments.large_mib,
        "small_files": each * arguments.artifacts,
        "small_kib": arguments.small_kib,
    }
    finish({**what, "rows": rows}, arguments.output)


class Bench:
    """Moves artifacts with a workspace and without."""

    def __init__(self, place: str, root: Path) -> None:
        self._place, self._root = place.rstrip("/"), root
        self._bucket, self._prefix = split_s3(self._place)
        self._client = boto3.client("s3", config=Config(max_pool_connections=2 * THREADS))

    def compare(self, kind: str, files: int, size: int, rounds: int) -> dict[str, float]:
        """Returns the median rates up and down of both, and the quotients."""
        rates: dict[str, list[float]] = {}
        for number in range(rounds):
            source = self._root / "source"
            self._fill(source, files, size)
            ways: list[Callable[[Path], tuple[float, float]]] = [self._plain, self._workspace]
            for way in ways if number % 2 else reversed(ways):
                up, down = way(source)
                unit = files if files > 1 else size / 2**20
                name = way.__name__.strip("_")
                rates.setdefault(f"{name}_up", []).append(unit / up)
                rates.setdefault(f"{name}_down", []).append(unit / down)
            print(f"{kind} {number}: " + ", ".join(f"{name} {found[-1]:.1f}" for name, found in rates.items()))
            shutil.rmtree(source)
        medians = {name: statistics.median(found) for name, found in rates.items()}
        shares = {
            f"{way}_share_of_plain": medians[f"workspace_{way}"] / medians[f"plain_{way}"] for way in ("up", "down")
        }
        return {name: round(value, 3) for name, value in {**medians, **shares}.items()}

    def _fill(self, folder: Path, files: int, size: int) -> None:
        for number in range(files):
            path = folder / f"{number // 1000:03d}" / f"{number:06d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                for first in range(0, size, 1 << 24):
                    file.write(os.urandom(min(1 << 24, size - first)))

    def _plain(self, source: Path) -> tuple[float, float]:
        names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
        target, large = self._root / "plain", len(names) == 1
        many = TransferConfig(max_concurrency=THREADS)

        def put(name: str) -> None:
            key = f"{self._prefix}/plain/{name}"
            if large:
                self._client.upload_file(str(source / name), self._bucket, key, Config=many)
            else:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=(source / name).read_bytes())

        def get(name: str) -> None:
            key, path = f"{self._prefix}/plain/{name}", target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if large:
                self._client.download_file(self._bucket, key, str(path), Config=many)
            else:
                path.write_bytes(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())

        def all_of(work: Callable[[str], None]) -> float:
            began = time.perf_counter()
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(work, names))
            return time.perf_counter() - began

        up, down = all_of(put), all_of(get)
        self._clear("plain", target)
        return up, down

    def _workspace(self, source: Path) -> tuple[float, float]:
        mirror = Workspace(self._root / "mirror" / "run")
        place = RemoteWorkspace(ObjectStore(f"{self._place}/run"), mirror)
        writes = dataclasses.replace(step("ingest"), output=Artifact("raw", "raw", "Dataset"))
        manifest = _manifest(scan(source))
        shutil.copytree(source, mirror.partial(writes), copy_function=os.link)
        began = time.perf_counter()
        place.publish(writes, manifest)
        up = time.perf_counter() - began
        shutil.rmtree(mirror.root)
        began = time.perf_counter()
        _bring(place, writes)
        down = time.perf_counter() - began
        assert scan(mirror.folder(writes)) == manifest.files
        self._clear("run", mirror.root)
        return up, down

    def _clear(self, name: str, folder: Path) -> None:
        shutil.rmtree(folder)
        store = ObjectStore(f"{self._place}/{name}")
        store.remove(store.listed())


def _bring(place: RemoteWorkspace, writes: Step) -> None:
    manifest = place.manifest(writes)
    assert manifest is not None
    place.bring(writes, manifest, reader="benchmark")


def _manifest(files: dict[str, FileEntry]) -> Manifest:
    return Manifest(
        step="ingest",
        status="done",
        key="",
        digest="",
        files=files,
        summary="",
        metrics={},
        started="",
        seconds=0,
        peak_mib=0,
        code="",
    )


if __name__ == "__main__":
    main()
