"""From what Grounding DINO and SAM 2 put out to boxes, on outputs made by hand."""

import numpy as np
import torch

from elysium.curation.models.outputs import Selection, mask_boxes

# From scores and boxes to detections


def test_a_phrases_score_is_the_largest_or_the_mean_of_its_tokens():
    scores, boxes = np.array([[0.2, 0.6, 0.7]]), np.array([[0.5, 0.5, 0.2, 0.2]])
    assert [Selection(name).find(scores, boxes)[0][1] for name in ("max", "mean")] == [0.7, 0.5]


def test_boxes_are_cut_to_the_frame_and_empty_ones_dropped():
    boxes = np.array([[0.0, 0.5, 0.4, 0.2], [1.3, 0.5, 0.2, 0.2], [0.5, 0.5, 0.0, 0.2]])
    assert Selection().find(np.full((3, 1), 0.8), boxes) == [((0.0, 0.4, 0.2, 0.6), 0.8)]


def test_of_two_boxes_on_one_object_the_surer_one_stays():
    """Their IoU is 0.8."""
    scores, boxes = np.array([[0.7], [0.8]]), np.array([[0.5, 0.5, 0.4, 0.4], [0.5, 0.54, 0.4, 0.32]])
    assert [confidence for _, confidence in Selection(overlap=0.79).find(scores, boxes)] == [0.8]
    assert [confidence for _, confidence in Selection(overlap=0.81).find(scores, boxes)] == [0.8, 0.7]


def test_what_lies_below_the_floor_is_not_recorded():
    boxes = np.array([[0.2, 0.5, 0.2, 0.2], [0.7, 0.5, 0.2, 0.2]])
    assert len(Selection(floor=0.3).find(np.array([[0.29], [0.3]]), boxes)) == 1


def test_boxes_of_one_confidence_have_an_order_that_noise_does_not_change():
    boxes = np.array([[0.7, 0.5, 0.2, 0.2], [0.2, 0.5, 0.2, 0.2]])
    found = Selection().find(np.array([[0.5], [0.5 + 1e-7]]), boxes)
    assert found == Selection().find(np.array([[0.5 + 1e-7], [0.5]]), boxes)


# Masks


def test_a_box_surrounds_the_masks_pixels():
    logits = torch.full((4, 6, 8), -1.0)
    logits[0, 2:4, 3:8] = 1
    logits[1, 5, 0] = 1
    logits[3] = 1
    expected = [[3 / 8, 2 / 6, 1, 4 / 6], [0, 5 / 6, 1 / 8, 1], [0, 0, 0, 0], [0, 0, 1, 1]]
    assert np.allclose(mask_boxes(logits, (8, 6)), expected)


def test_a_coarse_mask_is_cut_out_at_the_frames_own_pixels():
    """Bilinear interpolation between +1 and -1 is 0 halfway between the centres of two cells: at their border."""
    logits = torch.full((1, 8, 8), -1.0)
    logits[0, 2:6, 1:4] = 1
    assert np.allclose(mask_boxes(logits, (32, 64)), [[1 / 8, 2 / 8, 4 / 8, 6 / 8]])
    logits[0, 2:6, 1:4] = 3  # half as far from the surer side's centre again: a quarter of a cell further out
    assert np.allclose(mask_boxes(logits, (32, 64)), [[0.75 / 8, 1.75 / 8, 4.25 / 8, 6.25 / 8]])
