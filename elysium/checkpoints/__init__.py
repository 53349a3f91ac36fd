"""Checkpoints that the package carries, by name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def shipped_checkpoints() -> list[str]:
    """Returns the names of the checkpoints that the package carries.

    Example:
        >>> shipped_checkpoints()
        ['nano']
    """
    folder = resources.files(__name__)
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "_")))


def checkpoint_folder(name: str | Path) -> Path:
    """Returns the folder of a checkpoint: of one that the package carries, or the path itself.

    A name that the package knows means its own wherever it is said: what a preset starts from must not depend on what
    lies in the working directory. `./nano` is the folder there.
    """
    if isinstance(name, str) and name in shipped_checkpoints():
        return Path(str(resources.files(__name__) / name))
    return Path(name)
