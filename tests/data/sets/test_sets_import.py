import json
import logging
from pathlib import Path

import pytest
from set_files import lines

from elysium.cli import run
from elysium.data.sets.importing import SeenIds, import_set
from elysium.data.sets.readers import SETS
from elysium.data.sets.store import SetReader
from elysium.errors import ElysiumError, UsageError


def talk(number, image="a.jpg", answer="yes"):
    said = [{"from": "human", "value": "<image>\nWell?"}, {"from": "gpt", "value": answer}]
    return {"id": str(number), "image": image, "conversations": said}


def mixed(num_good, num_bad):
    return [talk(n) for n in range(num_good)] + [talk(f"bad-{n}", answer=" ") for n in range(num_bad)]


def test_the_report_says_what_was_kept_and_what_not_and_why(pictures, write, bring_in, tmp_path):
    pictures("a.jpg")
    rows = [*mixed(3, 7), talk(1), talk(2), talk("gone", "b.jpg")]
    imported = bring_in("llava-558k", write("x.json", rows))
    report = json.loads((tmp_path / "imported/report.json").read_text())
    assert report == {
        "dataset": "llava-558k",
        "page": "https://huggingface.co/datasets/liuhaotian/LLaVA-Pretrain",
        "split": "train",
        "num_kept": 3,
        "num_skipped": 8,
        "num_duplicates": 2,
        "skipped": {
            "the image is missing": {"count": 1, "first": ["gone"]},
            "value is missing": {"count": 7, "first": ["bad-0", "bad-1", "bad-2", "bad-3", "bad-4"]},
        },
        "duplicates": ["1", "2"],
        "dropped": {},
        "passed_over": {},
    }
    reader = SetReader(tmp_path / "imported")
    assert json.loads(reader.information["report"]) == report
    assert reader.root == str(tmp_path / "images")
    assert list(imported.records) == ["0", "1", "2"]


def test_an_id_counts_as_taken_only_when_it_was_kept(pictures, write, bring_in):
    pictures("a.jpg")
    imported = bring_in("llava-558k", write("x.json", [talk(1, answer=" "), talk(1), talk(1, answer="no")]))
    assert imported.records["1"].turns[0].answer == "yes"
    assert (imported.report.num_skipped, imported.report.num_duplicates) == (1, 1)


@pytest.mark.parametrize(
    ("num_bad", "share", "kept"), [(5, 0.05, True), (6, 0.05, False), (6, 0.1, True), (0, 0, True)]
)
def test_too_many_broken_samples_stop_the_import(pictures, write, bring_in, tmp_path, num_bad, share, kept):
    pictures("a.jpg")
    path = write("x.json", mixed(95, num_bad))
    if kept:
        assert len(bring_in("llava-558k", path, max_skipped=share).records) == 95
        return
    message = r"6 of 101 samples are broken, more than the share of 0\.05 .*value is missing: 6 \(first bad-0, bad-1\)"
    with pytest.raises(ElysiumError, match=message):
        bring_in("llava-558k", path, max_skipped=share)
    assert list((tmp_path / "imported").iterdir()) == []


def test_a_thousand_broken_samples_and_no_good_one_are_enough(pictures, write, bring_in):
    rows = write("x.jsonl", lines(talk(number) for number in range(1500)))
    with pytest.raises(ElysiumError, match=r"the first 1000 samples are all broken.*the image is missing: 1000"):
        bring_in("llava-558k", rows)


def test_a_set_of_which_nothing_is_left_is_an_error(pictures, write, bring_in):
    with pytest.raises(ElysiumError, match=r"no sample of LLaVA-558K is left.*the image is missing: 1"):
        bring_in("llava-558k", write("x.json", [talk(1)]))


@pytest.mark.parametrize("split", ["train", "all"])
def test_what_states_no_part_is_for_training(pictures, write, bring_in, split):
    pictures("a.jpg")
    assert len(bring_in("llava-558k", write("x.json", mixed(2, 0)), split=split).records) == 2


def test_images_need_not_be_looked_for(write, tmp_path):
    path = write("x.json", [talk(1)])
    report = import_set("llava-558k", [path], "s3://bucket/images", tmp_path / "out", check_images=False)
    assert report.num_kept == 1
    assert SetReader(tmp_path / "out").root == "s3://bucket/images"


