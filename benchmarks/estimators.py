"""Which gradient estimator teaches a top-k gate best: the measurement behind `GatedSelector`.

Top-k is not differentiable. Every candidate here has the same gate and, in inference, the same exact top-k; they differ
in how the loss reaches the scores, and in whether training draws tokens by Gumbel top-k. `scale` gives a kept token x
the value x (1 + w - stop(w)), `replace` the value x + (w - stop(w)) (x - mean of all tokens); w is softmax(scores), N
times that, or sigmoid(scores). The task is the ablation's: find the named object of a simulated scene, with a
pre-trained vision tower and 12 of 64 tokens (`elysium ablate`, reduced), by a smaller language model. `strided`, where
nothing is learned, stands beside them.

    python benchmarks/estimators.py [--folder DIR] [--steps 400] [--output benchmarks/results/estimators.json]

`--folder` keeps frames, tower and features for the next time.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from reporting import finish
from torch import Tensor

from elysium.ablation.cell import Cell
from elysium.ablation.study import SCALES, Study, run_study
from elysium.config import load_settings
from elysium.model.t_selector import GatedSelector, take

KEPT = 12
REFERENCES = {"strided": ("strided", KEPT)}


def keep(noise: float, weight: str, against: str) -> object:
    """Returns a method for `GatedSelector._keep` with one way to learn."""

    def method(
        self: GatedSelector, tokens: Tensor, scores: Tensor, count: int, always: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        ranking = scores.detach().float()
        if self.training and noise:
            ranking = ranking - noise * torch.log(-torch.log(torch.rand_like(ranking).clamp(1e-9, 1 - 1e-7)))
        positions = ranking.topk(count, dim=-1).indices.sort(dim=-1).values
        kept = take(tokens, positions)
        weights = scores.sigmoid() if weight == "sigmoid" else scores.softmax(-1)
        if weight == "N softmax":
            weights = weights * scores.shape[1]
        share = torch.gather(weights, 1, positions).unsqueeze(-1)
        lost = kept if against == "nothing" else kept - tokens.mean(1, keepdim=True)
        return kept + (share - share.detach()) * lost.detach(), positions

    return method


CANDIDATES = {
    "scale, softmax": (0.0, "softmax", "nothing"),
    "scale, softmax, Gumbel": (1.0, "softmax", "nothing"),
    "scale, sigmoid": (0.0, "sigmoid", "nothing"),
    "replace, softmax (GatedSelector)": (0.0, "softmax", "mean"),
    "replace, N softmax": (0.0, "N softmax", "mean"),
    "replace, softmax, Gumbel": (1.0, "softmax", "mean"),
    "replace, sigmoid": (0.0, "sigmoid", "mean"),
}


def main() -> None:
    """Measures every candidate and prints a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="for frames, tower and features; by default a temporary one")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--output", type=Path, help="file for the JSON")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        figures = {}
        print(f"{'estimator':34} {'Acc@0.5':>8} {'mean IoU':>9} {'seconds':>8}")
        for name in [*REFERENCES, *CANDIDATES]:
            figures[name] = found = measure(name, folder, arguments.steps)
            print(f"{name:34} {found['accuracy']:7.1f}% {found['mean_iou']:9.3f} {found['seconds']:8.0f}", flush=True)
    report = {
        "what": "gradient estimators for a top-k gate: REC on simulated scenes of one object, 12 of 64 tokens",
        "figures": figures,
    }
    finish(report, arguments.output)


def measure(name: str, folder: Path, steps: int) -> dict[str, float]:
    """Trains and measures one candidate; returns its figures."""
    sizes = ["model.init_from=null", "model.llm.hidden_size=96", "model.llm.num_hidden_layers=3"]
    selector, kept = REFERENCES.get(name, ("gated", KEPT))
    study = Study(
        load_settings("nano", sizes).model,
        replace(SCALES["reduced"], steps=steps),
        (Cell(selector, kept, "packed", 0),),
    )
    (folder / "results.jsonl").unlink(missing_ok=True)
    ours = GatedSelector._keep
    if name in CANDIDATES:
        GatedSelector._keep = keep(*CANDIDATES[name])  # type: ignore[method-assign, assignment] # what is compared
    try:
        result = run_study(study, folder, jobs=1)[0]
    finally:
        GatedSelector._keep = ours  # type: ignore[method-assign]
    return {key: result[key] for key in ("accuracy", "mean_iou", "loss", "seconds")}


if __name__ == "__main__":
    main()
