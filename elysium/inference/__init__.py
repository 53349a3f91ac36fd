"""From a trained model to boxes and descriptions: guided decoding and the tracking engine (PROTOCOL §5)."""

from elysium.inference.engine import Engine, TrackAnswer, TrackRequest

__all__ = ["Engine", "TrackAnswer", "TrackRequest"]
