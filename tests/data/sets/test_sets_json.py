import json

import pytest

from elysium.data.sets import json_stream, rows
from elysium.data.sets.json_stream import first_array, small_values, stream_array, stream_object
from elysium.data.sets.rows import read_rows
from elysium.errors import UsageError

VALUES = [
    {"a": [1, {"b": '}]\\"\u2028ü\U0001f600'}], "c": None},
    "text, with ] and }",
    12345678901234567890,
    -1.5e-7,
    [[], {}, ""],
    True,
    "x" * 100,
]


@pytest.fixture(params=[1, 2, 7, 1 << 20])
def chunk(request, monkeypatch):
    """Reads so many characters at a time: every value is cut somewhere."""
    monkeypatch.setattr(json_stream, "_CHUNK", request.param)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_an_array_comes_entry_by_entry_wherever_it_is_cut(tmp_path, chunk, indent, ascii_only):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(VALUES, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    assert list(stream_array(path)) == VALUES
    whole = {"head": {"n": 1}, "skipped": VALUES, "wanted": VALUES, "last": [1]}
    path.write_text(json.dumps(whole, indent=indent, ensure_ascii=ascii_only), encoding="utf-8")
    assert list(stream_array(path, "wanted")) == VALUES
    assert list(stream_array(path, "absent")) == []
    assert dict(stream_object(path)) == whole
    assert small_values(path) == {"head": {"n": 1}}
    assert first_array(path) == "skipped"


@pytest.mark.parametrize(("text", "values"), [("[]", []), (" [ 1 , 2 ] \n", [1, 2]), ("\ufeff[12]", [12])])
def test_small_arrays(tmp_path, chunk, text, values):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    assert list(stream_array(tmp_path / "x.json")) == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}, {"b"', "character 11: .*cut short"),
        ('[{"a": 1}', "character 9: .*',' is needed, got the end of the file"),
        ('[{"a": 1} {"b": 2}]', "character 10: .*',' is needed, got '{'"),
        ("[1, nonsense]", "character 4"),
        ("[1]\n[2]\n", "character 4: .*the end of the file is needed, got .*more than one value"),
        ("3", "'\\[' is needed, got '3'"),
        ("", "'\\[' is needed, got the end of the file; the file is cut short"),
        ("[" * 100_000, "nested too deep|Expecting value|recursion"),
    ],
)
def test_a_broken_array_says_where(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match=f"x.json.*{message}"):
        list(stream_array(tmp_path / "x.json"))


def test_bytes_that_are_no_text_are_told(tmp_path):
    (tmp_path / "x.json").write_bytes(b'["a", "\xff"]')
    with pytest.raises(UsageError, match="not UTF-8 text"):
        list(stream_array(tmp_path / "x.json"))


def test_lines_and_arrays_are_told_apart_by_content(tmp_path):
    for name, text in (("array", '\n [{"a": 1}, {"a": 2}]'), ("lines", '{"a": 1}\n\n{"a": 2}\n')):
        (tmp_path / f"{name}.json").write_text(text)
        assert list(read_rows(tmp_path / f"{name}.json")) == [{"a": 1}, {"a": 2}]


def test_a_broken_line_costs_one_row(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\n{"a": \n"\xff"\n{"a": "\xe2\x80\xa8"}')
    assert list(read_rows(tmp_path / "x.jsonl")) == [{"a": 1}, None, None, {"a": "\u2028"}]


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_too_long_for_a_row_is_not_held_in_memory(tmp_path, monkeypatch, end):
    monkeypatch.setattr(rows, "_MAX_LINE", 10)
    for length in (20, 25):
        (tmp_path / "x.jsonl").write_text(f'{{"a": 1}}\n{{"b": "{"x" * (length - 9)}"}}\n{{"c": 3}}{end}')
        assert list(read_rows(tmp_path / "x.jsonl")) == [{"a": 1}, None, {"c": 3}]
