"""The part of a set that a person asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from elysium.errors import UsageError
from elysium.evaluation.request import SetRequest

_SHOWN = 5


class _Named(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=_Named)


def choose(items: Iterable[Item], part: SetRequest, what: str) -> list[Item]:
    """Returns the items that `part.only` and `part.limit` leave.

    Args:
        items: Of the whole set, at least one.
        part: What is asked for.
        what: One of them is, for messages, e.g. `question of msvd-qa`.

    Raises:
        UsageError: If an id is not there.
    """
    found = list(items)
    if part.only is not None:
        wanted = set(part.only)
        unknown = sorted(wanted - {item.id for item in found})
        if unknown or not wanted:
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            raise UsageError(f"there is no {what} {', '.join(unknown[:_SHOWN])}{more}; --only takes their ids")
        found = [item for item in found if item.id in wanted]
    return found[: part.limit]
