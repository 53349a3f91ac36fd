"""Scoring any tracker's result files: one text file a sequence, `x,y,w,h` a line (DESIGN §8)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from elysium.errors import UsageError
from elysium.evaluation.metrics import AbsentFrames
from elysium.evaluation.tracking import lasot, otb
from elysium.evaluation.tracking.attributes import AttributeScore, attribute_table
from elysium.evaluation.tracking.files import read_attributes, read_flags, to_boxes
from elysium.evaluation.tracking.protocols import PROTOCOLS, Protocol, Score
from elysium.evaluation.tracking.reading import Lengths, Reading, read_results
from elysium.evaluation.tracking.results import ResultFile, find_below, find_files, match_names
from elysium.evaluation.tracking.rows import parse_boxes, read_boxes
from elysium.evaluation.tracking.sequences import BoolArray, TrackingSequence, TrackingSet

__all__ = ["Format", "Reading", "ScoredSequences", "read_boxes", "score_folders", "score_set"]

Format = Literal["lasot", "otb"]
# Sets whose sequences trackers write as they like; names of others may differ in case alone (TrackingNet's do).
_LOOSE_NAMES = ("otb", "uav123", "uav20l", "nfs")


@dataclass(frozen=True)
class ScoredSequences:
    """A tracker's figures.

    Attributes:
        mean: Over sequences, as the protocol brings them together.
        sequences: Name to figures.
        frames: Number of frames of all ground truth.
        short: Name to number of missing result rows, for sequences whose results end early.
        unused: Names of result files without ground truth; they are not scored.
        protocol: What the figures mean.
        attributes: Sequence name to the attributes it holds, None where they are not known.
        notes: What one should know of the files that were read, a sentence each.
        left_out: Names of sequences that were not asked for.
    """

    mean: Score
    sequences: dict[str, Score]
    frames: int
    short: dict[str, int]
    unused: tuple[str, ...] = ()
    protocol: Protocol = PROTOCOLS["one-pass"]
    attributes: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def by_attribute(self) -> dict[str, AttributeScore]:
        """Returns the figures of each attribute.

        Raises:
            UsageError: If the attributes of a sequence are not known.
        """
        return attribute_table(self.protocol, self.sequences, self.attributes)


def score_folders(
    predictions: Path,
    ground_truth: Path,
    layout: Format,
    absent: Path | None = None,
    absent_frames: AbsentFrames = "miss",
    *,
    protocol: str = "one-pass",
    reading: Reading | None = None,
    attributes: Path | None = None,
    only: Collection[str] | None = None,
) -> ScoredSequences:
    """Scores a folder of result files against a folder of ground truth, both counting pixels from 1.

    Args:
        predictions: `<sequence>.txt` for each sequence, or another layout of `find_files`.
        ground_truth: `<sequence>.txt`, or as the sets publish it: `<sequence>/groundtruth.txt` (LaSOT, also below a
            class folder) or `<sequence>/groundtruth_rect.txt` (OTB; of two targets `groundtruth_rect.1.txt` and
            `groundtruth_rect.2.txt`, which are the sequences `<sequence>-1` and `<sequence>-2`).
        layout: `lasot`: results as long as the truth. `otb`: results may end early, as published ones do; a missing
            row counts as no box; names are compared without regard to case, `_` and `-`, which trackers write as
            they like (`skating2_1` for `Skating2-1`); Tiger1 is scored from its sixth frame on, as in the benchmark.
        absent: Folder of absence flags, `<sequence>.txt` with 0 and 1, or LaSOT's `<sequence>/out_of_view.txt` and
            `<sequence>/full_occlusion.txt`.
        absent_frames: What to do with absent frames, see `score_track`.
        protocol: Name of one of `PROTOCOLS`.
        reading: How result files are to be read.
        attributes: Folder of attribute files, `<sequence>.txt`, with LaSOT's flags in its toolkit's order; None takes
            those of OTB-100 for `otb`, and else none.
        only: Names of the sequences to score, instead of all.

    Raises:
        UsageError: If a folder holds no sequence or one twice, a sequence lacks its results or flags, lengths differ,
            or results look like something else than they are read as; the message names them.
    """
    truths = find_files(ground_truth)
    if not truths:
        raise UsageError(f"{ground_truth} holds no ground truth: NAME.txt or NAME/groundtruth.txt is looked for")
    flags = None if absent is None else _flag_files(absent)
    chosen = _chosen(truths, only, ground_truth)
    sequences = [_sequence(name, truths[name], layout, flags, absent, attributes) for name in chosen]
    lengths: Lengths = "short" if layout == "otb" else "exact"
    scored = _score(
        sequences, predictions, PROTOCOLS[protocol], reading or Reading(), absent_frames, lengths, layout == "otb"
    )
    notes = list(scored.notes)
    if absent is None and truths[chosen[0]].path.with_name("full_occlusion.txt").is_file():
        notes.append(f"{ground_truth} holds flags of absence that are not used: --absent {ground_truth} uses them")
    left_out = tuple(sorted(set(truths) - set(chosen)))
    unused = tuple(name for name in scored.unused if name not in left_out)
    return replace(scored, left_out=left_out, unused=unused, notes=tuple(notes))


def score_set(
    tracking_set: TrackingSet,
    predictions: Path,
    absent_frames: AbsentFrames = "miss",
    *,
    protocol: str | None = None,
    reading: Reading | None = None,
) -> ScoredSequences:
    """Scores result files of a published set.

    Args:
        tracking_set: From `open_tracking_set`; images are needed only for shares of the frame, and by the protocols
            `got10k` and `release` where the set does not state frame sizes.
        predictions: A folder or an archive, see `find_files`; pixels count as in the set's files.
        absent_frames: What to do with absent frames, see `score_track`.
        protocol: Name of one of `PROTOCOLS`; None takes the set's.
        reading: How result files are to be read.

    Raises:
        UsageError: If the set's truth is not public, and as `score_folders`.
    """
    hidden = [sequence.name for sequence in tracking_set.sequences if not sequence.given]
    if hidden:
        raise UsageError(
            f"the truth of {tracking_set.title} is not public beyond the first frame ({len(hidden)} sequences): write "
            "the results in the form of its server with write_results, and send them there"
        )
    lengths: Lengths = "short" if tracking_set.name == "otb" else "exact"
    scored = _score(
        tracking_set.sequences, predictions, PROTOCOLS[protocol or tracking_set.protocol], reading or Reading(),
        absent_frames, lengths, tracking_set.name in _LOOSE_NAMES,
    )  # fmt: skip
    return replace(scored, left_out=tracking_set.left_out)


def _score(
    sequences: Sequence[TrackingSequence],
    predictions: Path,
    protocol: Protocol,
    reading: Reading,
    absent_frames: AbsentFrames,
    usual: Lengths,
    loose: bool,
) -> ScoredSequences:
    names = {sequence.name for sequence in sequences}
    files, unused = match_names(find_files(predictions), names, loose)
    missing = sorted(names - set(files))
    if missing:
        raise UsageError(
            f"{predictions} lacks the results of {len(missing)} of {len(names)} sequences: {', '.join(missing[:5])}"
            + (" …" if len(missing) > 5 else "")
        )
    if reading.frame_size:
        sequences = [replace(one, frame_size=one.frame_size or reading.frame_size) for one in sequences]
    results = read_results(sequences, files, reading, usual)
    scores = {}
    for sequence in sequences:
        try:
            scores[sequence.name] = protocol.score(results.boxes[sequence.name], sequence, absent_frames)
        except ValueError as error:
            raise UsageError(f"{sequence.name} cannot be scored: {error}") from error
    notes = [*results.notes, *_unused_treatment(sequences, protocol, absent_frames)]
    return ScoredSequences(
        mean=protocol.mean(list(scores.values())),
        sequences=scores,
        frames=sum(len(sequence.boxes) for sequence in sequences),
        short=results.short,
        unused=unused,
        protocol=protocol,
        attributes={sequence.name: sequence.attributes for sequence in sequences},
        notes=tuple(notes),
    )


def _unused_treatment(
    sequences: Sequence[TrackingSequence], protocol: Protocol, absent_frames: AbsentFrames
) -> list[str]:
    """Says where a treatment of absent frames was asked for and none is known or none matters."""
    if absent_frames == "miss":
        return []
    if not protocol.treats_absent:
        return [
            f"the protocol {protocol.name} knows no flags of absence: --absent-frames {absent_frames} changes nothing"
        ]
    if all(sequence.absent is None for sequence in sequences):
        return [f"no flags of absence are known: --absent-frames {absent_frames} changes nothing"]
    return []


def _sequence(
    name: str,
    file: ResultFile,
    layout: Format,
    flags: Mapping[str, list[Path]] | None,
    absent: Path | None,
    attributes: Path | None,
) -> TrackingSequence:
    rows = parse_boxes(file.read(), file.where)
    if len(rows) == 0:
        raise UsageError(f"{file.where} is empty")
    if layout == "otb":
        rows = rows[otb.without_omitted(name, len(rows)) :]
    known = otb.attributes_of(name) if layout == "otb" else None
    if attributes is not None:
        names = lasot.ATTRIBUTES if layout == "lasot" else otb.ATTRIBUTES
        known = read_attributes(attributes / f"{name}.txt", names)
    return TrackingSequence(
        name=name,
        frames=(),
        boxes=to_boxes(rows, one_based=True),
        absent=None if flags is None else _absent(flags.get(name, []), name, len(rows), absent),
        attributes=known,
        one_based=True,
    )


def _flag_files(folder: Path) -> dict[str, list[Path]]:
    """Returns sequence name to its files of absence flags."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    found: dict[str, list[Path]] = {path.stem: [path] for path in folder.glob("*.txt")}
    for part in ("full_occlusion.txt", "out_of_view.txt"):
        for path in find_below(folder, part):
            if path.parent != folder and (folder / f"{path.parent.name}.txt") not in found.get(path.parent.name, []):
                found.setdefault(path.parent.name, []).append(path)
    return found


def _absent(files: Sequence[Path], name: str, length: int, folder: Path | None) -> BoolArray:
    if not files:
        raise UsageError(f"{folder} holds no absence flags of {name}: {name}.txt or {name}/out_of_view.txt")
    flags = np.zeros(length, dtype=bool)
    for path in files:
        flags |= read_flags(path, length)
    return flags


def _chosen(truths: Mapping[str, ResultFile], only: Collection[str] | None, place: Path) -> list[str]:
    if only is None:
        return sorted(truths)
    unknown = sorted(set(only) - set(truths))
    if unknown or not only:
        raise UsageError(f"{place} holds no ground truth of {', '.join(unknown[:5]) or 'an empty list of sequences'}")
    return sorted(set(only))
