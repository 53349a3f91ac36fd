"""Whether evaluation records show anything that training records show (PROTOCOL §6).

By the rules of the evaluation's guard (`elysium.evaluation.leaks`) but for the looks, which it asks for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from elysium.data.records import TrackRecord
from elysium.evaluation.leaks.clips import of_track
from elysium.evaluation.leaks.index import FRAME, TrainingIndex, batches
from elysium.evaluation.leaks.looking import file_digests
from elysium.evaluation.leaks.rules import match_files, match_names

_COLUMNS = {"video": "shared_sequences", "clip": "shared_clips", "time": "overlap", "file": "shared_frames"}


def find_leaks(records: Sequence[TrackRecord], folder: Path) -> pd.DataFrame:
    """Returns one row an evaluation record: what it shares with training.

    Args:
        records: All records; `metadata.split` says which side each is on.
        folder: What frame paths are relative to.

    Returns:
        Columns `id`; `shared_sequences`: 1 where training has records of the same `vid`; `shared_clips`: 1 where a
        simulated clip is on both sides (real clips may be, cut in time); `overlap`: seconds of the same video file, by
        content, that both sides cover, or 0; `shared_frames`: frames whose image file is, byte for byte, in training.
    """
    index = _index([record for record in records if record.metadata.split == "train"], folder)
    clips = [of_track(record, folder) for record in records if record.metadata.split == "evaluation"]
    leaks = pd.DataFrame(0.0, index=range(len(clips)), columns=list(_COLUMNS.values()))
    for match in [*match_names(clips, index), *match_files([file_digests(clip) for clip in clips], index)]:
        if match.how in _COLUMNS:
            leaks.loc[match.evaluation, _COLUMNS[match.how]] = match.seconds or match.frames or 1.0
    leaks.insert(0, "id", pd.Series([clip.id for clip in clips], dtype="object"))
    return leaks


def _index(records: Sequence[TrackRecord], folder: Path) -> TrainingIndex:
    """Returns what training records are known by, with the files of all frames."""
    parts = []
    for batch in batches((of_track(record, folder) for record in records), max(1, len(records))):
        rows = []
        for row, clip in enumerate(batch.clips, start=batch.first):
            digests = file_digests(clip)
            frames = np.zeros(len(digests), dtype=FRAME)
            frames["clip"], frames["number"], frames["file"], frames["flat"] = row, range(len(digests)), digests, True
            rows.append(frames)
        parts.append(batch.columns(np.concatenate(rows)))
    return TrainingIndex.join(parts)
