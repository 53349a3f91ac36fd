"""The videos of a question set, found by the names that its questions use."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from elysium.data.sets.source import BrokenSample
from elysium.errors import UsageError

# Of two files of one name, the one that comes first here is taken: sets were repackaged as MP4 from AVI and GIF.
SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".gif", ".m4v", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp", ".ts")


class VideoFolder:
    """A folder with videos, at any depth; read once.

    Args:
        root: The folder.

    Raises:
        UsageError: If there is no such folder, or no video in it.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UsageError(f"{root} is no folder; name the one with the set's videos with --media")
        self.root = root
        self._by_name: dict[str, list[Path]] = {}
        for folder, _, names in os.walk(root, followlinks=True):
            for name in names:
                if PurePosixPath(name).suffix.lower() in SUFFIXES:
                    self._by_name.setdefault(_stem(name), []).append(Path(folder) / name)
        if not self._by_name:
            raise UsageError(f"{root} holds no video ({', '.join(SUFFIXES)}); name the folder that does with --media")

    def find(self, *names: str) -> Path | None:
        """Returns the video of the first of several names that is there, or None.

        Args:
            names: Paths relative to the folder, or file names with or without suffix; a name with another suffix than
                the file's finds it too.

        Raises:
            BrokenSample: If a name leads out of the folder.
            UsageError: If two different files answer to one name.
        """
        for name in names:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
                raise BrokenSample("the video's path leads out of the videos' folder")
            if path.suffix.lower() in SUFFIXES and (self.root / path).is_file():
                return self.root / path
            found = [file for file in self._by_name.get(_stem(path.name), []) if _lies_in(file, path.parts[:-1])]
            if found:
                return self._choose(name, found)
        return None

    def _choose(self, name: str, found: list[Path]) -> Path:
        ordered = sorted(found, key=lambda path: (SUFFIXES.index(path.suffix.lower()), str(path)))
        if len(ordered) > 1 and ordered[0].suffix.lower() == ordered[1].suffix.lower():
            raise UsageError(
                f"two videos answer to {name}: {ordered[0]} and {ordered[1]}; name the folder of the right one with "
                "--media"
            )
        return ordered[0]


def _lies_in(file: Path, folders: tuple[str, ...]) -> bool:
    return not folders or file.parts[:-1][-len(folders) :] == folders


def _stem(name: str) -> str:
    """Returns a file's name without the suffix of a video; other dots belong to the name."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name
