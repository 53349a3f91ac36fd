"""Which items of a set are measured, where not all of them are."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from elysium.errors import UsageError

_SHOWN = 5


def choose(ids: Sequence[str], only: Collection[str] | None, limit: int | None, what: str) -> list[str]:
    """Returns the ids that are asked for, in the set's order.

    Args:
        ids: Of all items.
        only: Those to measure; None is all.
        limit: At most so many of them, the first ones.
        what: The items in words, for messages.

    Raises:
        UsageError: If an id that is asked for is not there: fewer items than meant would be measured.

    Example:
        >>> choose(["a", "b", "c"], ["c", "a"], None, "questions of MSVD-QA")
        ['a', 'c']
    """
    unknown = sorted(set(only or ()) - set(ids))
    if unknown:
        more = " …" if len(unknown) > _SHOWN else ""
        raise UsageError(
            f"of the {len(ids)} {what} none is {', '.join(unknown[:_SHOWN])}{more}; their ids are such as {ids[0]}"
        )
    return [name for name in ids if only is None or name in set(only)][:limit]
