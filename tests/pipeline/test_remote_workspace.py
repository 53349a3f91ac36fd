"""A run on S3: what is where, what is moved, and what a kill leaves. The server is a small real one on this machine."""

import signal

import pytest
from remote_steps import DIVIDED, READER, ROW, RUN, changes, machine_of, run, start_step, until

from elysium.data import object_transfer
from elysium.data.objects import ObjectStore
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.execute import run_share, run_step
from elysium.pipeline.manifest import scan
from elysium.pipeline.remote_partial import Partial
from elysium.pipeline.workspace import Share, Workspace


def test_an_artifact_lies_there_as_in_a_folder_and_its_manifest_comes_last(machine, server, tmp_path):
    outcome = run(machine())
    folder = Workspace.at(tmp_path / "folder" / "run")
    same = run_step(folder, ROW, folder.settings("nano")).manifest
    assert outcome.manifest.model_copy(update={"started": "", "seconds": 0, "peak_mib": 0}) == same.model_copy(
        update={"started": "", "seconds": 0, "peak_mib": 0}
    )
    there = {name.removeprefix(f"{RUN}/raw/"): server.objects[name][0] for name in server.names(f"{RUN}/raw/")}
    here = {
        p.relative_to(folder.folder(ROW)).as_posix(): p.read_bytes()
        for p in folder.folder(ROW).rglob("*")
        if p.is_file()
    }
    assert {**there, "_manifest.json": b""} == {**here, "_manifest.json": b""}
    assert changes(server)[0] == "PUT run.json"
    assert changes(server)[-1] == "PUT raw/_manifest.json"
    assert server.names(f"{RUN}/.partial") == [], "leases and half-done work are gone"


def test_another_machine_brings_what_a_step_reads_and_only_once(machine, server):
    run(machine("one"))
    server.reads.clear()
    outcome = run(machine("two"), READER)
    assert set(outcome.manifest.files) == {"first", "second ü", "empty"}
    assert sum("/raw/" in name and "_manifest" not in name for name in server.reads) == 3
    server.reads.clear()
    run(machine("two"), READER, "seed=8")
    assert not any("/raw/" in name and "_manifest" not in name for name in server.reads), "they are here already"


def test_a_finished_step_is_skipped_on_any_machine_and_nothing_is_brought(machine, server):
    run(machine("one"))
    run(machine("one"), READER)
    server.reads.clear()
    assert run(machine("two"), READER).skipped
    assert {name.rpartition("/")[2] for name in server.reads} <= {
        "run.json",
        "_manifest.json",
        "lease-whole.json",
        "whole.json",
    }


def test_an_artifact_that_is_replaced_has_no_manifest_meanwhile_and_stale_objects_go_last(machine, server):
    run(machine())
    server.changes.clear()
    run(machine("two"), ROW, "seed=9")
    assert changes(server) == [
        "DELETE raw/_manifest.json",
        "PUT raw/deep/second ü",
        "PUT raw/_manifest.json",
        "DELETE raw/empty",
    ], "what is the same is not moved again"


def test_an_object_that_was_changed_is_told_to_who_reads_it(machine, server):
    run(machine("one"))
    server.put(f"{RUN}/raw/first", b"other")
    with pytest.raises(
        ElysiumError, match=r"s3://bucket/prefix/run/raw/first is damaged: .*; remove .*/raw/_manifest\.json"
    ):
        run(machine("two"), READER)
    server.objects.pop(f"{RUN}/raw/_manifest.json")
    assert not run(machine("one")).skipped, "what the message says mends it"
    assert not run(machine("two"), READER).skipped
    server.objects.pop(f"{RUN}/raw/first")
    with pytest.raises(ElysiumError, match=r"raw/first does not exist; run `elysium step ingest .*` first"):
        run(machine("three"), READER, "seed=5")
    assert not run(machine("two")).skipped, "a step whose output lacks an object runs again"


def test_a_missing_and_a_refused_input_stop_a_step(machine):
    with pytest.raises(ElysiumError, match=r"reads s3://bucket/prefix/run/raw, which is not there; run `elysium step"):
        run(machine(), READER)


