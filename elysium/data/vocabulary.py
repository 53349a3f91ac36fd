"""The words the simulator names things with: one list for captions, chunkers and the nano tokenizer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Size = Literal["small", "medium", "large"]

# Size word to the object's extent as a share of the frame's side. Medium is what goes without saying.
SIZES: dict[Size, tuple[float, float]] = {"small": (0.12, 0.17), "medium": (0.20, 0.26), "large": (0.29, 0.36)}

# Colour word to RGB.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (248, 222, 50),
    "green": (30, 160, 65),
    "blue": (40, 80, 215),
    "purple": (135, 50, 175),
    "white": (245, 245, 245),
    "black": (25, 25, 28),
}

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "diamond", "ring", "cross")


class Background(BaseModel):
    """What the objects move over.

    Attributes:
        name: With its article, as captions write it.
        colour: Mean RGB.
        grain: Cells of the coarsest texture across and down the frame; unequal numbers make planks and waves.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    colour: tuple[int, int, int]
    grain: tuple[int, int]


BACKGROUNDS: tuple[Background, ...] = (
    Background(name="a grey wall", colour=(135, 135, 138), grain=(6, 6)),
    Background(name="a brown floor", colour=(128, 96, 66), grain=(2, 12)),
    Background(name="a sandy beach", colour=(196, 176, 132), grain=(9, 9)),
    Background(name="a cloudy sky", colour=(150, 178, 205), grain=(4, 3)),
    Background(name="a pale carpet", colour=(190, 168, 172), grain=(14, 14)),
    Background(name="a grassy field", colour=(112, 134, 84), grain=(10, 5)),
)

VERBS: tuple[str, ...] = ("drift", "move", "slide", "float", "wander", "glide")
PREPOSITIONS: tuple[str, ...] = ("over", "across")
ENTRANCE = "comes in later"


def expression(size: Size, colour: str, shape: str) -> str:
    """Returns the name of an object, lower case and with its article.

    Example:
        >>> expression("large", "blue", "square"), expression("medium", "orange", "star")
        ('a large blue square', 'an orange star')
    """
    words = [colour, shape] if size == "medium" else [size, colour, shape]
    return f"{article(words[0])} {' '.join(words)}"


def article(word: str) -> str:
    """Returns `a` or `an`, whichever goes before `word`."""
    return "an" if word[0] in "aeiou" else "a"


def words() -> list[str]:
    """Returns every word that captions and expressions of simulated clips can hold, lower case, sorted."""
    texts = [*SIZES, *COLOURS, *SHAPES, *VERBS, *PREPOSITIONS, ENTRANCE, "a", "an", "and"]
    texts += [background.name for background in BACKGROUNDS]
    return sorted({word for text in texts for word in text.split()})
