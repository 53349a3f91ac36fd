"""What a phase asks for, computed from the model's own configuration."""

from __future__ import annotations

from elysium.config import Settings
from elysium.model import build_model
from elysium.training.phases import freeze, longest_sample, set_token_budget

_MIB = 2**20
# Weights, gradients and AdamW's two moments in float32.
_WEIGHT_BYTES, _GRADIENT_BYTES, _MOMENT_BYTES = 4, 4, 8


def plan_phase(settings: Settings, name: str, gpus: int) -> dict[str, int]:
    """Returns a phase's sizes.

    Args:
        settings: Of the run.
        name: Of the phase.
        gpus: Devices that share the batch; each holds all weights (plain data parallelism).

    Returns:
        `parameters`, `trained_parameters`, `steps`, `samples_per_step`, `samples_per_gpu`, `questions_per_step`,
        `longest_sample_tokens`, `tokens_per_step_at_most` (frames shared by a sample's questions), and
        `state_mib_per_gpu`: weights, gradients and optimiser, without activations.
    """
    phase = getattr(settings.training, name)
    model, processor = build_model(settings.model, settings.seed)
    set_token_budget(model, processor, phase.num_visual_tokens)
    trained = freeze(model, phase)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    longest = longest_sample(processor, phase, model.config.text_config.max_position_embeddings)
    state = parameters * _WEIGHT_BYTES + trained * (_GRADIENT_BYTES + _MOMENT_BYTES)
    return {
        "parameters": parameters,
        "trained_parameters": trained,
        "steps": phase.steps,
        "samples_per_step": phase.batch_size * gpus,
        "samples_per_gpu": phase.batch_size,
        "questions_per_step": phase.questions * phase.batch_size * gpus,
        "longest_sample_tokens": longest.total,
        "tokens_per_step_at_most": longest.row(phase.questions) * phase.batch_size * gpus,
        "state_mib_per_gpu": round(state / _MIB),
    }
