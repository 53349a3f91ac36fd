"""Scoring any tracker's published result files: one text file a sequence, `x,y,w,h` a line (DESIGN §8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from elysium.boxes import FloatArray, xywh_to_xyxy
from elysium.errors import UsageError
from elysium.evaluation.metrics import AbsentFrames, TrackScore, mean_score, score_track

Format = Literal["lasot", "otb"]

_TARGET = re.compile(r"groundtruth_rect\.(\d+)\.txt")


@dataclass(frozen=True)
class ScoredSequences:
    """A tracker's figures.

    Attributes:
        mean: Over sequences.
        sequences: Name to figures.
        frames: Number of frames of all ground truth.
        short: Name to number of missing result rows, for sequences whose results end early.
        unused: Names of result files without ground truth; they are not scored.
    """

    mean: TrackScore
    sequences: dict[str, TrackScore]
    frames: int
    short: dict[str, int]
    unused: tuple[str, ...] = ()


def score_folders(
    predictions: Path,
    ground_truth: Path,
    layout: Format,
    absent: Path | None = None,
    absent_frames: AbsentFrames = "miss",
) -> ScoredSequences:
    """Scores a folder of result files against a folder of ground truth.

    Args:
        predictions: `<sequence>.txt` for each sequence.
        ground_truth: `<sequence>.txt`, or as the sets publish it: `<sequence>/groundtruth.txt` (LaSOT, also below a
            class folder) or `<sequence>/groundtruth_rect.txt` (OTB; of two targets `groundtruth_rect.1.txt` and
            `groundtruth_rect.2.txt`, which are the sequences `<sequence>-1` and `<sequence>-2`).
        layout: `lasot`: results as long as the truth. `otb`: results may end early, as published ones do; a missing
            row counts as no box; names are compared without regard to case, `_` and `-`, which trackers write as
            they like (`skating2_1` for `Skating2-1`).
        absent: Folder of absence flags, `<sequence>.txt` with 0 and 1, or LaSOT's `<sequence>/out_of_view.txt` and
            `<sequence>/full_occlusion.txt`.
        absent_frames: What to do with absent frames, see `score_track`.

    Raises:
        UsageError: If a folder holds no sequence or one twice, a sequence lacks its results or flags, or lengths
            differ; the message names them.
    """
    truths = _sequences(ground_truth)
    if not truths:
        raise UsageError(f"{ground_truth} holds no ground truth: NAME.txt or NAME/groundtruth.txt is looked for")
    results = _sequences(predictions)
    if layout == "otb":
        results = _renamed(results, truths)
    missing = sorted(set(truths) - set(results))
    if missing:
        raise UsageError(
            f"{predictions} lacks the results of {len(missing)} of {len(truths)} sequences: {', '.join(missing[:5])}"
            + (" …" if len(missing) > 5 else "")
        )
    scores, short, wrong = {}, {}, []
    frames = 0
    for name, path in sorted(truths.items()):
        truth, predicted = read_boxes(path), read_boxes(results[name])
        frames += len(truth)
        if len(predicted) > len(truth) or (len(predicted) < len(truth) and layout == "lasot"):
            wrong.append(f"{name} has {len(predicted)} rows for {len(truth)} frames")
            continue
        if len(predicted) < len(truth):
            short[name] = len(truth) - len(predicted)
            predicted = np.concatenate([predicted, np.full((short[name], 4), np.nan)])
        flags = None if absent is None else _read_absent(absent, name, len(truth))
        scores[name] = score_track(xywh_to_xyxy(predicted), xywh_to_xyxy(truth), flags, absent_frames)
    if wrong:
        raise UsageError("results and ground truth differ in length: " + "; ".join(wrong[:5]))
    unused = tuple(sorted(set(results) - set(truths)))
    return ScoredSequences(mean_score(list(scores.values())), scores, frames, short, unused)


def read_boxes(path: Path) -> FloatArray:
    """Returns the rows of a result or ground-truth file, shape `(n, 4)`; commas, tabs, spaces or semicolons part them.

    Raises:
        UsageError: If a row does not hold four numbers; the message names it.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        words = line.replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) != 4:
            raise UsageError(f"{path}, line {number}: four numbers x,y,w,h are needed, got {line.strip()!r}")
        rows.append(values)
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _sequences(folder: Path) -> dict[str, Path]:
    """Returns sequence name to file, for flat folders and for the sets' own."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    found: dict[str, Path] = {}
    flat = (path for path in sorted(folder.glob("*.txt")) if not path.name.startswith("groundtruth"))
    for path in (*sorted(folder.rglob("groundtruth*.txt")), *flat):
        target = _TARGET.fullmatch(path.name)
        if target:
            name = f"{path.parent.name}-{target[1]}"
        else:
            name = path.parent.name if path.name.startswith("groundtruth") else path.stem
        if name in found:
            raise UsageError(f"{folder} holds the sequence {name} twice: {found[name]} and {path}")
        found[name] = path
    return found


def _renamed(results: dict[str, Path], truths: dict[str, Path]) -> dict[str, Path]:
    """Returns the results under the ground truth's spelling of their names."""
    spelling = {_key(name): name for name in truths}
    found: dict[str, Path] = {}
    for name, path in results.items():
        spelled = name if name in truths else spelling.get(_key(name), name)
        if spelled in found:
            raise UsageError(f"{path} and {found[spelled]} are both results of the sequence {spelled}")
        found[spelled] = path
    return found


def _key(name: str) -> str:
    return name.casefold().replace("_", "-")


def _read_absent(folder: Path, name: str, length: int) -> FloatArray:
    direct = folder / f"{name}.txt"
    parts = [direct] if direct.is_file() else sorted(folder.rglob(f"{name}/full_occlusion.txt"))
    parts += [] if direct.is_file() else sorted(folder.rglob(f"{name}/out_of_view.txt"))
    if not parts:
        raise UsageError(f"{folder} holds no absence flags of {name}: {name}.txt or {name}/out_of_view.txt")
    flags = np.zeros(length, dtype=bool)
    for path in parts:
        values = [value for value in re.split(r"[,;\s]+", path.read_text(encoding="utf-8").strip()) if value]
        if len(values) != length or set(values) - {"0", "1"}:
            raise UsageError(
                f"{path}: one flag, 0 or 1, for each of {length} frames is needed, got {len(values)} values"
            )
        flags |= np.array(values) == "1"
    return flags
