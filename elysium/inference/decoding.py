"""Greedy decoding under a grammar: the model is asked only where there is something to choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from elysium.inference.grammar import AnswerState
from elysium.model import ElysiumForConditionalGeneration


@dataclass
class DecodingStats:
    """What decoding cost.

    Attributes:
        passes: Forward passes of the language model, prompts included.
        chosen: Tokens that the model chose.
        forced: Tokens that the grammar wrote without asking it.
    """

    passes: int = 0
    chosen: int = 0
    forced: int = 0


class Choice(NamedTuple):
    """A token that the model chose.

    Attributes:
        part: Which of the answer's boxes it belongs to.
        log_probability: Of the token, among all tokens.
    """

    part: int
    log_probability: float


@torch.inference_mode()
def decode(
    model: ElysiumForConditionalGeneration,
    embeddings: Tensor,
    attention_mask: Tensor,
    answers: Sequence[AnswerState],
    stats: DecodingStats | None = None,
    position_ids: Tensor | None = None,
) -> list[list[Choice]]:
    """Writes the answers of a batch: at each choice the likeliest of the allowed tokens.

    Tokens that the grammar fixes are appended without asking the model and go through it together with the choice
    before them, in one pass. Answers of one batch may be of different lengths; those that are over wait at no cost but
    their place in the batch.

    Args:
        model: In evaluation mode.
        embeddings: Shape `(B, L, D)`: the prompts' embeddings, padded on the left.
        attention_mask: Shape `(B, L)`.
        answers: One state a prompt; they hold the result.
        stats: Counted into, if given.
        position_ids: Shape `(B, L)`; by default counted over what is not padding.

    Returns:
        For each answer the tokens that the model chose, in order.
    """
    stats = stats if stats is not None else DecodingStats()
    chosen: list[list[Choice]] = [[] for _ in answers]
    if position_ids is None:
        position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
    position = position_ids[:, -1:] + 1
    outputs = model(
        inputs_embeds=embeddings,
        attention_mask=attention_mask,
        position_ids=position_ids,
        use_cache=True,
        logits_to_keep=1,
    )
    stats.passes += 1
    logits = outputs.logits[:, -1]
    while True:
        log_probabilities = logits.float().log_softmax(-1)
        pending = [_advance(answer, log_probabilities[row], chosen[row], stats) for row, answer in enumerate(answers)]
        longest = max(map(len, pending))
        if longest == 0 or all(answer.allowed() == [] for answer in answers):
            return chosen
        ids = torch.zeros((len(answers), longest), dtype=torch.long, device=embeddings.device)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(pending):
            ids[row, : len(tokens)] = torch.tensor(tokens, device=ids.device)
            mask[row, : len(tokens)] = 1
        attention_mask = torch.cat([attention_mask, mask.to(attention_mask.dtype)], dim=-1)
        outputs = model(
            inputs_embeds=model.get_input_embeddings()(ids),
            attention_mask=attention_mask,
            position_ids=(position + mask.cumsum(-1) - 1).clamp(min=0),
            past_key_values=outputs.past_key_values,
            use_cache=True,
        )
        stats.passes += 1
        counts = mask.sum(-1)
        position = position + counts.unsqueeze(-1)
        last = (counts - 1).clamp(min=0)
        fresh = outputs.logits[torch.arange(len(answers)), last]
        logits = torch.where((counts > 0).unsqueeze(-1), fresh, logits)


def _advance(answer: AnswerState, log_probabilities: Tensor, chosen: list[Choice], stats: DecodingStats) -> list[int]:
    """Writes one choice and all that is fixed after it; returns the ids written."""
    written: list[int] = []
    asked = False
    while True:
        allowed = answer.allowed()
        if allowed == [] or (asked and (allowed is None or len(allowed) > 1)):
            return written
        if allowed is not None and len(allowed) == 1:
            token = allowed[0]
            stats.forced += 1
        else:
            if written:
                # Fixed text stands before this choice and has not gone through the model yet.
                return written
            if allowed is None:
                token = int(log_probabilities.argmax())
            else:
                token = allowed[int(log_probabilities[torch.tensor(allowed)].argmax())]
            chosen.append(Choice(answer.part, float(log_probabilities[token])))
            asked = True
            stats.chosen += 1
        answer.push(token)
        written.append(token)
