"""The state of training divided among processes, by DeepSpeed (ZeRO; Rajbhandari et al., 2020, arXiv 1910.02054)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elysium.config import Schedule
from elysium.errors import UsageError


def zero_settings(schedule: Schedule) -> dict[str, Any] | None:
    """Returns DeepSpeed's configuration for a schedule; None where nothing is divided.

    Raises:
        UsageError: If DeepSpeed is not installed.
    """
    if not schedule.zero_stage:
        return None
    try:
        import deepspeed  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"zero_stage={schedule.zero_stage} needs DeepSpeed: pip install 'elysium[deepspeed]', or set zero_stage to "
            "0, which divides nothing"
        ) from error
    zero: dict[str, Any] = {"stage": schedule.zero_stage, "overlap_comm": torch.cuda.is_available()}
    if schedule.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if schedule.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if schedule.zero_stage == 3:
        # Else the library writes DeepSpeed's whole state twice.
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "zero_optimization": zero,
        # The library's AdamW where the state is on the device, DeepSpeed's where it is offloaded.
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
    }


def optimizer_for(schedule: Schedule) -> tuple[Any, dict[str, Any]] | None:
    """Returns class and arguments of the optimiser that runs on the CPU; None where it runs on the device.

    Raises:
        UsageError: If it cannot be built on this machine.
    """
    if schedule.offload == "none":
        return None
    from deepspeed.ops.adam import DeepSpeedCPUAdam
    from deepspeed.ops.op_builder import CPUAdamBuilder

    try:
        CPUAdamBuilder().load()
    except (OSError, RuntimeError, ImportError) as error:
        raise UsageError(
            f"offload={schedule.offload} builds DeepSpeed's optimiser for the CPU, and that failed: "
            f"{str(error).splitlines()[0]}; install a C++ compiler and ninja (Debian: g++ ninja-build), or set offload "
            "to none"
        ) from error
    given = {"lr": schedule.learning_rate, "betas": (0.9, schedule.adam_beta2), "weight_decay": schedule.weight_decay}
    return DeepSpeedCPUAdam, given


def restore(model: nn.Module, engine: Any) -> None:
    """Gives a model that was trained in parts its whole weights back, in float32 and on the CPU.

    Every process calls it and has the whole model afterwards.

    Args:
        model: That DeepSpeed trained; an ordinary module afterwards.
        engine: DeepSpeed's; it is of no use afterwards.
    """
    import deepspeed
    from deepspeed.utils import safe_get_full_fp32_param

    whole: dict[int, Tensor] = {}
    for parameter in model.parameters():
        found = safe_get_full_fp32_param(parameter) if parameter.requires_grad else None
        if found is None:
            with deepspeed.zero.GatheredParameters([parameter]):
                found = parameter.detach()
        whole[id(parameter)] = found.to("cpu", torch.float32, copy=True)
    trained = {id(parameter): parameter.requires_grad for parameter in model.parameters()}
    parameters = {key: nn.Parameter(value, requires_grad=trained[key]) for key, value in whole.items()}
    named = [
        (module, {name: None if value is None else parameters[id(value)] for name, value in module._parameters.items()})
        for module in model.modules()
    ]
    engine.destroy()
    for module, values in named:
        # A plain dictionary: DeepSpeed's own gathers what it hands out.
        module._parameters = values
    model.to("cpu")
