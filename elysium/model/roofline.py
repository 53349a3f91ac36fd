"""How near a run came to what its machine could do: the roofline model (Williams et al., CACM 2009).

A machine computes so many operations a second and moves so many bytes a second; a pass takes at least as long as the
slower of the two.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from elysium.model.cost import Cost

KINDS = ("encode", "prefill", "decode")
_TERA = 1e12
# Names as torch.cuda.get_device_name gives them, without "NVIDIA"; dense bfloat16 TFLOP/s with sums in float32, TB/s,
# and GB of memory. The vendor's data sheets state the former with sparsity from Hopper and Ada on, twice as much.
_PUBLISHED = {
    "B200": (2250, 8.0, 180),  # DGX B200 data sheet: 8 GPUs, 36 PFLOP/s sparse and 64 TB/s
    "H200": (989, 4.8, 141),  # H200 data sheet, SXM
    "H200 NVL": (835, 4.8, 141),  # the same
    "H100 80GB HBM3": (989, 3.35, 80),  # H100 data sheet, SXM
    "H100 PCIe": (756, 2.0, 80),  # the same, first edition
    "H100 NVL": (835, 3.9, 94),  # the same
    "A100-SXM4-80GB": (312, 2.039, 80),  # A100 80GB data sheet
    "A100 80GB PCIe": (312, 1.935, 80),  # the same
    "A100-SXM4-40GB": (312, 1.555, 40),  # A100 40GB data sheet
    "A100-PCIE-40GB": (312, 1.555, 40),  # the same
    "L40S": (362, 0.864, 48),  # L40S data sheet
    "L4": (121, 0.3, 24),  # L4 data sheet
    "A10": (125, 0.6, 24),  # A10 data sheet
    "GeForce RTX 4090": (165.2, 1.008, 24),  # Ada GPU architecture white paper, appendix A
    "GeForce RTX 3090": (71, 0.936, 24),  # GA102 GPU architecture white paper, appendix A
}
_HALF = (torch.bfloat16, torch.float16)
_SHORTEST = 0.02
_RUNS = 5


@dataclass(frozen=True)
class Roofline:
    """What a machine can do at most.

    Attributes:
        flops_per_second: Floating-point operations.
        bytes_per_second: Between its memory and its processor.
        name: Of the machine, for people.

    Example:
        >>> machine = Roofline(989e12, 4.8e12, "H200")
        >>> machine.seconds(Cost(flops=989e12, bytes=9.6e12))
        2.0
        >>> str(machine)
        'H200 (989 TFLOP/s, 4.8 TB/s)'
    """

    flops_per_second: float
    bytes_per_second: float
    name: str

    def __post_init__(self) -> None:
        if not (self.flops_per_second > 0 and self.bytes_per_second > 0):
            raise ValueError(
                "a machine computes and moves something: both rates are above 0, got "
                f"{self.flops_per_second} FLOP/s and {self.bytes_per_second} B/s"
            )

    def seconds(self, cost: Cost) -> float:
        """Returns the time that a cost takes at least: the longer of computing and moving."""
        return max(cost.flops / self.flops_per_second, cost.bytes / self.bytes_per_second)

    def __str__(self) -> str:
        return f"{self.name} ({_rate(self.flops_per_second, 'FLOP/s')}, {_rate(self.bytes_per_second, 'B/s')})"


class Meter:
    """Sums what passes cost, kind by kind; an `add` takes a microsecond.

    Attributes:
        costs: Of each kind in `KINDS`.
        passes: Likewise.

    Example:
        >>> meter = Meter()
        >>> meter.add("decode", Cost(2e9, 1e9))
        >>> meter.add("decode", Cost(2e9, 1e9))
        >>> meter.costs["decode"], meter.passes["decode"]
        (Cost(flops=4000000000.0, bytes=2000000000.0), 2)
    """

    def __init__(self) -> None:
        self.costs = dict.fromkeys(KINDS, Cost())
        self.passes = dict.fromkeys(KINDS, 0)

    def add(self, kind: str, cost: Cost, passes: int = 1) -> None:
        """Counts passes.

        Args:
            kind: One of `KINDS`: frames encoded, prompts read, answers written.
            cost: Of these passes together.
            passes: How many they are.

        Raises:
            ValueError: If there is no such kind.
        """
        if kind not in self.costs:
            raise ValueError(f"a pass is one of {', '.join(KINDS)}; got {kind!r}")
        self.costs[kind] += cost
        self.passes[kind] += passes

    def seconds(self, roofline: Roofline) -> dict[str, float]:
        """Returns the time that each kind of pass takes at least.

        Computing and moving are summed over a kind before the longer is taken, so that the bound is a little lower
        than that of pass after pass where some of a kind compute more and others move more.
        """
        return {kind: roofline.seconds(cost) for kind, cost in self.costs.items()}


def speed_of_light(frames: int, seconds: float, meter: Meter, roofline: Roofline) -> str:
    """Returns one line: how fast a run was, and which share that is of what its machine could do.

    Args:
        frames: Answered.
        seconds: That the run took.
        meter: What it counted. Passes a frame are the language model's, prompts included.
        roofline: Of its machine.

    Raises:
        ValueError: If there were no frames, or the run took no time.

    Example:
        >>> meter = Meter()
        >>> meter.add("encode", Cost(2e11, 0))
        >>> meter.add("prefill", Cost(3e11, 0), passes=4)
        >>> meter.add("decode", Cost(0, 5e10), passes=12)
        >>> speed_of_light(8, 4.0, meter, Roofline(1e12, 1e11, "a laptop"))
        '2.0 frames/s, 2.0 passes/frame, 25 % of what a laptop (1 TFLOP/s, 100 GB/s) could do: encode 20 %, prefill 30 %, decode 50 %'
    """  # noqa: E501 # the line is what is shown
    if frames < 1 or not seconds > 0:
        raise ValueError(f"there is no speed of {frames} frames in {seconds} s; both are above 0")
    least = meter.seconds(roofline)
    total = sum(least.values())
    passes = meter.passes["prefill"] + meter.passes["decode"]
    share = f"{100 * total / seconds:.0f} % of what {roofline} could do"
    line = f"{frames / seconds:.1f} frames/s, {passes / frames:.1f} passes/frame, {share}"
    parts = ", ".join(f"{kind} {100 * value / total:.0f} %" for kind, value in least.items() if value)
    return f"{line}: {parts}" if parts else line


def find_roofline(device: torch.device | str, dtype: torch.dtype = torch.bfloat16) -> Roofline:
    """Returns the published figures of a GPU where they are known, else measured ones."""
    device = torch.device(device)
    known = published_roofline(torch.cuda.get_device_name(device), dtype) if device.type == "cuda" else None
    return known or measure_roofline(device, dtype)


def published_roofline(device_name: str, dtype: torch.dtype = torch.bfloat16) -> Roofline | None:
    """Returns what the vendor states of a GPU, or None if it is not in our table.

    Args:
        device_name: As `torch.cuda.get_device_name` gives it.
        dtype: Of the matrix products; only bfloat16 and float16 are in the table.

    Example:
        >>> str(published_roofline("NVIDIA H200"))
        'NVIDIA H200 (989 TFLOP/s, 4.8 TB/s)'
    """
    found = _PUBLISHED.get(device_name.removeprefix("NVIDIA "))
    if found is None or dtype not in _HALF:
        return None
    return Roofline(found[0] * _TERA, found[1] * _TERA, device_name)


def published_memory(device_name: str) -> int | None:
    """Returns the bytes of memory that the vendor states of a GPU, or None if it is not in our table.

    Args:
        device_name: As `torch.cuda.get_device_name` gives it.
    """
    found = _PUBLISHED.get(device_name.removeprefix("NVIDIA "))
    return None if found is None else found[2] * 10**9


def measure_roofline(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Roofline:
    """Measures what a machine reaches: by a large matrix product, and by copying and summing a large array.

    Takes a second or two, and less than 1 GiB of a CPU's memory or 2 GiB of a GPU's. Medians of several runs; of
    copying and summing the faster counts, for a CPU copies at a lower rate than it reads.

    Args:
        device: `cpu` or `cuda`.
        dtype: Of the matrix product.

    Raises:
        ValueError: If the device is another.
    """
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"the roofline is measured on cpu and cuda; got {str(device)!r}")
    return Roofline(_measure_flops(device, dtype), _measure_bytes(device), _machine_name(device))


def _measure_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Returns the rate of a matrix product, of the first side that takes long enough to be large."""
    # Random values: a GPU computes zeros at less power, so at a higher clock.
    generator = torch.Generator(device).manual_seed(0)
    side, largest = 1024, 4096 if device.type == "cpu" else 16384
    while True:
        left, right = (torch.randn(side, side, device=device, generator=generator).to(dtype) for _ in range(2))
        product = partial(torch.mm, left, right, out=torch.empty_like(left))
        if side >= largest or _once(product, 1, device) >= _SHORTEST:
            return float(2 * side**3 / _median(product, device))
        side *= 2


