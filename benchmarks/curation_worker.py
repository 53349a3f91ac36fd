"""The processes that `benchmarks/curation.py` starts, each for one measurement; the last line they print is JSON.

```
curation_worker.py run FOLDER SHARE CORE TINY SETTING…  curates a tiny source, says `ready`, waits, curates on one core
curation_worker.py memory FOLDER COUNT EVERY SETTING…   curates and looks at its resident set
curation_worker.py publish FOLDER COUNT                 makes up shards of records and publishes them
```
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elysium.config import Settings, load_settings
from elysium.curation import curation
from elysium.curation.curation import TaskList
from elysium.curation.evidence import CandidateRow, ChunkRow, FoundRow, PieceRow, TrackRow, VerdictRow, VideoRow
from elysium.curation.publishing import publish
from elysium.curation.running import run
from elysium.curation.shards import ShardStore
from elysium.curation.sources.tasks import VideoTask
from elysium.errors import ElysiumError

FRAMES = 22  # of a made-up track: its record is as long as ElysiumTrack's are on average


def curate(folder: Path, share: str, core: int, tiny: str, options: Sequence[str]) -> dict[str, Any]:
    """Curates a share on one core, from the word `go` on; -1 is all cores."""
    if core >= 0:
        os.sched_setaffinity(0, {core})
    settings = load_settings("nano", list(options))
    index, count = map(int, share.split("/"))
    # What is imported when it is used is there before the watch starts.
    run(
        folder.with_name(f"tiny-{index}"),
        load_settings("nano", [*options, f"ingest.source={tiny}", "engine.name=local"]),
    )
    print("ready", flush=True)
    sys.stdin.readline()
    before, began = _spent(), time.perf_counter()
    try:
        run(folder, settings, (index, count))
    except ElysiumError as error:
        # Two that end at the same moment both find all shards there; the other one makes the data set.
        if "another process" not in str(error):
            raise
    return {"cpu": _spent() - before, "wall": time.perf_counter() - began}


def watch_memory(folder: Path, count: int, every: int, options: Sequence[str]) -> dict[str, Any]:
    """Curates, and returns the resident set in megabytes after each so many videos, and while it publishes."""
    settings = load_settings("nano", list(options))
    seen: dict[str, float] = {}
    publishing: dict[str, float] = {}
    real_write, real_publish, number = ShardStore.write_block, curation.publish, 0

    def write_block(self: ShardStore, block: Any, rows: Sequence[VideoRow]) -> None:
        nonlocal number
        real_write(self, block, rows)
        before, number = number, number + len(rows)
        if before // every != number // every:
            seen[str(number // every * every)] = resident()

    def watched_publish(*arguments: Any) -> Any:
        publishing["mb_before"], done = resident(), threading.Event()
        highest = [publishing["mb_before"]]

        def look() -> None:
            while not done.wait(0.05):
                highest.append(resident())

        thread = threading.Thread(target=look)
        thread.start()
        began = time.perf_counter()
        try:
            return real_publish(*arguments)
        finally:
            done.set()
            thread.join()
            publishing["mb_at_most"], publishing["seconds"] = max(highest), round(time.perf_counter() - began, 2)

    ShardStore.write_block = write_block  # type: ignore[method-assign]
    curation.publish = watched_publish  # type: ignore[assignment]
    began, spent = time.perf_counter(), _spent()
    stats = run(folder, settings)
    assert stats is not None
    places, sizes = [int(place) for place in seen], list(seen.values())
    half = len(places) // 2
    return {
        "videos": count,
        "records": stats["num_records"],
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(_spent() - spent, 1),
        "mb": seen,
        "mb_a_thousand_videos": _slope(places, sizes),
        "mb_a_thousand_videos_of_second_half": _slope(places[half:], sizes[half:]),
        "publication": publishing,
    }


def publish_made_up(folder: Path, count: int) -> dict[str, Any]:
    """Publishes made-up records, two a video, and returns what a record takes."""
    settings: Settings = load_settings("nano", ["curate.sheet_tracks=0"])
    tasks = TaskList(
        [
            VideoTask(f"video-{number:07d}", f"{number}.mp4", "A dog runs.", "webvid", number=number)
            for number in range(count // 2)
        ],
        settings.curate.shard_videos,
    )
    store = ShardStore(folder, settings.curate)
    made, began = 0.0, time.process_time()
    for shard in range(tasks.num_shards):
        store.begin(shard)
        start = time.process_time()
        rows = [_video(task) for task in tasks.shard(shard)]
        made += time.process_time() - start
        store.publish(shard, tasks.shard(shard), rows)
    shards = time.process_time() - began - made
    before, began, clock = resident(), time.process_time(), time.perf_counter()
    _reset_peak()
    stats = publish(store, tasks.num_shards)
    spent = time.process_time() - began
    return {
        "records": stats["num_records"],
        "shards": tasks.num_shards,
        "ms_a_record_in_shards": round(1000 * shards / count, 3),
        "ms_a_record_in_the_data_set": round(1000 * spent / count, 3),
        "seconds": round(time.perf_counter() - clock, 1),
        "mb_before": before,
        "mb_more_at_most": round(resident("VmHWM") - before, 1),
        "bytes_a_record": round((folder / "train.jsonl").stat().st_size / stats["records"]["by_split"]["train"]),
    }


def resident(name: str = "VmRSS") -> float:
    """Returns this process's resident set in megabytes."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return round(int(text.partition(f"{name}:")[2].split()[0]) / 1000, 1)


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _spent() -> float:
    """Returns the processor's seconds of this process and of those that it has waited for."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def _slope(places: Sequence[int], sizes: Sequence[float]) -> float:
    return round(1000 * float(np.polyfit(places, sizes, 1)[0]), 3) if len(places) > 1 else 0.0


def _video(task: VideoTask) -> VideoRow:
    """Returns a made-up video with two kept tracks and one that was not found."""
    rng = np.random.default_rng(task.number)
    passed = VerdictRow(filter="first_frame", passed=True, value=0.9, threshold=0.6)
    failed = VerdictRow(filter="first_frame", passed=False, reason="not_found_first", value=0.1, threshold=0.6)
    names = ("dog", "ball", "cat")
    candidates = [_candidate(f"the running {name} number {task.number}", passed, rng) for name in names[:2]]
    candidates.append(CandidateRow(text=f"the running cat number {task.number}", first=[], verdicts=[failed]))
    piece = PieceRow(
        vid=f"{task.id}_000",
        shot=0,
        split="train" if rng.random() > 0.01 else "evaluation",
        indices=list(range(0, 2 * FRAMES, 2)),
        timestamps=[frame / 2 for frame in range(FRAMES)],
        size=(1024, 576),
        looks=[rng.bytes(16).hex() for _ in range(3)],
        candidates=candidates,
        stored=(384, 216),
    )
    chunks = [ChunkRow(text=row.text, head=name, words=("the",)) for row, name in zip(candidates, names, strict=True)]
    return VideoRow(
        id=task.id, caption=task.caption, sha256=rng.bytes(32).hex(), decoder="none", chunks=chunks, pieces=[piece]
    )


def _candidate(text: str, verdict: VerdictRow, rng: np.random.Generator) -> CandidateRow:
    corners = np.sort(rng.random((FRAMES, 2, 2)), axis=1).reshape(FRAMES, 4).round(6)
    boxes = [(x1, y1, x2, y2) for x1, y1, x2, y2 in corners.tolist()]
    found = [[FoundRow(box=boxes[place], confidence=0.9)] for place in (0, FRAMES // 2, -1)]
    return CandidateRow(
        text=text,
        first=found[0],
        middle=found[1],
        last=found[2],
        track=TrackRow(boxes=boxes, confidence=[0.9] * FRAMES),
        verdicts=[verdict],
    )


def _main() -> None:
    mode, folder, *rest = sys.argv[1:]
    if mode == "run":
        answer = curate(Path(folder), rest[0], int(rest[1]), rest[2], rest[3:])
    elif mode == "memory":
        answer = watch_memory(Path(folder), int(rest[0]), int(rest[1]), rest[2:])
    else:
        answer = publish_made_up(Path(folder), int(rest[0]))
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
