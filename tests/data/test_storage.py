import pytest

from elysium.data.s3 import S3Storage
from elysium.data.storage import LocalStorage, name_of, split_s3, storage_for
from elysium.data.transfer import FetchError
from elysium.data.web import WebStorage
from elysium.errors import UsageError


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("clips/a.mp4", LocalStorage),
        ("file:///clips/a.mp4", LocalStorage),
        ("s3://bucket/a.mp4", S3Storage),
        ("http://host/a.mp4", WebStorage),
        ("HTTPS://host/a.mp4", WebStorage),
    ],
)
def test_the_scheme_chooses_the_storage(uri, kind):
    assert isinstance(storage_for(uri), kind)


@pytest.mark.parametrize("uri", ["ftp://host/a.mp4", "gopher://host/a", "data://x"])
def test_other_schemes_are_refused(uri):
    with pytest.raises(UsageError, match="http://, https:// or s3:// is needed"):
        storage_for(uri)


def test_local_files_are_copied_byte_for_byte(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    LocalStorage().fetch(str(tmp_path / "a"), tmp_path / "sub" / "b", 1 << 30)
    assert (tmp_path / "sub" / "b").read_bytes() == (tmp_path / "a").read_bytes()


def test_a_file_uri_names_a_local_file(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    LocalStorage().fetch(f"file://{tmp_path}/a", tmp_path / "b", 10)
    assert (tmp_path / "b").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "is empty"), (b"x" * 2_000_000, "exceed the limit of 1 MiB")],
)
def test_files_that_cannot_be_taken_leave_nothing_behind(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(FetchError, match=message):
        LocalStorage().fetch(str(tmp_path / "a"), tmp_path / "out" / "b", 1 << 20)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_listing_is_recursive_sorted_and_without_hidden_files(tmp_path):
    for name in ("b.mp4", "a/c.mp4", ".hidden", ".git/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"xy")
    assert [(entry.name, entry.size) for entry in LocalStorage().list_files(str(tmp_path))] == [
        ("a/c.mp4", 2),
        ("b.mp4", 2),
    ]


def test_an_s3_uri_needs_a_bucket():
    with pytest.raises(UsageError, match="names no bucket"):
        split_s3("s3:///key")


def test_names_are_taken_without_query():
    assert name_of("https://host/a/b.mp4?X-Sig=c/d") == "b.mp4"
    assert name_of("s3://bucket/a/b.mp4") == "b.mp4"
