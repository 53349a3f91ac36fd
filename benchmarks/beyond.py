"""What goes beyond the paper, with and without, on held-out simulated clips: --absent-below, --zoom and --multi.

    python benchmarks/beyond.py [--checkpoint nano] [--clips 60] [--output FILE]

absent: clips in which the named object leaves the frame, played forward and then backward, so that it comes back; the
object is given by box and name, or by box alone. A frame is right if the object is there and its box overlaps the true
one by half, or it is gone and said to be absent. Beside it, clips in which the object stays, where the option can only
do harm.
presence: the first frames of clips, asked for what they show and for what another clip shows. AUROC is how often the
confidence of the one is above that of the other.
zoom: clips shown small within a larger frame, so that objects are tiny; given by box.
multi: the first frames of clips, asked for all objects of one shape. A box is right if it overlaps one of them by half
that no other box has. The last line is JSON.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from reporting import finish

from elysium.boxes import iou
from elysium.data.simulator import simulate
from elysium.inference import Engine, TrackOptions, TrackRequest
from elysium.inference.checkpoints import EngineOptions, open_engine
from elysium.inference.memory import FrameSource
from elysium.inference.multi import find_all
from elysium.inference.results import Image
from elysium.inference.tracker import Tracker
from elysium.inference.tracks import Target

FIRST_SEED = 7_000_000
SIDE, WIDE = 128, 640


def main() -> None:
    """Prints the tables, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="nano")
    parser.add_argument("--home", type=Path, default=Path("runs"))
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    engine = open_engine(EngineOptions(arguments.checkpoint, arguments.home, device="cpu"))
    report = {
        "clips": arguments.clips,
        "absent": absent(engine, arguments.clips),
        "presence": presence(engine, arguments.clips),
        "zoom": zoom(engine, arguments.clips),
        "multi": multi(engine, arguments.clips),
    }
    for name in ("absent", "presence", "zoom", "multi"):
        print(name)
        for row in report[name]:
            print("  ", "  ".join(f"{key} {value}" for key, value in row.items()))
    finish(report, arguments.output)


