"""The one form that all public data sets are brought into, and its columns in Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from elysium.data.records import UnitFloat
from elysium.errors import ElysiumError

if TYPE_CHECKING:
    import pyarrow as pa

Box = tuple[UnitFloat, UnitFloat, UnitFloat, UnitFloat]


class SetObject(BaseModel):
    """An object that an expression names.

    Attributes:
        expression: Names it uniquely among the objects of the first frame that shows it.
        object_class: Its class, if the set says.
        boxes: Per frame the normalised `(x1, y1, x2, y2)`, or None where the object is absent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    expression: str = Field(min_length=1)
    object_class: str | None = None
    boxes: list[Box | None] = Field(min_length=1)


class Turn(BaseModel):
    """One question and its answer, without placeholders of images.

    Attributes:
        question: May hold boxes as text.
        answer: May hold boxes as text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)


class SetRecord(BaseModel):
    """One sample: pictures or a video, with objects to find in it, a conversation about it, or both.

    Attributes:
        id: Unique in the set.
        dataset: Name of the set.
        frames: Pictures in time order, relative to the images' root; one for a still picture; empty for a video.
        video: A video file relative to the images' root, or None.
        timestamps: Presentation times in seconds that the boxes belong to, of a video's frames or of `frames`; empty
            where the set gives none.
        frame_size: `(width, height)` in pixels, if known.
        objects: Each with one box a frame: of `frames`, or of `timestamps` for a video.
        turns: A conversation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    frames: list[str] = []
    video: str | None = None
    timestamps: list[float] = []
    frame_size: tuple[int, int] | None = None
    objects: list[SetObject] = []
    turns: list[Turn] = []

    @model_validator(mode="after")
    def _fits_together(self) -> SetRecord:
        if (self.video is None) == (not self.frames):
            raise ValueError(f"a record has either frames or a video, got {len(self.frames)} and {self.video!r}")
        if not self.objects and not self.turns:
            raise ValueError("a record needs objects or turns, got none")
        if self.frames and self.timestamps and len(self.frames) != len(self.timestamps):
            raise ValueError(f"{len(self.frames)} frames have {len(self.timestamps)} timestamps")
        count = len(self.frames) or len(self.timestamps)
        for thing in self.objects:
            if len(thing.boxes) != count:
                raise ValueError(f"{count} frames or timestamps need as many boxes, got {len(thing.boxes)}")
        return self


def import_pyarrow() -> Any:
    """Returns the `pyarrow` module with `pyarrow.parquet`.

    Raises:
        ElysiumError: If it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ElysiumError("pyarrow is not installed here; install it with `pip install 'elysium[sets]'`") from error
    return pyarrow


def arrow_schema() -> pa.Schema:
    """Returns the columns: a record's fields, `frame_size` as two numbers, coordinates in single precision."""
    pa = import_pyarrow()
    turn = pa.struct([("question", pa.string()), ("answer", pa.string())])
    boxes = pa.list_(pa.list_(pa.float32()))
    thing = pa.struct([("expression", pa.string()), ("object_class", pa.string()), ("boxes", boxes)])
    return pa.schema(
        [
            ("id", pa.string()),
            ("dataset", pa.string()),
            ("frames", pa.list_(pa.string())),
            ("video", pa.string()),
            ("timestamps", pa.list_(pa.float64())),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("objects", pa.list_(thing)),
            ("turns", pa.list_(turn)),
        ]
    )


def to_row(record: SetRecord) -> dict[str, Any]:
    """Returns a record as one row of the columns."""
    row = record.model_dump()
    size = row.pop("frame_size")
    return {**row, "width": size and size[0], "height": size and size[1]}


def from_row(row: dict[str, Any]) -> SetRecord:
    """Returns the record that a row holds; coordinates come back as they were to 1e-7."""
    width, height = row.pop("width"), row.pop("height")
    return SetRecord(**row, frame_size=None if width is None else (width, height))
