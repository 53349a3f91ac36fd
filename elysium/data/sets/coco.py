"""Where pictures of COCO lie."""

from __future__ import annotations


def coco_names(part: str, number: int) -> list[str]:
    """Returns the paths that a COCO picture may have below the images' folder, the 2014 layout first.

    Args:
        part: Of the 2014 split, for example `train2014`.
        number: Of the picture.

    Example:
        >>> coco_names("train2014", 9)[:2]
        ['train2014/COCO_train2014_000000000009.jpg', 'COCO_train2014_000000000009.jpg']
    """
    name = f"COCO_{part}_{number:012}.jpg"
    # In 2017 the same pictures were split anew, under names without the part.
    anew = [f"{folder}{number:012}.jpg" for folder in ("train2017/", "val2017/", "")]
    return [f"{part}/{name}", name, *anew]