def test_large_files_go_in_parts_and_those_that_arrived_are_not_moved_again(machine, server, monkeypatch, tmp_path):
    monkeypatch.setattr(object_transfer, "PART", 1 << 20)
    content = bytes(range(256)) * 14000  # 3.4 MiB: four parts
    path = tmp_path / "large"
    path.write_bytes(content)
    store, files = ObjectStore("s3://bucket/large", threads=2), scan(tmp_path)
    begun = object_transfer._Parted(store, "x", path, files["large"])
    begun.begin()
    for part in (0, 2):
        begun.put(part)
    server.uploads[begun._id][1][1] = b"other bytes than those of the file"
    server.changes.clear()
    wanted = {"x": (path, files["large"])}
    object_transfer.upload(store, wanted, {})
    assert sorted(server.changes) == ["PART large/x 1", "PART large/x 2", "PART large/x 4", "PUT large/x"]
    assert server.objects["large/x"][0] == content
    assert object_transfer.upload(store, wanted, store.listed()).kept == 1, "known by its ETag"
    back = {"x": (tmp_path / "back", files["large"])}
    assert object_transfer.download(store, back).files == 1
    assert (tmp_path / "back").read_bytes() == content
    assert object_transfer.download(store, back).kept == 1


def test_names_that_lead_out_of_a_folder_are_refused(tmp_path):
    for name in ("../x", "/x", "a/../../x"):
        with pytest.raises(ElysiumError, match="is no name of a file below"):
            object_transfer.inside(tmp_path, name)


def test_publishing_that_was_killed_is_completed_without_running_the_step_again(machine, server, tmp_path):
    child = start_step(tmp_path / "one", server, wait=False)
    server.on_change = lambda method, key: child.kill() if "deep/second" in key else None
    child.wait()
    server.on_change = lambda method, key: None
    assert f"{RUN}/raw/_manifest.json" not in server.objects
    server.changes.clear()
    place = machine_of(tmp_path / "one")
    assert run(place).skipped
    assert "PUT raw/_manifest.json" in changes(server)
    assert not run(machine("other"), READER).skipped


def test_what_a_kill_left_behind_a_finished_step_is_removed_by_who_finds_it_finished(machine, server, one_client):
    place = machine()
    folder = place.mirror.partial(ROW)
    key = run(place).manifest.key
    (folder / "deep").mkdir(parents=True)
    (folder / "first").write_text("first")
    for about in (key, "of other settings"):
        Partial(place.store, ".partial/ingest/", folder, f"share-{about[:1]}-of-9").save(about)
    assert run(machine("other")).skipped
    assert server.names(f"{RUN}/.partial/ingest/files-") == [f"{RUN}/.partial/ingest/files-share-o-of-9.json"]
    assert len(server.names(f"{RUN}/.partial/ingest/share-")) == 1


def test_a_killed_step_goes_on_on_another_machine_with_what_was_saved(machine, server, tmp_path):
    saved, resumed = tmp_path / "begun", machine("other")
    child = start_step(tmp_path / "one", server, AT=str(saved), ELYSIUM_SAVE_SECONDS="0.05")
    until(lambda: server.names(f"{RUN}/.partial/ingest/files-"))
    child.kill()
    child.wait()
    server.tick = 10
    outcome = run(resumed)
    assert outcome.manifest.summary == "resumed"
    assert server.names(f"{RUN}/.partial") == []


def test_a_step_that_is_asked_to_stop_saves_what_it_has_and_says_so(machine, server, tmp_path):
    saved = tmp_path / "begun"
    child = start_step(tmp_path / "one", server, AT=str(saved))
    until(saved.exists)
    child.terminate()
    _, said = child.communicate()
    assert child.returncode == 128 + signal.SIGTERM, said
    assert "what was done so far is saved (1 files)" in said
    assert run(machine("other")).manifest.summary == "resumed"


def test_half_done_work_of_other_settings_is_thrown_away(one_client, server, tmp_path):
    store = ObjectStore("s3://bucket/p")
    for key, name in (("old", "one"), ("new", "two")):
        folder = tmp_path / name / "ingest"
        folder.mkdir(parents=True)
        partial = Partial(store, "s/", folder, "whole")
        partial.bring(key, begun=False)
        assert list(folder.iterdir()) == []
        (folder / "file").write_text(key)
        partial.save(key)
    assert [server.objects[name][0] for name in server.names("p/s/whole/")] == [b"new"]


def test_a_list_names_a_moment_of_the_folder_whatever_happens_to_it_meanwhile(machine, server, tmp_path):
    store, folder = ObjectStore("s3://bucket/p"), tmp_path / "here" / "ingest"
    (folder / "checkpoint-2").mkdir(parents=True)
    (folder / "checkpoint-2" / "weights").write_text("old weights")
    (folder / "log").write_text("one\n")

    def disturb(method, key):
        if (folder / "checkpoint-2").exists():
            (folder / "checkpoint-2").rename(folder / "checkpoint-4")
            (folder / "checkpoint-4" / "weights").unlink()
            with (folder / "log").open("a") as file:
                file.write("two\n")

    server.on_change = disturb
    partial = Partial(store, "s/", folder, "whole")
    assert partial.save("k") == 2
    server.on_change = lambda method, key: None
    other = tmp_path / "there" / "ingest"
    other.mkdir(parents=True)
    Partial(store, "s/", other, "whole").bring("k", begun=False)
    assert (other / "checkpoint-2" / "weights").read_text() == "old weights"
    assert (other / "log").read_text() == "one\n"
    partial.save("k")
    assert len(server.names("p/s/whole/")) == 1, "objects that no list names are removed"
    again = Partial(store, "s/", other, "whole")
    again.bring("k", begun=True)
    assert not (other / "checkpoint-2" / "weights").exists()
    assert (other / "log").read_text() == "one\ntwo\n"


