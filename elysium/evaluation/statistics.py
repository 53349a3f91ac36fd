"""How sure a figure is: bootstrap intervals and paired tests, with the items of one video kept together.

Several objects of one video share its frames, its light and its camera: they are one draw, not several. All resampling
here draws videos, with all their items. Sources: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, §13.3
(percentile intervals) and §15 (permutation); Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from elysium.boxes import FloatArray

Says = Literal["better", "worse", "cannot tell"]

CONFIDENCE = 0.95
# Of fewer videos the resampled means are so few that their percentiles say nothing; 6 is also where a sign-flip test
# can first fall below 5 % (2 of 2^6).
MIN_VIDEOS = 6
_EXACT_VIDEOS = 14
_FLIPS = 1 << _EXACT_VIDEOS
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Comparison:
    """What the same items say of two systems.

    Attributes:
        says: Whether the first is better or worse than the second by more than the margin, or one cannot tell.
        difference: Mean of the first minus the second.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Of the sign-flip test that the difference is no more than the margin apart from chance.
        num_items: Items that both were measured on.
        num_videos: Videos that they come from.
    """

    says: Says
    difference: float
    low: float
    high: float
    p_value: float
    num_items: int
    num_videos: int

    @property
    def too_few(self) -> bool:
        """Whether there are too few videos to say anything but `cannot tell`."""
        return self.num_videos < MIN_VIDEOS


def compare_figures(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    samples: int,
    seed: int,
    videos: Sequence[Hashable] | None = None,
    margin: float = 0.0,
) -> Comparison:
    """Returns whether one system is better than another on the same items: what every verdict of Elysium rests on.

    Better (worse) needs three things: at least `MIN_VIDEOS` videos, the 95 % interval of the difference wholly above
    `margin` (below `-margin`), and a sign-flip test that agrees (p < 5 %): the interval alone is too sure of itself
    where few videos are few and the figures skewed.

    Args:
        first: Shape `(n,)`, the first system's figure on each item.
        second: Shape `(n,)`, the second's on the same items in the same order.
        samples: Number of bootstrap resamples.
        seed: Of the resampling.
        videos: The video of each item; by default every item is a video of its own.
        margin: What a difference must exceed, not negative.

    Raises:
        ValueError: If the lists do not pair, are empty, or hold a figure that is not finite.

    Example:
        >>> compare_figures([70.0, 71, 72, 75, 74, 73], [60.0, 66, 61, 64, 62, 63], samples=200, seed=0).says
        'better'
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired figures need equal shapes, got {a.shape} and {b.shape}")
    if margin < 0:
        raise ValueError(f"margin is not negative, got {margin}")
    sums, counts = _by_video(a - b, videos)
    mean, low, high = _interval(sums, counts, samples, seed)
    shift = -margin if mean > 0 else margin
    p_value = _sign_flip(sums + shift * counts, seed)
    says: Says = "cannot tell"
    if len(sums) >= MIN_VIDEOS and p_value < 1 - CONFIDENCE:
        says = "better" if low > margin else "worse" if high < -margin else "cannot tell"
    return Comparison(says, mean, low, high, p_value, len(a), len(sums))


def bootstrap_mean(
    values: npt.ArrayLike, samples: int, seed: int, videos: Sequence[Hashable] | None = None
) -> tuple[float, float, float]:
    """Returns the mean of per-item figures with its 95 % percentile-bootstrap interval.

    Args:
        values: Shape `(n,)`, one figure an item, n >= 1.
        samples: Number of resamples.
        seed: Of the resampling.
        videos: The video of each item; by default every item is a video of its own.

    Returns:
        Mean, low, high.

    Raises:
        ValueError: If there is no figure, or one is not finite.

    Example:
        >>> bootstrap_mean([1.0, 1.0, 1.0], samples=100, seed=0)
        (1.0, 1.0, 1.0)
    """
    return _interval(*_by_video(np.asarray(values, dtype=np.float64), videos), samples, seed)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for there being several: the chance that any of them is a false alarm stays 5 %.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    worst = 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[number]))
        corrected[number] = worst
    return corrected


def _by_video(values: FloatArray, videos: Sequence[Hashable] | None) -> tuple[FloatArray, FloatArray]:
    """Returns each video's sum of figures and number of items."""
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"a bootstrap needs a list of finite figures, got shape {values.shape}")
    if videos is None:
        return values, np.ones(len(values))
    if len(videos) != len(values):
        raise ValueError(f"every figure needs its video, got {len(values)} and {len(videos)}")
    numbers = {video: number for number, video in enumerate(dict.fromkeys(videos))}
    index = np.array([numbers[video] for video in videos])
    return np.bincount(index, weights=values).astype(np.float64), np.bincount(index).astype(np.float64)


def _interval(sums: FloatArray, counts: FloatArray, samples: int, seed: int) -> tuple[float, float, float]:
    rng = np.random.default_rng(seed)
    chances = np.full(len(sums), 1 / len(sums))
    means = []
    # In blocks: ten thousand items a thousand times at once would need gigabytes.
    rows = max(1, _BLOCK // len(sums))
    for start in range(0, samples, rows):
        drawn = rng.multinomial(len(sums), chances, size=min(rows, samples - start))
        means.append((drawn @ sums) / (drawn @ counts))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(means), [tail, 100 - tail])
    return float(sums.sum() / counts.sum()), float(low), float(high)


def _sign_flip(sums: FloatArray, seed: int) -> float:
    """Returns the share of sign patterns whose sum lies as far from 0 as the one seen; of all where videos are few."""
    # Sums of the same numbers in another order differ in their last digits.
    seen = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()
    if len(sums) <= _EXACT_VIDEOS:
        patterns = np.arange(1 << len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((np.abs((1 - 2 * patterns) @ sums) >= seen).mean())
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(sums))
    hits = 0
    for start in range(0, _FLIPS, rows):
        signs = 1 - 2 * rng.integers(0, 2, size=(min(rows, _FLIPS - start), len(sums)), dtype=np.int8)
        hits += int((np.abs(signs @ sums) >= seen).sum())
    return (hits + 1) / (_FLIPS + 1)
