"""How sure a figure is: bootstrap intervals over sequences, paired between two models."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_CONFIDENCE = 0.95


def bootstrap_mean(values: npt.ArrayLike, samples: int, seed: int) -> tuple[float, float, float]:
    """Returns the mean of per-sequence figures with its 95 % percentile-bootstrap interval.

    Args:
        values: Shape `(n,)`, one figure a sequence, n >= 1.
        samples: Number of resamples.
        seed: Of the resampling.

    Returns:
        Mean, low, high.

    Raises:
        ValueError: If there is no figure, or one is not finite.

    Example:
        >>> bootstrap_mean([1.0, 1.0, 1.0], samples=100, seed=0)
        (1.0, 1.0, 1.0)
    """
    figures = np.asarray(values, dtype=np.float64)
    if figures.ndim != 1 or len(figures) == 0 or not np.isfinite(figures).all():
        raise ValueError(f"a bootstrap needs a list of finite figures, got shape {figures.shape}")
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(figures), np.full(len(figures), 1 / len(figures)), size=samples)
    means = counts @ figures / len(figures)
    tail = 100 * (1 - _CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(figures.mean()), float(low), float(high)


def paired_bootstrap(a: npt.ArrayLike, b: npt.ArrayLike, samples: int, seed: int) -> tuple[float, float, float]:
    """Returns the mean difference `a - b` over the same sequences with its 95 % interval.

    Args:
        a: Shape `(n,)`, the first model's figure on each sequence.
        b: Shape `(n,)`, the second model's on the same sequences in the same order.
        samples: Number of resamples; a resample draws sequences, so that easy and hard ones stay paired.
        seed: Of the resampling.

    Returns:
        Mean difference, low, high.

    Raises:
        ValueError: If the lists differ in length or are empty.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired figures need equal shapes, got {first.shape} and {second.shape}")
    return bootstrap_mean(first - second, samples, seed)
