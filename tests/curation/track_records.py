"""Made-up track records for the tests of the data set."""

from elysium.data.records import TrackMetadata, TrackRecord


def record(name, *, share=0.5, split="train", kind="real", count=3, expression="a dog", **extra):
    """Returns a record of a video whose content, seen as a number, is `share`."""
    metadata = TrackMetadata.model_validate(
        {
            "content_sha256": f"{int(share * 16**16):016x}" + "0" * 48,
            "timestamps": [round(number / 12, 6) for number in range(count)],
            "decoder": "av 18.1.0",
            "caption": "Ein Hund läuft.",
            "clip": f"clip-{share}",
            "split": split,
            "kind": kind,
            "confidence": 0.9,
            **extra,
        }
    )
    return TrackRecord(
        source="set",
        id=name,
        vid=f"{name}-v",
        metadata=metadata,
        frames=[f"frames/00000/{name}/{number:06d}.jpg" for number in range(count)],
        object_class=expression.split()[-1],
        box=[(0.1, 0.123457, 0.5 + number / 100, 1.0) for number in range(count)],
        object_description=expression,
        frame_size=(64, 48),
    )
