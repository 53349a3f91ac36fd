"""What became of the videos, how many candidates each stage let through, and what the kept tracks are, in counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict

from elysium.curation.outcome import CANDIDATE_STAGES, Reject, Stage
from elysium.curation.results import LedgerRow
from elysium.data.records import TrackRecord


class Counts(BaseModel):
    """Counts of a shard, or of several; they add up.

    Attributes:
        outcomes: Videos by outcome.
        failures: Failed videos by kind.
        num_pieces: Pieces.
        seconds: Of the pieces' videos.
        rejects: Things dropped, by stage and reason.
        judged: Of these the candidates, by stage.
        records: Records by `kind-split`.
        classes: Records by class.
        num_frames: Frames stored.
    """

    model_config = ConfigDict(extra="forbid")

    outcomes: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    num_pieces: int = 0
    seconds: float = 0.0
    rejects: dict[str, Counter[str]] = {}
    judged: Counter[str] = Counter()
    records: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    num_frames: int = 0

    @property
    def num_videos(self) -> int:
        """Videos in all."""
        return self.outcomes.total()

    @property
    def num_records(self) -> int:
        """Records in all."""
        return self.records.total()

    def add_videos(self, rows: Iterable[LedgerRow]) -> None:
        """Counts outcomes."""
        for row in rows:
            self.outcomes[row.outcome] += 1
            self.num_pieces += row.num_pieces
            self.seconds = round(self.seconds + row.seconds, 3)
            if row.outcome == "failed":
                self.failures[row.reason] += 1

    def add_rejects(self, rejects: Iterable[Reject]) -> None:
        """Counts dropped things."""
        for reject in rejects:
            self.rejects.setdefault(reject.stage, Counter())[reject.reason] += 1
            if reject.shot is not None and reject.expression is not None:
                self.judged[reject.stage] += 1

    def add_records(self, records: Iterable[TrackRecord]) -> None:
        """Counts records; those of a piece follow each other."""
        vid = ""
        for record in records:
            self.records[f"{record.metadata.kind}-{record.metadata.split}"] += 1
            self.classes[record.object_class] += 1
            if record.vid != vid:
                vid = record.vid
                self.num_frames += len(record.frames)

    def add(self, other: Counts) -> None:
        """Adds another's counts."""
        for name in ("outcomes", "failures", "judged", "records", "classes"):
            getattr(self, name).update(getattr(other, name))
        for stage, reasons in other.rejects.items():
            self.rejects.setdefault(stage, Counter()).update(reasons)
        self.num_pieces += other.num_pieces
        self.num_frames += other.num_frames
        self.seconds = round(self.seconds + other.seconds, 3)

    def as_stats(self) -> dict[str, Any]:
        """Returns the content of `stats.json`.

        `funnel` counts candidates: noun chunks that name one visible thing, times the pieces they were searched in;
        each is either kept or has exactly one reject. Words dropped from captions, short pieces and unreadable videos
        are counted in `rejects` too, but are no candidates.
        """
        left = num_candidates = self.num_records + self.judged.total()
        funnel = []
        for stage in CANDIDATE_STAGES:
            dropped = self.judged[stage]
            funnel.append({"stage": stage, "entered": left, "rejected": dropped, "passed": left - dropped})
            left -= dropped
        by_split: Counter[str] = Counter()
        by_kind: Counter[str] = Counter()
        for name, count in self.records.items():
            kind, _, split = name.partition("-")
            by_split[split] += count
            by_kind[kind] += count
        return {
            "num_clips": self.num_videos,
            "outcomes": _sorted(self.outcomes),
            "failures": _sorted(self.failures),
            "num_unreadable": self.outcomes["failed"],
            "num_pieces": self.num_pieces,
            "seconds": self.seconds,
            "num_candidates": num_candidates,
            "num_records": self.num_records,
            "num_rejects": sum(counts.total() for counts in self.rejects.values()),
            "num_frames": self.num_frames,
            "funnel": funnel,
            "rejects": {stage: _sorted(self.rejects[stage]) for stage in get_args(Stage) if stage in self.rejects},
            "records": {
                "by_split": _sorted(by_split),
                "by_kind": _sorted(by_kind),
                "by_kind_and_split": _sorted(self.records),
            },
            "classes": _sorted(self.classes),
        }


def _sorted(counts: Counter[str]) -> dict[str, int]:
    """Returns how often each value occurs, the most frequent first, then by name."""
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))
