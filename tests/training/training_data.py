"""A small snapshot of simulated clips, and a model that trains on it in a second."""

import json

from PIL import Image

from elysium.config import load_settings
from elysium.data.records import TrackMetadata, TrackRecord, write_jsonl
from elysium.data.simulator import simulate

SETTINGS = (
    "model.init_from=null",
    "model.vision.image_size=32", "model.vision.patch_size=8", "model.num_visual_tokens=4",
    "model.vision.hidden_size=16", "model.vision.num_hidden_layers=2", "model.vision.num_attention_heads=2",
    "model.llm.hidden_size=32", "model.llm.num_hidden_layers=2", "model.llm.num_attention_heads=2",
    "training.threads=1", "training.finetune.camera_motion=0",
)  # fmt: skip


def settings(*overrides):
    return load_settings("nano", [*SETTINGS, *overrides])


def write_snapshot(folder, num_clips=4, num_frames=8):
    """Writes what the snapshot step publishes, as far as training reads it."""
    records = []
    for seed in range(num_clips):
        clip = simulate(seed, num_frames, 48)
        vid = f"sim-{seed}"
        (folder / "data" / "frames" / vid).mkdir(parents=True)
        names = [f"frames/{vid}/{number:06}.jpg" for number in range(num_frames)]
        for name, image in zip(names, clip.frames, strict=True):
            Image.fromarray(image).save(folder / "data" / name, quality=95)
        for number, thing in enumerate(clip.annotations.objects):
            if None in thing.boxes:
                continue
            metadata = TrackMetadata(
                content_sha256="0",
                timestamps=[i / 12 for i in range(num_frames)],
                decoder="none",
                caption=clip.caption,
                clip=vid,
                split="train",
                kind="simulated",
                confidence=1.0,
            )
            record = TrackRecord(
                source="simulator",
                id=f"{vid}-{number}",
                vid=vid,
                metadata=metadata,
                frames=names,
                object_class=thing.object_class,
                box=thing.boxes,
                object_description=thing.expression,
                frame_size=(48, 48),
            )
            records.append(record)
    write_jsonl(folder / "data" / "train.jsonl", records)
    (folder / "lineage.json").write_text(json.dumps({"data_hash": "test"}))
    return folder
