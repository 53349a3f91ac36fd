"""SAM 2 video as tracker: a box on the first frame becomes masks on all of them, and masks become boxes.

Every object has a memory of its own, so that objects of one piece do not change each other's tracks (Ravi et al. 2024);
what they share is the frames, which are encoded once, several at a time. A frame's confidence is SAM 2's own object
score, the probability that the object is to be seen there, times the IoU that it predicts for its mask: the IoU to be
expected. The object score alone (`curate.tracker_score=object`) stays near 1 on an object that is seen but badly cut
out, or cut out together with its neighbour.

Memory does not grow with the piece: what a frame leaves behind is forgotten as soon as no later frame can look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from elysium.config import CurateSettings
from elysium.curation.models.outputs import BOX_DIGITS, CONFIDENCE_DIGITS, mask_boxes
from elysium.curation.models.pixels import normalised
from elysium.curation.models.running import Running
from elysium.curation.protocols import Frame, Track
from elysium.errors import ElysiumError

_CORNERS = (2, 3)  # labels of a box's two corners among the points that SAM 2 is asked with


class Sam2Tracker:
    """Follows boxes with transformers' `Sam2VideoModel`."""

    def __init__(self, model: Any, settings: CurateSettings) -> None:
        """Takes the model into use.

        Args:
            model: A `Sam2VideoModel`.
            settings: `device`, `dtype` and what begins with `tracker_`.

        Raises:
            UsageError: If there is no such device.
        """
        self._running = Running(settings.device, settings.dtype)
        self._model = self._running.take(model)
        side = model.config.image_size
        self._side: int = side if isinstance(side, int) else side[0]
        # How far back a frame looks: masks of so many frames before, and pointers of so many.
        self._reach = max(model.config.num_maskmem, model.config.max_object_pointers_in_encoder)
        self._batch = settings.tracker_batch
        self._with_overlap = settings.tracker_score == "product"

    def track(self, frames: Sequence[Frame], box: Sequence[float]) -> Track:
        """Returns the boxes around the object's masks, the first frame's too, and each frame's confidence.

        Args:
            frames: In time order, all of one size.
            box: Normalised `(x1, y1, x2, y2)` in the first frame.

        Raises:
            ElysiumError: If the model put out something that is no number.
        """
        return self.track_objects(frames, [box])[0]

    def track_objects(self, frames: Sequence[Frame], boxes: Sequence[Sequence[float]]) -> list[Track]:
        """Returns what `track` would for each box.

        Raises:
            ElysiumError: If the model put out something that is no number.
        """
        if not boxes:
            return []
        height, width = frames[0].image.shape[:2]
        overlaps: list[torch.Tensor] = []  # the mask decoder predicts them, but the video model does not hand them on
        hook = self._model.mask_decoder.register_forward_hook(
            lambda module, inputs, output: overlaps.append(output[1].amax(dim=-1).flatten())
        )
        places, confidences = [], []
        try:
            with self._running.forward():
                session = self._session(len(frames), boxes)
                for index in range(len(frames)):
                    if index % self._batch == 0:
                        self._encode(session, frames, index)
                    overlaps.clear()
                    output = self._model(session, frame_idx=index)
                    seen = output.object_score_logits.flatten().float().sigmoid()
                    found = mask_boxes(output.pred_masks[:, 0], (width, height))
                    sure = seen * torch.cat(overlaps).float() if self._with_overlap else seen
                    places.append(found)
                    confidences.append(torch.where(found[:, 2] > found[:, 0], sure, 0.0 * sure))
                    _tidy(session, index, self._reach, self._running.dtype)
        finally:
            hook.remove()
        return _tracks(torch.stack(places, dim=1), torch.stack(confidences, dim=1), self._running.dtype)

    def _session(self, num_frames: int, boxes: Sequence[Sequence[float]]) -> Any:
        """Returns what SAM 2 keeps of a video, with the boxes asked about on the first frame."""
        from transformers import Sam2VideoInferenceSession

        session = Sam2VideoInferenceSession(
            inference_device=self._running.device,
            inference_state_device=self._running.device,
            dtype=torch.float32,
            max_vision_features_cache_size=self._batch,
        )
        # Only how many there are is asked for: what is seen on them always lies in the cache before it is needed.
        session.processed_frames = dict.fromkeys(range(num_frames))
        for number, box in enumerate(boxes):
            corners = torch.tensor(box, dtype=torch.float32).view(1, 1, 2, 2) * self._side
            labels = torch.tensor(_CORNERS, dtype=torch.int32).view(1, 1, 2)
            session.add_point_inputs(
                session.obj_id_to_idx(number), 0, {"point_coords": corners, "point_labels": labels}
            )
        session.obj_with_new_inputs = list(range(len(boxes)))
        return session

    def _encode(self, session: Any, frames: Sequence[Frame], start: int) -> None:
        """Puts what is seen on the next frames into the session's cache."""
        images = [frame.image for frame in frames[start : start + self._batch]]
        pixels = torch.cat([_squared(image, self._side, self._running.device) for image in images])
        features = self._model.get_image_features(pixels)
        # Of the positions only the coarsest level's are used, and they are the same for every frame.
        positions = features.fpn_position_encoding[-1][:, :1]
        for offset in range(len(images)):
            seen = [level[:, offset : offset + 1] for level in features.fpn_hidden_states]
            session.cache.cache_vision_features(
                start + offset, {"vision_feats": seen, "vision_pos_embeds": [positions]}
            )


def _squared(image: np.ndarray[Any, np.dtype[np.uint8]], side: int, device: torch.device) -> torch.Tensor:
    """Returns an image as the model wants it, shape `(1, 3, side, side)`; its aspect ratio is not kept."""
    values = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float()
    scaled = functional.interpolate(values, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return normalised(scaled.round().clamp(0, 255).permute(0, 2, 3, 1))


def _tidy(session: Any, index: int, reach: int, dtype: torch.dtype) -> None:
    """Drops what no later frame looks at: masks in full size, and all of frames that lie too far back."""
    for outputs in session.output_dict_per_obj.values():
        later = outputs["non_cond_frame_outputs"]
        for kept in (outputs["cond_frame_outputs"].get(index), later.get(index)):
            if kept is not None:
                kept.pop("high_res_masks", None)
                kept.pop("pred_masks", None)
                if dtype == torch.float16:  # SAM 2 keeps its memory in bfloat16, which autocast mixes with no float16
                    kept["maskmem_features"] = kept["maskmem_features"].to(dtype)
        later.pop(index - reach, None)


def _tracks(boxes: torch.Tensor, confidence: torch.Tensor, dtype: torch.dtype) -> list[Track]:
    """Returns one track an object from boxes `(n, T, 4)` and confidences `(n, T)`."""
    places = np.round(boxes.cpu().numpy().astype(np.float64), BOX_DIGITS)
    sure = np.round(confidence.cpu().numpy().astype(np.float64), CONFIDENCE_DIGITS)
    if not np.isfinite(sure).all():
        raise ElysiumError(
            f"the tracker put out numbers that are none, computing in {dtype}; "
            "set curate.dtype=float32, or name a sound checkpoint with curate.tracker_model"
        )
    return [Track(*parts) for parts in zip(places, np.clip(sure, 0.0, 1.0), strict=True)]
