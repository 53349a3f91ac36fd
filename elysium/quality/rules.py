"""What is asked of tracks: of the whole, of each record, of what evaluation shares with training, of the rejects."""

from __future__ import annotations

from elysium.config import TrackQualitySettings
from elysium.quality.gate import Rule

_BETWEEN = "ExpectColumnValuesToBeBetween"
_BUG = "this is a fault of curation: report it, with the ids below"
_AGAIN = "run curate again"


def total_rules(settings: TrackQualitySettings) -> list[Rule]:
    """Returns the rules about counts."""
    more = "take more clips in (ingest.source), loosen curate's thresholds, cut videos in two (curate.split_by=time)"
    return [
        Rule(
            "training-records",
            "ExpectColumnSumToBeBetween",
            {"column": "train", "min_value": settings.min_train_records},
            f"at least {settings.min_train_records} training records",
            f"{more}, or lower validate_tracks.min_train_records",
        ),
        Rule(
            "evaluation-records",
            "ExpectColumnSumToBeBetween",
            {"column": "evaluation", "min_value": settings.min_evaluation_records},
            f"at least {settings.min_evaluation_records} evaluation records",
            f"{more}, or lower validate_tracks.min_evaluation_records",
        ),
        Rule(
            "rejected-share",
            "ExpectColumnMaxToBeBetween",
            {"column": "reject_share", "max_value": settings.max_reject_share},
            f"at most {settings.max_reject_share:.0%} of the candidates are rejected",
            "see the reasons below; loosen the threshold that rejects most, or raise validate_tracks.max_reject_share",
        ),
    ]


def record_rules(settings: TrackQualitySettings) -> list[Rule]:
    """Returns the rules that every record must keep."""
    return [
        Rule(
            "schema",
            "ExpectColumnValuesToBeNull",
            {"column": "problem"},
            "every line is a valid ElysiumTrack record",
            _BUG,
        ),
        Rule("unique-id", "ExpectColumnValuesToBeUnique", {"column": "id"}, "no two records have the same id", _BUG),
        Rule(
            "split",
            "ExpectColumnPairValuesToBeEqual",
            {"column_A": "split", "column_B": "said_split", "ignore_row_if": "either_value_is_missing"},
            "a record lies in the file of its split",
            _BUG,
        ),
        Rule(
            "one-box-a-frame",
            "ExpectColumnPairValuesToBeEqual",
            {"column_A": "num_frames", "column_B": "num_boxes", "ignore_row_if": "both_values_are_missing"},
            "frames and box have the same length",
            _BUG,
        ),
        Rule(
            "one-time-a-frame",
            "ExpectColumnPairValuesToBeEqual",
            {"column_A": "num_frames", "column_B": "num_timestamps", "ignore_row_if": "both_values_are_missing"},
            "frames and metadata.timestamps have the same length",
            _BUG,
        ),
        Rule(
            "frames-exist",
            _BETWEEN,
            {"column": "frames_missing", "max_value": 0},
            "every frame's image file is there",
            _AGAIN,
        ),
        Rule("box-lowest", _BETWEEN, {"column": "lowest", "min_value": 0}, "no coordinate is below 0", _BUG),
        Rule("box-highest", _BETWEEN, {"column": "highest", "max_value": 1}, "no coordinate is above 1", _BUG),
        Rule(
            "box-ordered",
            _BETWEEN,
            {"column": "smallest_side", "min_value": 0, "strict_min": True},
            "x1 < x2 and y1 < y2 in every box",
            _BUG,
        ),
        Rule(
            "box-size",
            _BETWEEN,
            {"column": "smallest_side", "min_value": settings.min_box_side},
            f"each side of each box is at least {settings.min_box_side:g} of the frame's side",
            "raise curate.min_box_side, or lower validate_tracks.min_box_side",
        ),
        Rule(
            "expression-length",
            _BETWEEN,
            {"column": "words", "min_value": settings.min_words, "max_value": settings.max_words},
            f"an expression has {settings.min_words} to {settings.max_words} words",
            "look at the captions of these clips, or change validate_tracks.min_words or max_words",
        ),
    ]


def leak_rules() -> list[Rule]:
    """Returns the rules that keep evaluation apart from training; none allows an exception."""
    keep_apart = "take these clips out of one split at the source and run ingest and curate again"
    asked = (
        ("leak-sequence", "shared_sequences", "no evaluation sequence is in training"),
        ("leak-clip", "shared_clips", "no simulated clip is in both splits"),
        ("leak-time", "overlap", "no stretch of a video file is in both splits (seconds)"),
        ("leak-frame", "shared_frames", "no evaluation frame is, byte for byte, in training"),
    )
    return [Rule(name, _BETWEEN, {"column": column, "max_value": 0}, asks, keep_apart) for name, column, asks in asked]


def reason_rules(settings: TrackQualitySettings) -> list[Rule]:
    """Returns the rule about the share of each reject reason."""
    return [
        Rule(
            "reject-reason-share",
            _BETWEEN,
            {"column": "share", "max_value": settings.max_reason_share},
            f"no single reason rejects more than {settings.max_reason_share:.0%} of the candidates",
            "loosen the threshold behind it, or raise validate_tracks.max_reason_share",
        )
    ]
