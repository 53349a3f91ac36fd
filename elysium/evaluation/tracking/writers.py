"""Predicted boxes as result files: text files as LaSOT's and OTB's are, and what the servers of two sets take.

- `text`: `<sequence>.txt`, `x,y,w,h` a row, pixels counted as in the set's files; a frame without a box is a row of
  NaN.
- `got10k`: `<sequence>/<sequence>_001.txt` and `<sequence>_time.txt` (seconds a frame), in a zip archive, as the
  toolkit packs it for http://got-10k.aitestunion.com (`got10k/experiments/got10k.py`).
- `trackingnet`: `<sequence>.txt` at the top of a zip archive, for http://eval.tracking-net.org (`metrics.py` and
  issue 12 of the devkit).

The servers read no NaN: there a frame without a box is a row of zeros, which overlaps with nothing.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray, xyxy_to_xywh
from elysium.errors import UsageError
from elysium.evaluation.tracking.sequences import TrackingSequence, TrackingSet, finite_rows

ResultForm = Literal["text", "got10k", "trackingnet"]
_FORMS: dict[str, ResultForm] = {"got10k": "got10k", "trackingnet": "trackingnet"}
# A fixed time, so that equal results are equal archives.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_results(
    output: Path,
    tracking_set: TrackingSet,
    boxes: Mapping[str, npt.ArrayLike],
    form: ResultForm | None = None,
    seconds: Mapping[str, npt.ArrayLike] | None = None,
    given_first: bool = True,
) -> Path:
    """Writes the boxes of all sequences of a set.

    Args:
        output: Folder for `text`, archive for the others; `.zip` is added where it lacks.
        tracking_set: That the boxes belong to.
        boxes: Sequence name to shape `(T, 4)`, `(x1, y1, x2, y2)` in pixels counted from 0; NaN is no box.
        form: See above; None takes the one of the set's server, and `text` for sets without one.
        seconds: Sequence name to the time that each frame took, shape `(T,)`; for `got10k`, whose server shows it.
        given_first: Whether the first row is the given box, as the servers want it; not for boxes that were found by
            their name.

    Returns:
        The folder or archive.

    Raises:
        UsageError: If a sequence has no boxes, or not one a frame; nothing is written then.
    """
    form = form or _FORMS.get(tracking_set.name, "text")
    missing = [sequence.name for sequence in tracking_set.sequences if sequence.name not in boxes]
    if missing:
        raise UsageError(
            f"there are no boxes of {len(missing)} of {len(tracking_set.sequences)} sequences of "
            f"{tracking_set.title}: {', '.join(missing[:5])}" + (" …" if len(missing) > 5 else "")
        )
    rows = {
        sequence.name: _rows(sequence, boxes[sequence.name], given_first, tracking_set.one_based)
        for sequence in tracking_set.sequences
    }
    if form == "text":
        from elysium.pipeline.workspace import write_atomic

        for name, values in rows.items():
            write_atomic(output / f"{name}.txt", _text(values, 4, "NaN,NaN,NaN,NaN"))
        return output
    digits, empty = (3, "0.000,0.000,0.000,0.000") if form == "got10k" else (2, "0.00,0.00,0.00,0.00")
    members = {}
    for name, values in rows.items():
        text = _text(values, digits, empty)
        if form == "trackingnet":
            members[f"{name}.txt"] = text
            continue
        members[f"{name}/{name}_001.txt"] = text
        if seconds is not None and name in seconds:
            taken = np.asarray(seconds[name], dtype=np.float64)
            if taken.shape != (len(values),):
                raise UsageError(f"{name} needs one time for each of {len(values)} frames, got shape {taken.shape}")
            members[f"{name}/{name}_time.txt"] = "".join(f"{value:.8f}\n" for value in taken)
    return _write_archive(output if output.suffix == ".zip" else output.with_name(f"{output.name}.zip"), members)


def _rows(sequence: TrackingSequence, boxes: npt.ArrayLike, given_first: bool, one_based: bool) -> FloatArray:
    values = np.array(boxes, dtype=np.float64)
    if values.shape != (len(sequence.boxes), 4):
        raise UsageError(
            f"{sequence.name} needs one box for each of its {len(sequence.boxes)} frames, got shape {values.shape}"
        )
    if given_first:
        values[0] = sequence.boxes[0]
    values[~finite_rows(values)] = np.nan
    return xyxy_to_xywh(values + float(one_based))


def _text(rows: FloatArray, digits: int, empty: str) -> str:
    found = finite_rows(rows)
    lines = (
        ",".join(f"{value:.{digits}f}" for value in row) if there else empty
        for row, there in zip(rows.tolist(), found, strict=True)
    )
    return "".join(f"{line}\n" for line in lines)


def _write_archive(path: Path, members: Mapping[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in members.items():
                entry = zipfile.ZipInfo(name, _DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
