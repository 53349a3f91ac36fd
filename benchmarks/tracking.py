"""The tracking engine beside plain `generate`, in one run: frames a second, passes, tokens and memory.

    python benchmarks/tracking.py [--checkpoint nano] [--output FILE]
    python benchmarks/tracking.py --mid ../shared/reference/tokenizer --frames 15
    python benchmarks/tracking.py --length 10000 --checkpoint CKPT      peak memory on a long 720p video

Plain is what the official evaluation does: clip after clip and object after object, batch of one, every clip's frames
encoded again, `generate` without a grammar. As it does one thing at a time, its time for N objects in M videos is N x M
times that for one, which is measured on a few tracks. Random models (--mid: about 100 million parameters and a given
LLaMA tokenizer) never end their answer by themselves: they write as many tokens as a right answer has. With LLaMA's own
initial weights they write the same number again and again, so that guesses are easier than a trained model's, and
fewer digits are a choice. The engine runs with guesses and without, in every round after plain;
medians of the rounds are quoted. Peak memory is that of a process of its own for each case, over the same process with
the model loaded. Tokens are those that plain writes and those that the engine reads, prompts included. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import finish

from elysium.config import ModelSettings
from elysium.data.simulator import simulate
from elysium.inference import Engine, Target, Tracker, TrackOptions, TrackRequest
from elysium.inference.checkpoints import find_checkpoint
from elysium.inference.results import Image
from elysium.model import build_model, load_checkpoint
from elysium.prompts import Task, ask

CASES = ((1, 1), (8, 1), (1, 16), (8, 16))
CLIP = 8
MID = {
    "num_visual_tokens": 36,
    "vision": {
        "image_size": 224,
        "patch_size": 16,
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
    },
    "llm": {
        "hidden_size": 640,
        "intermediate_size": 1728,
        "num_hidden_layers": 12,
        "num_attention_heads": 10,
        "max_position_embeddings": 2048,
        "config": {"initializer_range": 0.02},
    },
}
Track = tuple[list[Image], tuple[float, ...]]


def main() -> None:
    """Prints the table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="nano")
    parser.add_argument("--home", type=Path, default=Path("runs"))
    parser.add_argument(
        "--mid", type=Path, metavar="TOKENIZER", help="a random model of 100 million parameters instead"
    )
    parser.add_argument("--frames", type=int, default=64, help="of each video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sample", type=int, default=2, help="tracks that plain is measured on")
    parser.add_argument("--length", type=int, help="only memory: a video of so many frames beside one of 500")
    parser.add_argument("--output", type=Path, help="file for the JSON")
    parser.add_argument("--peak", metavar="CASE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(peak_of(arguments))
        return
    report = long_video(arguments) if arguments.length else compare(arguments)
    finish(report, arguments.output)


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the figures of every case."""
    model, processor = load(arguments)
    engines = {"engine": Engine(model, processor, CLIP, batch_size=32)}
    engines["engine without guesses"] = Engine(model, processor, CLIP, batch_size=32, drafts=False)
    for engine in engines.values():  # what is made on first use is not the run's
        engine.track([TrackRequest(frames, box=box) for frames, box in tracks(2, 1, CLIP)])
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for number in range(arguments.rounds):
        for objects, videos in CASES:
            plain = run_plain(arguments, model, processor, number)
            row = rows.setdefault((objects, videos), {"objects": objects, "videos": videos, "plain": []})
            row["plain"].append({**plain, "frames_per_second": plain["frames_per_second"] / objects})
            for name, engine in engines.items():
                row.setdefault(name, []).append(run_engine(engine, objects, videos, arguments.frames, number))
    print(
        f"{'objects':>7} {'videos':>6} {'system':<24}{'frames/s':>9}{'times':>7}{'passes':>8}{'tokens':>8}"
        f"{'right':>7}{'MiB':>7}"
    )
    cases = []
    for (objects, videos), row in rows.items():
        for name in ("plain", *engines):
            row[name] = median_of(row[name])
            if name in ("plain", "engine"):
                row[name]["peak_mib"] = peak_in_process(f"{name}:{objects}:{videos}")
            row[name]["times_plain"] = round(row[name]["frames_per_second"] / row["plain"]["frames_per_second"], 2)
            entry = row[name]
            right = entry.get("guesses_right")
            tokens = entry.get("tokens_read_per_frame", entry.get("tokens_written_per_frame"))
            print(
                f"{objects:>7} {videos:>6} {name:<24}{entry['frames_per_second']:>9.2f}{entry['times_plain']:>7.1f}"
                f"{entry['passes_per_frame']:>8.2f}{tokens:>8.1f}"
                f"{'' if right is None else f'{100 * right:.0f} %':>7}{entry.get('peak_mib', math.nan):>7.0f}"
            )
        cases.append(row)
    parameters = sum(value.numel() for value in model.parameters())
    return {"parameters": parameters, "frames": arguments.frames, "rounds": arguments.rounds, "cases": cases}


def run_plain(arguments: argparse.Namespace, model: Any, processor: Any, seed: int) -> dict[str, float]:
    """Returns the speed of following one object after another."""
    frames = tokens = passes = 0
    begun = time.perf_counter()
    for images, box in tracks(1, arguments.sample, arguments.frames if not arguments.mid else 2 * CLIP - 1, seed):
        for written, shown in generate(model, processor, images, box, forced=bool(arguments.mid)):
            tokens, passes, frames = tokens + written, passes + written, frames + shown
    seconds = time.perf_counter() - begun
    return {
        "frames_per_second": frames / seconds,
        "passes_per_frame": passes / frames,
        "tokens_written_per_frame": tokens / frames,
    }


@torch.inference_mode()
def generate(
    model: Any, processor: Any, images: list[Image], box: tuple[float, ...], *, forced: bool
) -> Iterator[tuple[int, int]]:
    """Follows an object as the official evaluation does; yields tokens written and new frames of each clip."""
    start = 0
    while start < len(images) - 1:
        clip = images[start : start + CLIP]
        prompt = ask(Task.SOT, len(clip), box=box, codec=processor.codec)
        batch = processor(text=[prompt], videos=[clip])
        longest = processor.encode_answer(", ".join(f"Frame {n + 1}: [23,45,67,89]" for n in range(len(clip))) + ".")
        count = len(longest)
        ids = model.generate(**batch, max_new_tokens=count, min_new_tokens=count if forced else None, do_sample=False)
        answer = ids[0, batch["input_ids"].shape[1] :]
        found = processor.codec.decode(processor.tokenizer.decode(answer, skip_special_tokens=True))
        last = np.asarray(found[-1] if len(found) else np.zeros(4), dtype=float)
        # A malformed box is made a whole one, so that the next clip has something to begin with.
        box = tuple(last) if (last[2:] > last[:2]).all() else (0.0, 0.0, 1.0, 1.0)
        yield len(answer), len(clip) - 1
        start += CLIP - 1


def run_engine(engine: Engine, objects: int, videos: int, length: int, seed: int) -> dict[str, float]:
    """Returns the speed of following everything at once."""
    engine.stats.__init__()  # type: ignore[misc] # from zero
    requests = [TrackRequest(images, box=box) for images, box in tracks(objects, videos, length, seed)]
    begun = time.perf_counter()
    engine.track(requests)
    seconds, frames, stats = time.perf_counter() - begun, videos * (length - 1), engine.stats
    figures = {
        "frames_per_second": frames / seconds,
        "passes_per_frame": stats.passes / frames,
        "tokens_read_per_frame": stats.tokens / frames,
    }
    return figures | ({"guesses_right": stats.agreed / stats.guessed} if stats.guessed else {})


def tracks(objects: int, videos: int, length: int, seed: int = 0) -> list[Track]:
    """Returns videos and boxes of objects in them; a video with fewer objects has some of them twice."""
    found: list[Track] = []
    for number in range(videos):
        clip = simulate(5_000_000 + 1000 * seed + number, max(length, 2))
        images = list(clip.frames)
        boxes = [entry.boxes[0] for entry in clip.annotations.objects if entry.boxes[0] is not None]
        found += [(images, boxes[place % len(boxes)]) for place in range(objects)]
    return found


def long_video(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the peak memory on a long video and on a short one."""
    peaks = {str(length): peak_in_process(f"file:{length}:1") for length in (500, arguments.length)}
    short, long = peaks.values()
    print(f"peak over the loaded model: {short:.0f} MiB for 500 frames, {long:.0f} MiB for {arguments.length}")
    return {"peak_mib": peaks, "times": round(long / short, 3)}


def peak_in_process(case: str) -> float:
    """Returns the peak of a process of its own, MiB over what it had with the model loaded."""
    done = subprocess.run([sys.executable, *sys.argv, "--peak", case], check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def peak_of(arguments: argparse.Namespace) -> float:
    """Runs one case in this process."""
    system, first, second = arguments.peak.split(":")
    model, processor = load(arguments)
    if system == "plain":
        before = forget_peak()
        for images, box in tracks(1, 1, 2 * CLIP - 1):
            list(generate(model, processor, images, box, forced=bool(arguments.mid)))
    elif system == "file":
        with tempfile.TemporaryDirectory() as folder:
            path = write_long(Path(folder), int(first))
            before = forget_peak()
            follow_file(Engine(model, processor, CLIP), path)
    else:
        engine = Engine(model, processor, CLIP, batch_size=32, drafts=system == "engine")
        requests = [TrackRequest(images, box=box) for images, box in tracks(int(first), int(second), 2 * CLIP - 1)]
        before = forget_peak()
        engine.track(requests)
    return memory("VmHWM") - before


def write_long(folder: Path, length: int) -> Path:
    """Writes a 720p video in a process of its own, whose memory is not this one's."""
    path = folder / "long.mp4"
    code = (
        "import sys, numpy as np\n"
        "from elysium.data.video import write_video\n"
        "base = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), dtype=np.uint8) // 8\n"
        "write_video(sys.argv[1], (np.roll(base, 4 * n, 1) for n in range(int(sys.argv[2]))), 25)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(length)], check=True)
    return path


def follow_file(engine: Engine, path: Path) -> None:
    """Follows two objects and draws them, the most that memory has to hold."""
    from elysium.inference.drawing import DrawOptions
    from elysium.inference.sources import open_source
    from elysium.inference.writers import open_writer

    source = open_source(str(path))
    targets = [Target(box=(100, 100, 300, 300)), Target(expression="a red circle")]
    with tempfile.TemporaryDirectory() as folder:
        writer = open_writer(Path(folder) / "out.mp4", None, source.info, options=DrawOptions())
        for result in Tracker(engine, TrackOptions(keep_images=True)).follow(source, targets):
            writer.write(result)
        writer.finish()


def forget_peak() -> float:
    """Lets this process's peak memory begin anew; returns what it has now, MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> float:
    """Returns a figure of this process's status, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**10


def load(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Returns the model that is measured, and its processor."""
    if arguments.mid:
        settings = {**MID, "llm": {**MID["llm"], "tokenizer": str(arguments.mid)}}  # type: ignore[dict-item]
        model, processor = build_model(ModelSettings.model_validate(settings), seed=0)
        return model.eval(), processor
    return load_checkpoint(find_checkpoint(arguments.checkpoint, arguments.home))


def median_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """Returns the median of each figure."""
    return {name: round(statistics.median(row[name] for row in rows), 4) for name in rows[0]}


if __name__ == "__main__":
    main()
