"""The model, Hugging Face-native: configuration, selectors, model, tokenizer and processor (PROTOCOL §3)."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from elysium.model.build import build_model, load_checkpoint
from elysium.model.configuration import SELECTORS, ElysiumConfig
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.model.processor import ElysiumProcessor

__all__ = [
    "SELECTORS",
    "ElysiumConfig",
    "ElysiumForConditionalGeneration",
    "ElysiumProcessor",
    "build_model",
    "load_checkpoint",
]

AutoConfig.register("elysium", ElysiumConfig, exist_ok=True)
AutoModelForImageTextToText.register(ElysiumConfig, ElysiumForConditionalGeneration, exist_ok=True)
AutoProcessor.register(ElysiumConfig, ElysiumProcessor, exist_ok=True)
