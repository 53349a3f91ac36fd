"""Planning a simulated clip: which objects there are, and how each moves so that most stay unobstructed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from elysium.boxes import FloatArray
from elysium.data.drawing import half_extents
from elysium.data.vocabulary import (
    BACKGROUNDS,
    COLOURS,
    PREPOSITIONS,
    SHAPES,
    SIZES,
    VERBS,
    Background,
    Size,
    expression,
)

Role = Literal["stays", "hides", "leaves", "enters"]

_CANDIDATES = 48  # paths drawn for an object; the first that keeps the role's promise is taken
_NUM_OBJECTS = {2: 0.25, 3: 0.3, 4: 0.25, 5: 0.2}
_SPECIAL_SHARE = 0.45  # of the objects after the first two: these hide, leave or enter
_MAX_OVERLAP = 0.04  # share of a box that a neighbour may cover while both count as unobstructed
_MIN_HIDDEN = 0.5  # share of its box that an object which hides loses somewhere on its way
_MIN_CONTRAST = 90.0  # RGB distance between an object and what it moves over
_SPEED = (0.006, 0.028)  # sides per frame


@dataclass(frozen=True)
class Actor:
    """One object: how it looks, and where it is.

    Attributes:
        size: Size word.
        colour: Colour word.
        shape: Shape word.
        rgb: The exact colour, near the word's.
        role: What happens to it.
        centres: Shape `(num_frames, 2)`, x and y, in sides of the frame.
        radii: Shape `(num_frames,)`, half the object's nominal extent, in sides of the frame.
    """

    size: Size
    colour: str
    shape: str
    rgb: tuple[int, int, int]
    role: Role
    centres: FloatArray
    radii: FloatArray

    @property
    def expression(self) -> str:
        """Its name, for example `a large blue square`."""
        return expression(self.size, self.colour, self.shape)

    @property
    def enters(self) -> bool:
        """Whether it is absent from the first frame."""
        return self.role == "enters"

    def boxes(self) -> FloatArray:
        """Returns the box of the whole object in each frame, shape `(num_frames, 4)`, in sides, not cut."""
        return _boxes(self.centres, self.radii, self.shape)


@dataclass(frozen=True)
class Scene:
    """What is in a clip; actors in the order captions name them, the first in front."""

    actors: list[Actor]
    background: Background
    verb: str
    preposition: str


def plan_scene(rng: np.random.Generator, num_frames: int) -> Scene:
    """Returns a random scene of 2 to 5 objects whose expressions each fit one object only.

    Args:
        rng: Source of all randomness.
        num_frames: Number of frames to plan paths for.
    """
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    wanted = int(rng.choice(list(_NUM_OBJECTS), p=list(_NUM_OBJECTS.values())))
    num_special = int(rng.binomial(wanted - 2, _SPECIAL_SHARE))
    actors: list[Actor] = []
    # Steady objects come first: the others pass behind them, and so cover nobody.
    while len(actors) < 2:
        actors = []
        for _ in range(wanted - num_special):
            _cast(rng, actors, "stays", background, num_frames)
    for _ in range(num_special):
        role: Role = ("hides", "leaves", "enters")[rng.integers(3)]
        _cast(rng, actors, role, background, num_frames)
    return Scene(
        actors=actors,
        background=background,
        verb=VERBS[rng.integers(len(VERBS))],
        preposition=PREPOSITIONS[rng.integers(len(PREPOSITIONS))],
    )


def _cast(rng: np.random.Generator, actors: list[Actor], role: Role, background: Background, num_frames: int) -> None:
    """Appends one more object, or none when no path was found for it."""
    size, colour, shape = _look(rng, actors, background)
    extent = rng.uniform(*SIZES[size])
    radii = _radii(rng, extent / 2, num_frames)
    margin = half_extents(shape).max() * radii.max()
    if role in ("stays", "hides"):
        paths = _bouncing(rng, margin, num_frames)
    else:
        paths = _crossing(rng, margin, num_frames)
        paths = paths[:, ::-1] if role == "enters" else paths
    chosen = _first_fitting(paths, radii, shape, actors, role)
    if chosen is None:
        return
    rgb = np.clip(np.array(COLOURS[colour]) + rng.integers(-12, 13, size=3), 0, 255)
    actors.append(Actor(size, colour, shape, tuple(rgb.tolist()), role, chosen, radii))


def _look(rng: np.random.Generator, actors: list[Actor], background: Background) -> tuple[Size, str, str]:
    """Returns size, colour and shape that no other object's expression could be taken for."""
    contrast = {colour: float(np.linalg.norm(np.subtract(rgb, background.colour))) for colour, rgb in COLOURS.items()}
    colours = [colour for colour, distance in contrast.items() if distance >= _MIN_CONTRAST]
    sizes: list[Size] = list(SIZES)
    while True:
        size = sizes[rng.integers(len(sizes))]
        colour, shape = colours[rng.integers(len(colours))], SHAPES[rng.integers(len(SHAPES))]
        # Now and then a second object of the same colour or shape, so that one word is not enough to tell them apart.
        if actors and rng.random() < 0.4:
            other = actors[rng.integers(len(actors))]
            colour, shape = (other.colour, shape) if rng.random() < 0.5 else (colour, other.shape)
        twins = [actor for actor in actors if (actor.colour, actor.shape) == (colour, shape)]
        if all("medium" not in (size, twin.size) and size != twin.size for twin in twins):
            return size, colour, shape


