"""Checkpoints by name: a folder, a model of the Hugging Face hub, or a version in the registry."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from elysium.checkpoints import checkpoint_folder
from elysium.errors import ElysiumError, UsageError

if TYPE_CHECKING:
    from elysium.inference.engine import Engine

logger = logging.getLogger(__name__)

CHAMPION = "models:/elysium@champion"
SHIPPED = "nano"
DTYPES = ("auto", "float32", "bfloat16", "float16")
_REGISTERED = re.compile(r"models:/(?P<model>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))")
_HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
# What a checkpoint consists of; pickled weights are not fetched, let alone opened.
_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")


@dataclass(frozen=True)
class EngineOptions:
    """Which model answers, and how it runs.

    Attributes:
        checkpoint: A folder; `nano`, which Elysium carries; `OWNER/NAME` or `OWNER/NAME@REVISION` on the Hugging Face
            hub; or `models:/NAME@ALIAS` or `models:/NAME/VERSION` in the registry. None is the registry's champion, and
            `nano` before there is a registry.
        home: The folder with the local registry.
        tracking_uri: MLflow server; None takes the registry in `home`.
        device: As torch names it; `auto` is the first GPU, or the CPU.
        dtype: One of `DTYPES`; `auto` is bfloat16 on a GPU and float32 on a CPU.
        clip_frames: Frames asked about at once.
        batch_size: Questions answered together.
        drafts: Whether boxes are guessed from the motion so far.
    """

    checkpoint: str | None = None
    home: Path = Path("runs")
    tracking_uri: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    clip_frames: int = 8
    batch_size: int = 16
    drafts: bool = True


def open_engine(options: EngineOptions) -> Engine:
    """Finds and loads a model.

    Raises:
        UsageError: If there is no such checkpoint or device, or they do not fit.
        ElysiumError: If the checkpoint cannot be fetched.
    """
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    folder = find_checkpoint(options.checkpoint, options.home, options.tracking_uri)
    from elysium.inference.engine import Engine
    from elysium.model import load_checkpoint

    logger.debug("checkpoint %s on %s in %s", folder, device, dtype)
    parts = load_checkpoint(folder, dtype, device)
    return Engine(*parts, options.clip_frames, options.batch_size, drafts=options.drafts)


def find_checkpoint(name: str | None, home: Path, tracking_uri: str | None = None) -> Path:
    """Returns the folder of a checkpoint, fetched if it is elsewhere; arguments as in `EngineOptions`.

    Raises:
        UsageError: If the name means none.
        ElysiumError: If it cannot be fetched.
    """
    if name is None and tracking_uri is None and not _has_registry(home):
        logger.info("there is no registry in %s yet: the %s that Elysium carries answers", home.resolve(), SHIPPED)
        name = SHIPPED
    name = name or CHAMPION
    registered = _REGISTERED.fullmatch(name)
    if registered:
        return _find_registered(registered, home, tracking_uri)
    if name.startswith("models:"):
        raise UsageError(f"{name} names no version; write models:/NAME@ALIAS or models:/NAME/VERSION")
    path = checkpoint_folder(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise UsageError(f"{path} is a file; a checkpoint is the folder with config.json and model.safetensors")
    if _HUB.fullmatch(name) and not name.startswith("."):
        return _fetch_from_hub(name)
    raise UsageError(f"there is no checkpoint folder {name}")


def choose_device(name: str) -> torch.device:
    """Returns the device that a name means.

    Raises:
        UsageError: If this machine has none of that name.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"{name!r} is no device; there are auto, cpu, cuda, cuda:1, mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"there is no device {name}: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(f"there is no device {name} here; use auto or cpu")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Returns the number format that a name of `DTYPES` means on a device."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _has_registry(home: Path) -> bool:
    return (home / "mlflow" / "mlflow.db").is_file()


def _find_registered(name: re.Match[str], home: Path, tracking_uri: str | None) -> Path:
    from elysium.config import RegistrySettings
    from elysium.registry.models import checkpoint_of, find
    from elysium.registry.store import open_store

    if tracking_uri is None and not _has_registry(home):
        raise UsageError(
            f"{name[0]}: there is no registry in {home.resolve()}. `make run` trains a model and fills one; or name a "
            "checkpoint folder with --checkpoint, the folder with the runs with --home, or a server with --tracking-uri"
        )
    store = open_store(RegistrySettings(model_name=name["model"], tracking_uri=tracking_uri), home)
    return checkpoint_of(store, find(store, name["alias"] or name["version"]), home)


def _fetch_from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ElysiumError(
            f"{name} is no folder here and cannot be fetched from the Hugging Face hub: {reason}"
        ) from error
