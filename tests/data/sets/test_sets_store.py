import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from set_files import about
from torch.utils.data import DataLoader, Dataset

from elysium.boxes import BoxCodec
from elysium.data.sets.schema import SetObject, SetRecord, Turn
from elysium.data.sets.store import ROW_GROUP, SetReader, open_writer
from elysium.errors import ElysiumError

TURN = Turn(question="Wo ist \u201eer\u201c?\u2028", answer="hier \U0001f600")
RECORDS = [
    SetRecord(id="a", dataset="one", frames=["x/1.jpg"], turns=[TURN, TURN]),
    SetRecord(id="b", dataset="one", video="y.mp4", turns=[TURN]),
    SetRecord(
        id="c",
        dataset="two",
        video="z.mp4",
        timestamps=[0.0, 1 / 3],
        frame_size=(640, 480),
        objects=[SetObject(expression="it", object_class="thing", boxes=[(0.1, 1 / 3, 0.7, 1.0), None])],
    ),
]


def plain(number):
    turn = Turn(question=f"Question {number}?", answer="yes")
    return SetRecord(id=f"r{number}", dataset="many", frames=[f"{number}.jpg"], turns=[turn])


def write(path, records, root="pictures"):
    with open_writer(path, root) as writer:
        for record in records:
            writer.add(record)
    return path


def test_records_come_back_as_they_were(tmp_path):
    reader = SetReader(write(tmp_path / "x.parquet", RECORDS))
    assert (len(reader), reader.root, reader.codec) == (3, "pictures", BoxCodec())
    assert reader[:2] == RECORDS[:2]
    (thing,) = reader[-1].objects
    assert thing.boxes == [about(0.1, 1 / 3, 0.7, 1.0), None]
    assert reader[2].model_copy(update={"objects": RECORDS[2].objects}) == RECORDS[2]
    assert [record.id for record in reader] == ["a", "b", "c"]


def test_numbers_that_are_not_there_are_refused(tmp_path):
    reader = SetReader(write(tmp_path / "x.parquet", RECORDS))
    for number in (3, -4):
        with pytest.raises(IndexError, match=f"holds 3 records, there is no number {number}"):
            reader[number]


def test_the_codec_of_boxes_in_text_is_kept(tmp_path):
    with open_writer(tmp_path / "x.parquet", "", BoxCodec(1000, 999)) as writer:
        writer.add(RECORDS[0])
        writer.note("report", "{}")
    reader = SetReader(tmp_path / "x.parquet", root="elsewhere")
    assert (reader.codec, reader.root, reader.information["report"]) == (BoxCodec(1000, 999), "elsewhere", "{}")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A file of 200 thousand records, a little less than full row groups."""
    path = tmp_path_factory.mktemp("many") / "data.parquet"
    turn = Turn(question="What?", answer="yes")
    first = SetRecord(id="r", dataset="many", frames=["0.jpg"], turns=[turn])
    with open_writer(path, "pictures") as writer:
        for number in range(200_001):
            # Checked once: what is measured here is the file.
            writer.add(first.model_copy(update={"id": f"r{number}", "frames": [f"{number}.jpg"]}))
    return path


def test_opening_reads_the_directory_only_and_one_record_one_group(many, monkeypatch):
    read = []
    whole = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *a, **k: read.append(a[1]) or whole(*a, **k))
    before = pa.total_allocated_bytes()
    reader = SetReader(many.parent)
    assert len(reader) == 200_001
    assert read == []
    for number in (0, ROW_GROUP - 1, ROW_GROUP, 123_456, 200_000, 123_457):
        assert reader[number].id == f"r{number}"
    assert read == [0, 1, 123_456 // ROW_GROUP, 200_000 // ROW_GROUP]
    for number in range(0, 200_000, 5000):
        assert reader[number].frames == [f"{number}.jpg"]
    assert pa.total_allocated_bytes() - before < 2**20  # the last groups, not the file


def test_a_reader_is_small_to_send_and_opens_again_where_it_arrives(many):
    reader = SetReader(many)
    reader[7]
    sent = pickle.dumps(reader)
    assert len(sent) < 50_000
    arrived = pickle.loads(sent)  # noqa: S301 # made above
    assert arrived[200_000].id == "r200000"


class Ids(Dataset):
    """What a worker returns: the record's id, and which process read it."""

    def __init__(self, reader):
        self.reader = reader

    def __len__(self):
        return len(self.reader)

    def __getitem__(self, number):
        return self.reader[number].id, os.getpid()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 warns of every fork
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on one core
def test_worker_processes_read_the_same_file(tmp_path):
    reader = SetReader(write(tmp_path / "x.parquet", map(plain, range(600))))
    reader[0]  # open in the parent, which a forked worker inherits
    fork = multiprocessing.get_context("fork")
    loader = DataLoader(Ids(reader), batch_size=8, num_workers=2, multiprocessing_context=fork)
    found = [pair for ids, processes in loader for pair in zip(ids, processes.tolist(), strict=True)]
    assert [name for name, _ in found] == [f"r{number}" for number in range(600)]
    assert len({process for _, process in found} - {os.getpid()}) == 2


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ElysiumError, match=r"x\.parquet was not written: .*Not a directory|File exists"):
        write(tmp_path / "file" / "x.parquet", RECORDS)


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = write(tmp_path / "x.parquet", RECORDS)
    broken = iter([RECORDS[0], None])
    with pytest.raises(AttributeError):
        write(path, broken)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.parquet"]
    assert len(SetReader(path)) == 3


