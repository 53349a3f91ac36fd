"""`stats.json`: what became of the videos, how many candidates each stage let through, and what the kept tracks are."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

from elysium.curation.outcome import Reject, Stage
from elysium.curation.results import LedgerRow
from elysium.data.records import TrackRecord

# Before these, a caption, a video or a piece was dropped, and no candidate.
_CANDIDATE_STAGES: tuple[Stage, ...] = ("grounding", "tracking", "drift", "agreement", "size", "kept", "dataset")


class Summary:
    """Counts what passes by; memory does not grow with it.

    `funnel` counts candidates: noun chunks that name one visible thing, times the pieces they were searched in; each
    is either kept or has exactly one reject. Words dropped from captions, short pieces and unreadable videos are
    counted in `rejects` too, but are no candidates.
    """

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._rejects: dict[str, Counter[str]] = {}
        self._judged: Counter[str] = Counter()
        self._records: Counter[tuple[str, str]] = Counter()
        self._classes: Counter[str] = Counter()
        self._frames = self._pieces = 0
        self._vid = ""

    def add_video(self, row: LedgerRow) -> None:
        """Counts a video's outcome."""
        self._outcomes[row.outcome] += 1
        self._pieces += row.num_pieces
        if row.outcome == "failed":
            self._failures[row.reason] += 1

    def add_reject(self, reject: Reject) -> None:
        """Counts one dropped thing."""
        self._rejects.setdefault(reject.stage, Counter())[reject.reason] += 1
        if reject.shot is not None and reject.expression is not None:
            self._judged[reject.stage] += 1

    def add_record(self, record: TrackRecord) -> None:
        """Counts one record; those of a piece follow each other."""
        self._records[record.metadata.kind, record.metadata.split] += 1
        self._classes[record.object_class] += 1
        if record.vid != self._vid:
            self._vid = record.vid
            self._frames += len(record.frames)

    def as_dict(self) -> dict[str, Any]:
        """Returns the counts as plain data."""
        num_records = self._records.total()
        left = num_candidates = num_records + self._judged.total()
        funnel = []
        for stage in _CANDIDATE_STAGES:
            dropped = self._judged[stage]
            funnel.append({"stage": stage, "entered": left, "rejected": dropped, "passed": left - dropped})
            left -= dropped
        by_split: Counter[str] = Counter()
        by_kind: Counter[str] = Counter()
        for (kind, split), count in self._records.items():
            by_split[split] += count
            by_kind[kind] += count
        return {
            "num_clips": self._outcomes.total(),
            "outcomes": _sorted(self._outcomes),
            "failures": _sorted(self._failures),
            "num_unreadable": self._outcomes["failed"],
            "num_pieces": self._pieces,
            "num_candidates": num_candidates,
            "num_records": num_records,
            "num_rejects": sum(counts.total() for counts in self._rejects.values()),
            "num_frames": self._frames,
            "funnel": funnel,
            "rejects": {stage: _sorted(self._rejects[stage]) for stage in get_args(Stage) if stage in self._rejects},
            "records": {
                "by_split": _sorted(by_split),
                "by_kind": _sorted(by_kind),
                "by_kind_and_split": _sorted(
                    Counter({f"{kind}-{split}": count for (kind, split), count in self._records.items()})
                ),
            },
            "classes": _sorted(self._classes),
        }


def _sorted(counts: Counter[str]) -> dict[str, int]:
    """Returns how often each value occurs, the most frequent first, then by name."""
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))
