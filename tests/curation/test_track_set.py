"""Records by number and by id, through an index that always belongs to the lines it is read with."""

import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from track_records import record

from elysium.data.records import write_jsonl
from elysium.data.track_set import TrackSet, build_index
from elysium.errors import ElysiumError

RECORDS = [record(f"r{number}", count=1 + number % 7, expression=f'a "dog"\u2028 {number}') for number in range(40)]


@pytest.fixture
def folder(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", RECORDS)
    return tmp_path


def test_records_by_number_slice_id_and_in_order(folder):
    records = TrackSet(folder)
    assert len(records) == len(RECORDS)
    assert (records[0], records[17], records[-1]) == (RECORDS[0], RECORDS[17], RECORDS[-1])
    assert records[5:30:7] == RECORDS[5:30:7]
    assert list(records) == RECORDS
    assert [records.by_id(one.id) for one in RECORDS[::-1]] == RECORDS[::-1]
    assert ("r3" in records, "r40" in records, RECORDS[3] in records) == (True, False, True)
    for wrong in (40, -41):
        with pytest.raises(IndexError, match=f"holds 40 records, there is no number {wrong}"):
            records[wrong]
    with pytest.raises(KeyError, match="no record 'r40'"):
        records.by_id("r40")


def test_the_index_is_made_once(folder):
    TrackSet(folder)
    first = (folder / "train.index").stat()
    TrackSet(folder)
    second = (folder / "train.index").stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)


def test_the_index_follows_the_lines(folder):
    TrackSet(folder)
    write_jsonl(folder / "train.jsonl", RECORDS[:9])
    assert list(TrackSet(folder)) == RECORDS[:9]
    # The same number of bytes, other ends of lines; and the times of the file say nothing.
    times = (folder / "train.jsonl").stat().st_mtime_ns
    write_jsonl(folder / "train.jsonl", RECORDS[8::-1])
    os.utime(folder / "train.jsonl", ns=(times, times))
    records = TrackSet(folder)
    assert (list(records), records.by_id("r8")) == (RECORDS[8::-1], RECORDS[8])


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"\1" * 32, None])
def test_a_damaged_index_is_made_anew(folder, damage):
    TrackSet(folder)
    path = folder / "train.index"
    path.write_bytes(path.read_bytes()[:-16] if damage is None else damage)
    assert list(TrackSet(folder)) == RECORDS


def test_a_folder_that_cannot_be_written_to_is_read(folder, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("elysium.data.track_set.save_index", refuse)
    assert list(TrackSet(folder)) == RECORDS
    assert not (folder / "train.index").exists()


@pytest.mark.parametrize("cut", [1, 30])
def test_a_file_cut_short_names_the_line(folder, cut):
    TrackSet(folder)
    path = folder / "train.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ElysiumError, match=r"train\.jsonl, line 40 is cut short"):
        TrackSet(folder)


def test_a_line_that_is_no_record_is_named(folder):
    path = folder / "train.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"{broken\n", *lines[4:]]))
    with pytest.raises(ElysiumError, match=r"train\.jsonl, line 4 is no track record"):
        TrackSet(folder)
    path.write_bytes(b"".join([*lines[:3], lines[3].replace(b'"box":[[0.1', b'"box":[[9.1'), *lines[4:]]))
    records = TrackSet(folder)
    assert records[2] == RECORDS[2]
    with pytest.raises(ElysiumError, match=r"train\.jsonl, line 4: box\.0\.0"):
        records[3]


def test_an_id_that_comes_twice_is_named(folder):
    write_jsonl(folder / "train.jsonl", [*RECORDS, RECORDS[5]])
    with pytest.raises(ElysiumError, match=r"lines 6 and 41 have the same id 'r5'"):
        TrackSet(folder)


def test_lines_that_change_while_they_are_read_are_noticed(folder):
    records = TrackSet(folder)
    path = folder / "train.jsonl"
    path.write_bytes(b" \n" + path.read_bytes()[2:])
    assert records[5] == RECORDS[5]
    with pytest.raises(ElysiumError, match="line 1 is elsewhere"):
        records[0]


def test_fields_in_another_order_are_read(folder):
    (folder / "train.jsonl").write_text('{"id":"a","source":"b"}\n{ "source": "b", "id": "c" }\n')
    assert len(build_index(folder / "train.jsonl").ends) == 2


def test_a_missing_file_says_what_to_run(tmp_path):
    with pytest.raises(ElysiumError, match=r"train\.jsonl does not exist; run `elysium curate run`"):
        TrackSet(tmp_path)


def _ids(records):
    return [records[number].id for number in (39, 0, 21)]


def test_it_goes_to_processes_and_threads(folder):
    records = TrackSet(folder)
    records[0]
    expected = ["r39", "r0", "r21"]
    assert _ids(pickle.loads(pickle.dumps(records))) == expected  # noqa: S301  # our own bytes
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_ids, [records] * 4) == [expected] * 4
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(records.__getitem__, list(range(40)) * 20)) == RECORDS * 20
