"""The engine: puts questions about frames to the model, many at once (PROTOCOL §5, DESIGN §5).

A clip's frames are encoded once and read once by the language model, however many objects are asked about in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elysium.boxes import FloatArray
from elysium.errors import UsageError
from elysium.inference.decoding import Ask, Choice, ClipJob, Decoder, Sampling
from elysium.inference.drafts import MotionDraft
from elysium.inference.grammar import AnswerState, BoxesState, FreeState, GrammarCache
from elysium.inference.spending import DecodingStats, Work
from elysium.model import ElysiumForConditionalGeneration, ElysiumProcessor, VisualTokens
from elysium.model.cost import CostModel
from elysium.model.processor import check_tokenizer
from elysium.model.roofline import Meter
from elysium.model.visual_encoder import encode_patches
from elysium.prompts import Task, ask

if TYPE_CHECKING:
    from elysium.inference.memory import TrackAnswer, TrackRequest
    from elysium.inference.tracks import TrackOptions

Image = npt.NDArray[np.uint8]
# Patch features where clips share a budget, else what the language model sees of each frame.
Encoded = Tensor | VisualTokens
_MAX_DESCRIPTION = 24
_MAX_ANSWER = 128
_IMAGES_AT_ONCE = 32


@dataclass(frozen=True)
class Prompt:
    """One question about a clip, and the form of its answer.

    Attributes:
        text: As `elysium.prompts.ask` writes it.
        answer: With nothing written yet.
        draft: Guesses boxes; the answer is the same without.
        sampling: For answers in own words.
    """

    text: str
    answer: AnswerState
    draft: MotionDraft | None = None
    sampling: Sampling | None = None


class Engine:
    """Asks a model about frames.

    Args:
        model: The model; it is put into evaluation mode.
        processor: Its processor.
        clip_frames: Frames asked about at once; neighbouring clips share one.
        batch_size: Questions answered together.
        drafts: Whether boxes are guessed from the motion so far; answers are the same, sooner.

    Raises:
        ValueError: If a number is impossible, or tokenizer and model do not belong together.
        UsageError: If the language model's attention cannot be used, or the tokenizer joins numbers with other text.

    Example:
        >>> from elysium.config import ModelSettings
        >>> from elysium.model import build_model
        >>> engine = Engine(*build_model(ModelSettings(), seed=0))
        >>> engine.ground([np.zeros((64, 64, 3), np.uint8)] * 3, ["a red car"] * 3).shape
        (3, 4)
    """

    def __init__(
        self,
        model: ElysiumForConditionalGeneration,
        processor: ElysiumProcessor,
        clip_frames: int = 8,
        batch_size: int = 16,
        *,
        drafts: bool = True,
    ) -> None:
        if clip_frames < 2:
            raise ValueError(f"clip_frames is at least 2, for neighbouring clips share a frame; got {clip_frames}")
        if batch_size < 1:
            raise ValueError(f"batch_size is at least 1, got {batch_size}")
        self.model = model.eval()
        self.processor = processor
        self.clip_frames = clip_frames
        self.batch_size = batch_size
        self.drafts = drafts
        self.stats = DecodingStats()
        self._work: Work | None = None
        check_tokenizer(processor.tokenizer, model.config.text_config.vocab_size, model.config.image_token_id)
        self.grammars = GrammarCache(processor.tokenizer, processor.codec)
        # Made at once, so that a tokenizer that cannot be used is refused before any work.
        self.grammars.boxes(1)
        self._prompts: dict[str, list[int]] = {}

    def decoder(self) -> Decoder:
        """Returns what answers this engine's clips; it holds memory while clips are in it."""
        image = self.model.config.image_token_id
        never = [image] if image < self.model.config.text_config.vocab_size else []
        return Decoder(
            self.model.language_model, self.grammars.vocabulary, self.batch_size, never, self.stats, self._work
        )

    def measure(self) -> Meter:
        """Returns a meter that adds up, from now on, what encoding and passes cost (`elysium.model.roofline`)."""
        self._work = Work(CostModel(self.model.config, self.model.dtype), Meter())
        return self._work.meter

    def ground(self, images: Sequence[Image], expressions: Sequence[str]) -> FloatArray:
        """Returns the box of one named object in each image, shape `(n, 4)`, normalised (REC)."""
        return self.ground_scored(images, expressions)[0]

    def ground_scored(self, images: Sequence[Image], expressions: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Returns boxes as `ground` does, and their confidence `(n,)` as `confidence_of` defines it."""
        pairs = list(zip(images, expressions, strict=True))
        prompts = [Prompt(ask(Task.REC, 1, expression=name), self.grammars.boxes(1).start()) for _, name in pairs]
        asks = list(self._answered([[image] for image, _ in pairs], prompts))
        boxes = [ask.answer.boxes()[0] for ask in asks]  # type: ignore[attr-defined] # a BoxesState
        sure = [confidence_of(ask.chosen, 1)[0] for ask in asks]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(sure, dtype=np.float64)

    def track(self, requests: Sequence[TrackRequest], options: TrackOptions | None = None) -> list[TrackAnswer]:
        """Returns each object's boxes in frames that are in memory; see `elysium.inference.memory.track`."""
        from elysium.inference.memory import track  # which is built on the engine

        return track(self, requests, options)

    def track_each(
        self, requests: Sequence[TrackRequest], options: TrackOptions | None = None
    ) -> Iterator[tuple[int, TrackAnswer, Exception | None]]:
        """Yields each answer when it is there; see `elysium.inference.memory.track_each`."""
        from elysium.inference.memory import track_each

        return track_each(self, requests, options)

    def describe(
        self,
        clips: Sequence[Sequence[Image]],
        boxes: Sequence[npt.ArrayLike],
        sampling: Sampling | None = None,
        max_tokens: int = _MAX_DESCRIPTION,
    ) -> list[str]:
        """Returns the description of the object in a box of each clip's first frame (Video-REG; REG for one frame).

        Args:
            clips: Of one frame or more, no more than the model's context takes. Neighbours that are the very same list
                share all work on its frames.
            boxes: One a clip, normalised `(x1, y1, x2, y2)`.
            sampling: Draws instead of taking the likeliest words.
            max_tokens: Where a description that does not end is cut.
        """
        questions = []
        for clip, box in zip(clips, boxes, strict=True):
            task = Task.REG if len(clip) == 1 else Task.VIDEO_REG
            text = ask(task, len(clip), box=box, codec=self.processor.codec)
            questions.append(Prompt(text, self._free(max_tokens), sampling=sampling))
        return [self._text(answered).removesuffix(".") for answered in self._answered(clips, questions)]

    def ask(
        self,
        clips: Sequence[Sequence[Image]],
        questions: Sequence[str],
        sampling: Sampling | None = None,
        max_tokens: int = _MAX_ANSWER,
    ) -> list[str]:
        """Returns the answers to free questions about clips (VideoQA); arguments as in `describe`."""
        prompts = [
            Prompt(ask(Task.VQA, len(clip), question=question), self._free(max_tokens), sampling=sampling)
            for clip, question in zip(clips, questions, strict=True)
        ]
        return [self._text(answered) for answered in self._answered(clips, prompts)]

    def most_frames(self, question: Callable[[int], str], most: int, max_tokens: int = _MAX_ANSWER) -> int:
        """Returns how many frames the context takes with a question and an answer of so many tokens; at least 1.

        Args:
            question: Writes the question about so many frames.
            most: Frames that there are.
            max_tokens: Of the answer.
        """
        config = self.model.config
        # A prompt's ids hold a place for each token that is kept; on the grid, each patch takes a position.
        extra = config.num_patches - config.tokens_per_frame if config.position_ids == "grid" else 0
        for count in range(most, 1, -1):
            if len(self._ids(question(count))) + count * extra + max_tokens <= config.max_positions:
                return count
        return 1

    @torch.inference_mode()
    def encode(self, frames: Sequence[Image]) -> Encoded:
        """Returns what the model makes of frames, each `(height, width, 3)`, uint8, RGB, of any size."""
        chunks = (self.processor.pixel_values(chunk) for chunk in _chunks(list(frames), _IMAGES_AT_ONCE))
        if self._work is not None:
            self._work.add_frames(len(frames))
        model = self.model
        features = (encode_patches(model.vision_tower, chunk.to(model.device), model.config) for chunk in chunks)
        if model.config.share_visual_tokens:
            # Which tokens a frame keeps depends on the clip that it is shown in.
            return torch.cat(list(features))
        return VisualTokens.join([model.select(chunk) for chunk in features])

    @torch.inference_mode()
    def job(self, encoded: Encoded, prompts: Sequence[Prompt]) -> ClipJob:
        """Returns questions about one clip, ready for a decoder.

        Args:
            encoded: The clip's frames.
            prompts: The questions; what stands before their last frame is the same in all, and like everything that
                they begin with it is read once.

        Raises:
            UsageError: If frames and answers exceed the model's context.
        """
        config, image = self.model.config, self.model.config.image_token_id
        rows = [self._ids(prompt.text) for prompt in prompts]
        frames_end = len(rows[0]) - rows[0][::-1].index(image)
        cut = max(_common(rows), frames_end)
        ids = torch.tensor([rows[0][:cut]], device=self.model.device)
        visual = self.model.select(encoded) if isinstance(encoded, Tensor) else encoded
        frames, kept = visual.embeddings.shape[:2]
        each = visual.num_patches if config.position_ids == "grid" else kept
        following = cut + frames * (each - kept)
        for row, prompt in zip(rows, prompts, strict=True):
            self._check_context(following + len(row) - cut, prompt.answer, frames)
        embeddings, positions, _ = self.model.prepare(ids, visual, torch.ones_like(ids))
        if positions is None:
            raise TypeError("the model gave no positions for a prompt with a mask")
        asks = [
            Ask(row[cut:], prompt.answer, prompt.draft, prompt.sampling)
            for row, prompt in zip(rows, prompts, strict=True)
        ]
        return ClipJob(embeddings[0], positions[0], following, asks)

    def new_draft(self) -> MotionDraft | None:
        """Returns what guesses the boxes of one object, or None where the engine does not guess."""
        return MotionDraft(self.processor.codec.maximum) if self.drafts else None

    def _answered(self, clips: Sequence[Sequence[Image]], prompts: Sequence[Prompt]) -> Iterator[Ask]:
        """Yields the answered questions, in order."""
        decoder = self.decoder()
        for chunk in _chunks(list(zip(clips, prompts, strict=True)), self.batch_size):
            grouped = [list(group) for _, group in groupby(chunk, key=lambda pair: id(pair[0]))]
            encoded = self.encode([image for group in grouped for image in group[0][0]])
            jobs, start = [], 0
            for group in grouped:
                stop = start + len(group[0][0])
                jobs.append(self.job(encoded[start:stop], [prompt for _, prompt in group]))
                start = stop
            decoder.run(jobs)
            yield from (answered for job in jobs for answered in job.asks)

    def _ids(self, text: str) -> list[int]:
        found = self._prompts.get(text)
        if found is None:
            if len(self._prompts) > 1024:
                self._prompts.clear()
            found = self._prompts[text] = self.processor.encode_prompt(text)
        return found

    def _free(self, max_tokens: int) -> FreeState:
        return FreeState(self.processor.tokenizer.eos_token_id, max_tokens)

    def _text(self, answered: Ask) -> str:
        ids = answered.answer.ids  # type: ignore[attr-defined] # a FreeState
        return str(self.processor.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _check_context(self, asked: int, answer: AnswerState, frames: int) -> None:
        needed = asked + (answer.grammar.max_tokens if isinstance(answer, BoxesState) else 1)
        limit = self.model.config.max_positions
        if needed > limit:
            fit = max(int(limit / (needed / frames)), 1)
            raise UsageError(
                f"a clip of {frames} frames with its answer takes {needed} positions, but the language model takes "
                f"{limit}: ask about {fit} frames at once or fewer (clip_frames)"
            )


def _common(rows: Sequence[Sequence[int]]) -> int:
    """Returns how many tokens all rows begin with, leaving one at least to each."""
    shortest = min(map(len, rows)) - 1
    return next((at for at in range(shortest) if len({row[at] for row in rows}) > 1), shortest)


def confidence_of(chosen: Sequence[Choice], num_boxes: int) -> FloatArray:
    """Returns the model's confidence in each box, shape `(num_boxes,)`, in (0, 1].

    The geometric mean of the probabilities of the tokens that the model chose for the box, each among the tokens that
    were allowed in its place. Where the order of corners left no choice, the box is as sure as its other tokens;
    without any it is 1.
    """
    parts: list[list[float]] = [[] for _ in range(num_boxes)]
    for choice in chosen:
        parts[choice.part].append(choice.log_probability)
    return np.array([float(np.exp(np.mean(part))) if part else 1.0 for part in parts])


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
