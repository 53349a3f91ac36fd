"""Which gradient estimator teaches a top-k gate best: the measurement behind `GatedSelector`.

Top-k is not differentiable. Every candidate here has the same gate and, after training, the same exact top-k; they
differ in how the loss reaches the scores. Task: each row is tokens of noise, of which some, the needles, carry a mark
of some strength (in standard deviations) and a sign; the answer is the sign of their sum; an eighth of the tokens are
kept, or the paper's 108 of 576. Reported after training, over held-out rows: the accuracy of a reader that sees only
what is kept, which is what counts; the share of needles kept (a gate that keeps all needles of one sign and none of
the other has all that the answer needs); the first step at which the accuracy was within a twentieth of its end; and
the time of a step.

    python benchmarks/estimators.py [--seeds 3] [--steps 800]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from elysium.model.selectors import strided_positions
from elysium.model.t_selector import GatedSelector, take

WIDTH, ROWS = 32, 64


@dataclass(frozen=True)
class Task:
    """How many tokens a row has, how many are kept, how many of them are needles, and how strong their mark is."""

    tokens: int
    kept: int
    needles: int
    mark: float

    def __str__(self) -> str:
        return f"{self.needles} of {self.tokens}, {self.kept} kept, mark {self.mark}"


# The last has the paper's sizes.
TASKS = (
    *(Task(64, 8, needles, mark) for needles, mark in ((1, 4.0), (1, 2.5), (3, 2.5), (5, 4.0), (8, 4.0))),
    Task(576, 108, 24, 4.0),
)


@dataclass
class Choice:
    """What a selector kept: tokens `(B, K, C)`, their positions `(B, K)`, and perhaps a surrogate for the loss."""

    tokens: Tensor
    positions: Tensor
    surrogate: Callable[[Tensor], Tensor] | None = None


def gumbel(like: Tensor) -> Tensor:
    """Returns standard Gumbel noise."""
    return -torch.log(-torch.log(torch.rand_like(like).clamp(1e-9, 1 - 1e-7)))


def top(ranking: Tensor, count: int) -> Tensor:
    """Returns the positions of the largest, ascending."""
    return ranking.topk(count, dim=-1).indices.sort(dim=-1).values


class Candidate(nn.Module):
    """A gate with one way to learn."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.selector = GatedSelector(task.tokens, task.kept, WIDTH)

    def forward(self, tokens: Tensor, progress: float) -> Choice:
        """Keeps K tokens; `progress` runs from 0 to 1 over training."""
        if not self.training:
            kept, positions = self.selector.eval()(tokens, self.task.kept)
            return Choice(kept, positions)
        return self.choose(tokens, self.selector.score(tokens), progress)

    def choose(self, tokens: Tensor, scores: Tensor, progress: float) -> Choice:
        """Keeps K tokens in training."""
        raise TypeError("a candidate says how it chooses")


class StraightThrough(Candidate):
    """Times `1 + p - stop(p)`, p = N softmax(scores); the best are taken, nothing else is ever tried."""

    noise = 0.0

    def choose(self, tokens: Tensor, scores: Tensor, progress: float) -> Choice:
        """Keeps K tokens in training."""
        positions = top(scores.detach() + self.noise_at(progress) * gumbel(scores), self.task.kept)
        share = torch.gather(self.weight(scores), 1, positions).unsqueeze(-1)
        return Choice(take(tokens, positions) * (1 + share - share.detach()), positions)

    def noise_at(self, progress: float) -> float:
        """Returns the size of the noise."""
        return self.noise

    def weight(self, scores: Tensor) -> Tensor:
        """Returns what carries the gradient."""
        return scores.softmax(-1) * self.task.tokens


class GumbelStraightThrough(StraightThrough):
    """The same, tokens drawn by Gumbel top-k (Kool et al., 2019)."""

    noise = 1.0


class QuietStraightThrough(StraightThrough):
    """The same with a third of the noise."""

    noise = 0.3


class AnnealedStraightThrough(StraightThrough):
    """The same, the noise falling to nothing over training."""

    def noise_at(self, progress: float) -> float:
        """Returns the size of the noise."""
        return 1.0 - progress


class SigmoidStraightThrough(StraightThrough):
    """No noise, and sigmoid(scores) in place of the softmax: tokens do not compete. What `GatedSelector` does."""

    def weight(self, scores: Tensor) -> Tensor:
        """Returns what carries the gradient."""
        return scores.sigmoid()


class GumbelSigmoidStraightThrough(SigmoidStraightThrough):
    """The same, tokens drawn by Gumbel top-k."""

    noise = 1.0


class ScoreFunction(Candidate):
    """REINFORCE on the Gumbel top-k sample, with the mean loss as baseline; no gradient through the tokens."""

    def choose(self, tokens: Tensor, scores: Tensor, progress: float) -> Choice:
        """Keeps K tokens in training."""
        positions = top(scores.detach() + gumbel(scores), self.task.kept)
        log_probability = torch.gather(scores.log_softmax(-1), 1, positions).sum(-1)

        def surrogate(losses: Tensor) -> Tensor:
            advantage = losses.detach() - losses.detach().mean()
            return (advantage * log_probability).mean()

        return Choice(take(tokens, positions), positions, surrogate)


