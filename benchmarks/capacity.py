"""Capacity and cost of the paper's data set and model: `elysium curate plan` and `elysium train plan`, as tables.

Run it from the repository's root after `make install`:

    .venv/bin/python benchmarks/capacity.py --price 2.5 --output benchmarks/results/capacity.json
    .venv/bin/python benchmarks/capacity.py --from trial.json --gpu "H100 80GB HBM3" --mfu 0.45     your own figures

Nothing is measured: both plans calculate, from figures that the JSON names with their sources. The price is what is
given; hours of training assume --mfu. What does not fit a number of GPUs in the preset is changed, as CHANGES says.
The tables are those of docs/cluster/capacity.md. The last line is JSON.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from reporting import finish

from elysium.config import PHASES, load_settings
from elysium.curation.basis import PAPER_PAIRS, measured, published
from elysium.curation.capacity import plan_curation
from elysium.training.plan import plan_phase

# On 8 GPUs warmup's 32 samples at once do not fit 80 GB. More GPUs share a step of so many samples only if each takes
# fewer at once; the tail's 32 cannot be shared by 256 at all: there it learns from eight times as many.
CHANGES = {
    8: ["training.warmup.batch_size=16"],
    32: ["training.warmup.batch_size=8"],
    256: [
        "training.warmup.batch_size=1",
        "training.pretrain.batch_size=2",
        "training.finetune.batch_size=2",
        "training.finetune.tail.global_batch_size=256",
    ],
}


def main() -> None:
    """Prints both tables, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vicuna-7b")
    parser.add_argument("--pairs", type=int, default=PAPER_PAIRS)
    parser.add_argument("--from", dest="sources", type=Path, action="append", default=[], help="as of `curate plan`")
    parser.add_argument("--gpu", default="A100-SXM4-80GB", help="as of `train plan`")
    parser.add_argument("--mfu", type=float, default=0.4, help="as of `train plan`")
    parser.add_argument("--price", type=float, default=1.0, help="of a GPU-hour, in any currency")
    parser.add_argument("--output", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    curated, trained = curation(arguments), training(arguments)
    print(curation_table(curated, arguments.price), training_table(trained, arguments), sep="\n\n", end="\n\n")
    finish({"what": "capacity, calculated", "curation": curated, "training": trained}, arguments.output)


def curation(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns the plans of curation, one a number of GPUs and engine."""
    rows = []
    for gpus in CHANGES:
        for engine in ("local", "ray"):
            settings = load_settings(arguments.preset, [f"engine.name={engine}"])
            basis = published(settings.curate)
            for path in arguments.sources:
                basis = measured(basis, path)
            plan = plan_curation(settings, basis, gpus=gpus, pairs=arguments.pairs, price=arguments.price)
            rows.append(plan.as_json())
    return rows


def training(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns the plans of training, one a number of GPUs and part of a phase."""
    rows = []
    for gpus, changes in CHANGES.items():
        settings = load_settings(arguments.preset, changes)
        for phase in PHASES:
            for title, part in zip((phase, f"{phase}, tail"), getattr(settings.training, phase).parts(), strict=False):
                plan = plan_phase(settings.model, part, gpus, arguments.gpu, arguments.price, arguments.mfu)
                way = next(stage for stage in plan.stages if stage.name == f"ZeRO-{part.zero_stage}")
                held = plan.activations.checkpointed if part.activation_checkpointing else plan.activations.kept
                rows.append(
                    {
                        **{"part": title, "settings": changes, "gib_a_gpu": round((way.total + held) / 2**30, 1)},
                        "fits": plan.fits(way, checkpointed=part.activation_checkpointing),
                        **plan.as_json(),
                    }
                )
    return rows


def curation_table(rows: list[dict[str, Any]], price: float) -> str:
    """Returns the table of curation in Markdown."""
    lines = [
        f"| GPUs | engine | days | bound by | GPU-hours | models at work | pods, shards each | Gbit/s | at {price:g} |",
        "| ---: | --- | ---: | --- | ---: | ---: | --- | ---: | ---: |",
    ]
    for row in rows:
        pods = f"{row['pods']}, {row['shards_per_pod']:,}" if row["engine"] == "local" else "–"
        lines.append(
            f"| {row['gpus']} | {row['engine']} | {row['hours'] / 24:,.1f} | {row['bound_by']} | "
            f"{row['gpu_hours']:,.0f} | {100 * row['busy']:.0f} % | {pods} | {row['gigabits_per_second']:.1f} | "
            f"{row['cost']:,.0f} |"
        )
    return "\n".join(lines)


def training_table(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """Returns the table of training in Markdown: phases, and their sum for each number of GPUs."""
    lines = [
        f"| {arguments.gpu} | phase | steps | samples a step | hours | GPU-hours | GiB a GPU | at "
        f"{arguments.price:g} |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for gpus in CHANGES:
        own = [row for row in rows if row["gpus"] == gpus]
        for row in own:
            lines.append(
                f"| {gpus} | {row['part']} | {row['steps']:,} | {row['samples_per_step']} | {row['hours']:,.1f} | "
                f"{row['hours'] * gpus:,.0f} | {row['gib_a_gpu']:.0f}{'' if row['fits'] else ' !'} | "
                f"{row['cost']:,.0f} |"
            )
        hours = sum(row["hours"] for row in own)
        cost = sum(row["cost"] for row in own)
        lines.append(f"| {gpus} | **all** | | | **{hours:,.1f}** | **{hours * gpus:,.0f}** | | **{cost:,.0f}** |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
