"""Cron expressions as Kubeflow takes them: six fields, seconds first."""

from __future__ import annotations

import re

from elysium.errors import UsageError

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
# Name, least, most, and the names of values beginning with the least.
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("second", 0, 59, []),
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def check_cron(text: str) -> str:
    """Returns a cron expression with single spaces.

    Kubeflow reads five fields too, and takes the first for seconds: `0 3 * * 1` would be every hour in January. So six
    are asked for here.

    Args:
        text: Second, minute, hour, day of the month, month, day of the week (0 or SUN is Sunday); or `@weekly` etc.

    Raises:
        UsageError: If it is none, with the field that is wrong.

    Example:
        >>> check_cron("0 0 3 * *  SUN")
        '0 0 3 * * SUN'
    """
    fields = text.split()
    if len(fields) == 1 and fields[0] in _DESCRIPTORS:
        return fields[0]
    if len(fields) != len(_FIELDS):
        hint = f"; with seconds it is '0 {' '.join(fields)}'" if len(fields) == len(_FIELDS) - 1 else ""
        raise UsageError(f"Kubeflow's cron has six fields, seconds first, got {len(fields)} in {text!r}{hint}")
    for field, (name, least, most, names) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            if not _is_part(part, least, most, names, question="day" in name):
                raise UsageError(
                    f"{field!r} is no {name} in the cron {text!r}: {least} to {most}, *, a-b, */n or a list"
                )
    return " ".join(fields)


def _is_part(part: str, least: int, most: int, names: list[str], question: bool) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        return False
    if span == "*" or (span == "?" and question):
        return True
    found = re.fullmatch(r"(\w+)(?:-(\w+))?", span)
    if found is None:
        return False
    values = [_value(word, least, names) for word in found.groups() if word is not None]
    return all(value is not None and least <= value <= most for value in values) and values == sorted(values)  # type: ignore[type-var] # no None is left


def _value(word: str, least: int, names: list[str]) -> int | None:
    if word.upper() in names:
        return least + names.index(word.upper())
    return int(word) if word.isdecimal() else None
