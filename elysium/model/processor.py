"""Frames and text in, tensors out (PROTOCOL §2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from elysium.boxes import BoxCodec
from elysium.prompts import IMAGE_TOKEN

IGNORED = -100
Frame = npt.NDArray[np.uint8] | Image.Image

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


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
        super().__init__(tokenizer, **kwargs)

    @property
    def codec(self) -> BoxCodec:
        """How this model's boxes are written."""
        return BoxCodec(self.coordinate_scale, self.coordinate_maximum)

    def __call__(
        self,
        prompts: Sequence[str],
        frames: Sequence[Sequence[Frame]],
        answers: Sequence[str] | None = None,
        padding_side: Literal["left", "right"] | None = None,
    ) -> BatchFeature:
        """Returns a batch.

        Args:
            prompts: One a sample, each with one `<image>` a frame (`elysium.prompts.ask`).
            frames: The frames of each sample: arrays `(height, width, 3)`, uint8, RGB, or PIL images.
            answers: One a sample; for training.
            padding_side: By default right with answers and left without, which is what training and generation want.

        Returns:
            `input_ids` and `attention_mask` `(B, L)`, `pixel_values` `(F, 3, S, S)` of all frames in order, and with
            answers `labels` `(B, L)`, -100 everywhere but on the answers and their end-of-sequence tokens.

        Raises:
            ValueError: If a prompt's places and its frames differ in number, or a frame is not 8-bit RGB.
        """
        if not len(prompts) == len(frames) == len(prompts if answers is None else answers):
            raise ValueError(
                f"prompts, frames and answers need equal numbers, got {len(prompts)}, {len(frames)} and "
                f"{None if answers is None else len(answers)}"
            )
        rows, labels = [], []
        for index, (prompt, clip) in enumerate(zip(prompts, frames, strict=True)):
            if prompt.count(IMAGE_TOKEN) != len(clip):
                raise ValueError(
                    f"prompt {index} has {prompt.count(IMAGE_TOKEN)} places for frames ({IMAGE_TOKEN}), "
                    f"but {len(clip)} frames were given"
                )
            ids = self.encode_prompt(prompt)
            answer = [] if answers is None else self.encode_answer(answers[index])
            rows.append(ids + answer)
            labels.append([IGNORED] * len(ids) + answer)
        side = padding_side or ("left" if answers is None else "right")
        batch = {
            "input_ids": _pad(rows, self.pad_token_id, side),
            "attention_mask": _pad([[1] * len(row) for row in rows], 0, side),
            "pixel_values": self.pixel_values([frame for clip in frames for frame in clip]),
        }
        if answers is not None:
            batch["labels"] = _pad(labels, IGNORED, side)
        return BatchFeature(batch)

    @property
    def pad_token_id(self) -> int:
        """The id that fills up shorter samples; where a tokenizer has none, the end of sequence serves."""
        found = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if found is None else found)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Returns a prompt's ids, each `<image>` written as its placeholders."""
        ids: list[int] = []
        for number, chunk in enumerate(prompt.split(IMAGE_TOKEN)):
            if number:
                ids += [self.image_token_id] * self.tokens_per_frame
            if number == 0 or self.bos_after_image:
                ids.append(self.tokenizer.bos_token_id)
            ids += self.tokenizer(chunk, add_special_tokens=False)["input_ids"]
        return ids

    def encode_answer(self, answer: str) -> list[int]:
        """Returns an answer's ids, end of sequence included."""
        return [*self.tokenizer(answer, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]

    def pixel_values(self, frames: Sequence[Frame]) -> Tensor:
        """Returns frames as `(F, 3, S, S)`, float32, resized (bilinear, antialiased) and normalised."""
        resized = np.stack([resize_frame(frame, self.image_size) for frame in frames])
        return self.normalise(torch.from_numpy(resized))

    def normalise(self, frames: Tensor) -> Tensor:
        """Returns frames `(F, S, S, 3)`, uint8, already of the right size, as pixel values `(F, 3, S, S)`."""
        mean = torch.tensor(self.image_mean) * 255
        std = torch.tensor(self.image_std) * 255
        return ((frames.float() - mean) / std).permute(0, 3, 1, 2).contiguous()


def resize_frame(frame: Frame, side: int) -> npt.NDArray[np.uint8]:
    """Returns one RGB frame as `(side, side, 3)`, uint8; one of that size comes back as it is.

    Raises:
        ValueError: If the frame is not 8-bit RGB.
    """
    if isinstance(frame, Image.Image):
        frame = np.asarray(frame.convert("RGB"))
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f"a frame has shape (height, width, 3) and dtype uint8, got {frame.shape}, {frame.dtype}")
    if frame.shape[:2] == (side, side):
        return frame
    return np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR))


def _pad(rows: Sequence[Sequence[int]], value: int, side: Literal["left", "right"]) -> Tensor:
    length = max(len(row) for row in rows)
    padded = torch.full((len(rows), length), value, dtype=torch.long)
    for number, row in enumerate(rows):
        start = length - len(row) if side == "left" else 0
        padded[number, start : start + len(row)] = torch.tensor(row, dtype=torch.long)
    return padded