def absent(engine: Engine, count: int) -> list[dict[str, Any]]:
    """Returns how often presence and absence are right, for several thresholds."""
    leaving, staying = [], []
    for seed in range(FIRST_SEED, FIRST_SEED + 40 * count):
        clip = simulate(seed, 24)
        for entry in clip.annotations.objects:
            gone = [box is None for box in entry.boxes]
            case = ([*clip.frames, *clip.frames[::-1]], [*entry.boxes, *entry.boxes[::-1]], entry.expression)
            if not gone[0] and sum(gone) >= 4 and gone[-1]:
                leaving.append(case)
            elif min(entry.visibility) > 0.9:
                staying.append(case)
        if len(leaving) >= count:
            break
    rows = []
    for given, least in (
        ("box and name", None),
        ("box and name", 0.1),
        ("box and name", 0.15),
        ("box and name", 0.2),
        ("box and name", 0.3),
        ("box", None),
        ("box", 0.2),
    ):
        tracker = Tracker(engine, TrackOptions(absent_below=least))
        right_there = there = right_gone = gone = back = came = 0
        for frames, boxes, name in leaving[:count]:
            shown = name if given == "box and name" else None
            for number, (found, truth) in enumerate(follow(tracker, frames, boxes, shown)):
                if truth is None:
                    gone, right_gone = gone + 1, right_gone + (found is None)
                    continue
                hit = overlaps(found, truth)
                there, right_there = there + 1, right_there + hit
                if number >= len(frames) // 2:
                    came, back = came + 1, back + hit
        pairs = []
        for frames, boxes, name in staying[: count // 2]:
            pairs += follow(tracker, frames, boxes, name if given == "box and name" else None)
        rows.append(
            {
                "given": given,
                "absent_below": least,
                "frames right": share(right_there + right_gone, there + gone),
                "there, box right": share(right_there, there),
                "gone, said so": share(right_gone, gone),
                "came back, box right": share(back, came),
                "stays, box right": share(sum(overlaps(*pair) for pair in pairs), len(pairs)),
                "stays, said to be gone": share(sum(found is None for found, _ in pairs), len(pairs)),
            }
        )
    return rows


Box = tuple[float, float, float, float]


def follow(
    tracker: Tracker, frames: list[Image], boxes: list[Box | None], name: str | None
) -> Iterator[tuple[Box | None, Box | None]]:
    """Yields what a tracker finds, normalised, and the truth; the object is given by its first box."""
    x1, y1, x2, y2 = boxes[0] or (0.0, 0.0, 1.0, 1.0)
    target = Target(box=(x1 * SIDE, y1 * SIDE, x2 * SIDE, y2 * SIDE), expression=name)
    for result, truth in zip(tracker.follow(FrameSource(frames), [target]), boxes, strict=True):
        found = result.objects[0].box
        yield None if found is None else tuple(np.array(found) / SIDE), truth


def overlaps(found: Box | None, truth: Box | None) -> bool:
    """Tells whether a box overlaps the true one by half."""
    return found is not None and truth is not None and float(iou(found, truth)) >= 0.5


def presence(engine: Engine, count: int) -> list[dict[str, Any]]:
    """Returns how well confidence tells what is in a frame from what is not."""
    clips = [simulate(seed, 2) for seed in range(FIRST_SEED, FIRST_SEED + count)]
    frames, there, elsewhere = [], [], []
    for number, clip in enumerate(clips):
        # A frame with a red star is not asked for a large red star: sizes are a matter of degree.
        looks = {tuple(entry.expression.split()[-2:]) for entry in clip.annotations.objects}
        others = [entry.expression for other in clips[number + 1 :] + clips for entry in other.annotations.objects]
        strange = [name for name in others if tuple(name.split()[-2:]) not in looks]
        for place, entry in enumerate(clip.annotations.objects):
            if entry.boxes[0] is not None and entry.visibility[0] > 0.9:
                frames.append(clip.frames[0])
                there.append(entry.expression)
                elsewhere.append(strange[place])
    (_, sure), (_, unsure) = (engine.ground_scored(frames, names) for names in (there, elsewhere))
    above = float(np.mean(sure[:, None] > unsure[None]))
    return [
        {
            "AUROC": round(100 * above, 1),
            "median confidence, there": round(float(np.median(sure)), 3),
            "median confidence, not there": round(float(np.median(unsure)), 3),
            "objects": len(frames),
        }
    ]


def zoom(engine: Engine, count: int) -> list[dict[str, Any]]:
    """Returns the overlap with the true boxes, with and without a second look."""
    rows = []
    for below in (None, 0.15):
        values, sides = [], []
        for seed in range(FIRST_SEED, FIRST_SEED + count):
            clip = simulate(seed, 15)
            entry = next((entry for entry in clip.annotations.objects if None not in entry.boxes), None)
            if entry is None:
                continue
            boxes = np.array(entry.boxes) * (SIDE / WIDE) + 0.5 - SIDE / WIDE / 2
            sides.append(float((boxes[0, 2:] - boxes[0, :2]).max()))
            request = TrackRequest([embed(image) for image in clip.frames], box=boxes[0])
            answer = engine.track([request], TrackOptions(zoom_below=below))[0]
            values.append(float(np.mean(iou(answer.boxes[1:], boxes[1:]))))
        rows.append(
            {
                "zoom_below": below,
                "mean IoU": round(100 * float(np.mean(values)), 1),
                "side of objects": share_of(sides),
            }
        )
    return rows


def embed(image: Image) -> Image:
    """Returns a frame shown in the middle of a larger grey one."""
    frame = np.full((WIDE, WIDE, 3), 128, np.uint8)
    start = (WIDE - SIDE) // 2
    frame[start : start + SIDE, start : start + SIDE] = image
    return frame


def multi(engine: Engine, count: int) -> list[dict[str, Any]]:
    """Returns precision and recall of one answer, and of repeated grounding."""
    rows = []
    for most in (1, 8):
        found = right = wanted = cases = 0
        for seed in range(FIRST_SEED, FIRST_SEED + 40 * count):
            clip = simulate(seed, 2)
            first = [entry for entry in clip.annotations.objects if entry.boxes[0] is not None]
            names = [entry.object_class for entry in first]
            shape = next((name for name in names if names.count(name) > 1), None)
            if shape is None:
                continue
            cases += 1
            left = [entry.boxes[0] for entry in first if entry.object_class == shape]
            wanted += len(left)
            for box, _ in find_all(engine, clip.frames[0], f"a {shape}", most):
                found += 1
                hit = next((truth for truth in left if float(iou(box, truth)) >= 0.5), None)
                if hit is not None:
                    right += 1
                    left.remove(hit)
            if cases == count:
                break
        precision, recall = right / max(found, 1), right / max(wanted, 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        rows.append(
            {
                "way": "one answer" if most == 1 else "--multi",
                "precision": round(100 * precision, 1),
                "recall": round(100 * recall, 1),
                "F1": round(100 * f1, 1),
                "objects": wanted,
            }
        )
    return rows


def share(part: int, whole: int) -> float:
    """Returns a percentage."""
    return round(100 * part / max(whole, 1), 1)


def share_of(sides: list[float]) -> str:
    """Returns the median side as a percentage of the frame's."""
    return f"{100 * float(np.median(sides)):.0f} %"


if __name__ == "__main__":
    main()
