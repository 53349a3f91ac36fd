"""REC on RefCOCO, RefCOCO+ and RefCOCOg, and Video-REG on ElysiumTrack: published sets of pictures and descriptions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elysium.config import EvaluateSettings
from elysium.errors import UsageError
from elysium.evaluation.grounding.expressions import PUBLISHED_COUNTS, SETS, Expression, open_expressions
from elysium.evaluation.leaks import Clip
from elysium.evaluation.request import SetRequest
from elysium.evaluation.tasks.choosing import choose
from elysium.evaluation.tasks.describing import Described, Describing
from elysium.evaluation.tasks.finding import Finding, Named
from elysium.evaluation.tasks.pictures import Pictures
from elysium.evaluation.tracking.opening import open_tracking_set


def published_expressions(part: SetRequest, settings: EvaluateSettings) -> Finding:
    """Opens a split of RefCOCO, RefCOCO+ or RefCOCOg.

    Raises:
        UsageError: If set or split are not named or not there, or expressions or pictures are missing or broken.
    """
    if part.name is None or part.split is None:
        raise UsageError(f"rec needs --dataset, one of {', '.join(SETS)}, and --split, e.g. val, testA, testB or test")
    found = open_expressions(
        part.name, part.split, part.annotations or [part.data], part.media or part.data, part.form, part.units
    )
    chosen = choose(found, part, f"expression of {part.name} {part.split}")
    notes = []
    if len(chosen) < len(found):
        notes.append(
            f"{len(chosen)} of {len(found)} expressions of {part.name} {part.split}: no figure of the whole split"
        )
    published = {
        counts[part.split]
        for (name, _), counts in PUBLISHED_COUNTS.items()
        if name == part.name and part.split in counts
    }
    if published and len(found) not in published:
        notes.append(
            f"{len(found):,} expressions, where {part.name} {part.split} is published with "
            f"{' or '.join(f'{count:,}' for count in sorted(published))}"
        )
    return Finding(
        f"{part.name}-{part.split}",
        [_named(item) for item in sorted(chosen, key=lambda item: (str(item.image), item.id))],
        baselines=settings.baselines,
        protocol={"split": part.split},
        notes=notes,
        # Ids count sentences here and objects in training; pictures have one name in both.
        clips=[Clip(f"{part.split} {item.id}", item.image.stem, [item.image], dataset=part.name) for item in chosen],
    )


def published_descriptions(part: SetRequest, settings: EvaluateSettings) -> Describing:
    """Opens ElysiumTrack, or records of the same form, for Video-REG.

    Raises:
        UsageError: If it is not there, or its objects have no descriptions.
    """
    opened = open_tracking_set(part.name or "elysiumtrack", part.data, part.split, only=part.only)
    sequences = opened.sequences[: part.limit]
    nameless = [sequence.name for sequence in sequences if not sequence.expression]
    if nameless:
        raise UsageError(
            f"{opened.title} describes {len(nameless)} of {len(sequences)} objects not at all: {nameless[0]}"
        )
    shown = min(settings.clip_frames, part.max_frames or settings.clip_frames)
    clips: dict[tuple[str, int], Pictures] = {}
    items = [
        Described(
            sequence.name,
            str(sequence.frames[0].parent),
            clips.setdefault(
                (str(sequence.frames[0]), min(shown, len(sequence.frames))),
                Pictures(sequence.frames[:shown], sequence.name),
            ),
            sequence.boxes[0],
            sequence.size(),
            [str(sequence.expression)],
            sequence.object_class,
            groups={"class": [sequence.object_class]} if sequence.object_class else {},
        )
        for sequence in sequences
    ]
    notes = []
    if len(sequences) < len(opened.sequences) or not opened.complete:
        notes.append(f"{len(sequences)} objects of {opened.title}: no figure of the whole set")
    if part.max_frames is not None:
        notes.append(f"only the first {shown} frames of each video were shown")
    return Describing(
        opened.name,
        items,
        baselines=settings.baselines,
        metrics=settings.caption_metrics,
        facts={"clip_frames": shown, "split": opened.split},
        protocol={"clip_frames": shown, "max_frames": part.max_frames, "split": opened.split},
        notes=notes,
        clips=[
            Clip(one.name, one.frames[0].parent.name, list(one.frames[:shown]), dataset=opened.name)
            for one in sequences
        ],
    )


def _named(item: Expression) -> Named:
    groups: dict[str, Sequence[str]] = {"class": [item.object_class]} if item.object_class else {}
    return Named(item.id, str(item.image), item.image, item.text, np.array(item.box), item.size, groups)
