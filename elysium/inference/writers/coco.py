"""Results as COCO video JSON: COCO's images, annotations and categories, with videos and tracks."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, TextIO

from elysium.inference.results import FrameResult, SourceInfo
from elysium.inference.writers.base import part_path, publish


class CocoWriter:
    """One JSON object: `videos`, `categories`, `tracks`, `images` and `annotations`.

    Boxes are `[x, y, width, height]` in pixels from 0. An image's `frame_id` is its number in the video itself, from 0,
    and its `file_name` is made from it, as no such file need exist. Labels are the categories. An absent object has no
    annotation.

    Images and annotations wait in files of their own, and are joined at the end.

    Args:
        path: Where to.
        info: Of the source; its name is the video's.
    """

    needs_images = False

    def __init__(self, path: Path, info: SourceInfo) -> None:
        self._path, self._part, self._info = path, part_path(path), info
        self._images = _Items(part_path(path.with_name(f"{path.name}.images")))
        self._annotations = _Items(part_path(path.with_name(f"{path.name}.annotations")))
        self._categories: dict[str, int] = {}
        self._tracks: dict[int, int] = {}
        self._size: tuple[int, int] | None = None
        self._done = False

    def write(self, result: FrameResult) -> None:
        """Adds an image, and an annotation for each object that is there."""
        self._size = self._size or result.size
        image = self._images.count + 1
        self._images.add(
            {
                "id": image,
                "video_id": 1,
                "frame_id": result.frame,
                "file_name": f"{self._info.name}/{result.frame:06d}.jpg",
                "width": result.size[0],
                "height": result.size[1],
                "timestamp": round(result.timestamp, 6),
            }
        )
        for found in result.objects:
            category = self._categories.setdefault(found.label, len(self._categories) + 1)
            self._tracks.setdefault(found.id, category)
            if found.box is None:
                continue
            x1, y1, x2, y2 = found.box
            self._annotations.add(
                {
                    "id": self._annotations.count + 1,
                    "image_id": image,
                    "video_id": 1,
                    "category_id": category,
                    "track_id": found.id,
                    "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "area": round((x2 - x1) * (y2 - y1), 2),
                    "iscrowd": 0,
                    "score": round(found.confidence, 4),
                }
            )

    def finish(self) -> None:
        """Joins the parts and puts the file in its place."""
        if self._done:
            return
        self._done = True
        video: dict[str, Any] = {"id": 1, "name": self._info.name, "frame_rate": self._info.frame_rate}
        if self._size is not None:
            video |= {"width": self._size[0], "height": self._size[1]}
        head = {
            "videos": [video],
            "categories": [{"id": number, "name": label} for label, number in self._categories.items()],
            "tracks": [
                {"id": number, "category_id": category, "video_id": 1} for number, category in self._tracks.items()
            ],
        }
        with self._part.open("w", encoding="utf-8") as file:
            file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "images": [')
            self._images.copy_to(file)
            file.write('], "annotations": [')
            self._annotations.copy_to(file)
            file.write("]}\n")
        publish(self._part, self._path)
        self._images.remove()
        self._annotations.remove()

    def abort(self) -> None:
        """Removes the unfinished files."""
        self._done = True
        self._images.remove()
        self._annotations.remove()
        self._part.unlink(missing_ok=True)


class _Items:
    """The items of a JSON array, in a file."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._path = path
        self._file = path.open("w+", encoding="utf-8")

    def add(self, item: dict[str, Any]) -> None:
        self._file.write((",\n" if self.count else "\n") + json.dumps(item, ensure_ascii=False))
        self.count += 1

    def copy_to(self, file: TextIO) -> None:
        self._file.seek(0, os.SEEK_SET)
        shutil.copyfileobj(self._file, file)

    def remove(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)
