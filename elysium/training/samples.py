"""From track records to conversations: which question, about which frames (PROTOCOL §2, §4)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from elysium.boxes import BoxCodec
from elysium.config import PhaseSettings
from elysium.data.records import TrackRecord, read_jsonl
from elysium.errors import ElysiumError
from elysium.model.processor import resize_frame
from elysium.prompts import PHRASINGS, Task, ask, boxes_answer, description_answer

_SINGLE_FRAME = (Task.REC, Task.REG)


@dataclass(frozen=True)
class Sample:
    """One conversation.

    Attributes:
        task: What is asked.
        prompt: With one `<image>` a frame.
        answer: What the model should say.
        frames: Shape `(T, side, side, 3)`, uint8, RGB.
    """

    task: Task
    prompt: str
    answer: str
    frames: npt.NDArray[np.uint8]


class TrackSamples:
    """An endless, numbered supply of training samples from a snapshot's training records.

    Sample `i` depends on the seed, the phase's name and `i` alone: any worker can make any sample, and a resumed run
    sees what an undisturbed one sees.

    Args:
        folder: With `train.jsonl` and the frames that it names.
        name: Of the phase; two phases draw different samples.
        phase: Mixture and clip sampling.
        side: Pixels that frames are resized to when they are first read.
        seed: Of the draw.
        codec: How boxes are written.

    Raises:
        ElysiumError: If the folder has no training record.
    """

    def __init__(
        self, folder: Path, name: str, phase: PhaseSettings, side: int, seed: int, codec: BoxCodec | None = None
    ) -> None:
        self.folder = folder
        self.records = list(read_jsonl(folder / "train.jsonl", TrackRecord))
        self._phase = phase
        self._side = side
        self._codec = codec or BoxCodec()
        self._key = (seed, zlib.crc32(name.encode()))
        self._tasks = [Task(task) for task, weight in phase.mixture.items() if weight > 0]
        weights = np.array([weight for weight in phase.mixture.values() if weight > 0], dtype=np.float64)
        self._weights = weights / weights.sum()
        if Task.VQA in self._tasks:
            raise ElysiumError("the mixture asks for vqa, but track records hold no questions; leave vqa out")
        # Decoded once and kept small: 100 clips of 24 frames at 64 pixels are 30 MB.
        self._frames: dict[str, npt.NDArray[np.uint8]] = {}

    def __getitem__(self, index: int) -> Sample:
        """Returns sample number `index`."""
        rng = np.random.default_rng([*self._key, index])
        task = self._tasks[int(rng.choice(len(self._tasks), p=self._weights))]
        record = self.records[int(rng.integers(len(self.records)))]
        if task in _SINGLE_FRAME:
            chosen = [int(rng.integers(len(record.frames)))]
        else:
            chosen = sample_clip(rng, len(record.frames), self._phase.clip_frames, self._phase.clip_interval)
        boxes = np.array([record.box[frame] for frame in chosen])
        prompt = ask(
            task,
            len(chosen),
            expression=record.object_description,
            box=boxes[0],
            phrasing=int(rng.integers(len(PHRASINGS[task]))),
            codec=self._codec,
        )
        if task in (Task.REG, Task.VIDEO_REG):
            answer = description_answer(record.object_description)
        else:
            answer = boxes_answer(boxes, self._codec)
        frames = np.stack([self._frame(record.frames[frame]) for frame in chosen])
        return Sample(task, prompt, answer, frames)

    def _frame(self, name: str) -> npt.NDArray[np.uint8]:
        found = self._frames.get(name)
        if found is None:
            try:
                with Image.open(self.folder / name) as image:
                    found = resize_frame(image, self._side)
            except OSError as error:
                raise ElysiumError(f"the frame {self.folder / name} cannot be read: {error}") from error
            self._frames[name] = found
        return found


def sample_clip(rng: np.random.Generator, length: int, frames: tuple[int, int], interval: tuple[int, int]) -> list[int]:
    """Returns the frame numbers of one training clip (PROTOCOL §4).

    Number of frames and interval are drawn uniformly. Where clip x interval reaches the video's length, the interval
    falls to 1 and the clip starts at 0; a video shorter than the clip is taken whole.

    Args:
        rng: Draws.
        length: Frames of the video, at least 1.
        frames: Fewest and most frames of a clip.
        interval: Smallest and largest interval, in frames.
    """
    count = int(rng.integers(frames[0], frames[1] + 1))
    step = int(rng.integers(interval[0], interval[1] + 1))
    start_draw = rng.random()
    if count * step >= length:
        return list(range(min(count, length)))
    start = int(start_draw * (length - count * step))
    return list(range(start, start + count * step, step))