def test_what_is_newer_here_than_what_was_saved_stays(machine, tmp_path):
    store, folder = ObjectStore("s3://bucket/p"), tmp_path / "here" / "ingest"
    folder.mkdir(parents=True)
    (folder / "log").write_text("one\n")
    Partial(store, "s/", folder, "whole").save("k")
    (folder / "log").write_text("one\ntwo\n")
    Partial(store, "s/", folder, "whole").bring("k", begun=True)
    assert (folder / "log").read_text() == "one\ntwo\n"


def test_nodes_go_on_whichever_of_them_was_killed_while_it_saved(one_client, server, tmp_path):
    """Each brings what all have; none may depend on what another one removes."""
    store = ObjectStore("s3://bucket/p")

    def at(machine, part):
        folder = tmp_path / machine / "finetune"
        folder.mkdir(parents=True, exist_ok=True)
        partial = Partial(store, "s/", folder, part)
        partial.bring("k", begun=False)
        return folder, partial

    def train(folder, step, part):
        for old in folder.glob("checkpoint-*"):
            for path in old.iterdir():
                path.unlink()
            old.rmdir()
        (folder / f"checkpoint-{step}").mkdir()
        (folder / f"checkpoint-{step}" / part).write_text(f"{step} {part}")

    parts = ("whole", "node-1")
    for part in parts:
        folder, partial = at(f"first {part}", part)
        train(folder, 10, part)
        partial.save("k")
    for killed, saves in (("whole", "node-1"), ("node-1", "whole")):
        nodes = {part: at(f"{killed} {part}", part) for part in parts}
        for folder, _ in nodes.values():
            assert {path.name for path in folder.glob("checkpoint-10/*")} == set(parts)
        folder, partial = nodes[saves]
        objects = server.names("p/s/")
        partial.save("k")
        assert server.names("p/s/") == objects, "what another one keeps is not kept twice"
        train(folder, 30, saves)
        partial.save("k")
        for part in parts:
            folder, partial = at(f"after {killed} {part}", part)
            partial.save("k")
        # Both come to 10 again.
        for part in parts:
            folder, partial = at(f"again {killed} {part}", part)
            train(folder, 10, part)
            partial.save("k")


def test_a_list_that_names_what_is_gone_is_left_out(one_client, server, tmp_path, caplog):
    store = ObjectStore("s3://bucket/p")
    for part in ("whole", "node-1"):
        folder = tmp_path / part / "finetune"
        folder.mkdir(parents=True)
        (folder / part).write_text(part)
        Partial(store, "s/", folder, part).save("k")
    (gone,) = server.names("p/s/node-1/")
    server.objects.pop(gone)
    folder = tmp_path / "new" / "finetune"
    folder.mkdir(parents=True)
    Partial(store, "s/", folder, "whole").bring("k", begun=False)
    assert [path.name for path in folder.iterdir()] == ["whole"]
    assert "names what is not there, and is left out" in caplog.text


def test_shares_on_several_machines_come_together(machine, server):
    places = [machine(name) for name in ("a", "b")]
    first = run_share(places[0], DIVIDED, places[0].settings(), Share(0, 3))
    second = run_share(places[1], DIVIDED, places[1].settings(), Share(1, 3))
    assert (first.metrics["made"], second.metrics["made"]) == (4, 3)
    assert server.names(f"{RUN}/raw") == [], "shares publish nothing"
    again = run_share(machine("c"), DIVIDED, places[0].settings(), Share(0, 3))
    assert again.metrics["made"] == 0
    whole = run(machine("d"), DIVIDED)
    assert whole.manifest.metrics["made"] == 3, "the share that nobody did"
    assert len(whole.manifest.files) == 10
    assert server.names(f"{RUN}/.partial") == []
    assert run_share(machine("a"), DIVIDED, places[0].settings(), Share(2, 3)) is None


def test_a_step_without_shares_says_so(machine):
    place = machine()
    with pytest.raises(UsageError, match="the work of step ingest cannot be divided; that of curate can"):
        run_share(place, ROW, place.settings(), Share(0, 2))
