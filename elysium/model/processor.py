"""Frames and text in, tensors out (PROTOCOL §2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from elysium.boxes import BoxCodec
from elysium.model.frames import Clip, Frame, is_picture, read_clip, resize_frame
from elysium.prompts import IMAGE_TOKEN, SYSTEM_TEXT, VIDEO_TOKEN, frames_text

IGNORED = -100
_ASSISTANT = "ASSISTANT:"

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
# Read of a video file whose prompt does not say how many frames it wants (PROTOCOL §4: clips of 2 to 8).
_VIDEO_FRAMES = 8
# What transformers' own callers pass and what needs no doing here: padding is always done, nothing is cut off.
_UNDERSTOOD = {"padding": (True, "longest"), "return_tensors": ("pt",), "add_special_tokens": (True, False)}

CHAT_TEMPLATE = (
    "{%- if messages[0].role != 'system' -%}" + f"{{{{- {SYSTEM_TEXT!r} -}}}}" + "{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}{{- 'USER: ' -}}{%- elif message.role == 'assistant' -%}{{- 'ASSISTANT:' -}}"
    "{%- endif -%}"
    "{%- if message.content is string -%}{{- message.content -}}{%- else -%}"
    "{%- set images = message.content | selectattr('type', 'equalto', 'image') | list | length -%}"
    "{%- for part in message.content if part.type == 'image' -%}"
    "{%- if images > 1 -%}{{- 'Frame ' ~ loop.index ~ ': ' -}}{%- endif -%}"
    "{{- '<image>' -}}{{- '\\n' if loop.last else ', ' -}}"
    "{%- endfor -%}"
    "{%- for part in message.content if part.type == 'video' -%}{{- '<video>' -}}{%- endfor -%}"
    "{%- for part in message.content if part.type == 'text' -%}{{- part.text -}}{%- endfor -%}"
    "{%- endif -%}"
    "{%- if message.role == 'assistant' -%}{{- eos_token -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}"
)


class ElysiumProcessor(ProcessorMixin):
    """Turns prompts with frames, and perhaps answers, into a padded batch.

    Args:
        tokenizer: Of the language model.
        image_size: Side in pixels that frames are resized to, aspect ratio not kept.
        tokens_per_frame: Placeholders that each `<image>` becomes.
        image_token_id: The placeholder's id.
        bos_after_image: Begins every text chunk with the begin-of-sequence token, as the release does.
        coordinate_scale: Integer steps of the box text.
        coordinate_maximum: Largest integer of the box text.
        image_mean: Of the three channels, on the scale [0, 1].
        image_std: Likewise.
        max_length: Longest row in tokens that the language model takes; None does not check.

    Example:
        >>> from elysium.config import ModelSettings
        >>> from elysium.model import build_model
        >>> _, processor = build_model(ModelSettings(), seed=0)
        >>> frames = np.zeros((3, 48, 64, 3), np.uint8)
        >>> batch = processor(text="USER: <video>What moves?ASSISTANT:", videos=[frames])
        >>> tuple(batch["pixel_values"].shape)
        (3, 3, 64, 64)
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_size: int = 336,
        tokens_per_frame: int = 108,
        image_token_id: int = 0,
        bos_after_image: bool = False,
        coordinate_scale: int = 100,
        coordinate_maximum: int = 99,
        image_mean: Sequence[float] = _MEAN,
        image_std: Sequence[float] = _STD,
        max_length: int | None = None,
        chat_template: str | None = CHAT_TEMPLATE,
        **kwargs: Any,
    ) -> None:
        self.image_size = image_size
        self.tokens_per_frame = tokens_per_frame
        self.image_token_id = image_token_id
        self.bos_after_image = bos_after_image
        self.coordinate_scale = coordinate_scale
        self.coordinate_maximum = coordinate_maximum
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.max_length = max_length
        super().__init__(tokenizer, chat_template=chat_template, **kwargs)

    @property
    def codec(self) -> BoxCodec:
        """How this model's boxes are written."""
        return BoxCodec(self.coordinate_scale, self.coordinate_maximum)

    @property
    def model_input_names(self) -> list[str]:
        """The arguments of the model that a batch holds."""
        return ["input_ids", "attention_mask", "pixel_values"]

    def __call__(
        self,
        images: Frame | Sequence[Frame] | Sequence[Sequence[Frame]] | None = None,
        text: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        videos: Clip | Sequence[Clip] | None = None,
        answers: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        num_frames: int | None = None,
        num_visual_tokens: int | None = None,
        image_size: int | None = None,
        padding_side: Literal["left", "right"] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Returns a batch.

        Args:
            images: Pictures for the prompts' `<image>` places: one, a list that is dealt out in order, or a list
                of lists, one a prompt. Arrays `(height, width, 3)`, uint8, RGB; tensors of the same; PIL images; paths.
            text: The prompt, or one a sample (`elysium.prompts.ask`, or the chat template). A sample of several turns
                is a list of prompts; the frames are dealt out over all of its turns.
            videos: Clips, one a prompt: video files, folders, lists of frames, or arrays `(T, height, width, 3)`. A
                clip fills its prompt's `<video>`, which becomes `Frame 1: <image>, …`, or its `<image>` places.
            answers: One a sample, for training; for several turns one a turn. With the last turn's missing, the
                conversation is to be gone on with.
            num_frames: Taken of each clip, evenly spread. By default as many as the prompt has `<image>` places; where
                it says `<video>`, 8 of a file and all of what is in memory.
            num_visual_tokens: Placeholders a frame, instead of the model's own number; tell the model the same.
            image_size: Side in pixels that frames are resized to, instead of the vision tower's own.
            padding_side: By default right with answers and left without, which is what training and generation want.
            **kwargs: `padding` and `return_tensors="pt"` are understood.

        Returns:
            `input_ids` and `attention_mask` `(B, L)`, `pixel_values` `(F, 3, S, S)` of all frames in order (left out
            where there are none), and with answers `labels` `(B, L)`, -100 everywhere but on the answers and their
            end-of-sequence tokens.

        Raises:
            ValueError: If a prompt's places and its frames differ in number, a frame is not 8-bit RGB, or a row is
                longer than `max_length`.
            TypeError: If an option is not known.
        """
        _check_options(kwargs)
        if text is None:
            raise ValueError("there is no text; give one prompt a sample, each with a place for its frames")
        prompts = [text] if isinstance(text, str) else list(text)
        if answers is not None and len(answers) != len(prompts):
            raise ValueError(f"prompts and answers need equal numbers, got {len(prompts)} and {len(answers)}")
        turns = [[entry] if isinstance(entry, str) else list(entry) for entry in prompts]
        pictures = _deal_images(images, ["".join(sample) for sample in turns])
        clips = _deal_videos(videos, len(turns))
        kept = num_visual_tokens or self.tokens_per_frame
        rows, labels, frames = [], [], []
        for index, sample in enumerate(turns):
            sample, shown = _place(index, sample, pictures[index], clips[index], num_frames)
            ids, targets = self._row(index, sample, None if answers is None else answers[index], kept)
            self._check_length(index, "".join(sample), len(ids), kept)
            rows.append(ids)
            labels.append(targets)
            frames += shown
        side = padding_side or ("left" if answers is None else "right")
        batch = {
            "input_ids": _pad(rows, self.pad_token_id, side),
            "attention_mask": _pad([[1] * len(row) for row in rows], 0, side),
        }
        if frames:
            batch["pixel_values"] = self.pixel_values(frames, image_size)
        if answers is not None:
            batch["labels"] = _pad(labels, IGNORED, side)
        return BatchFeature(batch)

    @property
    def pad_token_id(self) -> int:
        """The id that fills up shorter samples; where a tokenizer has none, the end of sequence serves."""
        found = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if found is None else found)

    def encode_prompt(self, prompt: str, num_visual_tokens: int | None = None) -> list[int]:
        """Returns a prompt's ids, each `<image>` written as its placeholders.

        An end-of-sequence token written in the prompt ends a turn, as the chat template writes it; its answer is
        encoded by itself, and the next turn begins as a prompt does.

        Args:
            prompt: The text.
            num_visual_tokens: Placeholders a frame; by default `tokens_per_frame`.
        """
        kept = num_visual_tokens or self.tokens_per_frame
        end = self.tokenizer.eos_token
        if end and end in prompt:
            *ended, last = prompt.split(end)
            ids: list[int] = []
            for turn in ended:
                asked, mark, answer = turn.rpartition(_ASSISTANT)
                ids += [*self.encode_prompt(asked + mark, kept), *self.encode_answer(answer)]
            return ids + (self.encode_prompt(last, kept) if last else [])
        ids = []
        for number, chunk in enumerate(prompt.split(IMAGE_TOKEN)):
            if number:
                ids += [self.image_token_id] * kept
            if (number == 0 or self.bos_after_image) and self.tokenizer.bos_token_id is not None:
                ids.append(self.tokenizer.bos_token_id)
            ids += self._encode(chunk)
        return ids

    def encode_answer(self, answer: str) -> list[int]:
        """Returns an answer's ids, end of sequence included."""
        return [*self._encode(answer), self.tokenizer.eos_token_id]

    def pixel_values(self, frames: Sequence[Frame], image_size: int | None = None) -> Tensor:
        """Returns frames as `(F, 3, S, S)`, float32, resized (bilinear, antialiased) and normalised."""
        side = image_size or self.image_size
        return self.normalise(torch.from_numpy(np.stack([resize_frame(frame, side) for frame in frames])))

    def normalise(self, frames: Tensor) -> Tensor:
        """Returns frames `(F, S, S, 3)`, uint8, already of the right size, as pixel values `(F, 3, S, S)`."""
        mean = torch.tensor(self.image_mean) * 255
        std = torch.tensor(self.image_std) * 255
        return ((frames.float() - mean) / std).permute(0, 3, 1, 2).contiguous()

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _row(
        self, index: int, turns: Sequence[str], answers: str | Sequence[str] | None, kept: int
    ) -> tuple[list[int], list[int]]:
        """Returns the ids and labels of one sample."""
        answered = [] if answers is None else [answers] if isinstance(answers, str) else list(answers)
        if len(answered) > len(turns) or len(answered) < len(turns) - 1:
            raise ValueError(f"sample {index} has {len(turns)} turns and {len(answered)} answers; give one a turn")
        ids: list[int] = []
        labels: list[int] = []
        for number, prompt in enumerate(turns):
            asked = self.encode_prompt(prompt, kept)
            answer = self.encode_answer(answered[number]) if number < len(answered) else []
            ids += asked + answer
            labels += [IGNORED] * len(asked) + answer
        return ids, labels

    def _check_length(self, index: int, prompt: str, length: int, kept: int) -> None:
        if self.max_length is None or length <= self.max_length:
            return
        frames = prompt.count(IMAGE_TOKEN)
        text = length - frames * kept
        message = (
            f"prompt {index} takes {length} tokens, {kept} for each of {frames} frames and {text} of text, but the "
            f"model takes {self.max_length}"
        )
        if frames > 1:
            # The text between two frames goes with them.
            each = kept + max(len(self._encode(f", Frame {frames}: ")), 1)
            fit = max((self.max_length - (length - frames * each)) // each, 0)
            message += f"; about {fit} frames fit: show fewer, or keep fewer tokens of each (num_visual_tokens)"
        raise ValueError(message)


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, vocab_size: int, image_token_id: int) -> None:
    """Checks that a tokenizer and a language model's embedding belong together.

    Raises:
        ValueError: If the tokenizer writes an id, other than the placeholder's, that the embedding has no row for.
    """
    ids = [number for number in tokenizer.get_vocab().values() if number != image_token_id]
    if max(ids) >= vocab_size:
        raise ValueError(
            f"the tokenizer writes ids up to {max(ids)}, but the language model's embedding has {vocab_size} rows; use "
            "the tokenizer that the language model was trained with, or resize its embedding"
        )


def _check_options(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value is None:
            continue
        if name not in _UNDERSTOOD:
            raise TypeError(f"ElysiumProcessor knows no option {name!r}")
        if value not in _UNDERSTOOD[name]:
            raise ValueError(f"{name}={value!r} is not possible here; leave it out")


def _deal_images(images: Any, prompts: Sequence[str]) -> list[list[Any]]:
    """Returns each prompt's pictures."""
    if images is None:
        return [[] for _ in prompts]
    if isinstance(images, (str, Image.Image)) or (isinstance(images, (np.ndarray, Tensor)) and images.ndim == 3):
        images = [images]
    listed = list(images)
    nested = [isinstance(entry, (list, tuple)) or (hasattr(entry, "ndim") and entry.ndim == 4) for entry in listed]
    if listed and all(nested):
        if len(listed) != len(prompts):
            raise ValueError(f"images has {len(listed)} lists for {len(prompts)} prompts; give one list a prompt")
        return [list(entry) for entry in listed]
    places = [prompt.count(IMAGE_TOKEN) for prompt in prompts]
    if len(prompts) > 1 and sum(places) != len(listed):
        raise ValueError(
            f"the prompts have {sum(places)} places for frames ({IMAGE_TOKEN}), but {len(listed)} images were given"
        )
    dealt = []
    for count in places[:-1]:
        dealt.append(listed[:count])
        listed = listed[count:]
    return [*dealt, listed]


def _deal_videos(videos: Any, count: int) -> list[Any]:
    """Returns each prompt's clip, or None."""
    if videos is None:
        return [None] * count
    if _is_path(videos) or getattr(videos, "ndim", 0) == 4:
        videos = [videos]
    clips = list(videos)
    if len(clips) != count:
        raise ValueError(f"prompts and videos need equal numbers, got {count} and {len(clips)}")
    # A chat's videos come as one list a conversation.
    return [clip[0] if _is_wrapped(clip) else clip for clip in clips]


def _is_wrapped(clip: Any) -> bool:
    if not isinstance(clip, (list, tuple)) or len(clip) != 1:
        return False
    inner = clip[0]
    whole = isinstance(inner, (list, tuple)) or getattr(inner, "ndim", 0) == 4
    return whole or (_is_path(inner) and not is_picture(inner))


def _place(
    index: int, turns: Sequence[str], pictures: Sequence[Any], clip: Any, num_frames: int | None
) -> tuple[list[str], list[Frame]]:
    """Returns a sample's prompts with an `<image>` for every frame, and the frames."""
    prompt = "".join(turns)
    if clip is not None and pictures:
        raise ValueError(f"prompt {index} has images and a video; show one of the two")
    shown: list[Any] = list(pictures)
    if clip is not None:
        wanted = num_frames
        if wanted is None and _is_path(clip):
            wanted = prompt.count(IMAGE_TOKEN) or _VIDEO_FRAMES
        shown = list(read_clip(clip, wanted))
        if prompt.count(VIDEO_TOKEN) == 1:
            text = frames_text(len(shown))
            turns = [turn.replace(VIDEO_TOKEN + "\n", text).replace(VIDEO_TOKEN, text) for turn in turns]
            prompt = "".join(turns)
    places = prompt.count(IMAGE_TOKEN)
    if VIDEO_TOKEN in prompt or places != len(shown):
        raise ValueError(
            f"prompt {index} has {places} places for frames ({IMAGE_TOKEN}), but {len(shown)} frames were given"
            + ("" if places else f"; write {IMAGE_TOKEN} for each of them, or {VIDEO_TOKEN} once for a clip")
        )
    return list(turns), shown


def _is_path(clip: Any) -> bool:
    return isinstance(clip, str) or hasattr(clip, "__fspath__")


def _pad(rows: Sequence[Sequence[int]], value: int, side: Literal["left", "right"]) -> Tensor:
    length = max(len(row) for row in rows)
    padded = torch.full((len(rows), length), value, dtype=torch.long)
    for number, row in enumerate(rows):
        start = length - len(row) if side == "left" else 0
        padded[number, start : start + len(row)] = torch.tensor(row, dtype=torch.long)
    return padded
