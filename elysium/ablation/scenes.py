"""Single simulated frames with their objects' names and boxes, rendered in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elysium.data.drawing import composite, texture
from elysium.data.scene import plan_scene
from elysium.model.frames import resize_frame

# Scenes are drawn larger and scaled down, as real frames are.
_DRAWN_SIDE = 128
_MIN_VISIBLE = 0.7


@dataclass(frozen=True)
class Scenes:
    """Frames and what is to be found in them.

    Attributes:
        images: Shape `(F, side, side, 3)`, uint8, RGB.
        names: Of each frame's objects, for example `a large blue square`; each fits one object only.
        boxes: Of each frame, shape `(objects, 4)`, normalised.
    """

    images: npt.NDArray[np.uint8]
    names: list[list[str]]
    boxes: list[npt.NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.images)


def draw_scenes(count: int, first_seed: int, side: int, max_objects: int) -> Scenes:
    """Returns `count` frames, always the same ones for the same arguments.

    Args:
        count: Number of frames.
        first_seed: Frames of ranges of seeds that do not meet have nothing in common.
        side: Width and height in pixels.
        max_objects: Shows no more than so many objects of each scene, 1 to 5.
    """
    images, names, boxes = [], [], []
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng([seed, max_objects])
        scene = plan_scene(rng, num_frames=2)
        actors = [actor for actor in scene.actors if not actor.enters][:max_objects]
        canvas = texture(rng, _DRAWN_SIDE, scene.background.colour, scene.background.grain)
        frames, visibility = composite(canvas, actors)
        seen = [number for number, shares in enumerate(visibility) if shares[0] >= _MIN_VISIBLE]
        images.append(resize_frame(frames[0], side))
        names.append([actors[number].expression for number in seen])
        boxes.append(np.array([actors[number].boxes().clip(0, 1)[0] for number in seen]).reshape(-1, 4))
    return Scenes(np.stack(images), names, boxes)


def save_scenes(scenes: Scenes, path: Path) -> None:
    """Writes scenes to an `.npz` file."""
    counts = np.array([len(names) for names in scenes.names])
    np.savez(
        path,
        images=scenes.images,
        counts=counts,
        names=np.array([name for names in scenes.names for name in names]),
        boxes=np.concatenate(scenes.boxes),
    )


def load_scenes(path: Path) -> Scenes:
    """Returns the scenes of such a file."""
    with np.load(path, allow_pickle=False) as file:
        cuts = np.cumsum(file["counts"])[:-1]
        names = [part.tolist() for part in np.split(file["names"], cuts)]
        return Scenes(file["images"], names, np.split(file["boxes"], cuts))
