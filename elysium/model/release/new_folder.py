"""A folder that appears whole or not at all.

It grows beside its place under a hidden name and is moved there when it is whole. What a killed run leaves is one
hidden folder, which the next run into the same place empties.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from elysium.errors import UsageError


def check_destination(destination: Path) -> None:
    """Raises a `UsageError` where `destination` is taken: only a new or an empty folder is written to."""
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise UsageError(f"{destination} is not a folder; give a new one")
    if destination.is_dir() and any(destination.iterdir()):
        raise UsageError(f"{destination} is not empty; give a new folder, or remove it first")


def check_space(destination: Path, needed: int) -> None:
    """Raises a `UsageError` where the disk of a future folder has less than `needed` bytes left."""
    there = next(folder for folder in destination.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise UsageError(
            f"{there} has {free / 2**30:.2f} GiB left, the new folder needs {needed / 2**30:.2f} GiB; free some space "
            "or give a folder on another disk"
        )


@contextlib.contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """Yields a hidden folder that becomes `destination` when all went well, and goes away otherwise.

    Raises:
        UsageError: If another living process is writing the same folder.
    """
    destination = destination.absolute()
    partial = destination.parent / f".{destination.name}.converting"
    partial.mkdir(parents=True, exist_ok=True)
    handle = os.open(partial, os.O_RDONLY)
    try:
        # The lock goes with the process, also on kill -9: a folder without one is nobody's.
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another process is writing {destination}; wait for it or stop it") from None
        for left in partial.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield partial
            partial.rename(destination)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    finally:
        os.close(handle)
