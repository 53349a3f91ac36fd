import numpy as np
import pytest

from elysium.curation.filters.drift import gate, measure_drift
from elysium.data.simulator import simulate


def walk(num_frames=24, speed=0.01, size=0.15):
    """A box that moves to the right at a constant speed."""
    left = 0.1 + speed * np.arange(num_frames)
    return np.column_stack([left, np.full(num_frames, 0.4), left + size, np.full(num_frames, 0.4 + size)])


@pytest.mark.parametrize("seed", range(8))
def test_simulated_objects_that_bounce_pass(seed):
    for item in simulate(seed, 24, 32).annotations.objects:
        if min(item.visibility) > 0.8:
            assert not measure_drift(item.boxes, 0.05).extreme


def test_jitter_of_a_tracker_passes():
    rng = np.random.default_rng(1)
    boxes = walk()
    assert not measure_drift(boxes + rng.normal(0, 0.02 * 0.15, boxes.shape), 0.05).extreme


@pytest.mark.parametrize("direction", [(1, 0), (0, -1), (0.7, 0.7)])
def test_a_jump_by_the_box_s_own_size_is_caught_where_it_happens(direction):
    boxes = walk()
    boxes[10:] += np.tile(np.array(direction) * 0.15, 2)
    drift = measure_drift(boxes, 0.05)
    assert drift.extreme
    assert drift.frame == 10


def test_a_sudden_change_of_size_is_caught():
    boxes = walk()
    boxes[10:, 2:] += 0.15
    assert measure_drift(boxes, 0.05).extreme


def test_a_stricter_level_has_a_lower_gate_and_a_longer_track_a_higher_one():
    assert gate(0.2, 24) < gate(0.05, 24) < gate(0.05, 100)


def test_the_gate_is_where_chi_square_says():
    rng = np.random.default_rng(0)
    worst = (rng.standard_normal((20000, 9, 4)) ** 2).sum(axis=-1).max(axis=1)
    assert (worst > gate(0.05, 10)).mean() == pytest.approx(0.05, abs=0.006)


def test_a_box_without_area_is_named():
    boxes = walk()
    boxes[3, 2] = boxes[3, 0]
    with pytest.raises(ValueError, match="boxes with an area"):
        measure_drift(boxes, 0.05)
