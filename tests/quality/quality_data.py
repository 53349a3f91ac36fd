"""Small clips and records for the tests of this folder."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from elysium.config import load_settings
from elysium.data.records import RawClip, write_jsonl
from elysium.data.video import write_video
from elysium.pipeline.steps import StepContext
from elysium.pipeline.workspace import sha256


def context(step, tmp_path, overrides=(), **inputs):
    output = tmp_path / "out"
    output.mkdir(exist_ok=True)
    return StepContext(step, load_settings("nano", overrides), inputs, output, tmp_path, "run")


def result(tmp_path):
    return json.loads((tmp_path / "out" / "result.json").read_text())


def outcome(tmp_path, name):
    (found,) = [entry for entry in result(tmp_path)["expectations"] if entry["name"] == name]
    return found


def broken(tmp_path):
    return sorted(entry["name"] for entry in result(tmp_path)["expectations"] if not entry["success"])


def write_clip(path, seed, num_frames=12, side=64, frame_rate=12.0):
    generator = np.random.default_rng(seed)
    base = generator.integers(0, 255, (side // 16, side // 16, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    write_video(path, [np.roll(base, shift, axis=1) for shift in range(num_frames)], frame_rate)


def clip(folder, name, caption="a red ball rolls", **changes):
    path = folder / "clips" / f"{name}.mp4"
    fields = {"id": name, "path": f"clips/{name}.mp4", "caption": caption, "source": "test", "sha256": sha256(path)}
    return RawClip(**{**fields, **changes})


def write_manifest(folder, clips):
    write_jsonl(folder / "manifest.jsonl", clips)


BOX = (0.2, 0.3, 0.5, 0.6)


def record(name, split, *, clip="c1", start=0.0, frames=3, video="aa", kind="simulated", **changes):
    """Returns a record of `frames` frames, 0.1 s apart, as plain data."""
    vid = changes.pop("vid", f"{clip}-{split}")
    metadata = {
        "content_sha256": video,
        "timestamps": [round(start + 0.1 * i, 3) for i in range(frames)],
        "decoder": "av 1",
        "caption": "a red ball rolls",
        "clip": clip,
        "split": split,
        "kind": kind,
        "confidence": 0.9,
    }
    return {
        "source": "test",
        "id": name,
        "vid": vid,
        "metadata": metadata,
        "frames": [f"frames/{vid}/{i:06}.jpg" for i in range(frames)],
        "object_class": "ball",
        "box": [list(BOX)] * frames,
        "object_description": "a red ball",
        "frame_size": [32, 32],
        **changes,
    }


def write_tracks(folder, records, rejects=()):
    """Writes a tracks folder; every sequence gets frames with a content of its own."""
    lines = {"train": [], "evaluation": []}
    for content in records:
        lines[content["metadata"]["split"]].append(json.dumps(content))
        for number, name in enumerate(content["frames"]):
            write_frame(folder / name, f"{content['vid']} {number}")
    for split, texts in lines.items():
        (folder / f"{split}.jsonl").write_text("".join(f"{text}\n" for text in texts))
    entries = [{"stage": stage, "reason": reason} for stage, reason in rejects]
    (folder / "rejects.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def write_frame(path: Path, content: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(list(content.encode()))
    Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
