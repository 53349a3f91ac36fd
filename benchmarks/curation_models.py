"""What curation's models cost on a GPU: Grounding DINO and SAM 2 at their real sizes, with random weights (GPU.md G5).

    python benchmarks/curation_models.py [--batches 1,2,4,8,16,32] [--output benchmarks/results/curation-models.json]
    python benchmarks/curation_models.py --tiny     models of toy size on any machine, to see that it runs

Time does not depend on what the weights are, so nothing is downloaded: configurations are those of the published
checkpoints, written out below. Videos are generated, as large as curation decodes them. For each batch size two things
are timed through the very parts that curation uses, preparation of the frames and transfers included, while one
process holds the GPU: grounding (first, middle and last frame of every piece) and tracking (every frame of every
piece). Nothing is filtered out in between, as if every piece had candidates to the end: what a real run saves by
asking less is its yield's matter, and no business of this benchmark. A round is one pass over all videos; the first
warms up, medians of the others are quoted. Seconds per kept track divide by --kept-share of the tracks. The baselines
are batch 1, and what the paper spent. The last line is JSON.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import finish
from transformers import (
    BertConfig,
    BertTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    SwinConfig,
)

from elysium.config import CurateSettings
from elysium.curation.models.grounding_dino import GroundingDinoGrounder
from elysium.curation.models.sam2 import Sam2Tracker
from elysium.curation.protocols import Frame, Query

PAPER = 9.8  # GPU-seconds a kept pair, A100 (PROTOCOL §6)
TARGET = 0.1  # GPU-seconds a second of video (GPU.md G5)
PHRASES = ("a man in a suit", "a red car", "the dog", "a woman", "a white horse", "a small bird", "the boat", "a girl")
# Swin backbones: width, blocks, heads and window, as `IDEA-Research/grounding-dino-base` and `-tiny` have them.
GROUNDERS = {
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32), 12),
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
}
# Hiera backbones: width, blocks, heads, windows, blocks of global attention and the position embedding's side, as
# `facebook/sam2.1-hiera-*` have them.
TRACKERS = {
    "large": (144, (2, 6, 36, 4), 2, (8, 4, 16, 8), (23, 33, 43), 7),
    "base-plus": (112, (2, 3, 16, 3), 2, (8, 4, 14, 7), (12, 16, 20), 14),
    "small": (96, (1, 2, 11, 2), 1, (8, 4, 14, 7), (7, 10, 13), 7),
    "tiny": (96, (1, 2, 7, 2), 1, (8, 4, 14, 7), (5, 7, 9), 7),
}


def main() -> None:
    """Prints the table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grounder", choices=GROUNDERS, default="base")
    parser.add_argument("--tracker", choices=TRACKERS, default="large")
    parser.add_argument("--batches", default="1,2,4,8,16,32", help="frames that pass a model at once")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each video")
    parser.add_argument("--frame-rate", type=float, default=CurateSettings().frame_rate, help="frames a second kept")
    parser.add_argument("--size", default="1024x576", help="of the frames that the models see")
    parser.add_argument("--phrases", type=int, default=4, help="noun chunks a caption, at most 8")
    parser.add_argument("--objects", type=int, default=2, help="tracks a piece")
    parser.add_argument("--kept-share", type=float, default=1.0, help="of the tracks that pass every later filter")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="measure on the CPU where there is no GPU")
    parser.add_argument("--tiny", action="store_true", help="models and videos of toy size, on any machine")
    parser.add_argument("--output", type=Path, help="file for the JSON")
    arguments = parser.parse_args()
    if not (torch.cuda.is_available() or arguments.cpu or arguments.tiny):
        print("there is no GPU here, and these figures are about one; --cpu measures on the CPU, --tiny only tries")
        return
    if arguments.tiny:
        arguments.seconds, arguments.frame_rate, arguments.size, arguments.rounds = 1.0, 6.0, "96x64", 1
    finish(measure(arguments), arguments.output)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the figures of every batch size."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    width, height = map(int, arguments.size.split("x"))
    batches = [int(batch) for batch in arguments.batches.split(",")]
    clip = video(round(arguments.seconds * arguments.frame_rate), width, height)
    longest = CurateSettings().max_frames
    pieces = [clip[start : start + longest] for start in range(0, len(clip), longest)]
    with torch.device(device):
        torch.manual_seed(0)
        grounding = GroundingDinoForObjectDetection(grounding_dino(arguments))
        tracking = Sam2VideoModel(sam2(arguments))
    words = made_tokenizer()
    print(
        f"{'batch':>5} {'grounding s':>12} {'tracking s':>11} {'s per video':>12} {'s per track':>12} {'peak GiB':>9}"
    )
    rows = []
    for batch in batches:
        settings = CurateSettings(
            device=device,
            dtype=arguments.dtype,
            grounder_batch=batch,
            tracker_batch=batch,
            grounder_side=64 if arguments.tiny else 800,
        )
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        rows.append(
            row(
                GroundingDinoGrounder(grounding, words, settings),
                Sam2Tracker(tracking, settings),
                pieces,
                arguments,
                batch,
            )
        )
    best = min(rows, key=lambda entry: entry["gpu_seconds_per_video"])
    return {
        "what": "GPU-seconds of Grounding DINO and SAM 2 in curation, random weights (GPU.md G5)",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "models": {
            "grounder": "toy" if arguments.tiny else f"grounding-dino-{arguments.grounder}",
            "grounder_parameters": grounding.num_parameters(),
            "tracker": "toy" if arguments.tiny else f"sam2.1-hiera-{arguments.tracker}",
            "tracker_parameters": tracking.num_parameters(),
            "dtype": arguments.dtype,
        },
        "video": {
            **{"seconds": arguments.seconds, "frames": len(clip), "pieces": len(pieces), "size": [width, height]},
            **{"phrases": arguments.phrases, "objects_a_piece": arguments.objects, "kept": arguments.kept_share},
        },
        "rounds": arguments.rounds,
        "rows": rows,
        "best_batch": best["batch"],
        "times_batch_1": round(rows[0]["gpu_seconds_per_video"] / best["gpu_seconds_per_video"], 2),
        "target_gpu_seconds_per_video": TARGET * arguments.seconds,
        "reached": best["gpu_seconds_per_video"] <= TARGET * arguments.seconds,
        "paper_gpu_seconds_per_kept_track": PAPER,
    }


