"""The tracks gate: each rule is broken by the records that should break it, and by no others."""

import json

import pytest
from quality_data import BOX, broken, context, outcome, record, result, write_frame, write_tracks

from elysium.errors import ElysiumError, GateRefused
from elysium.quality import tracks

SMALL = ("validate_tracks.min_train_records=2", "validate_tracks.min_evaluation_records=1")


def good():
    return [
        record("t1", "train", clip="c1"),
        record("t2", "train", clip="c2", video="bb"),
        record("e1", "evaluation", clip="c3", video="cc"),
    ]


def run(tmp_path, *overrides):
    return tracks.run(context("validate-tracks", tmp_path, [*SMALL, *overrides], tracks=tmp_path, raw=tmp_path))


def refused(tmp_path, *names, overrides=()):
    with pytest.raises(GateRefused, match=f"^{names[0]}: ") as refusal:
        run(tmp_path, *overrides)
    assert "\n" not in str(refusal.value)
    assert broken(tmp_path) == sorted(names)
    return outcome(tmp_path, names[0])


def edit(tmp_path, split, text_of):
    """Rewrites the first line of a split's file by a function of its content."""
    path = tmp_path / f"{split}.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([text_of(json.loads(first)), *rest]) + "\n")


def test_good_tracks_pass(tmp_path):
    write_tracks(tmp_path, good(), [("ground", "no box"), ("ground", "no box"), ("chunk", "plural")])
    done = run(tmp_path)
    assert done.metrics == {"train_records": 2, "evaluation_records": 1, "rejects": 3}
    assert result(tmp_path)["success"]
    assert result(tmp_path)["figures"]["Rejected candidates by reason"] == {"ground: no box": 2, "chunk: plural": 1}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"box": [list(BOX)] * 2}, ("schema", "one-box-a-frame")),
        ({"box": [[0.2, 0.3, 1.5, 0.6]] * 3}, ("schema", "box-highest")),
        ({"box": [[-0.1, 0.3, 0.5, 0.6]] * 3}, ("schema", "box-lowest")),
        ({"box": [[0.5, 0.3, 0.2, 0.6]] * 3}, ("box-ordered", "box-size")),
        ({"box": [list(BOX), [0.2, 0.3, 0.205, 0.6], list(BOX)]}, ("box-size",)),
        ({"box": "nothing"}, ("schema", "one-box-a-frame")),
        ({"object_description": "a " * 30 + "ball"}, ("expression-length",)),
        ({"object_description": ""}, ("schema", "expression-length")),
        ({"frames": [f"frames/gone/{i}.jpg" for i in range(3)]}, ("frames-exist",)),
        ({"id": "t2"}, ("unique-id",)),
        ({"extra": 1}, ("schema",)),
    ],
)
def test_a_record_that_is_not_sound(tmp_path, change, names):
    write_tracks(tmp_path, good())
    edit(tmp_path, "train", lambda content: json.dumps({**content, **change}))
    found = refused(tmp_path, *names)
    assert found["failing"] == (["t2", "t2"] if "id" in change else ["t1"])


def test_a_record_with_too_few_times(tmp_path):
    write_tracks(tmp_path, good())

    def cut(content):
        content["metadata"]["timestamps"].pop()
        return json.dumps(content)

    edit(tmp_path, "train", cut)
    refused(tmp_path, "schema", "one-time-a-frame")


@pytest.mark.parametrize("text", ["{broken", "[1, 2]", "3"])
def test_a_line_that_is_no_record_is_named_by_its_number(tmp_path, text):
    write_tracks(tmp_path, good())
    edit(tmp_path, "train", lambda content: text)
    assert refused(tmp_path, "schema")["failing"] == ["train.jsonl:1"]


def test_a_record_in_the_wrong_file(tmp_path):
    write_tracks(tmp_path, [*good(), record("t3", "train", clip="c9", video="dd")])
    train = (tmp_path / "train.jsonl").read_text().splitlines()
    (tmp_path / "train.jsonl").write_text("\n".join(train[:-1]) + "\n")
    with (tmp_path / "evaluation.jsonl").open("a") as file:
        file.write(train[-1] + "\n")
    assert refused(tmp_path, "split")["failing"] == ["t3"]


@pytest.mark.parametrize(("split", "name"), [("train", "training-records"), ("evaluation", "evaluation-records")])
def test_too_few_records_even_none(tmp_path, split, name):
    write_tracks(tmp_path, [entry for entry in good() if entry["metadata"]["split"] != split])
    assert (tmp_path / f"{split}.jsonl").stat().st_size == 0
    assert refused(tmp_path, name)["observed"] == 0


def test_too_many_rejects(tmp_path):
    rejects = [("ground", "no box"), ("track", "lost")] * 6
    write_tracks(tmp_path, good(), rejects)
    found = refused(tmp_path, "rejected-share", overrides=["validate_tracks.max_reject_share=0.75"])
    assert found["observed"] == pytest.approx(12 / 15)


def test_one_reason_that_rejects_too_much(tmp_path):
    write_tracks(tmp_path, good(), [("ground", "no box")] * 6 + [("track", "lost")])
    found = refused(tmp_path, "reject-reason-share", overrides=["validate_tracks.max_reason_share=0.5"])
    assert (found["failing"], found["seen"]) == (["ground: no box"], ["0.6"])


def test_a_sequence_in_both_splits(tmp_path):
    write_tracks(tmp_path, [*good()[:2], record("e1", "evaluation", clip="c1", video="cc", vid="c1-train")])
    refused(tmp_path, "leak-sequence", "leak-clip", "leak-frame")


def test_a_simulated_clip_in_both_splits(tmp_path):
    write_tracks(tmp_path, [*good()[:2], record("e1", "evaluation", clip="c1", video="cc")])
    assert refused(tmp_path, "leak-clip")["failing"] == ["e1"]


@pytest.mark.parametrize(
    ("start", "overlaps"),
    [(0.3, False), (0.2, True), (0.1, True), (-0.5, False), (-5.0, False)],
)
def test_a_stretch_of_a_real_video_in_both_splits(tmp_path, start, overlaps):
    train = [record(f"t{i}", "train", clip="v", kind="real", start=0.0) for i in range(2)]
    write_tracks(tmp_path, [*train, record("e1", "evaluation", clip="v", kind="real", start=start)])
    if overlaps:
        assert refused(tmp_path, "leak-time")["failing"] == ["e1"]
    else:
        run(tmp_path)


def test_the_same_file_under_another_clip_id_does_not_hide(tmp_path):
    write_tracks(tmp_path, [*good()[:2], record("e1", "evaluation", clip="c7", video="aa")])
    refused(tmp_path, "leak-time")


def test_a_frame_in_both_splits(tmp_path):
    write_tracks(tmp_path, good())
    write_frame(tmp_path / "frames" / "c3-evaluation" / "000001.jpg", "c1-train 2")
    found = refused(tmp_path, "leak-frame")
    assert (found["failing"], found["seen"]) == (["e1"], ["1"])


def test_a_missing_file_is_an_error_not_a_verdict(tmp_path):
    write_tracks(tmp_path, good())
    (tmp_path / "rejects.jsonl").unlink()
    with pytest.raises(ElysiumError, match=r"rejects\.jsonl does not exist") as error:
        run(tmp_path)
    assert not isinstance(error.value, GateRefused)


def test_a_reject_without_a_reason_is_named_by_its_line(tmp_path):
    write_tracks(tmp_path, good())
    (tmp_path / "rejects.jsonl").write_text('{"stage": "ground"}\n')
    with pytest.raises(ElysiumError, match="line 1 is not a reject"):
        run(tmp_path)
