"""What is asked about the objects of a clip, and where the answers together say that each object is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from elysium.boxes import FloatArray
from elysium.inference.decoding import Choice
from elysium.inference.drafts import MotionDraft
from elysium.inference.engine import confidence_of
from elysium.inference.grammar import BoxesState
from elysium.inference.presence import Seen, settle_frame
from elysium.inference.tracks import ObjectState
from elysium.inference.zoom import Window, is_better


@dataclass(eq=False)
class Followed:
    """One object on its way through a video.

    Attributes:
        id: From 1.
        label: What it is shown as.
        expression: Its name, where it has one.
        box: Its last box, normalised, shape `(4,)`; None before there is one.
        lost: Whether it was absent in the last frame.
        draft: Guesses its next boxes.
    """

    id: int
    label: str
    expression: str | None
    box: FloatArray | None
    lost: bool = False
    draft: MotionDraft | None = None

    def state(self) -> ObjectState:
        """Returns what is kept of it between runs."""
        x1, y1, x2, y2 = (0.0,) * 4 if self.box is None else self.box.tolist()
        box = None if self.box is None else (x1, y1, x2, y2)
        return ObjectState(self.id, self.label, self.expression, box, self.lost)


@dataclass(eq=False)
class Look:
    """One object asked about in one clip; the second look is at a crop, a glance at one frame by itself.

    Attributes:
        target: The object.
        answer: Being written.
        first: The given box in the clip's first frame, normalised to what is shown; None where the name is given.
        window: What is shown of the frames; None is all.
        frame: The one that a glance is at; None for the clip.
        boxes: The answer, normalised to the whole frame, shape `(T, 4)`.
        sure: The model's confidence in each, shape `(T,)`.
    """

    target: Followed
    answer: BoxesState
    first: FloatArray | None
    window: Window | None = None
    frame: int | None = None
    boxes: FloatArray = field(default_factory=lambda: np.empty((0, 4)))
    sure: FloatArray = field(default_factory=lambda: np.empty(0))

    def take(self, chosen: Sequence[Choice]) -> None:
        """Takes the answer, now that it is whole."""
        self.boxes = np.array(self.answer.boxes(), dtype=np.float64)
        self.sure = confidence_of(chosen, len(self.boxes))
        if self.window is not None:
            self.boxes = self.window.outside(self.boxes)


def settle(
    target: Followed, looks: Sequence[Look], glances: Sequence[Look], frames: range, least: float | None
) -> list[Seen]:
    """Returns where an object is in each new frame of a clip, and notes where it is now.

    Args:
        target: The object.
        looks: At it in the clip, the second look last; none where it was lost before.
        glances: At it in single frames.
        frames: Numbers of the new frames within the clip.
        least: Confidence below which a box is not given; None gives every box.
    """
    track: Sequence[Seen | None] = _track_of(looks) if looks else [None] * frames.stop
    found = []
    for frame in frames:
        here = [Seen(glance.boxes[0], float(glance.sure[0])) for glance in glances if glance.frame == frame]
        surest = max(here, key=lambda seen: seen.sure, default=None)
        seen = settle_frame(track[frame], surest, lost=target.lost, least=least)
        if here and target.lost and seen.box is not None:
            # Found again; the clip's answer went on from where the object no longer was.
            track = [None] * frames.stop
        found.append(seen)
        target.lost = seen.box is None
        if seen.box is not None:
            target.box = seen.box
    return found


def _track_of(looks: Sequence[Look]) -> list[Seen]:
    """Returns what the better look says of each frame of the clip."""
    look = looks[0]
    if len(looks) > 1 and is_better(looks[1].boxes, looks[1].sure, look.boxes, look.sure):
        look = looks[1]
    boxes, sure = look.boxes, look.sure
    if look.first is not None and look.target.box is not None:
        # A given box comes back as it was given, not as the answer repeats it.
        boxes = np.concatenate([look.target.box.reshape(1, 4), boxes[1:]])
        sure = np.concatenate([np.ones(1), sure[1:]])
    return [Seen(box, float(figure)) for box, figure in zip(boxes, sure, strict=True)]
