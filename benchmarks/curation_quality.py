"""How right the tracks are that curation keeps, and how many of the right ones: each filter alone, all, all but one.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/curation_quality.py --output benchmarks/results/curation_quality.json \\
        --picture docs/curation.svg

Clips are simulated, so that the truth is known; grounder and tracker err as `curation_world.py` states. A candidate is
a phrase in a clip; its track starts at the most confident box of the first frame, however unsure. A track is correct if
its mean IoU with the truth is at least 0.7. Measured are

- `filters`: precision (correct of the accepted) and recall (accepted of the correct) without any filter, with each
  alone, with the paper's, with ours, with all of the default, and with all but one; intervals are Wilson's of 95 %;
- `left`: which errors are among the tracks that all filters accept;
- `check_frames`: all filters, with more frames searched than the paper's three, and with a stricter mean IoU;
- `errors`: the paper's filters and all, with parts that err less, as stated, and more;
- `curves`: precision and recall of all filters, while one threshold moves and the others stay;
- `csrt`: a part of the clips with the embedded CSRT tracker in place of the one that errs as stated;
- `duplicates`: seconds and memory of finding the near-duplicates among a third of a million made-up pieces of three
  hashes, one in twenty with a copy of which each hash differs in up to two bits, in a process of its own.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from curation_world import NUM_FRAMES, Candidate, Errors, Piece, is_correct, make_pieces, subject_of, track

from elysium.config import CurateSettings
from elysium.curation.filters.base import FoundSubject, TrackSubject, Verdict
from elysium.curation.filters.grounding import more_positions
from elysium.curation.filters.looks import Entry, find_duplicates
from elysium.curation.filters.registry import Filter, active_filters
from elysium.curation.protocols import Track
from elysium.curation.tracking import CSRTTracker

# Thresholds that are moved, and where to.
SWEEPS: dict[str, Sequence[float]] = {
    "grounding_confidence": (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "tracking_confidence": (0.0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9),
    "min_mean_iou": (0.0, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8),
    "min_iou": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "max_drift": (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5),
    "same_object_iou": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.95),
    "max_cut": (0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
    "max_mixture": (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.8, 1.0),
}
_Z = 1.96


@dataclass
class Item:
    """A candidate with its track."""

    piece: Piece
    candidate: Candidate
    found: FoundSubject
    track: Track
    correct: bool


class Judge:
    """Says which candidates some filters accept; what a filter said under the same thresholds it says again.

    Args:
        items: All candidates with a track, those of a piece in a row.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._said: dict[tuple[Any, ...], list[bool]] = {}

    def accepted(self, filters: Iterable[Filter], settings: CurateSettings) -> list[bool]:
        """Returns whether each candidate is accepted."""
        chosen = list(filters)
        kept = [True] * len(self.items)
        for entry in chosen:
            if entry.level != "kept":
                kept = [one and other for one, other in zip(kept, self._passed(entry, settings), strict=True)]
        for entry in chosen:
            if entry.level == "kept":
                kept = self._beside_others(entry, settings, kept)
        return kept

    def _passed(self, entry: Filter, settings: CurateSettings) -> list[bool]:
        key = (entry.name, *(getattr(settings, name) for name in entry.settings))
        if key not in self._said:
            pieces: dict[int, Verdict] = {}
            said = []
            for item in self.items:
                if entry.level == "piece":
                    if item.piece.number not in pieces:
                        pieces[item.piece.number] = entry.judge(item.piece.subject, settings)
                    verdict = pieces[item.piece.number]
                elif entry.level == "track":
                    verdict = entry.judge(TrackSubject(item.found, item.track), settings)
                else:
                    verdict = entry.judge(item.found, settings)
                said.append(verdict.passed)
            self._said[key] = said
        return self._said[key]

    def _beside_others(self, entry: Filter, settings: CurateSettings, kept: Sequence[bool]) -> list[bool]:
        left: dict[int, list[Item]] = {}
        for item, is_kept in zip(self.items, kept, strict=True):
            if is_kept:
                left.setdefault(item.piece.number, []).append(item)
        result = []
        for item, is_kept in zip(self.items, kept, strict=True):
            others = {
                other.candidate.chunk.text: (other.candidate.chunk, other.track)
                for other in left.get(item.piece.number, [])
                if other is not item
            }
            result.append(is_kept and entry.judge(TrackSubject(item.found, item.track, others), settings).passed)
        return result


