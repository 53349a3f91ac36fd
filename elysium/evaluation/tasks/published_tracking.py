"""SOT and RSOT on the published tracking sets, each by its own protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from elysium.boxes import FloatArray, to_pixels
from elysium.config import EvaluateSettings
from elysium.errors import UsageError
from elysium.evaluation.leaks import Clip
from elysium.evaluation.request import SetRequest
from elysium.evaluation.results import Figures, ItemResult
from elysium.evaluation.tasks.following import Curves, Followed, Following
from elysium.evaluation.tasks.pictures import Pictures
from elysium.evaluation.tasks.work import Finished
from elysium.evaluation.tracking.opening import open_tracking_set
from elysium.evaluation.tracking.protocols import PROTOCOLS, Score
from elysium.evaluation.tracking.sequences import FrameFolder, TrackingSequence, TrackingSet
from elysium.evaluation.tracking.toolkits import OverlapScore
from elysium.evaluation.tracking.writers import write_results

RESULTS = "results"
ELYSIUMTRACK = "elysiumtrack"


def published_tracking(part: SetRequest, settings: EvaluateSettings) -> PublishedTracking:
    """Opens a published tracking set.

    Raises:
        UsageError: If the folder does not hold it whole, or its objects have no name and are to be found by it.
    """
    found = open_tracking_set(part.name, part.data, part.split, only=part.only)
    return PublishedTracking(part, found, settings)


class PublishedTracking(Following):
    """SOT or RSOT on a published set.

    Args:
        part: What is asked for.
        tracking_set: Opened.
        settings: Of the measurement.
    """

    def __init__(self, part: SetRequest, tracking_set: TrackingSet, settings: EvaluateSettings) -> None:
        sequences = tracking_set.sequences[: part.limit]
        self._set, self._protocol_of_set = tracking_set, PROTOCOLS[tracking_set.protocol]
        self._cut = part.max_frames
        self._sequences = {sequence.name: _cut(sequence, part.max_frames) for sequence in sequences}
        _check_counted(list(self._sequences.values()), tracking_set.title)
        super().__init__(
            part.task,
            tracking_set.name if tracking_set.split in ("test", "evaluation") else _joined(tracking_set),
            _items(list(self._sequences.values())),
            baselines=settings.baselines,
            facts={"max_frames": part.max_frames, "clip_frames": settings.clip_frames, "split": tracking_set.split},
            protocol={
                "protocol": tracking_set.protocol,
                "split": tracking_set.split,
                "absent_frames": "miss",
                "max_frames": part.max_frames,
                "clip_frames": settings.clip_frames,
            },
            notes=self._part_notes(part.task, len(sequences)),
        )

    def clips(self) -> list[Clip]:
        """What the sequences show; only ElysiumTrack's videos are called by their folder, as an import calls them."""
        named = self._set.name == ELYSIUMTRACK
        return [
            Clip(item.id, Path(item.video).name if named else None, list(item.frames.paths), dataset=self._set.name)
            for item in self.items.values()
        ]

    def finish(self, items: Sequence[ItemResult], folder: Path) -> Finished:
        """Adds what is no mean over sequences, and writes result files as the set's server or toolkit takes them."""
        finished = super().finish(items, folder)
        boxes = {item.id: self._pixels(item) for item in items}
        notes = list(finished.notes)
        if self._cut is None and len(items) == len(self._set.sequences):
            place = write_results(folder / RESULTS, self._set, boxes, given_first=self._kind == "sot")
            if not all(sequence.given for sequence in self._set.sequences):
                notes.append(f"the truth of {self._set.title} is not public: {place} is for its server to score")
        return Finished(items, corpus=self._corpus(items), protocol=finished.protocol, notes=notes)

    def _figures(self, item: Followed, predicted: FloatArray) -> tuple[Figures, Curves]:
        """Returns figures and curves by the set's own protocol; none where the truth is not public."""
        sequence = self._sequences[item.id]
        if not sequence.given:
            return {}, {}
        score = self._protocol_of_set.score(predicted, sequence)
        figures = {name: round(value, 4) for name, value in self._protocol_of_set.figures_of(score).items()}
        curves = {name: getattr(score, f"{name}_curve") for name in self._protocol_of_set.curves}
        return figures, {name: np.round(curve, 3).tolist() for name, curve in curves.items()}

    def _corpus(self, items: Sequence[ItemResult]) -> dict[str, Figures]:
        """Returns the figures that the set's protocol takes over all frames of all sequences; none for most."""
        weights: dict[str, int] = {}
        for item in items:
            sequence = self._sequences[item.id]
            score: Score | None = self._protocol_of_set.score(sequence.boxes, sequence) if sequence.given else None
            if not isinstance(score, OverlapScore):
                return {}
            weights[item.id] = score.num_frames
        found: dict[str, Figures] = {}
        for system in dict.fromkeys(name for item in items for name in item.figures):
            having = [item for item in items if system in item.figures]
            frames = [weights[item.id] for item in having]
            found[system] = {
                metric: round(float(np.average([item.figures[system][metric] for item in having], weights=frames)), 4)
                for metric in self._protocol_of_set.figures
            }
        return found

    def _pixels(self, item: ItemResult) -> FloatArray:
        rows = [[np.nan] * 4 if box is None else box for box in item.prediction["boxes"]]
        return to_pixels(np.array(rows, dtype=np.float64).reshape(-1, 4), self.items[item.id].size)

    def _part_notes(self, task: str, count: int) -> list[str]:
        notes = []
        if count < len(self._set.sequences) or not self._set.complete:
            total = self._set.num_published or len(self._set.sequences) + len(self._set.left_out)
            notes.append(f"{count} of {total} sequences of {self._set.title}: no figure of the whole set")
        if self._cut is not None:
            notes.append(f"only the first {self._cut} frames of each sequence were followed")
        nameless = [sequence for sequence in self._sequences.values() if not sequence.expression]
        if task == "rsot" and nameless:
            notes.append(
                f"{len(nameless)} of {count} sequences have no sentence and were asked for by their class, e.g. "
                f"{nameless[0].object_class!r}"
            )
        return notes


