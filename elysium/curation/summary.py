"""`stats.json`: how many candidates each stage let through, and what the kept tracks are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from elysium.curation.outcome import STAGES, ClipOutcome


def summarise(outcomes: Sequence[ClipOutcome]) -> dict[str, Any]:
    """Returns the figures of a whole curation, as plain data.

    `funnel` counts candidates: noun chunks that name one visible thing, times the pieces they were searched in; each
    is either kept or has exactly one reject. Words dropped from captions, short shots and unreadable clips are counted
    in `rejects` too, but are no candidates.
    """
    records = [record for outcome in outcomes for record in outcome.records]
    rejects = [reject for outcome in outcomes for reject in outcome.rejects]
    judged = [reject for reject in rejects if reject.shot is not None and reject.expression is not None]
    left = num_candidates = len(records) + len(judged)
    funnel = []
    for stage in STAGES:
        dropped = sum(reject.stage == stage for reject in judged)
        if stage in {"decode", "shots", "chunk"}:
            continue
        funnel.append({"stage": stage, "entered": left, "rejected": dropped, "passed": left - dropped})
        left -= dropped
    return {
        "num_clips": len(outcomes),
        "num_unreadable": sum(reject.stage == "decode" for reject in rejects),
        "num_shots": sum(outcome.num_shots for outcome in outcomes),
        "num_pieces": sum(outcome.num_pieces for outcome in outcomes),
        "num_chunks": sum(outcome.num_chunks for outcome in outcomes),
        "num_candidates": num_candidates,
        "num_records": len(records),
        "num_rejects": len(rejects),
        "num_frames": len({frame for record in records for frame in record.frames}),
        "funnel": funnel,
        "rejects": {
            stage: _count(reject.reason for reject in rejects if reject.stage == stage)
            for stage in STAGES
            if any(reject.stage == stage for reject in rejects)
        },
        "records": {
            "by_split": _count(record.metadata.split for record in records),
            "by_kind": _count(record.metadata.kind for record in records),
            "by_kind_and_split": _count(f"{record.metadata.kind}-{record.metadata.split}" for record in records),
        },
        "classes": _count(record.object_class for record in records),
    }


def _count(values: Any) -> dict[str, int]:
    """Returns how often each value occurs, the most frequent first, then by name."""
    return dict(sorted(Counter(values).items(), key=lambda entry: (-entry[1], entry[0])))
