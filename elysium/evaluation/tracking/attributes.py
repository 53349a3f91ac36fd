"""Figures by attribute: the challenges that a set says its sequences hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from elysium.errors import UsageError
from elysium.evaluation.tracking.protocols import Protocol, Score


@dataclass(frozen=True)
class AttributeScore:
    """The sequences that hold one attribute.

    Attributes:
        num_sequences: How many they are.
        mean: Over them, as the protocol brings sequences together.
    """

    num_sequences: int
    mean: Score


def attribute_table(
    protocol: Protocol, scores: Mapping[str, Score], attributes: Mapping[str, tuple[str, ...] | None]
) -> dict[str, AttributeScore]:
    """Returns each attribute's score, by name in alphabetical order; a sequence counts for every attribute it holds.

    Args:
        protocol: That made the scores.
        scores: By sequence.
        attributes: By sequence; None where they are not known.

    Raises:
        UsageError: If the attributes of a sequence are not known.
    """
    unknown = sorted(name for name in scores if attributes.get(name) is None)
    if unknown:
        raise UsageError(
            f"the attributes of {len(unknown)} of {len(scores)} sequences are not known: {', '.join(unknown[:5])}"
            + (" …" if len(unknown) > 5 else "")
            + "; name the folder that holds a file of flags for each, as LaSOT's toolkit has in annos/att"
        )
    held = {name: attributes[name] or () for name in scores}
    table = {}
    for attribute in sorted({attribute for values in held.values() for attribute in values}):
        chosen = [score for name, score in scores.items() if attribute in held[name]]
        table[attribute] = AttributeScore(len(chosen), protocol.mean(chosen))
    return table