def row(
    grounder: GroundingDinoGrounder,
    tracker: Sam2Tracker,
    pieces: list[list[Frame]],
    arguments: argparse.Namespace,
    batch: int,
) -> dict[str, Any]:
    """Returns the figures of one batch size; as many videos are grounded at once as fill a batch."""
    phrases = PHRASES[: arguments.phrases]
    asked = [Query(frame, phrases) for piece in pieces for frame in (piece[0], piece[len(piece) // 2], piece[-1])]
    videos = -(-batch // len(asked))
    boxes = [(0.1 + 0.5 * place / arguments.objects, 0.2, 0.5, 0.8) for place in range(arguments.objects)]
    grounding = seconds(lambda: grounder.ground_batch(asked * videos), arguments.rounds) / videos
    tracking = seconds(lambda: [tracker.track_objects(piece, boxes) for piece in pieces], arguments.rounds)
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else float("nan")
    tracks = len(pieces) * arguments.objects * arguments.kept_share
    whole = grounding + tracking
    print(f"{batch:>5} {grounding:>12.3f} {tracking:>11.3f} {whole:>12.3f} {whole / tracks:>12.3f} {peak:>9.1f}")
    return {
        "batch": batch,
        "grounding_seconds_per_video": round(grounding, 4),
        "tracking_seconds_per_video": round(tracking, 4),
        "gpu_seconds_per_video": round(whole, 4),
        "gpu_seconds_per_kept_track": round(whole / tracks, 4),
        "tracked_frames_per_second": round(sum(map(len, pieces)) / tracking, 1),
        "peak_gib": round(peak, 2) if torch.cuda.is_available() else None,
    }


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Returns the median time of `rounds` passes, after one that warms up; both parts end with their results here."""
    times = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def video(num_frames: int, width: int, height: int) -> list[Frame]:
    """Returns frames of a bright patch that moves over noise."""
    ground = np.random.default_rng(0).integers(0, 120, (height, width, 3), dtype=np.uint8)
    frames = []
    for index in range(num_frames):
        image = ground.copy()
        left = (width // 2) * index // num_frames
        image[height // 4 : 3 * height // 4, left : left + width // 3] = (220, 180, 60)
        frames.append(Frame(image, index, index / 12))
    return frames


def grounding_dino(arguments: argparse.Namespace) -> GroundingDinoConfig:
    """Returns the configuration of a published Grounding DINO, or of a toy."""
    width, blocks, heads, window = (
        (16, (1, 1, 1, 1), (1, 2, 2, 4), 4) if arguments.tiny else GROUNDERS[arguments.grounder]
    )
    swin = SwinConfig(
        embed_dim=width, depths=list(blocks), num_heads=list(heads), window_size=window, out_indices=[2, 3, 4]
    )
    if not arguments.tiny:
        return GroundingDinoConfig(backbone_config=swin, text_config=BertConfig())
    bert = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    sizes = {"encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    return GroundingDinoConfig(
        backbone_config=swin,
        text_config=bert,
        d_model=32,
        num_queries=20,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        **sizes,
    )


def sam2(arguments: argparse.Namespace) -> Sam2VideoConfig:
    """Returns the configuration of a published SAM 2.1, or of a toy."""
    toy = (8, (1, 1, 2, 1), 1, (8, 4, 4, 2), (3,), 4)
    width, blocks, heads, windows, global_blocks, background = toy if arguments.tiny else TRACKERS[arguments.tracker]
    side = 128 if arguments.tiny else 1024
    widths = [width * 2**stage for stage in range(4)]
    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(
            hidden_size=width,
            num_attention_heads=heads,
            image_size=[side, side],
            blocks_per_stage=list(blocks),
            embed_dim_per_stage=widths,
            num_attention_heads_per_stage=[heads * 2**stage for stage in range(4)],
            window_size_per_stage=list(windows),
            global_attention_blocks=list(global_blocks),
            window_positional_embedding_background_size=[background, background],
        ),
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[side // stride, side // stride] for stride in (4, 8, 16)],
    )
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"image_size": side},
        image_size=side,
        memory_attention_rope_feat_sizes=[side // 16, side // 16],
    )


def made_tokenizer() -> BertTokenizer:
    """Returns BERT's tokenizer with the words above in a vocabulary of its size, special tokens in their places."""
    places = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    words = sorted({word for phrase in PHRASES for word in phrase.split()})
    places |= dict(enumerate(words, start=2000))
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = [places.get(number, f"[unused{number}]") for number in range(30522)]
        (Path(folder) / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
        tokenizer: BertTokenizer = BertTokenizer.from_pretrained(folder)
    return tokenizer


if __name__ == "__main__":
    main()
