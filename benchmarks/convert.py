"""How much memory and time the conversion of a release checkpoint takes, beside loading it whole and saving it again.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/convert.py --output benchmarks/results/convert.json

The checkpoint is made up on the spot below a temporary folder: the release's tensors at a middle size, bfloat16, in
shards. Each conversion runs in a process of its own; memory is that process's largest resident set (VmHWM) less that of
one that only imports. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from reporting import finish
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, LlamaConfig

from elysium.model import ElysiumConfig, ElysiumForConditionalGeneration
from elysium.model.tokenizer import build_tokenizer

BOUND = 1.5
FORMS: dict[str, tuple[str, Callable[..., Any]]] = {
    "safetensors": ("model-{:05d}-of-{:05d}.safetensors", save_file),
    "bin": ("pytorch_model-{:05d}-of-{:05d}.bin", torch.save),
}
_PEAK = """
    import re, sys, time
    from pathlib import Path
    from elysium.model.release.convert import convert_from_release
    started = time.monotonic()
    {work}
    print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
    print(time.monotonic() - started)
"""
_WORK = {
    "import only": "pass",
    "elysium convert": "convert_from_release(sys.argv[1], sys.argv[2])",
    # What most conversion scripts do: everything in memory, renamed, saved.
    "load and save": """
    import torch
    from safetensors.torch import load_file, save_file
    state = {}
    for file in sorted(Path(sys.argv[1]).glob("*-of-*")):
        loaded = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
        state |= {"renamed." + name: value for name, value in loaded.items()}
    Path(sys.argv[2]).mkdir()
    save_file(state, Path(sys.argv[2]) / "model.safetensors")""",
}


def main() -> None:
    """Makes the checkpoints, converts each and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    parser.add_argument("--shards", type=int, default=4, help="number of weight files (default: 4)")
    parser.add_argument("--layers", type=int, default=8, help="language model layers of 134 MB each (default: 8)")
    arguments = parser.parse_args()

    scratch = Path(tempfile.mkdtemp(prefix="elysium-benchmark-"))
    try:
        idle, _ = measure("import only", scratch, scratch)
        rows = []
        for form in FORMS:
            source = scratch / form
            make_release(source, form, arguments.layers, arguments.shards)
            sizes = [path.stat().st_size for path in source.glob("*-of-*")]
            for way in ("elysium convert", "load and save"):
                peak, seconds = measure(way, source, scratch / "made")
                shutil.rmtree(scratch / "made")
                rows.append(
                    {
                        "form": form,
                        "way": way,
                        "shards": len(sizes),
                        "largest_mb": round(max(sizes) / 1e6, 1),
                        "total_mb": round(sum(sizes) / 1e6, 1),
                        "peak_over_imports_mb": round((peak - idle) / 1e6, 1),
                        "peak_per_largest_shard": round((peak - idle) / max(sizes), 3),
                        "seconds": round(seconds, 2),
                    }
                )
            shutil.rmtree(source)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    result = {
        "what": "conversion of a release checkpoint, synthetic, bfloat16",
        "import_only_mb": round(idle / 1e6, 1),
        "bound_per_largest_shard": BOUND,
        "rows": rows,
    }
    columns = list(rows[0])
    for row in [dict(zip(columns, columns, strict=True)), *rows]:
        print("  ".join(f"{row[column]!s:>{max(len(column), 15)}}" for column in columns))
    finish(result, arguments.output)
    over = [row for row in rows if row["way"] == "elysium convert" and row["peak_per_largest_shard"] >= BOUND]
    if over:
        sys.exit(f"memory is above {BOUND} times the largest shard")


def measure(way: str, source: Path, destination: Path) -> tuple[int, float]:
    """Returns the largest resident set of a process of its own, bytes, and the seconds its work took."""
    code = textwrap.dedent(_PEAK).replace("{work}", textwrap.dedent(_WORK[way]).strip())
    command = [sys.executable, "-c", code, str(source), str(destination)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(output[-2]), float(output[-1])


def make_release(folder: Path, form: str, layers: int, count: int) -> None:
    """Writes a checkpoint with the release's names, its backbones' configurations and a tokenizer."""
    tokenizer = build_tokenizer(4096)
    config = ElysiumConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=336,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            **{
                "vocab_size": len(tokenizer),
                "hidden_size": 2048,
                "intermediate_size": 8192,
                "num_hidden_layers": layers,
            },
            **{"num_attention_heads": 16, "tie_word_embeddings": False},
        ),
        selector_type="mixed",
        num_visual_tokens=108,
    )
    with torch.device("meta"):
        state = ElysiumForConditionalGeneration(config).state_dict()
    config.vision_config.save_pretrained(folder / "visual_encoder")
    config.text_config.save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    pattern, save = FORMS[form]
    room, shards = sum(value.numel() for value in state.values()) / count, [[]]
    for name in state:
        if sum(state[other].numel() for other in shards[-1]) >= room:
            shards.append([])
        shards[-1].append(name)
    files = {}
    for number, names in enumerate(shards, start=1):
        file = pattern.format(number, len(shards))
        made = {release_name(name): torch.full(state[name].shape, number, dtype=torch.bfloat16) for name in names}
        save(made, folder / file)
        files |= dict.fromkeys(made, file)
    index = re.sub(r"-\{.*\}", "", pattern) + ".index.json"
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": files}))


def release_name(name: str) -> str:
    """Returns the published name of one of our parameters."""
    name = re.sub(r"^vision_tower\.(vision_model\.)?", "visual_encoder.vision_model.", name)
    name = re.sub(r"^language_model\.", "llm.", name)
    return re.sub(r"^projector\.", "llm_proj.", re.sub(r"^selector\.", "adapter.", name))


if __name__ == "__main__":
    main()