def test_two_processes_do_not_write_the_same_file(tmp_path):
    with open_writer(tmp_path / "x.parquet", "") as writer:
        writer.add(RECORDS[0])
        with pytest.raises(ElysiumError, match="another process is writing"), open_writer(tmp_path / "x.parquet", ""):
            pass
    assert len(SetReader(tmp_path / "x.parquet")) == 1


@pytest.mark.parametrize("moment", ["while it is written", "before it is whole", "before it has its name"])
def test_a_kill_leaves_nothing_or_a_whole_file(tmp_path, moment):
    code = f"""
        import os, pathlib, signal
        from elysium.data.sets import store
        from elysium.data.sets.schema import SetRecord, Turn
        die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        if {moment == "before it is whole"}:
            store.SetWriter.close = die
        if {moment == "before it has its name"}:
            pathlib.Path.replace = die
        turn = Turn(question="q", answer="a")
        with store.open_writer(pathlib.Path("x.parquet"), "") as writer:
            for number in range(10_000):
                writer.add(SetRecord(id=str(number), dataset="d", frames=["f"], turns=[turn]))
            if {moment == "while it is written"}:
                die()
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, check=False)
    assert result.returncode == -9
    assert not (tmp_path / "x.parquet").exists()
    write(tmp_path / "x.parquet", RECORDS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.parquet"]
    assert len(SetReader(tmp_path / "x.parquet")) == 3


def test_a_file_that_is_none_is_explained(tmp_path):
    with pytest.raises(ElysiumError, match=r"data\.parquet does not exist; make it with `elysium data import`"):
        SetReader(tmp_path / "data.parquet")
    whole = write(tmp_path / "whole.parquet", map(plain, range(1000))).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ElysiumError, match=r"cut\.parquet is no whole Parquet file"):
        SetReader(tmp_path / "cut.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ElysiumError, match="holds no records of format 1, but none"):
        SetReader(tmp_path / "other.parquet")
    middle = len(whole) // 4
    (tmp_path / "bad.parquet").write_bytes(whole[:middle] + b"\xff" * 2000 + whole[middle + 2000 :])
    with pytest.raises(ElysiumError, match=r"bad\.parquet is damaged in its row group \d"):
        list(SetReader(tmp_path / "bad.parquet"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": ["a"], "video": "b", "turns": [TURN]}, "either frames or a video"),
        ({"turns": [TURN]}, "either frames or a video"),
        ({"frames": ["a"]}, "needs objects or turns"),
        ({"frames": ["a", "b"], "timestamps": [0.0], "turns": [TURN]}, "2 frames have 1 timestamps"),
        ({"frames": ["a", "b"], "objects": [{"expression": "x", "boxes": [None]}]}, "need as many boxes, got 1"),
        ({"video": "a", "objects": [{"expression": "x", "boxes": [(0, 0, 1, 1)]}]}, "0 frames or timestamps need"),
        ({"frames": ["a"], "objects": [{"expression": "x", "boxes": [(0, 0, 1, 1.1)]}]}, "less than or equal to 1"),
    ],
)
def test_a_record_fits_together(fields, message):
    with pytest.raises(ValueError, match=message):
        SetRecord(id="a", dataset="d", **fields)
