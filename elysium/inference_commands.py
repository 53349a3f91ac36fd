"""`elysium ground`, `describe` and `ask`; outside of `elysium.inference`, whose import takes seconds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elysium.cli import print_json
from elysium.errors import UsageError
from elysium.inference_options import (
    Box,
    choose_sampling,
    engine_options,
    read_options,
    sampling_options,
    source_options,
    take_engine_options,
)
from elysium.options import json_option

if TYPE_CHECKING:
    from elysium.inference.decoding import Sampling
    from elysium.inference.drawing import DrawOptions
    from elysium.inference.engine import Engine
    from elysium.inference.results import Image, PixelBox

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("image", metavar="IMAGE")
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option(
    "--box",
    "boxes",
    type=Box(),
    multiple=True,
    metavar="X1,Y1,X2,Y2",
    help="Say what is in this box, in pixels (REG), instead of looking for a TEXT (REC).",
)
@click.option("--multi", is_flag=True, help="Find every object that a text fits, not one.")
@click.option(
    "--max-objects", type=click.IntRange(1), default=8, show_default=True, help="Most objects that --multi finds."
)
@click.option("--output", type=_FILE, default=None, help="The picture with the boxes drawn into it, .png or .jpg.")
@click.option("--show-confidence", is_flag=True, help="Write how sure the model is.")
@source_options
@engine_options
@json_option
def ground(
    image: str,
    texts: tuple[str, ...],
    boxes: tuple[tuple[PixelBox, str | None], ...],
    multi: bool,
    max_objects: int,
    output: Path | None,
    show_confidence: bool,
    as_json: bool,
    **others: Any,
) -> None:
    """Find objects in a picture by name (REC), or name what is in a box (REG).

    IMAGE is a picture, or anything that `elysium track` reads: then its first frame, or the one of --start. One line an
    object: its box in pixels, x1,y1,x2,y2, and its name.

    \b
    Examples:
      elysium ground photo.jpg "the red car" "a dog" --output found.png
      elysium ground photo.jpg --box 10,20,110,90
    """
    from elysium.inference.checkpoints import open_engine
    from elysium.inference.results import FrameResult, TrackedObject
    from elysium.inference.shown import first_frame

    if not texts and not boxes:
        raise UsageError("nothing to look for; give a TEXT to find, or --box X1,Y1,X2,Y2 to have it named")
    if output is not None and output.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"--output {output}: a picture's suffix is .png, .jpg or .webp")
    picture = first_frame(image, read_options(others))
    size = (picture.shape[1], picture.shape[0])
    _check_boxes([box for box, _ in boxes], size)
    engine = open_engine(take_engine_options(others))
    found = _ground(engine, picture, texts, max_objects if multi else None)
    names = _describe(engine, [picture], [box for box, _ in boxes], size)
    found += [(box, 1.0, name) for (box, _), name in zip(boxes, names, strict=True)]
    objects = [TrackedObject(number, name, box, sure) for number, (box, sure, name) in enumerate(found, start=1)]
    for entry in objects:
        corners = ",".join(f"{value:g}" for value in (round(value, 2) for value in entry.box or ()))
        sure = f"  {entry.confidence:.3f}" if show_confidence else ""
        click.echo(f"{corners}{sure}  {entry.label}", err=as_json)
    result = FrameResult(0, 0.0, size, tuple(objects), picture)
    if output is not None:
        _draw(result, output, show_confidence=show_confidence)
    if as_json:
        lines = [
            {"label": line["label"], "box": line["box"], "confidence": line["confidence"]} for line in result.as_lines()
        ]
        print_json({"image": image, "width": size[0], "height": size[1], "objects": lines})


@click.command()
@click.argument("video", metavar="VIDEO")
@click.option(
    "--box",
    "boxes",
    type=Box(),
    multiple=True,
    required=True,
    metavar="X1,Y1,X2,Y2",
    help="Where the object is, in pixels of the first frame; may be given several times.",
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=None,
    help="Frames that are shown, evenly spread [default: 8, or as many as the model takes].",
)
@sampling_options
@source_options
@engine_options
@json_option
def describe(
    video: str,
    boxes: tuple[tuple[PixelBox, str | None], ...],
    frames: int | None,
    temperature: float,
    seed: int,
    max_tokens: int,
    as_json: bool,
    **others: Any,
) -> None:
    """Say what an object in a video is (Video-REG): one line a box.

    \b
    Example:
      elysium describe clip.mp4 --box 10,20,110,90
    """
    from elysium import prompts
    from elysium.inference.checkpoints import open_engine
    from elysium.inference.shown import as_many_as_fit, spread_frames

    sampling = choose_sampling(temperature, seed)
    clip = spread_frames(video, read_options(others), frames or 8)
    size = (clip[0].shape[1], clip[0].shape[0])
    given = [box for box, _ in boxes]
    _check_boxes(given, size)
    engine = open_engine(take_engine_options(others))
    if frames is None:
        clip = as_many_as_fit(
            engine, clip, lambda count: prompts.ask(prompts.Task.VIDEO_REG, count, box=[0.0] * 4), max_tokens
        )
    names = _describe(engine, clip, given, size, sampling, max_tokens)
    for name in names:
        click.echo(name, err=as_json)
    if as_json:
        objects = [{"box": list(box), "description": name} for box, name in zip(given, names, strict=True)]
        print_json({"video": video, "frames": len(clip), "objects": objects})


@click.command()
@click.argument("video", metavar="VIDEO")
@click.argument("questions", metavar="QUESTION...", nargs=-1, required=True)
@click.option(
    "--frames",
    type=click.IntRange(1),
    default=None,
    help="Frames that are shown, evenly spread [default: 16, or as many as the model takes].",
)
@sampling_options
@source_options
@engine_options
@json_option
def ask(
    video: str,
    questions: tuple[str, ...],
    frames: int | None,
    temperature: float,
    seed: int,
    max_tokens: int,
    as_json: bool,
    **others: Any,
) -> None:
    """Answer questions about a video (VideoQA): one line a question.

    \b
    Example:
      elysium ask clip.mp4 "What is the man holding?" "Is it raining?"
    """
    from elysium import prompts
    from elysium.inference.checkpoints import open_engine
    from elysium.inference.shown import as_many_as_fit, spread_frames

    sampling = choose_sampling(temperature, seed)
    if not all(question.strip() for question in questions):
        raise UsageError("a QUESTION is empty")
    clip = spread_frames(video, read_options(others), frames or 16)
    engine = open_engine(take_engine_options(others))
    if frames is None:
        longest = max(questions, key=len)
        clip = as_many_as_fit(
            engine, clip, lambda count: prompts.ask(prompts.Task.VQA, count, question=longest), max_tokens
        )
    answers = engine.ask([clip] * len(questions), questions, sampling, max_tokens)
    for answer in answers:
        click.echo(answer, err=as_json)
    if as_json:
        pairs = [{"question": question, "answer": text} for question, text in zip(questions, answers, strict=True)]
        print_json({"video": video, "frames": len(clip), "answers": pairs})


def _check_boxes(boxes: Iterable[PixelBox], size: tuple[int, int]) -> None:
    for x1, y1, x2, y2 in boxes:
        if x1 >= size[0] or y1 >= size[1] or x2 <= 0 or y2 <= 0:
            raise UsageError(
                f"the box {x1:g},{y1:g},{x2:g},{y2:g} lies outside of the frame of {size[0]}x{size[1]} pixels"
            )


def _ground(
    engine: Engine, picture: Image, texts: tuple[str, ...], most: int | None
) -> list[tuple[PixelBox, float, str]]:
    """Returns boxes in pixels, confidence and name of the objects that texts name."""
    from elysium.boxes import to_pixels
    from elysium.inference.multi import find_all

    if not texts:
        return []
    if most is None:
        boxes, sure = engine.ground_scored([picture] * len(texts), texts)
        found = list(zip(boxes, sure.tolist(), texts, strict=True))
    else:
        found = [(box, figure, text) for text in texts for box, figure in find_all(engine, picture, text, most)]
    size = (picture.shape[1], picture.shape[0])
    result: list[tuple[PixelBox, float, str]] = []
    for box, figure, text in found:
        x1, y1, x2, y2 = to_pixels(box, size).tolist()
        result.append(((x1, y1, x2, y2), figure, text))
    return result


def _describe(
    engine: Engine,
    clip: list[Image],
    boxes: list[PixelBox],
    size: tuple[int, int],
    sampling: Sampling | None = None,
    max_tokens: int = 128,
) -> list[str]:
    from elysium.boxes import normalise

    return engine.describe([clip] * len(boxes), [normalise(box, size) for box in boxes], sampling, max_tokens)


def _draw(result: Any, output: Path, *, show_confidence: bool) -> None:
    from PIL import Image as Pictures

    from elysium.inference.drawing import Annotator, DrawOptions

    options: DrawOptions = DrawOptions(show_confidence=show_confidence, trails=0)
    output.parent.mkdir(parents=True, exist_ok=True)
    Pictures.fromarray(Annotator(options).annotate(result, result.image)).save(output)
