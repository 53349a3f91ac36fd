"""Step `snapshot`: gives the curated tracks a version, keeps them in the DVC remote, and writes down their origin.

```
snapshot/data.dvc        DVC pointer to data/
snapshot/lineage.json    version, counts, and what it was made from
snapshot/data/           exactly train.jsonl, evaluation.jsonl, rejects.jsonl, stats.json, and frames/ or clips/ or both
```
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from elysium.data.storage import scheme_of
from elysium.data.stored_frames import count_stored
from elysium.data.versions import push_folder, remote_location
from elysium.errors import ElysiumError
from elysium.pipeline.steps import StepContext, StepResult
from elysium.pipeline.versions import code_version
from elysium.pipeline.workspace import read_manifest, write_atomic

CONTENT = ("train.jsonl", "evaluation.jsonl", "rejects.jsonl", "stats.json")
MEDIA = ("frames", "clips")  # what frames are stored in: one of them at least
_LISTS = {"train": "train.jsonl", "evaluation": "evaluation.jsonl", "rejects": "rejects.jsonl"}


def run(context: StepContext) -> StepResult:
    """Fills `snapshot/` from `tracks/` and pushes it.

    Raises:
        ElysiumError: If the tracks lack a part, or the remote cannot be written.
    """
    tracks, data = context.inputs["tracks"], context.output / "data"
    shutil.rmtree(data, ignore_errors=True)
    media = [name for name in MEDIA if (tracks / name).exists()]
    for name in (*CONTENT, *(media or MEDIA[:1])):
        if not (tracks / name).exists():
            raise ElysiumError(f"the tracks hold no {name}; run the step curate again")
        link_tree(tracks / name, data / name)
    settings = context.settings.snapshot
    version = push_folder(context.output, remote_location(settings, context.home), settings.s3_endpoint)
    counts = _counts(data)
    lineage: dict[str, Any] = {
        "data_hash": version,
        "remote": settings.remote if settings.remote and scheme_of(settings.remote) == "s3" else None,
        "counts": counts,
        "parents": {name: _parent(context.inputs[name]) for name in ("raw", "tracks")},
        "gates": {name: _gate(context.inputs[name]) for name in ("raw_report", "tracks_report")},
        "code": code_version(),
    }
    write_atomic(context.output / "lineage.json", json.dumps(lineage, indent=1, ensure_ascii=False) + "\n")
    return StepResult(
        summary=f"data {version[:12]}: {counts['train']} train and {counts['evaluation']} evaluation records, "
        f"{counts['frames']} frames, {counts['bytes'] / 2**20:.1f} MiB",
        metrics={"data_hash": version, **{f"num_{name}": number for name, number in counts.items()}},
    )


def link_tree(source: Path, target: Path) -> None:
    """Copies a file or folder by hard links, and by content where the file system has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link)
    else:
        _link(source, target)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _counts(data: Path) -> dict[str, int]:
    counts = {}
    for name, file in _LISTS.items():
        with (data / file).open("rb") as lines:
            counts[name] = sum(1 for line in lines if line.strip())
    files = [path for name in MEDIA for path in (data / name).rglob("*") if path.is_file()]
    counts["frames"] = sum(count_stored(path) for path in files)
    counts["bytes"] = sum(path.stat().st_size for path in [*files, *(data / file for file in _LISTS.values())])
    return counts


def _parent(folder: Path) -> dict[str, str | None]:
    manifest = read_manifest(folder)
    return {"digest": manifest.digest if manifest else None, "code": manifest.code if manifest else None}


def _gate(folder: Path) -> dict[str, str | None]:
    """Returns what a gate said; its report's digest is left out, for reports carry the time they were made at."""
    manifest = read_manifest(folder)
    return {"status": manifest.status if manifest else None, "summary": manifest.summary if manifest else None}
