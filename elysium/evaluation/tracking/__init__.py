"""Published tracking sets as they lie on disk, trackers' result files, and the protocols they are measured by."""

from elysium.evaluation.tracking.opening import TRACKING_SETS, open_tracking_set
from elysium.evaluation.tracking.protocols import PROTOCOLS, Protocol
from elysium.evaluation.tracking.sequences import TrackingSequence, TrackingSet
from elysium.evaluation.tracking.writers import write_results

__all__ = [
    "PROTOCOLS",
    "TRACKING_SETS",
    "Protocol",
    "TrackingSequence",
    "TrackingSet",
    "open_tracking_set",
    "write_results",
]
