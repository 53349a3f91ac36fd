"""The pages that people look at tracks on: templates of this folder, filled in, with style and script inside."""

from __future__ import annotations

import base64
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from elysium.data.records import TrackRecord


def render(template: str, **content: Any) -> str:
    """Returns a page; whatever is put into it is text and never markup, unless it is marked as such."""
    return _environment().get_template(template).render(**content)


def asset(name: str) -> Markup:
    """Returns a style or a script of this folder, to be put into a page as it is."""
    return Markup(_text(name))  # noqa: S704  # the package's own file


def as_json(content: Any) -> Markup:
    """Returns JSON that is safe inside of a `<script>`: no text in it can end the element."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704  # the signs that could be markup were just replaced


def data_uri(picture: bytes) -> str:
    """Returns a WebP as an address that needs no file."""
    return "data:image/webp;base64," + base64.b64encode(picture).decode()


def facts(record: TrackRecord) -> dict[str, Any]:
    """Returns what a page tells of a track beside its picture, as text."""
    metadata, extra = record.metadata, record.metadata.model_extra or {}
    first, last = metadata.timestamps[0], metadata.timestamps[-1]
    found = {"track": f"{metadata.confidence:.2f}", "grounding": "", "overlap": ""}
    for name, key in (("grounding", "grounding_confidence"), ("overlap", "grounding_iou")):
        values = extra.get(key)
        if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
            found[name] = " ".join(f"{value:.2f}" for value in values)
    return {
        "id": record.id,
        "expression": record.object_description,
        "class": record.object_class,
        "caption": metadata.caption,
        "split": metadata.split,
        "kind": metadata.kind,
        "frames": len(record.frames),
        "from": f"{first:.2f}",
        "to": f"{last:.2f}",
        "size": f"{record.frame_size[0]}×{record.frame_size[1]}",
        "source": record.source,
        "confidence": found,
    }


def shortened(folder: Path) -> str:
    """Returns how a page calls a data set: the last part of its folder that says something."""
    path = folder.resolve()
    return path.parent.name if path.name in {"tracks", "data"} and path.parent.name else path.name


@cache
def _environment() -> Environment:
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_text)
    )


def _text(name: str) -> str:
    return (resources.files("elysium.curation.dataset") / name).read_text(encoding="utf-8")
