"""From a trained model to boxes and descriptions: guided decoding and the tracking engine (PROTOCOL §5)."""

from elysium.inference.engine import Engine
from elysium.inference.memory import FrameSource, TrackAnswer, TrackRequest
from elysium.inference.results import FrameResult, SourceFrame, TrackedObject
from elysium.inference.tracker import Tracker
from elysium.inference.tracks import Target, TrackOptions

__all__ = [
    "Engine",
    "FrameResult",
    "FrameSource",
    "SourceFrame",
    "Target",
    "TrackAnswer",
    "TrackOptions",
    "TrackRequest",
    "TrackedObject",
    "Tracker",
]
