import numpy as np
import pytest

from elysium.curation.oracle import AnnotationsGrounder, AnnotationsTracker, read_annotations
from elysium.curation.registry import PartsShelf, check_names
from elysium.data.records import AnnotatedObject, ClipAnnotations, RawClip
from elysium.errors import ElysiumError, UsageError

LEFT, RIGHT = (0.1, 0.1, 0.3, 0.3), (0.6, 0.6, 0.9, 0.9)
ANNOTATIONS = ClipAnnotations(
    objects=[
        AnnotatedObject(
            expression="a red ring", object_class="ring", boxes=[LEFT] * 6, visibility=[1, 1, 0.5, 1, 1, 1]
        ),
        AnnotatedObject(
            expression="a blue star", object_class="star", boxes=[RIGHT] * 4 + [None, None], visibility=[1] * 4 + [0, 0]
        ),
    ]
)


def clip(**changes):
    return RawClip(**{"id": "c", "path": "c.mp4", "caption": "", "source": "", "sha256": "", **changes})


def test_visibility_is_the_confidence(blank_frames):
    found = AnnotationsGrounder(ANNOTATIONS).ground(blank_frames[2], ["A red ring", "a grey wall"])
    assert [(detection.phrase, detection.box, detection.confidence) for detection in found] == [
        ("A red ring", LEFT, 0.5)
    ]


def test_an_absent_object_is_not_found(blank_frames):
    assert AnnotationsGrounder(ANNOTATIONS).ground(blank_frames[5], ["a blue star"]) == []


def test_only_annotated_expressions_are_known():
    grounder = AnnotationsGrounder(ANNOTATIONS)
    assert [grounder.knows(phrase) for phrase in ("a Blue star", "a star")] == [True, False]


def test_the_object_at_the_box_is_followed(blank_frames):
    track = AnnotationsTracker(ANNOTATIONS).track(blank_frames, (0.62, 0.62, 0.9, 0.9))
    assert track.boxes[:4].tolist() == [list(RIGHT)] * 4
    assert track.confidence.tolist() == [1, 1, 1, 1, 0, 0]


def test_no_object_at_the_box_gives_no_confidence(blank_frames):
    assert not AnnotationsTracker(ANNOTATIONS).track(blank_frames, (0.4, 0, 0.5, 0.05)).confidence.any()


def test_frames_are_looked_up_by_their_place_in_the_video(blank_frames):
    track = AnnotationsTracker(ANNOTATIONS).track(blank_frames[1:4], LEFT)
    assert track.confidence.tolist() == [1, 0.5, 1]
    assert np.array_equal(track.boxes[0], LEFT)


@pytest.mark.parametrize("content", ["{", '{"objects": 3}', None])
def test_damaged_annotations_are_an_error_with_the_clip_s_name(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(ElysiumError, match="annotations of clip c cannot be read"):
        read_annotations("c", tmp_path / "a.json")


def test_parts_are_made_once(settings):
    shelf = PartsShelf(settings)
    assert [type(part).__name__ for part in (shelf.chunker, shelf.grounder, shelf.tracker)] == [
        "RulesChunker",
        "OpenCVGrounder",
        "CSRTTracker",
    ]
    assert shelf.grounder is shelf.grounder


@pytest.mark.parametrize("kind", ["chunker", "grounder", "tracker"])
def test_a_part_that_does_not_exist_is_named_with_those_that_do(settings_with, kind):
    with pytest.raises(UsageError, match=rf"no {kind} 'nothing'; the {kind}s are"):
        check_names(settings_with(**{kind: "nothing"}))
