"""The engine: follows, finds and describes objects in frames, batched across requests (PROTOCOL §5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elysium.boxes import FloatArray
from elysium.inference.decoding import Choice, DecodingStats, decode
from elysium.inference.grammar import AnswerState, FreeState, GrammarCache
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor, VisualTokens
from elysium.model.processor import check_tokenizer
from elysium.model.visual_encoder import encode_patches
from elysium.prompts import Task, ask

Image = npt.NDArray[np.uint8]
# Patch features where clips share a budget, else what the language model sees of each frame.
_Encoded = Tensor | VisualTokens
_MAX_DESCRIPTION = 24


@dataclass(frozen=True)
class TrackRequest:
    """One object to follow.

    Attributes:
        frames: Each `(height, width, 3)`, uint8, RGB. Requests with the very same list share its encoding.
        box: The object's box in the first frame, normalised `(x1, y1, x2, y2)`; or give the expression.
        expression: The object's name.
    """

    frames: Sequence[Image]
    box: npt.ArrayLike | None = None
    expression: str | None = None

    def __post_init__(self) -> None:
        if (self.box is None) == (self.expression is None):
            raise ValueError("a track begins with a box or an expression: give one of the two")
        if len(self.frames) == 0:
            raise ValueError("a track needs at least one frame, got none")


@dataclass(frozen=True)
class TrackAnswer:
    """One object, followed.

    Attributes:
        boxes: Shape `(T, 4)`, normalised `(x1, y1, x2, y2)`; a given first box comes back as it was given.
        confidence: Shape `(T,)`, in [0, 1]: the geometric mean of the probabilities, among all tokens, of the tokens
            the model chose for the box; 1 for a given box.
        num_failures: Frames whose answer was no box; with guided decoding always 0.
    """

    boxes: FloatArray
    confidence: FloatArray
    num_failures: int = 0


@dataclass
class _Question:
    prompt: str
    visual: VisualTokens
    answer: AnswerState
    chosen: list[Choice] = field(default_factory=list)


class Engine:
    """Asks a model about frames.

    Args:
        model: The model; it is put into evaluation mode.
        processor: Its processor.
        clip_frames: Frames asked about at once; neighbouring clips share one.
        batch_size: Questions answered together.

    Example:
        >>> from elysium.config import ModelSettings
        >>> from elysium.model import build_model
        >>> engine = Engine(*build_model(ModelSettings(), seed=0))
        >>> frames = [np.zeros((64, 64, 3), np.uint8)] * 3
        >>> engine.track([TrackRequest(frames, box=[0.1, 0.1, 0.5, 0.5])])[0].boxes.shape
        (3, 4)
    """

    def __init__(
        self,
        model: ElysiumForConditionalGeneration,
        processor: ElysiumProcessor,
        clip_frames: int = 8,
        batch_size: int = 16,
    ) -> None:
        if clip_frames < 2:
            raise ValueError(f"clip_frames is at least 2, for neighbouring clips share a frame; got {clip_frames}")
        self.model = model.eval()
        self.processor = processor
        self.clip_frames = clip_frames
        self.batch_size = batch_size
        self.stats = DecodingStats()
        check_tokenizer(processor.tokenizer, model.config.text_config.vocab_size, model.config.image_token_id)
        self._grammars = GrammarCache(processor.tokenizer, processor.codec)

    def track(self, requests: Sequence[TrackRequest]) -> list[TrackAnswer]:
        """Follows objects; clip after clip, all requests side by side.

        Clip `c` covers frames `[(C-1)c, (C-1)c + C)`; the last box of a clip is the given box of the next, and a frame
        that has its box is not asked about again.

        Args:
            requests: What to follow.

        Returns:
            One answer a request, in order.
        """
        encoded: dict[int, _Encoded] = {}
        for request in requests:
            if id(request.frames) not in encoded:
                encoded[id(request.frames)] = self._encode(request.frames)
        tracks = [_Track(request, self.clip_frames) for request in requests]
        while True:
            going = [track for track in tracks if not track.over]
            if not going:
                return [track.answer() for track in tracks]
            for chunk in _chunks(going, self.batch_size):
                questions = []
                for track in chunk:
                    span = track.span()
                    task, given = track.question()
                    prompt = ask(task, len(span), codec=self.processor.codec, **given)
                    grammar = self._grammars.boxes(len(span))
                    visual = self._visual(encoded[id(track.request.frames)], span)
                    questions.append(_Question(prompt, visual, grammar.start(given.get("box"))))
                self._answer(questions)
                for track, question in zip(chunk, questions, strict=True):
                    boxes = np.array(question.answer.boxes())  # type: ignore[attr-defined] # a BoxesState
                    track.take(boxes, _confidence(question.chosen, len(boxes)))

    def ground(self, images: Sequence[Image], expressions: Sequence[str]) -> FloatArray:
        """Returns the box of one named object in each image, shape `(n, 4)`, normalised (REC)."""
        found = []
        for chunk in _chunks(list(zip(images, expressions, strict=True)), self.batch_size):
            encoded = self._encode([image for image, _ in chunk])
            questions = [
                _Question(
                    ask(Task.REC, 1, expression=expression),
                    self._visual(encoded, range(row, row + 1)),
                    self._grammars.boxes(1).start(),
                )
                for row, (_, expression) in enumerate(chunk)
            ]
            self._answer(questions)
            found += [question.answer.boxes()[0] for question in questions]  # type: ignore[attr-defined] # BoxesState
        return np.array(found, dtype=np.float64).reshape(-1, 4)

    def describe(self, clips: Sequence[Sequence[Image]], boxes: Sequence[npt.ArrayLike]) -> list[str]:
        """Returns the description of the object in a box of each clip's first frame (Video-REG; REG for one frame)."""
        texts = []
        for chunk in _chunks(list(zip(clips, boxes, strict=True)), self.batch_size):
            questions = []
            for clip, box in chunk:
                task = Task.REG if len(clip) == 1 else Task.VIDEO_REG
                prompt = ask(task, len(clip), box=box, codec=self.processor.codec)
                answer = FreeState(self.processor.tokenizer.eos_token_id, _MAX_DESCRIPTION)
                questions.append(_Question(prompt, self._visual(self._encode(clip), range(len(clip))), answer))
            self._answer(questions)
            for question in questions:
                text = self.processor.tokenizer.decode(question.answer.ids)  # type: ignore[attr-defined] # FreeState
                texts.append(text.strip().removesuffix("."))
        return texts

    @torch.inference_mode()
    def _encode(self, frames: Sequence[Image]) -> _Encoded:
        model = self.model
        chunks = (self.processor.pixel_values(chunk) for chunk in _chunks(list(frames), 4 * self.batch_size))
        features = (encode_patches(model.vision_tower, chunk.to(model.device), model.config) for chunk in chunks)
        if model.config.share_visual_tokens:
            # Which tokens a frame keeps depends on the clip that it is shown in.
            return torch.cat(list(features))
        return VisualTokens.join([model.select(chunk) for chunk in features])

    @torch.inference_mode()
    def _visual(self, encoded: _Encoded, span: range) -> VisualTokens:
        chosen = encoded[span.start : span.stop]
        return self.model.select(chosen) if isinstance(chosen, Tensor) else chosen

    @torch.inference_mode()
    def _answer(self, questions: Sequence[_Question]) -> None:
        processor = self.processor
        rows = [processor.encode_prompt(question.prompt) for question in questions]
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), processor.pad_token_id)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, length - len(row) :] = torch.tensor(row)
            mask[number, length - len(row) :] = 1
        ids, mask = ids.to(self.model.device), mask.to(self.model.device)
        visual = VisualTokens.join([question.visual for question in questions])
        embeddings, positions, _ = self.model.prepare(ids, visual, mask)
        answers = [question.answer for question in questions]
        chosen = decode(self.model, embeddings, mask, answers, self.stats, positions)
        for question, values in zip(questions, chosen, strict=True):
            question.chosen = values