def make_items(
    pieces: Sequence[Piece], tracker: CSRTTracker | None = None, settings: CurateSettings | None = None
) -> list[Item]:
    """Returns the candidates that have a box on the first frame, with their tracks.

    Args:
        pieces: The clips.
        tracker: Follows them; by default the one that errs as stated.
        settings: Say how many frames are searched; by default the paper's three.
    """
    more = more_positions(NUM_FRAMES, settings or CurateSettings())
    items = []
    for piece in pieces:
        for place, candidate in enumerate(piece.candidates):
            found = subject_of(piece, place, more)
            if found.first:
                box = found.first[0].box
                result = track(piece, place, box) if tracker is None else tracker.track(piece.frames, box)
                items.append(Item(piece, candidate, found, result, is_correct(candidate, result.boxes)))
    return items


def score(items: Sequence[Item], kept: Sequence[bool]) -> dict[str, Any]:
    """Returns precision and recall in percent, with their intervals and counts."""
    accepted = sum(kept)
    right = sum(item.correct and is_kept for item, is_kept in zip(items, kept, strict=True))
    correct = sum(item.correct for item in items)
    return {
        "accepted": accepted,
        "correct": right,
        "precision": _percent(right, accepted),
        "precision_interval": _interval(right, accepted),
        "recall": _percent(right, correct),
        "recall_interval": _interval(right, correct),
    }


