"""`elysium curate status`: how far a curation is, how fast, what it yields, and what goes wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from elysium.curation.locating import Curation, find_curation
from elysium.curation.outcome import STAGES
from elysium.curation.shards import MANIFEST
from elysium.curation.sharing import finished, is_held
from elysium.curation.summary import Counts

_RECENT = 3600.0  # seconds that the rate is taken over


def read_status(folder: Path) -> dict[str, Any]:
    """Returns how far it is: `state` (`running`, `stopped` or `done`), counts of videos and shards, rate, statistics.

    The statistics are those of the data set once it is there, and of what is finished before.

    Args:
        folder: The curation's, or a run's workspace.

    Raises:
        ElysiumError: If there is no curation in it.
    """
    curation = find_curation(folder)
    counts, moments = _count(curation)
    num_videos = curation.plan.num_videos
    rate = _rate(moments)
    left = num_videos - counts.num_videos
    stats = finished(curation.store, curation.plan.num_shards) if left == 0 else None
    state = "done" if stats is not None else "running" if is_held(curation.root) else "stopped"
    return {
        "state": state,
        "videos_done": counts.num_videos,
        "videos": num_videos,
        "shards_done": sum(1 for shard in curation.store.published() if curation.store.manifest(shard)),
        "shards": curation.plan.num_shards,
        "videos_per_second": None if rate is None else round(rate, 3),
        "seconds_left": None if rate is None or state != "running" else round(left / rate),
        "stats": counts.as_stats() if stats is None else stats,
    }


def format_status(status: dict[str, Any]) -> str:
    """Returns the status as text: progress, the funnel, and failures by kind."""
    stats = status["stats"]
    line = f"{status['state']}: {status['videos_done']} of {status['videos']} videos"
    line += f", {status['shards_done']} of {status['shards']} shards"
    if status["videos_per_second"] is not None and status["state"] == "running":
        line += f"; {status['videos_per_second']:.2f} videos/s, {_duration(status['seconds_left'])} left"
    outcomes = ", ".join(f"{name} {count}" for name, count in stats["outcomes"].items())
    lines = [line, f"videos: {outcomes or 'none yet'}"]
    if stats["failures"]:
        lines.append("failed: " + ", ".join(f"{kind} {count}" for kind, count in stats["failures"].items()))
    lines.append(f"{stats['num_candidates']} candidates (noun chunk and piece), {stats['num_records']} tracks kept")
    for row in stats["funnel"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in stats["rejects"].get(row["stage"], {}).items())
        passed = f"{row['passed']} of {row['entered']}"
        lines.append(
            f"  {row['stage']:<10} {passed:>16}  {STAGES[row['stage']]}" + (f" (not: {reasons})" if reasons else "")
        )
    for stage in ("fetch", "decode", "models", "caption", "chunk", "shots"):
        for reason, count in stats["rejects"].get(stage, {}).items():
            lines.append(f"before that, {stage}: {reason} {count}")
    kept = ", ".join(f"{name} {count}" for name, count in stats["records"]["by_kind_and_split"].items())
    lines.append(f"kept: {kept or 'nothing'}")
    return "\n".join(lines)


def _count(curation: Curation) -> tuple[Counts, list[tuple[float, int]]]:
    """Returns the counts of all that is finished, and when how many videos were."""
    counts, finished, store = Counts(), [], curation.store
    for shard in range(curation.plan.num_shards):
        manifest = store.manifest(shard)
        if manifest is not None:
            counts.add(manifest.counts)
            moment = (store.folder(shard) / MANIFEST).stat().st_mtime
            finished.append((moment, manifest.counts.num_videos))
            continue
        for path, rows in store.unfinished_blocks(shard):
            counts.add(store.count(shard, rows))
            finished.append((path.stat().st_mtime, len(rows)))
    return counts, finished


def _rate(finished: list[tuple[float, int]]) -> float | None:
    """Returns videos a second over the last hour that something was finished in; None until there are two moments."""
    if len(finished) < 2:
        return None
    finished = sorted(finished)
    end = finished[-1][0]
    recent = [entry for entry in finished if entry[0] >= end - _RECENT]
    seconds = max(time.time(), end) - recent[0][0] if time.time() - end < _RECENT else end - recent[0][0]
    # What was finished at the first moment was worked on before it.
    return sum(count for _, count in recent[1:]) / seconds if seconds > 0 and len(recent) > 1 else None


def _duration(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {int(seconds) % 60:02d} s"