class SoftTopK(Candidate):
    """All N tokens, weighted by a relaxed top-k (Xie and Ermon, 2019): K softmaxes in turn, each after the last's.

    The language model would have to read all tokens in training: five times the cost at the paper's sizes.
    """

    def choose(self, tokens: Tensor, scores: Tensor, progress: float) -> Choice:
        """Keeps K tokens in training."""
        temperature = 1.0 - 0.9 * progress
        noisy, weights = scores + gumbel(scores), torch.zeros_like(scores)
        chosen = torch.zeros_like(scores)
        for _ in range(self.task.kept):
            noisy = noisy + torch.log((1 - chosen).clamp(1e-6))
            chosen = (noisy / temperature).softmax(-1)
            weights = weights + chosen
        return Choice(tokens * weights.clamp(max=1).unsqueeze(-1), top(scores.detach(), self.task.kept))


class Strided(Candidate):
    """Every eighth token: the baseline that cannot learn."""

    def forward(self, tokens: Tensor, progress: float) -> Choice:
        """Keeps K tokens."""
        positions = strided_positions(self.task.tokens, self.task.kept).expand(len(tokens), -1)
        return Choice(take(tokens, positions), positions)


CANDIDATES: dict[str, type[Candidate]] = {
    "strided": Strided,
    "straight_through": StraightThrough,
    "quiet_straight_through": QuietStraightThrough,
    "gumbel_straight_through": GumbelStraightThrough,
    "annealed_straight_through": AnnealedStraightThrough,
    "sigmoid_straight_through": SigmoidStraightThrough,
    "gumbel_sigmoid_straight_through": GumbelSigmoidStraightThrough,
    "score_function": ScoreFunction,
    "soft_top_k": SoftTopK,
}


class Reader(nn.Module):
    """Reads a bag of tokens: an MLP on each, summed, and a line."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, 32))
        self.line = nn.Linear(32, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns a logit a row."""
        logit: Tensor = self.line(self.each(tokens).sum(1)).squeeze(-1)
        return logit


def draw(task: Task, generator: torch.Generator, mix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns tokens `(B, N, C)`, the needles' places `(B, needles)`, and the answers `(B,)`."""
    tokens = torch.randn(ROWS, task.tokens, WIDTH, generator=generator)
    places = torch.rand(ROWS, task.tokens, generator=generator).topk(task.needles, dim=-1).indices
    signs = torch.randint(2, (ROWS, task.needles), generator=generator).float() * 2 - 1
    rows = torch.arange(ROWS).unsqueeze(-1)
    tokens[rows, places, 0] = task.mark
    tokens[rows, places, 1] = 3.0 * signs
    return tokens @ mix, places, (signs.sum(-1) > 0).float()


def measure(kind: type[Candidate], task: Task, steps: int, seed: int) -> dict[str, float]:
    """Trains one candidate; returns its figures."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    # Mark and sign lie along no axis of the token.
    mix = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0]
    candidate, reader = kind(task), Reader()
    optimiser = torch.optim.Adam([*candidate.parameters(), *reader.parameters()], lr=3e-3)
    curve, seconds = [], 0.0
    for step in range(steps):
        begun = time.perf_counter()
        tokens, _, answers = draw(task, generator, mix)
        candidate.train()
        choice = candidate(tokens, step / steps)
        losses = nn.functional.binary_cross_entropy_with_logits(reader(choice.tokens), answers, reduction="none")
        loss = losses.mean() + (0 if choice.surrogate is None else choice.surrogate(losses))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seconds += time.perf_counter() - begun
        if step % 20 == 19:
            curve.append((step + 1, held_out(candidate, reader, task, seed, mix, 4)[1]))
    share, accuracy = held_out(candidate, reader, task, seed, mix, 16)
    near = next((step for step, reached in curve if reached >= 0.95 * accuracy), steps)
    return {"accuracy": accuracy, "kept": share, "steps": near, "ms_per_step": 1000 * seconds / steps}


@torch.no_grad()
def held_out(
    candidate: Candidate, reader: Reader, task: Task, seed: int, mix: Tensor, batches: int
) -> tuple[float, float]:
    """Returns the share of needles kept and the accuracy, by exact top-k, on rows not trained on."""
    generator, kept, right = torch.Generator().manual_seed(10_000 + seed), 0.0, 0.0
    candidate.eval()
    for _ in range(batches):
        tokens, places, answers = draw(task, generator, mix)
        choice = candidate(tokens, 1.0)
        kept += float((choice.positions.unsqueeze(1) == places.unsqueeze(2)).any(-1).float().mean())
        right += float(((reader(choice.tokens) > 0).float() == answers).float().mean())
    return kept / batches, right / batches


def main() -> None:
    """Measures every candidate and prints a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--output", type=Path, help="file for the JSON")
    arguments = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    print(f"{'estimator':31} {'needles':34} {'accuracy':>9} {'kept':>7} {'steps':>6} {'ms a step':>10}")
    for name, kind in CANDIDATES.items():
        for task in TASKS:
            runs = [measure(kind, task, arguments.steps, seed) for seed in range(arguments.seeds)]
            median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            print(
                f"{name:31} {task!s:34} {median['accuracy']:9.1%} {median['kept']:7.1%} {median['steps']:6.0f} "
                f"{median['ms_per_step']:10.2f}",
                flush=True,
            )
            rounded = {key: round(value, 4) for key, value in median.items()}
            results.setdefault(name, {})[str(task)] = rounded
        mean = statistics.mean(entry["accuracy"] for entry in results[name].values())
        print(f"{name:31} {'mean':34} {mean:9.1%}", flush=True)
    report = {
        "what": "gradient estimators for a top-k gate; medians over seeds",
        "command": f"python benchmarks/estimators.py --seeds {arguments.seeds} --steps {arguments.steps}",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]},
        "figures": results,
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