class _Track:
    """How far one request has come."""

    def __init__(self, request: TrackRequest, clip_frames: int) -> None:
        self.request = request
        self._clip_frames = clip_frames
        self._boxes = np.empty((0, 4))
        self._confidence = np.empty(0)
        if request.box is not None:
            self._boxes = np.asarray(request.box, dtype=np.float64).reshape(1, 4)
            self._confidence = np.ones(1)

    @property
    def over(self) -> bool:
        return len(self._boxes) >= len(self.request.frames)

    def span(self) -> range:
        start = max(len(self._boxes) - 1, 0)
        return range(start, min(start + self._clip_frames, len(self.request.frames)))

    def question(self) -> tuple[Task, dict[str, Any]]:
        if len(self._boxes):
            return Task.SOT, {"box": self._boxes[-1]}
        task = Task.REC if len(self.request.frames) == 1 else Task.RSOT
        return task, {"expression": self.request.expression}

    def take(self, boxes: FloatArray, confidence: FloatArray) -> None:
        known = 1 if len(self._boxes) else 0
        self._boxes = np.concatenate([self._boxes, boxes[known:]])
        self._confidence = np.concatenate([self._confidence, confidence[known:]])

    def answer(self) -> TrackAnswer:
        return TrackAnswer(self._boxes, self._confidence)


def _confidence(chosen: Sequence[Choice], num_boxes: int) -> FloatArray:
    """Returns one figure a box: the geometric mean of the probabilities of the tokens that were chosen for it.

    Where the order of corners left no choice, the box is as sure as its other tokens; without any it is 1.
    """
    parts: list[list[float]] = [[] for _ in range(num_boxes)]
    for choice in chosen:
        parts[choice.part].append(choice.log_probability)
    return np.array([float(np.exp(np.mean(part))) if part else 1.0 for part in parts])


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
