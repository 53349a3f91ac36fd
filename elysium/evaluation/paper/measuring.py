"""The evaluations that fill the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence

from elysium.errors import ElysiumError
from elysium.evaluation.paper.driver import Measure


def open_measure(checkpoint: str, overrides: Sequence[str]) -> Measure:
    """Returns what runs the evaluations of one model.

    Args:
        checkpoint: As `elysium evaluate run --checkpoint` takes it.
        overrides: What `--set` was given.

    Raises:
        ElysiumError: If the model cannot be measured.
    """
    raise ElysiumError(
        f"{checkpoint} cannot be measured from here yet ({len(overrides)} settings); measure it with "
        "`elysium evaluate run`, and give the folder with --from-results"
    )
