"""Whether a model is measured on what it was trained on: by names, by files, and by what the frames look like.

`guard` is what an evaluation calls; `Clip` is what it hands over, one for each item that is measured.
"""

from elysium.evaluation.leaks.building import open_index, open_indexes
from elysium.evaluation.leaks.clips import Clip, VideoFrames, of_set_record, of_track
from elysium.evaluation.leaks.guard import Leak, Leaks, find_leaks, guard

__all__ = [
    "Clip",
    "Leak",
    "Leaks",
    "VideoFrames",
    "find_leaks",
    "guard",
    "of_set_record",
    "of_track",
    "open_index",
    "open_indexes",
]
