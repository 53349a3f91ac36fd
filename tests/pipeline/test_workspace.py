import json
import subprocess
import sys
import textwrap
import threading

import pytest

from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.steps import STEPS, dependencies, producer, step
from elysium.pipeline.workspace import Workspace, find_damage, read_manifest, scan, write_atomic


@pytest.mark.parametrize("uri", ["s3://bucket/run", "gs://x"])
def test_a_workspace_that_steps_cannot_write_to_is_refused(uri):
    with pytest.raises(UsageError, match="a workspace is a folder"):
        Workspace.at(uri)


def test_a_file_is_not_a_workspace(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(UsageError, match="is a file"):
        Workspace.at(path)


def test_settings_are_kept_with_the_run(tmp_path):
    place = Workspace.at(tmp_path / "run")
    first = place.settings("nano", ("seed=3",))
    assert place.settings() == first
    assert place.settings(overrides=("curate.min_iou=0.5",)).curate.min_iou == 0.5
    assert place.settings().curate.min_iou != 0.5, "an override of one step is not the run's"
    place.settings(overrides=("curate.min_iou=0.5",), keep=True)
    assert place.settings().curate.min_iou == 0.5


def test_bad_settings_leave_no_run_behind(tmp_path):
    with pytest.raises(UsageError):
        Workspace.at(tmp_path / "run").settings("nano", ("nope=3",))
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_preset(tmp_path):
    place = Workspace.at(tmp_path / "run")
    place.settings("nano")
    with pytest.raises(UsageError, match="begun with the preset 'nano', got 'small'"):
        place.settings("small")


def test_a_damaged_run_file_is_told(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ElysiumError, match=r"run\.json is damaged"):
        Workspace.at(tmp_path).settings()


def test_a_new_attempt_waits_for_processes_that_a_killed_one_had_started(tmp_path, caplog):
    place, row = Workspace.at(tmp_path / "run"), step("finetune")
    place.partial(row).mkdir(parents=True)
    code = """
        import sys
        from pathlib import Path
        from elysium.pipeline.workspace import hold_output
        hold_output(Path(sys.argv[1]))
        print("held", flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(place.partial(row))]
    entered = threading.Event()

    def attempt():
        with place.lock(row):
            entered.set()

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as left:
        assert left.stdout.readline() == "held\n"
        waiting = threading.Thread(target=attempt)
        waiting.start()
        while waiting.is_alive() and not caplog.messages:
            waiting.join(0.01)
        assert not entered.is_set()
        left.kill()
        waiting.join()
    assert entered.is_set()
    assert caplog.messages == ["waiting for the processes of an earlier attempt at finetune to end"]


def test_a_failed_write_leaves_the_old_content(tmp_path):
    path = tmp_path / "x.json"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \udcff")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_damage_is_found_by_size_and_by_content(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_text("one")
    manifest = _manifest(scan(tmp_path))
    assert find_damage(tmp_path, manifest, checksums=True) is None
    (tmp_path / "a" / "one.txt").write_text("two")
    assert find_damage(tmp_path, manifest, checksums=False) is None
    assert "another checksum" in find_damage(tmp_path, manifest, checksums=True)
    (tmp_path / "a" / "one.txt").write_text("three")
    assert "5 bytes instead of 3" in find_damage(tmp_path, manifest, checksums=False)
    (tmp_path / "a" / "one.txt").unlink()
    assert "is missing" in find_damage(tmp_path, manifest, checksums=False)


def test_a_manifest_cut_short_counts_as_none(tmp_path):
    text = _manifest({}).model_dump_json()
    (tmp_path / "_manifest.json").write_text(text[: len(text) // 2])
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_every_step_reads_only_what_an_earlier_one_writes(row):
    names = [other.name for other in STEPS]
    assert all(names.index(name) < names.index(row.name) for name in dependencies(row))


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row.name)
def test_every_step_has_its_function_and_its_settings(row, tmp_path):
    from elysium.config import load_settings
    from elysium.pipeline.steps import section_values

    assert callable(row.load())
    assert set(section_values(load_settings("nano"), row.sections)) == set(row.sections)


def test_the_table_is_the_designs():
    assert " ".join(row.name for row in STEPS) == (
        "ingest validate-raw curate validate-tracks snapshot warmup pretrain finetune evaluate promote"
    )
    assert len({row.output.name for row in STEPS}) == len({row.output.folder for row in STEPS}) == len(STEPS)
    assert producer("tracks") is step("curate")


def test_an_unknown_step_lists_the_known_ones():
    with pytest.raises(UsageError, match="ingest, validate-raw"):
        step("nope")


def _manifest(files):
    from elysium.pipeline.workspace import Manifest

    entries = {name: json.loads(entry.model_dump_json()) for name, entry in files.items()}
    return Manifest.model_validate(
        {
            "step": "x",
            "status": "done",
            "key": "k",
            "digest": "d",
            "files": entries,
            "summary": "",
            "metrics": {},
            "started": "",
            "seconds": 0,
            "peak_mib": 0,
            "code": "",
        }
    )
