"""The proof of quality, small: what the filters accept of tracks that were made wrong on purpose (`benchmarks/`)."""

from pathlib import Path

import pytest

from elysium.config import CurateSettings

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def proof():
    """The benchmark's module, and its judge over 110 clips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import curation_quality
        import curation_world

        yield (
            curation_quality,
            curation_quality.Judge(curation_quality.make_items(curation_world.make_pieces(110, side=48))),
        )


def test_accepted_tracks_are_right_and_most_right_ones_are_accepted(proof):
    quality, judge = proof
    scores = quality.table(judge, CurateSettings(), ("none", "the paper's", "all"))
    assert scores["none"]["precision"] < 60
    assert scores["all"]["precision"] >= 95
    assert scores["all"]["recall"] >= 75
    assert scores["all"]["precision"] >= scores["the paper's"]["precision"]


def test_a_stricter_threshold_never_accepts_more_of_what_one_filter_sees(proof):
    quality, judge = proof
    (drift,) = (entry for entry in quality.active_filters(("drift",)))
    counts = [sum(judge.accepted([drift], CurateSettings(max_drift=level))) for level in (0.001, 0.05, 0.5)]
    assert counts == sorted(counts, reverse=True)