def _measure_bytes(device: torch.device) -> float:
    """Returns the rate of copying or of summing, whichever is higher."""
    array = torch.ones(2**26 if device.type == "cpu" else 2**28, device=device)
    copying = 2 * array.nbytes / _median(partial(torch.empty_like(array).copy_, array), device)
    return float(max(copying, array.nbytes / _median(array.sum, device)))


def _median(action: Callable[[], object], device: torch.device) -> float:
    """Returns the seconds that an action takes, the median of runs long enough for the clock."""
    repeats = 1
    while (taken := _once(action, repeats, device)) < _SHORTEST:
        repeats = max(2 * repeats, int(repeats * _SHORTEST / max(taken, 1e-6)))
    return statistics.median(_once(action, repeats, device) for _ in range(_RUNS)) / repeats


def _once(action: Callable[[], object], repeats: int, device: torch.device) -> float:
    action()  # what is made on first use (handles, threads) is not the action's
    _wait(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        action()
    _wait(device)
    return time.perf_counter() - begun


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _machine_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name, listing = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if listing.is_file():
        lines = listing.read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    threads = torch.get_num_threads()
    return f"{name} with {threads} thread{'s' if threads > 1 else ''}"


def _rate(value: float, unit: str) -> str:
    prefix, size = next(((name, size) for name, size in (("T", 1e12), ("G", 1e9)) if value >= size), ("M", 1e6))
    shown = value / size
    return f"{shown:.1f} {prefix}{unit}" if shown < 10 and shown != round(shown) else f"{shown:.0f} {prefix}{unit}"
