"""Tracked objects drawn into their frames: boxes, labels, trails and who is absent, with `supervision`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pictures
from PIL import ImageFont

from elysium.errors import UsageError
from elysium.inference.results import FrameResult, Image, TrackedObject

if TYPE_CHECKING:
    import supervision

# The colours of Okabe and Ito (2008) but black, in an order in which neighbours differ most: told apart by people who
# see no red, no green or no blue, too.
PALETTE = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
_DARK, _LIGHT = "#10161D", "#FFFFFF"

# supervision's text scale is OpenCV's, whose letters of scale 1 stand as tall as those of a font of 30 pixels.
_FONT_PIXELS = 30
# Below these a label cannot be read, whatever the frame's size.
_SMALLEST_FONT, _SMALLEST_FONT_TINY = 12, 9
_TINY_SIDE = 160


@dataclass(frozen=True)
class DrawOptions:
    """How results are drawn.

    Attributes:
        show_confidence: Writes the confidence beside a label where it is the model's own. A box that was given has
            the confidence 1, and nothing is written beside it.
        trails: How many frames back the path of a box's centre is drawn; 0 draws none.
        labels: Writes each object's label.
        font: A TrueType or OpenType font for the labels. None takes DejaVu Sans, which comes with matplotlib and
            knows Latin, Greek, Cyrillic, Arabic and Hebrew letters, but not Chinese, Japanese or Korean ones.
        animation_side: GIF and WebP are scaled down to this longer side, pixels; they are never enlarged.
        animation_rate: GIF and WebP show no more frames a second than this.
    """

    show_confidence: bool = False
    trails: int = 30
    labels: bool = True
    font: Path | None = None
    animation_side: int = 480
    animation_rate: float = 12.5

    def __post_init__(self) -> None:
        if self.trails < 0:
            raise UsageError(f"trails is a number of frames, 0 draws none, got {self.trails}")
        if self.font is not None and not self.font.is_file():
            raise UsageError(f"the font {self.font} does not exist; name a .ttf or .otf file, or none")
        if self.animation_side < 16:
            raise UsageError(f"an animation's longer side is at least 16 pixels, got {self.animation_side}")
        if self.animation_rate <= 0:
            raise UsageError(f"an animation's frame rate is above 0, got {self.animation_rate}")


class Annotator:
    """Draws one video's results, frame after frame: trails need the frames before.

    Each object keeps one colour. Labels stay inside the frame, move out of each other's way, and are cut where the
    frame is too narrow; absent objects are listed in the lower left corner.

    Args:
        options: What is drawn.

    Example:
        >>> result = FrameResult(0, 0.0, (64, 48), (TrackedObject(1, "a car", (8.0, 16.0, 40.0, 40.0), 0.9),))
        >>> image = Annotator(DrawOptions()).annotate(result, np.zeros((48, 64, 3), np.uint8))
        >>> image.shape, bool(image.any())
        ((48, 64, 3), True)
    """

    def __init__(self, options: DrawOptions) -> None:
        self._options = options
        self._trails: dict[int, supervision.TraceAnnotator] = {}
        self._brushes: _Brushes | None = None

    def annotate(self, result: FrameResult, image: Image) -> Image:
        """Returns a copy of the image with the result drawn into it.

        Args:
            result: Of this frame.
            image: Shape `(height, width, 3)`, uint8, RGB. Another size than the result's is well: boxes are scaled.

        Returns:
            Same shape, uint8, RGB.
        """
        height, width = image.shape[:2]
        shown, boxes = _visible(result, (width, height))
        brushes = self._get_brushes((width, height))
        scene: Image = image[..., ::-1].copy()  # supervision draws on BGR
        for found, box in zip(shown, boxes, strict=True):
            self._draw_trail(scene, found, box, brushes)
        self._forget(result)
        detections, colours = _detections(shown, boxes), np.array([found.id - 1 for found in shown], dtype=int)
        if brushes.casing is not None:
            brushes.casing.annotate(scene, detections, custom_color_lookup=colours)
        if shown:
            brushes.box.annotate(scene, detections, custom_color_lookup=colours)
        picture = Pictures.fromarray(np.ascontiguousarray(scene[..., ::-1]))
        if self._options.labels and shown:
            texts = self._texts(result, shown, brushes, width)
            brushes.label.annotate(picture, detections, texts, custom_color_lookup=colours)
        self._list_absent(picture, result, brushes)
        return np.asarray(picture)

    def follow(self, result: FrameResult, size: tuple[int, int]) -> None:
        """Takes note of a frame that is not drawn, so that the trails of later ones are whole.

        Args:
            result: Of this frame.
            size: Width and height of the images that are drawn, pixels.
        """
        if not self._options.trails:
            return
        for found, box in zip(*_visible(result, size), strict=True):
            self._trail(found, self._get_brushes(size)).trace.put(_detections([found], box[None]))
        self._forget(result)

    def _get_brushes(self, size: tuple[int, int]) -> _Brushes:
        if self._brushes is None or self._brushes.size != size:
            self._brushes = _Brushes(size, self._options)
            self._trails.clear()  # their points are pixels of the old size
        return self._brushes

    def _trail(self, found: TrackedObject, brushes: _Brushes) -> supervision.TraceAnnotator:
        if found.id not in self._trails:
            self._trails[found.id] = brushes.new_trail(found.id)
        return self._trails[found.id]

    def _draw_trail(self, scene: Image, found: TrackedObject, box: npt.NDArray[np.float32], brushes: _Brushes) -> None:
        if self._options.trails:
            self._trail(found, brushes).annotate(scene, _detections([found], box[None]))

    def _forget(self, result: FrameResult) -> None:
        """Ends the trails of absent objects: one that comes back elsewhere did not move there in a line."""
        seen = {found.id for found in result.objects if found.box is not None}
        for number in self._trails.keys() - seen:
            del self._trails[number]

    def _texts(self, result: FrameResult, shown: Sequence[TrackedObject], brushes: _Brushes, width: int) -> list[str]:
        names = _names(result.objects)
        texts = []
        for found in shown:
            own = self._options.show_confidence and found.confidence < 1
            texts.append(brushes.fit(names[found.id], f" {found.confidence:.2f}" if own else "", width))
        return texts

    def _list_absent(self, picture: Pictures.Image, result: FrameResult, brushes: _Brushes) -> None:
        import supervision

        absent = [found for found in result.objects if found.box is None]
        if not absent or not self._options.labels:
            return
        room = max(picture.height // (2 * brushes.row), 1)
        listed = absent if len(absent) <= room else absent[: room - 1]
        names = _names(result.objects)
        texts = [brushes.fit(names[found.id], ": absent", picture.width) for found in listed]
        colours = [found.id - 1 for found in listed]
        if len(listed) < len(absent):
            texts.append(brushes.fit(f"{len(absent) - len(listed)} absent", "", picture.width))
            colours.append(absent[len(listed)].id - 1)
        bottoms = picture.height - brushes.margin - brushes.row * np.arange(len(texts) - 1, -1, -1)
        corners = np.stack([np.full(len(texts), brushes.margin), bottoms], axis=-1).astype(np.float32)
        places = np.concatenate([corners, corners], axis=-1)
        brushes.absent.annotate(picture, supervision.Detections(places), texts, custom_color_lookup=np.array(colours))


class _Brushes:
    """What is drawn with in frames of one size: line widths and letters fit it."""

    def __init__(self, size: tuple[int, int], options: DrawOptions) -> None:
        import supervision as sv

        self.size = size
        tiny = min(size) < _TINY_SIDE
        line = 1 if tiny else sv.calculate_optimal_line_thickness(size)
        smallest = _SMALLEST_FONT_TINY if tiny else _SMALLEST_FONT
        font_size = max(round(sv.calculate_optimal_text_scale(size) * _FONT_PIXELS), smallest)
        self._padding = max(font_size // 4, 2)
        self.row = font_size + 2 * self._padding + 1
        self.margin = 1 if tiny else 2 * line

        dark = sv.Color.from_hex(_DARK)
        palette = sv.ColorPalette.from_hex(list(PALETTE))
        inks = sv.ColorPalette.from_hex([_DARK if _is_light(colour) else _LIGHT for colour in PALETTE])
        self.casing = None if tiny else sv.BoxAnnotator(dark, thickness=line + 2)
        self.box = sv.BoxAnnotator(palette, thickness=line)
        self.label = sv.RichLabelAnnotator(
            palette, text_color=inks, font_size=font_size, text_padding=self._padding, smart_position=True
        )
        self.absent = sv.RichLabelAnnotator(dark, text_color=palette, font_size=font_size, text_padding=self._padding)
        font = options.font or _default_font()
        if font is not None:
            self.label.font = self.absent.font = _LevelFont(str(font), font_size)
        self._trail = (palette, options.trails, line)

    def new_trail(self, number: int) -> supervision.TraceAnnotator:
        """Returns what draws the trail of the object of this id."""
        import supervision as sv

        palette, length, line = self._trail
        colour = palette.by_idx(number - 1)
        return sv.TraceAnnotator(colour, trace_length=length, thickness=line, color_lookup=sv.ColorLookup.INDEX)

    def fit(self, name: str, suffix: str, width: int) -> str:
        """Returns name and suffix in one line that is no wider than the frame; the name is cut, never the suffix."""
        room = width - 2 * self._padding - 2
        text = name + suffix
        while self.label.font.getlength(text) > room and name:
            name = name[:-1].rstrip()
            text = f"{name}…{suffix}"
        return text


class _LevelFont(ImageFont.FreeTypeFont):
    """A font whose lines are all of one height, so that a label's letters stand level in their tag."""

    def getbbox(self, text: str | bytes | bytearray, *args: Any, **kwargs: Any) -> tuple[float, float, float, float]:
        """Returns where the text goes, pixels: `(left, top, right, bottom)`, from capitals' top to descenders' foot."""
        left, _, right, _ = super().getbbox(text, *args, **kwargs)
        _, top, _, bottom = super().getbbox("Tg", *args, **kwargs)
        return left, top, right, bottom


