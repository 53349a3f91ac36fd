"""Held-out records of small simulated clips."""

import pytest
from PIL import Image

from elysium.data.records import TrackMetadata, TrackRecord, write_jsonl
from elysium.data.simulator import simulate


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Held-out records of simulated clips, one of them passed off as real, and one to train on."""
    folder = tmp_path_factory.mktemp("data")
    records = []
    for seed in range(5):
        clip = simulate(seed, num_frames=8, side=48)
        names = [f"frames/{seed}/{number:06}.png" for number in range(8)]
        (folder / "frames" / str(seed)).mkdir(parents=True)
        for name, image in zip(names, clip.frames, strict=True):
            Image.fromarray(image).save(folder / name)
        thing = next(thing for thing in clip.annotations.objects if None not in thing.boxes)
        metadata = TrackMetadata(
            content_sha256=str(seed),
            timestamps=[float(number) for number in range(8)],
            decoder="none",
            caption=clip.caption,
            clip=str(seed),
            split="train" if seed == 4 else "evaluation",
            kind="real" if seed == 3 else "simulated",
            confidence=1.0,
        )
        record = TrackRecord(
            source="test",
            id=f"clip-{seed}",
            vid=str(seed),
            metadata=metadata,
            frames=names,
            object_class=thing.object_class,
            box=thing.boxes,
            object_description=thing.expression,
            frame_size=(48, 48),
        )
        records.append(record)
    write_jsonl(folder / "evaluation.jsonl", records[:4])
    write_jsonl(folder / "train.jsonl", records[4:])
    return folder
