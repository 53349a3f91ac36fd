"""The simulator: seeded clips of named shapes moving over a texture, with exact boxes and visibility.

A clip is planned first (`scene`: who is there, how it looks and where it is in each frame), then drawn (`drawing`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray
from elysium.data.drawing import composite, texture
from elysium.data.records import AnnotatedObject, ClipAnnotations
from elysium.data.scene import Actor, Scene, plan_scene
from elysium.data.vocabulary import ENTRANCE

# Changes whenever the same seed would give another clip.
SIMULATOR_VERSION = 1
FRAME_RATE = 12.0


@dataclass(frozen=True)
class SimulatedClip:
    """A clip, and all there is to know about it.

    Attributes:
        frames: Shape `(num_frames, side, side, 3)`, uint8, RGB.
        caption: Names every object and the background.
        annotations: Exact boxes and visibility of every object, in the caption's order.
        frame_rate: Frames a second.
    """

    frames: npt.NDArray[np.uint8]
    caption: str
    annotations: ClipAnnotations
    frame_rate: float


def simulate(seed: int, num_frames: int = 24, side: int = 128) -> SimulatedClip:
    """Returns the clip of a seed, always the same one.

    Most objects stay in the frame and unobstructed for the whole clip; some pass behind others, leave, or enter.

    Args:
        seed: Which clip; at least 0.
        num_frames: At least 2.
        side: Width and height in pixels, at least 32.

    Raises:
        ValueError: If an argument is below its minimum.

    Example:
        >>> clip = simulate(seed=3, num_frames=4, side=64)
        >>> clip.frames.shape, len(clip.annotations.objects[0].boxes)
        ((4, 64, 64, 3), 4)
    """
    for name, value, minimum in (("seed", seed, 0), ("num_frames", num_frames, 2), ("side", side, 32)):
        if value < minimum:
            raise ValueError(f"{name} is at least {minimum}, got {value}")
    rng = np.random.default_rng([SIMULATOR_VERSION, seed])
    scene = plan_scene(rng, num_frames)
    canvas = texture(rng, side, scene.background.colour, scene.background.grain)
    frames, visibility = composite(canvas, scene.actors)
    objects = [_annotate(actor, shares) for actor, shares in zip(scene.actors, visibility, strict=True)]
    return SimulatedClip(frames, _caption(scene), ClipAnnotations(objects=objects), FRAME_RATE)


def simulated_caption(seed: int, num_frames: int = 24) -> str:
    """Returns the caption of a seed's clip, without drawing it.

    Example:
        >>> simulated_caption(3, num_frames=4) == simulate(seed=3, num_frames=4, side=64).caption
        True
    """
    return _caption(plan_scene(np.random.default_rng([SIMULATOR_VERSION, seed]), num_frames))


def _annotate(actor: Actor, shares: FloatArray) -> AnnotatedObject:
    """Returns the actor's annotation; a box is None in frames where no pixel of it is inside."""
    boxes: list[tuple[float, float, float, float] | None] = []
    inside = actor.boxes().clip(0, 1)
    for x1, y1, x2, y2 in inside.tolist():
        gone = x2 <= x1 or y2 <= y1
        boxes.append(None if gone else (round(x1, 6), round(y1, 6), round(x2, 6), round(y2, 6)))
    visibility = [
        0.0 if box is None else round(float(share), 4) for box, share in zip(boxes, shares.clip(0, 1), strict=True)
    ]
    return AnnotatedObject(expression=actor.expression, object_class=actor.shape, boxes=boxes, visibility=visibility)


def _caption(scene: Scene) -> str:
    present = [actor.expression for actor in scene.actors if not actor.enters]
    listed = " and ".join(filter(None, [", ".join(present[:-1]), present[-1]]))
    sentences = [f"{listed} {scene.verb} {scene.preposition} {scene.background.name}."]
    sentences += [f"{actor.expression} {ENTRANCE}." for actor in scene.actors if actor.enters]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