def _radii(rng: np.random.Generator, radius: float, num_frames: int) -> FloatArray:
    """Returns a radius that swells and shrinks slowly, by at most a fifth, shape `(num_frames,)`."""
    amount = rng.uniform(0, 0.2)
    phase = rng.uniform(0, 2 * np.pi)
    cycles = rng.uniform(0.2, 0.8)
    turns = phase + 2 * np.pi * cycles * np.linspace(0, 1, num_frames)
    return np.asarray(radius * (1 + amount * np.sin(turns)))


def _bouncing(rng: np.random.Generator, margin: float, num_frames: int) -> FloatArray:
    """Returns straight paths that bounce off the frame's border, shape `(_CANDIDATES, num_frames, 2)`."""
    room = 1 - 2 * margin
    starts = rng.uniform(0, room, size=(_CANDIDATES, 1, 2))
    angles = rng.uniform(0, 2 * np.pi, size=_CANDIDATES)
    speeds = rng.uniform(*_SPEED, size=_CANDIDATES)
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=-1) * speeds[:, None]
    unfolded = starts + steps[:, None] * np.arange(num_frames)[:, None]
    # A reflection at both ends of [0, room] is a triangle wave of period 2 * room.
    folded = room - np.abs(np.mod(unfolded, 2 * room) - room)
    return np.asarray(folded + margin)


def _crossing(rng: np.random.Generator, margin: float, num_frames: int) -> FloatArray:
    """Returns straight paths from inside to outside the frame, shape `(_CANDIDATES, num_frames, 2)`."""
    starts = rng.uniform(margin, 1 - margin, size=(_CANDIDATES, 2))
    ends = rng.uniform(margin, 1 - margin, size=(_CANDIDATES, 2))
    axis = rng.integers(2, size=_CANDIDATES)
    beyond = np.where(rng.random(_CANDIDATES) < 0.5, -margin, 1 + margin)
    ends[np.arange(_CANDIDATES), axis] = beyond
    # The border is passed when the share of the way made is 1, which is before the clip's end.
    gone_at = rng.uniform(0.6, 0.9, size=_CANDIDATES)
    way = np.linspace(0, 1, num_frames)[None, :, None] / gone_at[:, None, None]
    return np.asarray(starts[:, None] + (ends - starts)[:, None] * way)


def _first_fitting(
    paths: FloatArray, radii: FloatArray, shape: str, actors: list[Actor], role: Role
) -> FloatArray | None:
    """Returns the first path that keeps the role's promise towards the objects already there, or None."""
    boxes = _boxes(paths, radii, shape)
    hidden = np.zeros(paths.shape[:2])
    covering = np.zeros(paths.shape[:2])
    for actor in actors:
        shared = _shared_area(boxes, actor.boxes())
        hidden = np.maximum(hidden, shared / _area(boxes))
        if actor.role == "stays":
            covering = np.maximum(covering, shared / _area(actor.boxes()))
    if role == "stays":
        good = np.maximum(hidden, covering).max(axis=1) <= _MAX_OVERLAP
    elif role == "hides":
        good = (hidden[:, 0] <= _MAX_OVERLAP) & (hidden.max(axis=1) >= _MIN_HIDDEN)
    elif role == "leaves":
        good = hidden[:, 0] <= _MAX_OVERLAP
    else:
        good = hidden[:, -1] <= _MAX_OVERLAP
    found = np.flatnonzero(good)
    return paths[found[0]] if found.size else None


def _boxes(centres: FloatArray, radii: FloatArray, shape: str) -> FloatArray:
    left, top, right, bottom = half_extents(shape)
    x, y = centres[..., 0], centres[..., 1]
    return np.stack([x - left * radii, y - top * radii, x + right * radii, y + bottom * radii], axis=-1)


def _area(boxes: FloatArray) -> FloatArray:
    return np.asarray((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))


def _shared_area(boxes: FloatArray, others: FloatArray) -> FloatArray:
    low = np.maximum(boxes[..., :2], others[..., :2])
    high = np.minimum(boxes[..., 2:], others[..., 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=-1))