def _items(sequences: Sequence[TrackingSequence]) -> list[Followed]:
    pictures: dict[tuple[str, int], Pictures] = {}
    items = []
    for sequence in sequences:
        if not np.isfinite(sequence.boxes[0]).all():
            raise UsageError(f"{sequence.name} has no box in its first frame, so that nothing can be followed")
        video, start = _place(sequence)
        # Two targets of one video hold the very same frames.
        frames = pictures.setdefault((start, len(sequence.frames)), Pictures(sequence.frames, sequence.name))
        groups: Mapping[str, Any] = {
            "attribute": list(sequence.attributes) if sequence.attributes else [],
            "class": [sequence.object_class] if sequence.object_class else [],
        }
        items.append(
            Followed(
                sequence.name,
                video,
                frames,
                sequence.boxes,
                sequence.size(),
                sequence.expression or sequence.object_class,
                absent=sequence.absent,
                groups={kind: names for kind, names in groups.items() if names},
            )
        )
    return items


def _check_counted(sequences: Sequence[TrackingSequence], title: str) -> None:
    """Raises UsageError where a protocol that counts some frames alone, and never the first, would count none."""
    lost = [one.name for one in sequences if one.counted is not None and not one.counted[1:].any()]
    if lost:
        raise UsageError(
            f"{title} counts no frame of {len(lost)} of {len(sequences)} sequences ({', '.join(lost[:3])} …): the "
            "target is seen in none of those that are followed; --max-frames takes more of them"
        )


def _place(sequence: TrackingSequence) -> tuple[str, str]:
    """Returns what tells a sequence's video, and its first frame."""
    first = str(sequence.frames[0])
    folder = sequence.frames.folder if isinstance(sequence.frames, FrameFolder) else sequence.frames[0].parent
    return str(folder), first


def _cut(sequence: TrackingSequence, count: int | None) -> TrackingSequence:
    if count is None or len(sequence.frames) <= count:
        return sequence
    return replace(
        sequence,
        frames=sequence.frames[:count],
        boxes=sequence.boxes[:count],
        absent=None if sequence.absent is None else sequence.absent[:count],
        counted=None if sequence.counted is None else sequence.counted[:count],
    )


def _joined(tracking_set: TrackingSet) -> str:
    return f"{tracking_set.name}-{tracking_set.split}"
