"""What each selector and token budget costs, side by side with no selector: time forward and backward, and memory.

    python benchmarks/model.py [--preset nano] [--frames 8] [--rounds 7] [--output benchmarks/results/model.json]
    python benchmarks/model.py --slice vicuna-7b     the selector's share of a forward at the paper's sizes

The first form builds each model with random weights and runs one clip through it: rounds are interleaved over all
models, medians are quoted, and peak memory is that of a process of its own (GPU: of the allocator), over the same
process before the clip. The second counts floating-point operations of every part from their shapes, and times the
selector beside one layer of the vision tower and one of the language model, from which a whole forward follows. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from reporting import finish
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from elysium.config import load_settings
from elysium.model import build_model
from elysium.model.build import described_config
from elysium.model.configuration import ElysiumConfig
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.model.selectors import build_selector

SELECTORS = ("none", "gated", "mixed", "strided", "concat", "cross_attention")
SHARES = (0.08, 0.19, 0.44)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PROMPT = "USER: <video>Please find a red circle in the initial frame and track it.ASSISTANT:"


def main() -> None:
    """Prints the table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slice", metavar="PRESET", help="only the selector's share at this preset's sizes")
    parser.add_argument("--output", type=Path, help="file for the JSON")
    parser.add_argument("--peak", metavar="SELECTOR:TOKENS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        name, kept = arguments.peak.split(":")
        print(peak_bytes(Case(arguments.preset, name, int(kept), arguments.frames)))
        return
    figures = share(arguments.slice) if arguments.slice else compare(arguments)
    report = {
        "what": "the selector's share of a forward" if arguments.slice else "selectors and token budgets, one clip",
        "device": str(DEVICE),
        "figures": figures,
    }
    finish(report, arguments.output)


class Case:
    """One model and one clip."""

    def __init__(self, preset: str, selector: str, kept: int, frames: int) -> None:
        settings = load_settings(preset).model
        changes: dict[str, Any] = {"selector": selector, "init_from": None}
        if selector != "none":
            changes["num_visual_tokens"] = kept
        self.model, processor = build_model(settings.model_copy(update=changes), seed=0)
        self.model.to(DEVICE)
        side = settings.vision.image_size
        clip = torch.randint(0, 256, (frames, side, side, 3), dtype=torch.uint8)
        answer = "Frame 1: [10,20,30,40], Frame 2: [11,21,31,41]."
        self.inputs = processor(text=PROMPT, videos=[clip], answers=[answer]).to(DEVICE)

    def forward(self) -> Tensor:
        """Runs the clip."""
        with torch.inference_mode():
            logits: Tensor = self.model.eval()(**self.inputs).logits
        return logits

    def step(self) -> None:
        """Runs the clip, and its gradients."""
        self.model.train().zero_grad(set_to_none=True)
        self.model(**self.inputs, use_cache=False).loss.backward()


def compare(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns the figures of every selector and budget."""
    patches = described_config(load_settings(arguments.preset).model).num_patches
    plan = [("none", patches)]
    plan += [(name, max(round(part * patches), 1)) for name in SELECTORS[1:] for part in SHARES]
    cases = {(name, kept): Case(arguments.preset, name, kept, arguments.frames) for name, kept in plan}
    times: dict[tuple[str, int], tuple[list[float], list[float]]] = {key: ([], []) for key in cases}
    for round_number in range(arguments.rounds + 1):
        for key, case in cases.items():
            pair = (seconds(case.forward), seconds(case.step))
            # The first round warms up.
            if round_number:
                times[key][0].append(pair[0])
                times[key][1].append(pair[1])
    rows = []
    whole = [statistics.median(values) for values in times["none", patches]]
    heads = ("tokens", "forward ms", "x none", "with backward ms", "x none", "peak MiB")
    print(f"{'selector':16} {heads[0]:>6} {heads[1]:>11} {heads[2]:>7} {heads[3]:>17} {heads[4]:>7} {heads[5]:>9}")
    for (name, kept), measured in times.items():
        forward, step = (statistics.median(values) for values in measured)
        command = [sys.executable, __file__, "--preset", arguments.preset, "--frames", str(arguments.frames)]
        command += ["--peak", f"{name}:{kept}"]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
        rows.append(
            {
                **{"selector": name, "tokens": kept, "forward_ms": round(1000 * forward, 2)},
                **{"step_ms": round(1000 * step, 2), "peak_mib": round(peak / 2**20, 1)},
            }
        )
        print(
            f"{name:16} {kept:6} {1000 * forward:11.1f} {forward / whole[0]:7.2f} {1000 * step:17.1f} "
            f"{step / whole[1]:7.2f} {peak / 2**20:9.1f}",
            flush=True,
        )
    return rows


def seconds(action: Callable[[], object]) -> float:
    """Returns how long an action takes."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    action()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def peak_bytes(case: Case) -> int:
    """Returns what a forward and backward take at most, over what the process has before."""
    if DEVICE == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        case.step()
        return torch.cuda.max_memory_allocated() - before
    # Importing may have taken more than the clip will: the mark is set back first.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    case.step()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """Returns a figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def share(preset: str) -> dict[str, Any]:
    """Returns the gated selector's share of a forward over one frame, by operations and by time."""
    config = described_config(load_settings(preset).model)
    text = 60
    counted = operations(config, text)
    total = sum(counted.values())
    print(f"{'part':16} {'GFLOP a frame':>14} {'share':>8}")
    for name, count in counted.items():
        print(f"{name:16} {count / 1e9:14.3f} {count / total:8.3%}")
    timed = slice_times(config, text)
    whole = sum(timed.values())
    print(f"{'part':16} {'ms a frame':>14} {'share':>8}   (layers timed once, times their number)")
    for name, value in timed.items():
        print(f"{name:16} {1000 * value:14.2f} {value / whole:8.3%}")
    return {
        "preset": preset,
        "gflop": {name: round(count / 1e9, 4) for name, count in counted.items()},
        "selector_share_of_operations": round(counted["selector"] / total, 6),
        "ms": {name: round(1000 * value, 3) for name, value in timed.items()},
        "selector_share_of_time": round(timed["selector"] / whole, 6),
    }


def operations(config: ElysiumConfig, text: int) -> dict[str, int]:
    """Returns floating-point operations of each part for one frame and `text` tokens, counted on shapes alone."""
    with torch.device("meta"):
        model = ElysiumForConditionalGeneration(config).eval()
        pixels = torch.zeros(1, 3, config.image_size, config.image_size)
        features = torch.zeros(1, config.num_patches, config.vision_config.hidden_size)
        kept = features[:, : config.tokens_per_frame]
        length = config.tokens_per_frame + text
        row = torch.zeros(1, length, config.text_config.hidden_size)
        # A mask of its own: the library would look at values to make one, and there are none here.
        mask = torch.ones(1, 1, length, length, dtype=torch.bool)
        parts: dict[str, Callable[[], object]] = {
            "vision tower": lambda: model.vision_tower(pixel_values=pixels),
            "selector": lambda: model.selector(features, config.tokens_per_frame),
            "projector": lambda: model.projector(kept),
            "language model": lambda: model.language_model(inputs_embeds=row, attention_mask=mask, use_cache=False),
        }
        return {name: _count(action) for name, action in parts.items()}


def _count(action: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        action()
    return counter.get_total_flops()


@torch.inference_mode()
def slice_times(config: ElysiumConfig, text: int) -> dict[str, float]:
    """Returns seconds of each part for one frame: one layer of tower and language model, times their number."""
    tower, llm = type(config.vision_config), type(config.text_config)
    vision = tower(**{**config.vision_config.to_dict(), "num_hidden_layers": 2})
    words = llm(**{**config.text_config.to_dict(), "num_hidden_layers": 1})
    cut = ElysiumConfig(vision_config=vision, text_config=words, num_visual_tokens=config.num_visual_tokens)
    model = ElysiumForConditionalGeneration(cut).eval()
    pixels = torch.randn(1, 3, config.image_size, config.image_size)
    features = torch.randn(1, config.num_patches, config.vision_config.hidden_size)
    row = torch.randn(1, config.tokens_per_frame + text, config.text_config.hidden_size)
    selector = build_selector(config).eval()
    parts: dict[str, tuple[Callable[[], object], float]] = {
        "vision tower": (lambda: model.vision_tower(pixel_values=pixels), config.vision_config.num_hidden_layers / 2),
        "selector": (lambda: selector(features, config.tokens_per_frame), 1),
        "projector": (lambda: model.projector(features[:, : config.tokens_per_frame]), 1),
        "language model": (
            lambda: model.language_model.model(inputs_embeds=row, use_cache=False),
            config.text_config.num_hidden_layers,
        ),
    }
    measured: dict[str, list[float]] = {name: [] for name in parts}
    for round_number in range(8):
        for name, (action, times) in parts.items():
            taken = seconds(action) * times
            if round_number:
                measured[name].append(taken)
    return {name: statistics.median(values) for name, values in measured.items()}


if __name__ == "__main__":
    main()
