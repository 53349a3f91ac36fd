"""Numbers of seconds that the environment names."""

from __future__ import annotations

import os

from elysium.errors import UsageError


def seconds_of(name: str, default: float, *, zero: bool = False) -> float:
    """Returns the seconds that a variable of the environment names.

    Args:
        name: Of the variable; empty counts as not set.
        default: Where it is not set.
        zero: Whether 0 is a number for it.

    Raises:
        UsageError: If it is no such number.
    """
    text = os.environ.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (0 < seconds < float("inf") or (zero and seconds == 0)):
        raise UsageError(f"{name} is a number of seconds {'from 0' if zero else 'above 0'}, got {text!r}")
    return seconds
