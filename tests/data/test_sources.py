import json

import pytest

from elysium.config import IngestSettings
from elysium.data.sources import list_clips
from elysium.errors import UsageError


def listed(source):
    return list(list_clips(IngestSettings(source=str(source))))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_webvid_headers_are_understood(tmp_path):
    text = "videoid,contentUrl,duration,page_dir,name\n17,https://host/17.mp4,PT1S,001,A red car drives.\n"
    (clip,) = listed(write(tmp_path / "results.csv", text))
    assert (clip.id, clip.uri, clip.caption) == ("17", "https://host/17.mp4", "A red car drives.")
    assert clip.source == "https://host/17.mp4"


@pytest.mark.parametrize("header", ["path,caption", "url,text", "Video_Path,Description", "\ufefffile,title"])
def test_other_headers_are_understood(tmp_path, header):
    (clip,) = listed(write(tmp_path / "list.csv", f"{header}\na.mp4,A dog.\n"))
    assert (clip.id, clip.uri, clip.caption) == ("a", f"{tmp_path}/a.mp4", "A dog.")


def test_jsonl_is_read_line_by_line(tmp_path):
    lines = [
        {"id": 5, "url": "s3://b/c.mp4", "caption": "A cat\u2028sits.", "license": "CC0-1.0"},
        {"path": "d.mp4", "caption": ""},
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    first, second = listed(write(tmp_path / "list.jsonl", text))
    assert (first.id, first.uri, first.caption, first.licence) == ("5", "s3://b/c.mp4", "A cat\u2028sits.", "CC0-1.0")
    assert (second.id, second.caption) == ("d", "")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", b"", r"list\.csv cannot be read: the file is empty"),
        ("list.jsonl", b"", r"list\.jsonl cannot be read: the file is empty"),
        ("list.csv", b"path,caption\n", "has no rows"),
        ("list.csv", b"foo,bar\n1,2\n", "no column for the location: one of path, url.*got foo, bar"),
        ("list.csv", b"path,bar\n1,2\n", "no column for the caption"),
        ("list.csv", b"path,caption\na.mp4,A dog, a cat\n", "line 2: more values than columns"),
        ("list.csv", b'path,caption\n"a.mp4,x\n', "not valid CSV"),
        ("list.csv", b"path,caption\na.mp4,\xff\xfe\n", "not UTF-8"),
        ("list.jsonl", b'{"path": "a.mp4", "caption": "x"}\n{"path":\n', "line 2: not valid JSON"),
        ("list.jsonl", b"[1, 2]\n", "line 1: an object is needed, got list"),
    ],
)
def test_a_list_that_cannot_be_read_says_where(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        listed(tmp_path / name)


def test_a_row_without_an_address_is_that_rows_problem(tmp_path):
    first, second = listed(write(tmp_path / "list.csv", "id,path,caption\na,,x\nb,b.mp4,y\n"))
    assert first.problem == "the list names no path or URL"
    assert second.problem is None


def test_a_folders_captions_come_from_a_list_or_from_text_beside_the_video(tmp_path):
    for name in ("a.mp4", "b.webm", "sub/c.MOV", "notes.pdf"):
        write(tmp_path / name, "x")
    write(tmp_path / "captions.csv", "path,caption,licence\na.mp4,From the list.,CC0-1.0\n")
    write(tmp_path / "b.txt", "From the\n text file.\n")
    clips = listed(tmp_path)
    assert [(clip.id, clip.caption, clip.source, clip.licence) for clip in clips] == [
        ("a", "From the list.", "a.mp4", "CC0-1.0"),
        ("b", "From the text file.", "b.webm", ""),
        ("sub_c", "", "sub/c.MOV", ""),
    ]


def test_clips_of_one_name_get_ids_of_their_own_that_stay(tmp_path):
    for name in ("a.mp4", "a.mov", "a.mkv"):
        write(tmp_path / name, "x")
    ids = [clip.id for clip in listed(tmp_path)]
    assert len(set(ids)) == 3
    assert ids[0] == "a"
    assert ids == [clip.id for clip in listed(tmp_path)]


def test_a_clip_listed_twice_is_taken_once(tmp_path):
    first, second = listed(write(tmp_path / "list.csv", "id,path,caption\na,a.mp4,x\na,a.mp4,x\n"))
    assert first.problem is None
    assert second.problem == "listed before under the same id and address"


def test_ids_are_made_safe(tmp_path):
    (clip,) = listed(write(tmp_path / "list.csv", "id,path,caption\n../a b/ü,a.mp4,x\n"))
    assert clip.id == "a_b"


def test_the_origin_never_names_a_local_folder(tmp_path):
    (clip,) = listed(write(tmp_path / "list.csv", f"path,caption\n{tmp_path}/secret/a.mp4,x\n"))
    assert clip.source == "a.mp4"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "does not exist; give `builtin`, a folder"),
        ("nowhere.csv", "does not exist"),
        (" ", "ingest.source is empty"),
        ("https://host/page", "a web address but no list"),
        ("ftp://host/list.csv", "s3:// is needed"),
    ],
)
def test_a_source_that_cannot_be_is_explained(source, message):
    with pytest.raises(UsageError, match=message):
        listed(source)


def test_a_folder_without_videos_is_explained(tmp_path):
    with pytest.raises(UsageError, match="holds no clip"):
        listed(tmp_path)
