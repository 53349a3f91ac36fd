"""Frames as the models want them, without torchvision: sizes, and ImageNet's mean and standard deviation."""

from __future__ import annotations

import torch

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


def fitted_size(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """Returns the size that an image is scaled to: its shorter side `shortest`, unless the longer would be too long.

    DETR's rule, to the pixel.

    Args:
        size: `(width, height)` in pixels.
        shortest: Of the sides that come out, pixels.
        longest: Allowed, pixels.

    Example:
        >>> fitted_size((1024, 576), 800, 1333), fitted_size((576, 1024), 800, 1333)
        ((1333, 750), (750, 1333))
        >>> fitted_size((640, 480), 800, 1333)
        (1066, 800)
    """
    low, high = min(size), max(size)
    exact = min(float(shortest), longest * low / high)
    sides = max(1, round(exact)), max(1, int(exact * high / low))
    return (sides[1], sides[0]) if size[0] >= size[1] else sides


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Returns uint8 RGB images of shape `(n, h, w, 3)` as float32 `(n, 3, h, w)`, normalised as for ImageNet."""
    values = images.permute(0, 3, 1, 2).to(torch.float32) / 255
    mean, deviation = (values.new_tensor(numbers).view(3, 1, 1) for numbers in (_MEAN, _DEVIATION))
    return (values - mean) / deviation