def table(judge: Judge, settings: CurateSettings, rows: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the scores of sets of filters, of all of them or of those that `rows` names."""
    asked = _asked(settings)
    sets: dict[str, list[Filter]] = {
        "none": [],
        "all": asked,
        "the paper's": [entry for entry in asked if entry.origin == "the paper's"],
        "ours": [entry for entry in asked if entry.origin == "ours"],
    }
    for entry in asked:
        sets[f"only {entry.name}"] = [entry]
    for entry in asked:
        sets[f"all but {entry.name}"] = [other for other in asked if other is not entry]
    return {
        name: score(judge.items, judge.accepted(filters, settings))
        for name, filters in sets.items()
        if not rows or name in rows
    }


def curves(judge: Judge, settings: CurateSettings) -> dict[str, list[dict[str, float]]]:
    """Returns precision and recall of all filters over each threshold."""
    asked = _asked(settings)
    found: dict[str, list[dict[str, float]]] = {}
    for name, values in SWEEPS.items():
        for value in values:
            figures = score(judge.items, judge.accepted(asked, settings.model_copy(update={name: value})))
            point = {key: figures[key] for key in ("precision", "recall")}
            found.setdefault(name, []).append({"threshold": value, **point})
    return found


def left_over(judge: Judge, settings: CurateSettings) -> dict[str, int]:
    """Returns what was wrong with the wrong tracks that all filters accept."""
    kept = judge.accepted(_asked(settings), settings)
    wrong = [item for item, is_kept in zip(judge.items, kept, strict=True) if is_kept and not item.correct]
    return dict(Counter(_error(item) for item in wrong).most_common())


def _asked(settings: CurateSettings) -> list[Filter]:
    """Returns the filters of the default that do not look at words."""
    return [entry for entry in active_filters(settings.filters) if entry.level not in ("caption", "chunk")]


def _error(item: Item) -> str:
    if item.piece.transition != "none":
        return item.piece.transition
    if item.candidate.failure != "none":
        return str(item.candidate.failure)
    return "leaves" if item.candidate.truth[0].any() and not item.candidate.truth[-1].any() else "wrong start"


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else float("nan")


def _interval(part: int, whole: int) -> list[float]:
    """Returns Wilson's interval of a share, in percent."""
    if not whole:
        return [0.0, 100.0]
    share = part / whole
    centre = (share + _Z**2 / (2 * whole)) / (1 + _Z**2 / whole)
    half = _Z / (1 + _Z**2 / whole) * np.sqrt(share * (1 - share) / whole + _Z**2 / (4 * whole**2))
    return [round(100 * float(centre - half), 2), round(100 * float(centre + half), 2)]


ERRORS: dict[str, Errors] = {
    "less": Errors(found=0.995, box=0.03, bad_box=0.02, elsewhere=0.04, confused=0.01, failing=0.2, unsure=0.025),
    "as stated": Errors(),
    "more": Errors(found=0.97, box=0.05, bad_box=0.1, elsewhere=0.12, confused=0.05, failing=0.6, unsure=0.045),
}


def duplicates(num_pieces: int) -> dict[str, Any]:
    """Returns what finding near-duplicates costs; to be run in a process of its own."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, (num_pieces, 3, 2), dtype=np.uint64)
    chosen = rng.permutation(num_pieces)[: 2 * (num_pieces // 20)].reshape(2, -1)
    flips = np.uint64(1) << rng.integers(0, 64, (chosen.shape[1], 3, 2)).astype(np.uint64)
    hashes[chosen[1]] = hashes[chosen[0]] ^ flips
    entries = (
        Entry(f"v{number:08d}", f"v{number:08d}", (number,), [f"{first:016x}{second:016x}" for first, second in row])
        for number, row in enumerate(row.tolist() for row in hashes)
    )
    before, start = _peak_mib(), time.perf_counter()
    found = find_duplicates(entries)
    return {
        "pieces": num_pieces,
        "hashes": 3 * num_pieces,
        "copies": int(chosen.shape[1]),
        "found": len(found),
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mib": _peak_mib(),
        "peak_mib_before": before,
    }


def draw(figures: dict[str, Any]) -> str:
    """Returns the curves as an SVG that stands by itself: a chart for each threshold."""
    from elysium.evaluation.report.charts import Series, line_chart

    charts = []
    for place, (name, points) in enumerate(figures["curves"].items()):
        series = [
            Series(key, key, [(point["threshold"], point[key]) for point in points], key)
            for key in ("precision", "recall")
        ]
        figure = line_chart(series, name.replace("_", " "), "%", y_range=(0.0, 100.0), size=(300, 190))
        drawing = figure[figure.index("<svg") : figure.index("</svg><script")] + "</svg>"
        x, y = 310 * (place % 3), 200 * (place // 3) + 24
        charts.append(drawing.replace("<svg", f'<svg x="{x}" y="{y}" width="300" height="190"', 1))
    height = 200 * -(-len(charts) // 3) + 24
    key = "".join(
        f'<line class="line {name}" x1="{x}" x2="{x + 24}" y1="12" y2="12"/>'
        f'<text class="name" x="{x + 30}" y="16">{name}, all filters (%)</text>'
        for name, x in (("precision", 52), ("recall", 300))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 930 {height}" role="img" '
        f'aria-label="Precision and recall of accepted tracks over each threshold"><style>{_STYLE}</style>'
        f"{key}{''.join(charts)}</svg>\n"
    )


_STYLE = """
svg { background: #fff; font: 12px system-ui, sans-serif; }
.grid { stroke: #e1e7ee; } .tick, .label, .name { fill: #586678; }
.line { fill: none; stroke-width: 2; } .dot { fill: transparent; }
.precision { stroke: #1f5fd6; } .recall { stroke: #c2570c; }
"""


def main() -> None:
    """Measures, prints and writes."""
    # Imported here, for the tests take their parts from this file, and this imports torch.
    from reporting import finish

    from elysium.pipeline.workspace import write_atomic

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--csrt-clips", type=int, default=40, help="the first so many; 0 leaves CSRT out")
    parser.add_argument("--pieces", type=int, default=333_334, help="of the search for near-duplicates")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path, help="an SVG of the curves")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    settings, start = CurateSettings(), time.perf_counter()
    pieces = make_pieces(arguments.clips)
    judge = Judge(make_items(pieces))
    figures: dict[str, Any] = {
        "clips": len(pieces),
        "candidates": sum(len(piece.candidates) for piece in pieces),
        "tracks": len(judge.items),
        "correct": sum(item.correct for item in judge.items),
        "filters": table(judge, settings),
        "left": left_over(judge, settings),
        "check_frames": {},
        "errors": {},
        "curves": curves(judge, settings),
    }
    for count in (3, 5, 9):
        items = make_items(pieces, settings=settings.model_copy(update={"check_frames": count}))
        for least in (settings.min_mean_iou, 0.65):
            stricter = settings.model_copy(update={"check_frames": count, "min_mean_iou": least})
            scores = score(items, Judge(items).accepted(_asked(settings), stricter))
            figures["check_frames"][f"{count}, min_mean_iou {least}"] = scores
    for name, errors in ERRORS.items():
        other = Judge(make_items(make_pieces(arguments.clips, errors)))
        scores = table(other, settings, ("none", "the paper's", "all"))
        figures["errors"][name] = {"parts": asdict(errors), **scores}
    if arguments.csrt_clips:
        items = make_items(pieces[: arguments.csrt_clips], CSRTTracker())
        figures["csrt"] = {"tracks": len(items), **table(Judge(items), settings, ("none", "the paper's", "all"))}
    if arguments.pieces:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            figures["duplicates"] = pool.apply(duplicates, (arguments.pieces,))
    figures["seconds"] = round(time.perf_counter() - start, 1)
    if arguments.picture:
        write_atomic(arguments.picture, draw(figures))
    finish(figures, arguments.output)


def _peak_mib() -> int:
    """Returns the largest resident set so far; `getrusage` would count the process that started this one too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


if __name__ == "__main__":
    main()
