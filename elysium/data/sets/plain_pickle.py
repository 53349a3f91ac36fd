"""Reading pickle files of plain data, and nothing else: a pickle may name code, which is never run here."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

from elysium.errors import UsageError


class _PlainUnpickler(pickle.Unpickler):
    """Makes lists, dicts, tuples, texts and numbers; refuses every class and function."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to objects outside of it")


def load_plain(path: Path) -> Any:
    """Returns what a pickle file holds; texts of Python 2 are read as Latin-1.

    Raises:
        UsageError: If it is no whole pickle, or asks for anything but plain data.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a broken pickle raises nearly anything
        raise UsageError(
            f"{path} is not read: {str(error) or type(error).__name__}; a pickle of plain lists, dicts, texts and "
            "numbers is needed, as published"
        ) from error
