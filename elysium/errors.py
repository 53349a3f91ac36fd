"""What can go wrong in front of a person, and the exit code each kind ends a command with (DESIGN §2)."""

from __future__ import annotations


class ElysiumError(Exception):
    """A failure that its message explains: what is wrong, the value seen, and what would be right.

    Attributes:
        exit_code: What a command that ends with this error returns to its caller.
    """

    exit_code = 1


class UsageError(ElysiumError, ValueError):
    """A setting, argument or input that cannot work; nothing was started."""

    exit_code = 2


class GateRefused(ElysiumError):
    """A quality gate said no: the data was read and judged, and is not good enough to go on with."""

    exit_code = 3
