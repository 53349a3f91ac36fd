"""What a pass through the model costs: operations and bytes, from the configuration alone.

An operation is one multiplication or one addition of a matrix product; whatever else a pass computes (norms,
activations, softmax, top-k, looking up an embedding) is counted as nothing, as is usual (PaLM, arXiv 2204.02311,
appendix B). Attention is counted over all pairs of tokens, masked ones too, as eager attention computes them. Bytes
are the least that has to move between memory and processor: weights once a pass, the key-value cache, and the hidden
state of each token once into and once out of each layer.

`elysium.model.roofline` turns a cost into the time that a machine needs for it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers.pytorch_utils import Conv1D

from elysium.model.configuration import ElysiumConfig
from elysium.model.modeling import ElysiumForConditionalGeneration
from elysium.model.visual_encoder import build_visual_encoder, encode_patches


@dataclass(frozen=True)
class Cost:
    """Operations and bytes; costs add up, and are multiplied by a number.

    Attributes:
        flops: Floating-point operations, two for each multiply-add.
        bytes: Moved between memory and processor.

    Example:
        >>> Cost(2, 1) + 3 * Cost(10, 5)
        Cost(flops=32, bytes=16)
    """

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, times: float) -> Cost:
        return Cost(self.flops * times, self.bytes * times)

    __rmul__ = __mul__


class CostModel:
    """Costs of a model's passes; no weights are made, and a call is a few multiplications.

    The parts that see frames are run on shapes alone, once a frame size, and their operations counted; the operations
    of the language model follow from its matrices, whatever its architecture. Experts of a mixture count as often as
    they are chosen. Not covered: layers whose attention is not heads times head size (Mamba, multi-head latent
    attention), and sliding windows, which are counted as full attention.

    Args:
        config: Of the model.
        dtype: Of weights, cache and activations.

    Example:
        >>> from elysium.config import load_settings
        >>> from elysium.model.build import described_config
        >>> costs = CostModel(described_config(load_settings("vicuna-7b").model))
        >>> f"{costs.encode(1).flops / 1e9:.0f} GFLOP a frame"
        '387 GFLOP a frame'
        >>> token = costs.decode(num_rows=1, cached_tokens=1000)
        >>> f"{token.flops / 1e9:.1f} GFLOP and {token.bytes / 1e9:.1f} GB a token"
        '13.7 GFLOP and 13.7 GB a token'
    """

    def __init__(self, config: ElysiumConfig, dtype: torch.dtype = torch.bfloat16) -> None:
        # Counting changes how attention is computed, which a model looks up in its configuration.
        self.config = config = copy.deepcopy(config)
        self.item_bytes = dtype.itemsize
        with torch.device("meta"):
            # Without gradients, for the counter trips over them where a parameter is expanded.
            self._model = ElysiumForConditionalGeneration(config).eval().requires_grad_(False)
        text, llm = config.text_config, self._model.language_model
        layers, heads = int(text.num_hidden_layers), int(text.num_attention_heads)
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // heads
        kv_heads = getattr(text, "num_key_value_heads", None) or heads
        self._score_width = layers * heads * head_dim
        self._cache_width = 2 * layers * kv_heads * head_dim
        self._hidden_width = 2 * layers * text.hidden_size
        head: Any = self._model.get_output_embeddings()
        self._head_features, self.vocabulary_rows = int(head.weight.shape[-1]), int(head.weight.shape[0])
        chosen = getattr(text, "num_experts_per_tok", None) or 0
        experts = [value for value in llm.parameters() if value.ndim == 3] if chosen else []
        self._expert_share = chosen / len(experts[0]) if experts else 0.0
        self._expert_weights = _count(experts)
        self._matrix_weights = _count(_matrices(llm, head))
        # Embeddings are looked up, not read; the head is read as far as it is used, tied to an embedding or not.
        elsewhere = {id(module.weight) for module in llm.modules() if isinstance(module, nn.Embedding)}
        elsewhere |= {id(value) for value in [head.weight, *experts]}
        self._read_weights = _count(value for value in llm.parameters() if id(value) not in elsewhere)
        self._seen_weights = _count(self._model.parameters()) - _count(llm.parameters())
        self._frames: dict[tuple[int | tuple[int, int] | None, int | None], Cost] = {}

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes that one token takes in the key-value cache; grouped heads are stored once a group."""
        return int(self._cache_width * self.item_bytes)

    def encode(
        self, num_frames: int, image_size: int | tuple[int, int] | None = None, num_visual_tokens: int | None = None
    ) -> Cost:
        """Returns the cost of one batch of frames through vision tower, selector and projector.

        Args:
            num_frames: In the batch; the weights are read once for all.
            image_size: Side in pixels, or `(height, width)`; by default the tower's own.
            num_visual_tokens: Kept of each frame; by default the configuration's.

        Raises:
            ValueError: If tower or selector cannot take frames of that size.
        """
        key = (image_size, num_visual_tokens)
        if key not in self._frames:
            self._frames[key] = self._frame(image_size, num_visual_tokens)
        return num_frames * self._frames[key] + Cost(bytes=self.item_bytes * self._seen_weights)

    def prefill(
        self, num_tokens: int, num_rows: int = 1, shared_tokens: int = 0, vocabulary_rows: int | None = None
    ) -> Cost:
        """Returns the cost of reading prompts, and of the logits behind the last token of each.

        Args:
            num_tokens: Of a row, text and visual ones; the longest row's where rows are padded.
            num_rows: Of the batch.
            shared_tokens: At the start of the rows, the same in all and read once for all of them.
            vocabulary_rows: Rows of the head that are multiplied; by default all.
        """
        own = num_tokens - shared_tokens
        return self.work(
            tokens=shared_tokens + num_rows * own,
            pairs=shared_tokens * shared_tokens + num_rows * own * num_tokens,
            cached=0,
            logits=num_rows,
            vocabulary_rows=vocabulary_rows,
        )

    def decode(
        self,
        num_rows: int,
        new_tokens: int = 1,
        cached_tokens: float = 0,
        vocabulary_rows: int | None = None,
        shared_tokens: float = 0,
        logits_per_row: int | None = None,
    ) -> Cost:
        """Returns the cost of one pass over new tokens behind a cache.

        Args:
            num_rows: Of the batch.
            new_tokens: Of a row.
            cached_tokens: Of a row, before this pass; the mean where rows differ.
            vocabulary_rows: Rows of the head that are multiplied; by default all.
            shared_tokens: Of the cached ones, those that all rows share and that are read once for all of them.
            logits_per_row: New tokens of a row that go through the head; by default all.
        """
        return self.work(
            tokens=num_rows * new_tokens,
            pairs=num_rows * new_tokens * (cached_tokens + new_tokens),
            cached=shared_tokens + num_rows * (cached_tokens - shared_tokens),
            logits=num_rows * (new_tokens if logits_per_row is None else logits_per_row),
            vocabulary_rows=vocabulary_rows,
        )

    def work(self, tokens: float, pairs: float, cached: float, logits: int, vocabulary_rows: int | None = None) -> Cost:
        """Returns the cost of one pass of the language model over rows of any lengths.

        Args:
            tokens: That are read, of all rows together.
            pairs: Of a token that is read and one that it may look at.
            cached: Tokens whose keys and values are read from the cache.
            logits: Places where the head is used.
            vocabulary_rows: Rows of the head that are multiplied; by default all.
        """
        rows = self.vocabulary_rows if vocabulary_rows is None else vocabulary_rows
        head = self._head_features * rows
        matrices = self._matrix_weights + self._expert_weights * self._expert_share
        # Scores and their weighted sum of values: a multiply-add each for every pair and every feature of a head.
        flops = 2 * matrices * tokens + 4 * self._score_width * pairs + 2 * head * logits
        moved = self._read_weights + self._expert_weights * min(1.0, self._expert_share * tokens)
        moved += self._cache_width * (cached + tokens) + self._hidden_width * tokens
        moved += head if logits else 0
        return Cost(flops, self.item_bytes * moved)

    def _frame(self, image_size: int | tuple[int, int] | None, num_visual_tokens: int | None) -> Cost:
        """Returns the cost of one frame without the weights, its operations counted while it runs on shapes alone."""
        config, tower = self.config, self.config.vision_config
        size = config.image_size if image_size is None else image_size
        height, width = (size, size) if isinstance(size, int) else size
        patches = (height // int(tower.patch_size)) * (width // int(tower.patch_size))
        kept = num_visual_tokens or (patches if config.selector_type == "none" else config.num_visual_tokens)
        pixels = torch.zeros(1, 3, height, width, device="meta")
        try:
            flops = _tower_flops(self._model.vision_tower, pixels, config)
        except NotImplementedError:
            flops = _tower_flops_by_layer(pixels.shape, config)
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            self._model.select(torch.zeros(1, patches, tower.hidden_size), kept)
        # Pixels in, hidden states in and out of every layer, visual tokens out.
        moved = pixels.numel() + 2 * tower.num_hidden_layers * patches * tower.hidden_size
        moved += kept * config.text_config.hidden_size
        return Cost(flops + int(counter.get_total_flops()), self.item_bytes * moved)


def _count(parameters: Iterable[Tensor]) -> int:
    return sum(value.numel() for value in parameters)


def _matrices(module: nn.Module, head: nn.Module) -> Iterator[Tensor]:
    """Yields the matrices that every token is multiplied with."""
    for part in module.modules():
        # GPT-2 calls its transposed Linear Conv1D.
        if isinstance(part, nn.Linear | Conv1D) and part is not head:
            yield part.weight
        elif _is_router(part):
            yield part.weight  # type: ignore[misc] # a Parameter


def _is_router(part: nn.Module) -> bool:
    """Says whether a module scores experts: a matrix of its own, in no Linear."""
    weight = getattr(part, "weight", None)
    own = isinstance(weight, nn.Parameter) and weight.ndim == 2
    return own and not isinstance(part, nn.Linear | Conv1D | nn.Embedding)


def _tower_flops(tower: Any, pixels: Tensor, config: ElysiumConfig) -> int:
    # The counter does not see into the fused attention of a CPU.
    tower.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encode_patches(tower, pixels, config)
    return int(counter.get_total_flops())


def _tower_flops_by_layer(shape: torch.Size, config: ElysiumConfig) -> int:
    """Returns what a tower computes that looks at values, as SigLIP 2 at the shapes of its frames.

    It has to run for real: with one layer and with two, from which all follow.
    """
    counts = []
    for layers in (1, 2):
        cut = copy.deepcopy(config)
        cut.vision_config.num_hidden_layers, cut.vision_feature_layer = layers, -1
        # The caller's random state is left as it was.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            tower = build_visual_encoder(cut).eval().requires_grad_(False)
            counts.append(_tower_flops(tower, torch.zeros(shape), cut))
    return counts[0] + (int(config.vision_config.num_hidden_layers) - 1) * (counts[1] - counts[0])
