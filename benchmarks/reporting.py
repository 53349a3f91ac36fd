"""How benchmarks end: figures, the command that gave them and the machine, in a file and as one JSON line."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch


def finish(figures: dict[str, Any], output: Path | None) -> None:
    """Prints what was measured, how and on what as one JSON line, and writes it to a file if one is given.

    Args:
        figures: What was measured.
        output: The file; its folder is made.
    """
    name = Path(sys.argv[0]).name
    report = {"command": " ".join(["python", f"benchmarks/{name}", *sys.argv[1:]]), "machine": machine(), **figures}
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


def machine() -> dict[str, Any]:
    """Returns what the figures were taken on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
    }
