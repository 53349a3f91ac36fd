"""The published data set: the same records as lines, with an index, and as columns; all of it or nothing."""

import json

import pytest
from track_records import record

from elysium.curation.dataset.columns import from_rows
from elysium.curation.dataset.publish import publish_dataset
from elysium.curation.splits import hold_out
from elysium.data.records import TrackRecord, read_jsonl, write_jsonl
from elysium.data.track_set import TrackSet
from elysium.errors import ElysiumError

RECORDS = [
    record(
        f"r{number}",
        share=number / 40,
        split="evaluation" if number % 4 == 0 else "train",
        count=2 + number % 5,
        expression=f"the dög {number}",
        **({"drift": 0.1 + number, "licence": "CC"} if number % 3 else {"mask": {"area": [1, 2]}}),
    )
    for number in range(23)
]
TRAIN, EVALUATION = ([one for one in RECORDS if one.metadata.split == split] for split in ("train", "evaluation"))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_lines_are_those_of_the_record_format(tmp_path, settings):
    published = publish_dataset(iter(RECORDS), tmp_path, settings)
    assert published.records == {"train": len(TRAIN), "evaluation": len(EVALUATION)}
    for split, expected in (("train", TRAIN), ("evaluation", EVALUATION)):
        write_jsonl(tmp_path / "expected", expected)
        assert (tmp_path / f"{split}.jsonl").read_bytes() == (tmp_path / "expected").read_bytes()


def test_columns_hold_the_same_records_in_files_of_so_many_rows(tmp_path, settings_with):
    pq = pytest.importorskip("pyarrow.parquet")
    published = publish_dataset(iter(RECORDS), tmp_path, settings_with(rows_per_file=5))
    files = [name for name in published.files if name.startswith("parquet/train")]
    assert files == [f"parquet/train-{number:05d}.parquet" for number in range(4)]
    tables = [pq.read_table(tmp_path / name) for name in files]
    assert [len(table) for table in tables] == [5, 5, 5, 2]
    assert [one for table in tables for one in from_rows(table.to_pylist())] == TRAIN


def test_pandas_reads_the_columns(tmp_path, settings):
    pandas = pytest.importorskip("pandas")
    publish_dataset(iter(RECORDS), tmp_path, settings)
    frame = pandas.read_parquet(tmp_path / "parquet")
    assert sorted(frame["id"]) == sorted(one.id for one in RECORDS)
    row = frame[frame["id"] == "r5"].iloc[0]
    assert [list(box) for box in row["box"]] == [list(box) for box in RECORDS[5].box]
    assert json.loads(row["metadata"]["extra"]) == {"drift": 5.1, "licence": "CC"}


def test_an_empty_split_has_its_files(tmp_path, settings):
    pq = pytest.importorskip("pyarrow.parquet")
    publish_dataset(iter(TRAIN), tmp_path, settings)
    assert len(TrackSet(tmp_path, "evaluation")) == 0
    empty, full = (pq.read_table(tmp_path / f"parquet/{split}-00000.parquet") for split in ("evaluation", "train"))
    assert (len(empty), empty.schema) == (0, full.schema)


def test_the_same_records_give_the_same_bytes(tmp_path, settings):
    for name in ("one", "two"):
        publish_dataset(iter(RECORDS), tmp_path / name, settings)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_what_was_there_stays_if_writing_fails(tmp_path, settings):
    publish_dataset(iter(RECORDS[:9]), tmp_path, settings)
    before = contents(tmp_path)

    def broken():
        yield from RECORDS[:4]
        raise ElysiumError("a shard is cut short")

    with pytest.raises(ElysiumError, match="cut short"):
        publish_dataset(broken(), tmp_path, settings)
    assert contents(tmp_path) == before
    publish_dataset(iter(RECORDS), tmp_path, settings)
    assert len(TrackSet(tmp_path)) == len(TRAIN)


def test_records_go_where_their_video_goes(tmp_path, settings_with):
    settings = settings_with(num_evaluation_videos=2)
    published = publish_dataset(iter(RECORDS), tmp_path, settings, hold_out(RECORDS, settings))
    assert published.moved == len(EVALUATION) - 2
    held = list(read_jsonl(tmp_path / "evaluation.jsonl", TrackRecord))
    assert [(one.id, one.metadata.split) for one in held] == [("r0", "evaluation"), ("r4", "evaluation")]
    train = list(read_jsonl(tmp_path / "train.jsonl", TrackRecord))
    assert [one.id for one in train] == [one.id for one in RECORDS if one.id not in ("r0", "r4")]
    assert {one.metadata.split for one in train} == {"train"}
