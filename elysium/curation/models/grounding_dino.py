"""Grounding DINO as grounder: all phrases of a caption at once, many frames at once (Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from PIL import Image

from elysium.boxes import FloatArray
from elysium.config import CurateSettings
from elysium.curation.models.outputs import Selection
from elysium.curation.models.phrases import GroundingText, PhraseTokenizer
from elysium.curation.models.pixels import fitted_size, normalised
from elysium.curation.models.running import Running
from elysium.curation.protocols import Detection, Frame, Query
from elysium.errors import ElysiumError

_SIDES = (800, 1333)  # that the model was trained with: shorter side, and the longest that the longer one may be


@dataclass(frozen=True)
class _Job:
    """One text on one frame.

    Attributes:
        query: Number of the query that it belongs to.
        size: `(width, height)` that the frame is scaled to.
        text: The text.
    """

    query: int
    size: tuple[int, int]
    text: GroundingText


class GroundingDinoGrounder:
    """Finds phrases with transformers' `GroundingDinoForObjectDetection`.

    A box's confidence for a phrase is by default the largest of its scores for the phrase's tokens. Several images pass
    the model together only if they are scaled to the same size. Padding a smaller one, as is usual, changes what is
    found on it: neither the Swin backbone nor the group normalisation behind it knows the padding mask.
    """

    def __init__(self, model: Any, tokenizer: Any, settings: CurateSettings) -> None:
        """Takes the model into use.

        Args:
            model: A `GroundingDinoForObjectDetection`.
            tokenizer: The checkpoint's.
            settings: `device`, `dtype` and what begins with `grounder_`.

        Raises:
            UsageError: If there is no such device.
        """
        self._running = Running(settings.device, settings.dtype)
        self._model = self._running.take(model)
        self._phrases = PhraseTokenizer(tokenizer, model.config.max_text_len)
        self._selection = Selection(settings.grounder_score, settings.grounder_floor, settings.grounder_nms)
        self._batch = settings.grounder_batch
        self._side = settings.grounder_side

    def knows(self, phrase: str) -> bool:
        """Returns whether the vocabulary can write any word of the phrase."""
        return bool(self._phrases.tokens(phrase))

    def ground(self, frame: Frame, phrases: Sequence[str]) -> list[Detection]:
        """Returns every detection of any of the phrases, the most confident first for each phrase.

        Raises:
            ElysiumError: If the model put out something that is no number.
        """
        return self.ground_batch([Query(frame, tuple(phrases))])[0]

    def ground_batch(self, queries: Sequence[Query]) -> list[list[Detection]]:
        """Returns what `ground` would for each query; `curate.grounder_batch` frames pass the model at once.

        Raises:
            ElysiumError: If the model put out something that is no number.
        """
        tokens = [{phrase: self._phrases.tokens(phrase) for phrase in query.phrases} for query in queries]
        found: list[dict[tuple[int, ...], Any]] = [{} for _ in queries]
        for jobs in self._batches(queries, [list(phrases.values()) for phrases in tokens]):
            for job, scores, boxes in zip(jobs, *self._forward(jobs, queries), strict=True):
                for phrase, (start, stop) in job.text.spans.items():
                    found[job.query][phrase] = self._selection.find(scores[:, start:stop], boxes)
        return [
            [
                Detection(phrase, box, confidence)
                for phrase, ids in phrases.items()
                for box, confidence in answers.get(ids, ())
            ]
            for phrases, answers in zip(tokens, found, strict=True)
        ]

    def _batches(self, queries: Sequence[Query], phrases: Sequence[Sequence[tuple[int, ...]]]) -> Iterator[list[_Job]]:
        """Yields jobs that pass the model together: frames of one size, texts of similar length."""
        jobs = []
        for number, query in enumerate(queries):
            height, width = query.frame.image.shape[:2]
            size = fitted_size((width, height), self._side, self._side * _SIDES[1] // _SIDES[0])
            jobs += [_Job(number, size, text) for text in self._phrases.texts(phrases[number])]
        jobs.sort(key=lambda job: (job.size, len(job.text.ids), job.query))
        for _, same in groupby(jobs, key=lambda job: job.size):
            together = list(same)
            for start in range(0, len(together), self._batch):
                yield together[start : start + self._batch]

    def _forward(self, jobs: Sequence[_Job], queries: Sequence[Query]) -> tuple[FloatArray, FloatArray]:
        """Returns scores `(n, num_boxes, num_tokens)` in [0, 1] and boxes `(n, num_boxes, 4)` as the model has them."""
        images = [_scaled(queries[job.query].frame.image, job.size) for job in jobs]
        length = max(len(job.text.ids) for job in jobs)
        ids = torch.full((len(jobs), length), self._phrases.padding)
        for row, job in enumerate(jobs):
            ids[row, : len(job.text.ids)] = torch.tensor(job.text.ids)
        lengths = torch.tensor([len(job.text.ids) for job in jobs])
        device = self._running.device
        with self._running.forward():
            output = self._model(
                pixel_values=normalised(torch.from_numpy(np.stack(images)).to(device)),
                input_ids=ids.to(device),
                token_type_ids=torch.zeros_like(ids).to(device),
                attention_mask=(torch.arange(length) < lengths[:, None]).long().to(device),
            )
            scores = output.logits[..., :length].float().sigmoid().cpu().numpy()
            boxes = output.pred_boxes.float().cpu().numpy()
        if not (np.isfinite(scores).all() and np.isfinite(boxes).all()):
            raise ElysiumError(
                f"the grounder put out numbers that are none, computing in {self._running.dtype}; "
                "set curate.dtype=float32, or name a sound checkpoint with curate.grounder_model"
            )
        return scores, boxes


def _scaled(image: np.ndarray[Any, np.dtype[np.uint8]], size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
