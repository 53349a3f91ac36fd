"""The two kinds of line the pipeline's data is written in: raw clips, and ElysiumTrack records (PROTOCOL §6)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from elysium.errors import ElysiumError

Split = Literal["train", "evaluation"]
UnitFloat = Annotated[float, Field(ge=0.0, le=1.0)]


class RawClip(BaseModel):
    """One line of `raw/manifest.jsonl`: a captioned clip as it was taken in.

    Attributes:
        id: Unique in the manifest; letters, digits, `_` and `-`.
        path: The video file, relative to the manifest's folder.
        caption: What the clip shows, one sentence or more; may be empty, which `validate-raw` judges.
        source: Where the clip came from: a URL, a file name, or the simulator with its seed.
        licence: SPDX identifier or the words of the source; empty when unknown.
        sha256: Of the file's bytes.
        split: Set where the source decides it; None lets curation decide.
        annotations: Exact boxes of the objects, relative to the manifest's folder; None for ordinary video.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    path: str
    caption: str
    source: str
    licence: str = ""
    sha256: str
    split: Split | None = None
    annotations: str | None = None


class AnnotatedObject(BaseModel):
    """One object of an annotated clip.

    Attributes:
        expression: Names it uniquely among the objects visible in the first frame.
        object_class: The head noun.
        boxes: Per frame the normalised `(x1, y1, x2, y2)` of the whole object cut to the frame, or None while it is
            not in the frame.
        visibility: Per frame the share of the object's pixels that is seen, in [0, 1].
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    expression: str
    object_class: str
    boxes: list[tuple[UnitFloat, UnitFloat, UnitFloat, UnitFloat] | None]
    visibility: list[UnitFloat]

    @model_validator(mode="after")
    def _lengths_match(self) -> AnnotatedObject:
        if len(self.boxes) != len(self.visibility):
            raise ValueError(f"boxes has {len(self.boxes)} entries, visibility {len(self.visibility)}")
        return self


class ClipAnnotations(BaseModel):
    """The content of a clip's annotation file: the objects, each with one entry a frame."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objects: list[AnnotatedObject]


class TrackMetadata(BaseModel):
    """How a record's boxes line up with the source video (PROTOCOL §6, the frame rule).

    Attributes:
        content_sha256: Of the source video file's bytes.
        timestamps: Presentation time of each frame in seconds, one for each entry of `frames`.
        decoder: Name and version of what decoded the frames, for example `av 18.1.0`.
        caption: The source clip's caption.
        clip: The raw clip's id; several records share it.
        split: Which side of the train/evaluation border the record lies on.
        kind: `real` or `simulated`.
        confidence: Lowest tracking confidence over the frames, in [0, 1].
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    content_sha256: str
    timestamps: list[float]
    decoder: str
    caption: str
    clip: str
    split: Split
    kind: Literal["real", "simulated"]
    confidence: UnitFloat


class TrackRecord(BaseModel):
    """One expression–track pair, in the published dataset's own fields.

    Attributes:
        source: Name of the collection the video came from.
        id: Unique record id.
        vid: Id of the frame sequence; records of several objects share it.
        metadata: The frame rule and provenance.
        frames: Image paths relative to the dataset's root, in time order.
        object_class: Head noun of the description.
        box: One normalised `(x1, y1, x2, y2)` a frame.
        object_description: The whole noun chunk.
        frame_size: `(width, height)` in pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    id: str
    vid: str
    metadata: TrackMetadata
    frames: list[str] = Field(min_length=1)
    object_class: str
    box: list[tuple[UnitFloat, UnitFloat, UnitFloat, UnitFloat]]
    object_description: str = Field(min_length=1)
    frame_size: tuple[int, int]

    @model_validator(mode="after")
    def _one_box_a_frame(self) -> TrackRecord:
        if not len(self.frames) == len(self.box) == len(self.metadata.timestamps):
            raise ValueError(
                f"frames, box and metadata.timestamps need equal lengths, got {len(self.frames)}, {len(self.box)} "
                f"and {len(self.metadata.timestamps)}"
            )
        return self


Line = TypeVar("Line", bound=BaseModel)


def write_jsonl(path: Path, lines: Iterable[BaseModel]) -> int:
    """Writes one JSON object a line and returns how many; key order is the model's, so equal data gives equal bytes."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(to_line(line))
            count += 1
    return count


def to_line(line: BaseModel) -> str:
    """Returns one line of JSON, its end included; key order is the model's."""
    return json.dumps(line.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":")) + "\n"


def read_jsonl(path: Path, model: type[Line], *, allow_empty: bool = False) -> Iterator[Line]:
    """Yields the lines of `path` as `model`.

    Args:
        path: The file.
        model: What each line must be.
        allow_empty: Takes a file of zero bytes as zero lines, for lists that may rightly be empty.

    Raises:
        ElysiumError: If the file is missing, empty of bytes, or a line is not a valid `model`; the message names the
            line and the field.
    """
    if not path.is_file():
        raise ElysiumError(f"{path} does not exist; run the step that writes it first")
    if path.stat().st_size == 0 and not allow_empty:
        raise ElysiumError(f"{path} is empty (0 bytes): it was cut short; delete its folder and run the step again")
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, start=1):
            try:
                yield model.model_validate_json(text)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"])) or "the line"
                raise ElysiumError(
                    f"{path}, line {number}: {where}: {first['msg']} (a valid {model.__name__} is needed)"
                ) from error
