"""The model card: what a version learned from, how, how well it does, and what it is not for."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from elysium.config import PHASES, Settings
from elysium.pipeline.versions import code_version
from elysium.registry.policy import Check


def render_card(
    settings: Settings, run_id: str, lineage: dict[str, Any], metrics: dict[str, Any], checks: Sequence[Check]
) -> str:
    """Returns the card as Markdown, from `mlflow/model-card.md.j2`.

    Args:
        settings: Of the run; the recipe is read from them.
        run_id: The Elysium run.
        lineage: The snapshot's `lineage.json`.
        metrics: The evaluation's `metrics.json`.
        checks: The promotion policy's checks.
    """
    from jinja2 import Environment, StrictUndefined

    text = (resources.files("elysium.registry") / "model-card.md.j2").read_text(encoding="utf-8")
    # Markdown for people who may read it in a browser: MLflow's page escapes HTML itself.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
    phases = {phase: getattr(settings.training, phase) for phase in PHASES}
    return environment.from_string(text).render(
        run_id=run_id,
        code_version=code_version(),
        model=settings.model,
        phases=phases,
        seed=settings.seed,
        source=settings.ingest.source,
        data_hash=lineage["data_hash"],
        counts=lineage.get("counts", {}),
        tasks=metrics["tasks"],
        checks=checks,
    )
