"""The model, Hugging Face-native; each part of the paper's Figure 3 is a file named after it (PROTOCOL §3).

`visual_encoder` → `t_selector` → `projector` → `language_model`, put together in `modeling`; `tokenizer` and
`processor` make its input.
"""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from elysium.model.build import build_model, load_checkpoint
from elysium.model.configuration import SELECTORS, ElysiumConfig
from elysium.model.language_model import VisualTokens
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.model.processor import ElysiumProcessor

__all__ = [
    "SELECTORS",
    "ElysiumConfig",
    "ElysiumForConditionalGeneration",
    "ElysiumProcessor",
    "VisualTokens",
    "build_model",
    "load_checkpoint",
]

AutoConfig.register("elysium", ElysiumConfig, exist_ok=True)
AutoModelForImageTextToText.register(ElysiumConfig, ElysiumForConditionalGeneration, exist_ok=True)
AutoProcessor.register(ElysiumConfig, ElysiumProcessor, exist_ok=True)