def test_a_failed_import_leaves_the_one_before(pictures, write, bring_in, tmp_path):
    pictures("a.jpg")
    path = write("x.json", mixed(2, 0))
    bring_in("llava-558k", path)
    with pytest.raises(UsageError, match="cut short"):
        bring_in("llava-558k", write("y.json", json.dumps(mixed(300, 0))[:-20]))
    assert [record.id for record in SetReader(tmp_path / "imported")] == ["0", "1"]
    assert sorted(entry.name for entry in (tmp_path / "imported").iterdir()) == ["data.parquet", "report.json"]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", r"is empty \(0 bytes\)|is no folder|is one folder"),
        (b"\xff\xfe\x00", "is not UTF-8 text|is no |is one folder"),
        (b'[{"something": "else"}]', "is no |holds neither|is one folder"),
        (b'{"something": "else"}', "is no |holds neither|is one folder"),
    ],
)
def test_wrong_files_are_told_before_work_starts(pictures, tmp_path, name, content, message):
    path = tmp_path / "annotations.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        import_set(name, [path], tmp_path / "images", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", SETS)
def test_an_empty_folder_is_told_before_work_starts(pictures, tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty has no folder|empty holds no annotation file"):
        import_set(name, [tmp_path / "empty"], tmp_path / "images", tmp_path / "out")


def test_what_is_asked_for_must_be_there(pictures, write, tmp_path):
    path = write("x.json", [talk(1)])
    with pytest.raises(UsageError, match=r"nowhere is no folder; name the one with images\.zip, unpacked"):
        import_set("llava-558k", [path], tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UsageError, match="there is no set 'refcoc'; did you mean refcoco"):
        import_set("refcoc", [path], tmp_path / "images", tmp_path / "out")
    with pytest.raises(UsageError, match="needs its annotations: blip_laion"):
        import_set("llava-558k", [], tmp_path / "images", tmp_path / "out")
    with pytest.raises(UsageError, match="--max-skipped is a share"):
        import_set("llava-558k", [path], tmp_path / "images", tmp_path / "out", max_skipped=5)


def test_long_imports_say_how_far_they_are(pictures, write, bring_in, monkeypatch, caplog):
    pictures("a.jpg")
    monkeypatch.setattr("elysium.data.sets.importing._LOG_EVERY", 5)
    with caplog.at_level(logging.INFO):
        bring_in("llava-558k", write("x.json", mixed(8, 3)))
    assert [message for message in caplog.messages if "read" in message] == [
        "5 read, 4 kept, 0 skipped",
        "10 read, 8 kept, 1 skipped",
    ]


def test_ids_are_remembered_beyond_the_recent_ones(monkeypatch):
    monkeypatch.setattr("elysium.data.sets.importing._RECENT", 10)
    seen = SeenIds()
    for number in range(95):
        assert str(number) not in seen
        seen.add(str(number))
    assert all(str(number) in seen for number in range(95))
    assert "95" not in seen


def test_the_command_imports(pictures, write, tmp_path, capsys):
    pictures("a.jpg")
    path = write("x.json", mixed(19, 1))
    arguments = ["data", "import", "llava-558k", "--annotations", str(path), "--images", str(tmp_path / "images")]
    assert run([*arguments, "--output", str(tmp_path / "out"), "--json"]) == 0
    said = capsys.readouterr()
    assert "19 records of llava-558k in" in said.err
    assert "skipped 1: value is missing (first bad-0)" in said.err
    result = json.loads(said.out.splitlines()[-1])
    assert (result["num_kept"], result["num_skipped"], result["output"]) == (19, 1, str(tmp_path / "out"))
    assert run([*arguments, "--output", str(tmp_path / "none"), "--max-skipped", "0.01"]) == 1
    assert "more than the share of 0.01" in capsys.readouterr().err
    assert run([*arguments, "--output", str(tmp_path / "none"), "--split", "val"]) == 2
    assert "hold no sample of 'val', only of no part stated (--split)" in capsys.readouterr().err
    assert run(["data", "import", "nothing", *arguments[3:], "--output", str(tmp_path / "none")]) == 2


def test_the_command_lists_the_sets_and_where_they_come_from(capsys):
    assert run(["data", "sets"]) == 0
    shown = capsys.readouterr().out
    for known in SETS.values():
        assert f"{known.title}: {known.page}" in shown
    assert run(["data", "sets", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["sets"]] == list(SETS)


def test_the_page_names_every_set_and_where_to_get_it():
    page = (Path(__file__).parents[3] / "docs/data.md").read_text(encoding="utf-8")
    for known in SETS.values():
        assert f"`{known.name}`" in page
        assert f"]({known.page})" in page


def test_every_set_of_the_paper_can_be_read():
    assert [known.title for known in SETS.values()] == [
        *("LLaVA-558K", "GRIT-20M", "CogVLM-SFT-311K", "COCO-VQA (VQAv2)", "GQA", "Visual7W", "Flickr30k Entities"),
        *("Visual Genome", "RefCOCO", "RefCOCO+", "RefCOCOg", "VideoChat-11K", "ElysiumTrack-1M"),
    ]