def _visible(result: FrameResult, size: tuple[int, int]) -> tuple[list[TrackedObject], npt.NDArray[np.float32]]:
    """Returns the objects that have a box, and their boxes in pixels of an image of `size`, cut at its border."""
    shown = [found for found in result.objects if found.box is not None]
    boxes = np.array([found.box for found in shown], dtype=np.float64).reshape(-1, 4)
    scale = np.array(size, dtype=np.float64) / np.array(result.size)
    last = np.array(size) - 1
    return shown, np.clip(boxes * np.tile(scale, 2), 0, np.tile(last, 2)).astype(np.float32)


def _detections(shown: Sequence[TrackedObject], boxes: npt.NDArray[np.float32]) -> supervision.Detections:
    import supervision

    numbers = np.array([found.id for found in shown], dtype=int)
    return supervision.Detections(xyxy=boxes.reshape(-1, 4), tracker_id=numbers)


def _names(objects: Sequence[TrackedObject]) -> dict[int, str]:
    """Returns id to label in one line; objects of one label are told apart by their ids."""
    labels = {found.id: " ".join(found.label.split()) or f"object {found.id}" for found in objects}
    counts = Counter(labels.values())
    return {number: f"{label} ({number})" if counts[label] > 1 else label for number, label in labels.items()}


def _is_light(colour: str) -> bool:
    """Returns whether dark letters have the better contrast on a colour (WCAG 2 relative luminance above 0.18)."""
    parts = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return bool(linear @ np.array([0.2126, 0.7152, 0.0722]) > 0.18)


def _default_font() -> Path | None:
    """Returns DejaVu Sans as matplotlib carries it, which supervision depends on; matplotlib is not imported."""
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return path if path.is_file() else None
