"""A run on S3: what is where, what is moved, and what a kill leaves. The server is a small real one on this machine."""

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from object_server import KEYS, serving

from elysium.data import object_transfer, objects
from elysium.data.objects import ObjectStore
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.execute import _run, run_share, run_step, step_context
from elysium.pipeline.manifest import scan
from elysium.pipeline.remote import RemoteWorkspace
from elysium.pipeline.remote_lease import Rhythm
from elysium.pipeline.remote_partial import Partial
from elysium.pipeline.steps import Artifact, Step, StepResult, step
from elysium.pipeline.workspace import Share, Workspace, open_workspace

HERE = Path(__file__).parent
# A second of the server's clock passes at each listing where a test says so.
QUICK = Rhythm(beat=0.05, lifetime=45, settle=0.0, poll=0.02)
RUN = "prefix/run"


def write(context):
    """Writes three files, and perhaps dies or waits between them; says whether it found the first."""
    found = (context.output / "first").exists()
    (context.output / "deep").mkdir(exist_ok=True)
    (context.output / "first").write_text("first")
    if os.environ.get("AT") and not found:
        Path(os.environ["AT"]).touch()
        signal.pause()
    (context.output / "deep" / "second ü").write_text(f"seed {context.settings.seed}")
    (context.output / "empty").touch()
    if context.settings.seed == 9:
        (context.output / "empty").unlink()
    return StepResult("resumed" if found else "from the start", {"files": 3})


def read(context):
    """Copies what it reads."""
    for path in sorted(context.inputs["raw"].rglob("*")):
        if path.is_file() and not path.name.startswith("_"):
            (context.output / path.name).write_bytes(path.read_bytes())
    return StepResult("read")


def share_of(context, index, count):
    """Writes a part's files."""
    made = 0
    for part in range(index, 10, count):
        path = context.output / "parts" / f"{part:05d}" / "value"
        made += not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(part * part))
    return made


def all_parts(context):
    made = share_of(context, 0, 1)
    return StepResult("all", {"made": made})


def some_parts(context, index, count):
    return StepResult("some", {"made": share_of(context, index, count)})


def is_of_share(name, index, count):
    part = name.split("/")[1:2]
    return not part or int(part[0]) % count == index


ROW = Step("ingest", "", "test_remote_workspace:write", (), Artifact("raw", "raw", "Dataset"), ("seed",))
READER = Step(
    "validate-raw", "", "test_remote_workspace:read", ("raw",), Artifact("raw_report", "raw_report", "HTML"), ("seed",)
)
DIVIDED = dataclasses.replace(ROW, function="test_remote_workspace:all_parts", share="test_remote_workspace:some_parts")


@pytest.fixture(scope="module")
def running():
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.address}.items():
            patch.setenv(name, value)
        server.client = objects._client(4)
        yield server


@pytest.fixture
def server(running, monkeypatch):
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": running.address}.items():
        monkeypatch.setenv(name, value)
    running.objects.clear()
    running.uploads.clear()
    running.changes.clear()
    running.reads.clear()
    running.denied.clear()
    running.conditions, running.tick = False, 0
    running.on_change = lambda method, key: None
    return running


@pytest.fixture
def one_client(server, monkeypatch):
    """Lets all stores share one client: making one takes a third of a second."""
    monkeypatch.setattr(objects, "_client", lambda threads: server.client)


@pytest.fixture
def machine(server, one_client, tmp_path):
    """Makes the workspace as a machine sees it, with a scratch folder of its own."""

    def make(name="here", run=RUN):
        mirror = Workspace(tmp_path / name / "home" / "run")
        place = RemoteWorkspace(ObjectStore(f"s3://bucket/{run}"), mirror, QUICK)
        place.settings("nano")
        return place

    return make


def run(place, row=ROW, *overrides):
    return run_step(place, row, place.settings(overrides=overrides))


def changes(server, without=(".partial",)):
    """What was changed in the run, in order, but for half-done work and leases."""
    names = [change.replace(f"{RUN}/", "") for change in server.changes]
    return [name for name in names if not any(part in name for part in without)]


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
    with pytest.raises(ElysiumError, match=r"s3://bucket/prefix/run/raw/first is damaged: it has another checksum"):
        run(machine("two"), READER)
    server.objects.pop(f"{RUN}/raw/first")
    with pytest.raises(ElysiumError, match=r"raw/first does not exist; run `elysium step ingest .*` first"):
        run(machine("two"), READER)
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
    child = _step(tmp_path / "one", server, wait=False)
    server.on_change = lambda method, key: child.kill() if "deep/second" in key else None
    child.wait()
    server.on_change = lambda method, key: None
    assert f"{RUN}/raw/_manifest.json" not in server.objects
    server.changes.clear()
    place = _machine_of(tmp_path / "one")
    assert run(place).skipped
    assert "PUT raw/_manifest.json" in changes(server)
    assert not run(machine("other"), READER).skipped


def test_a_killed_step_goes_on_on_another_machine_with_what_was_saved(machine, server, tmp_path):
    saved, resumed = tmp_path / "begun", machine("other")
    child = _step(tmp_path / "one", server, AT=str(saved), ELYSIUM_SAVE_SECONDS="0.05")
    _until(lambda: server.names(f"{RUN}/.partial/ingest/files-"))
    child.kill()
    child.wait()
    server.tick = 10
    outcome = run(resumed)
    assert outcome.manifest.summary == "resumed"
    assert server.names(f"{RUN}/.partial") == []


def test_a_step_that_is_asked_to_stop_saves_what_it_has_and_says_so(machine, server, tmp_path):
    saved = tmp_path / "begun"
    child = _step(tmp_path / "one", server, AT=str(saved))
    _until(saved.exists)
    child.terminate()
    _, said = child.communicate()
    assert child.returncode == 128 + signal.SIGTERM, said
    assert "what was done so far is saved (2 files)" in said
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


@pytest.mark.parametrize("conditions", [False, True])
def test_two_machines_cannot_run_one_step(machine, server, conditions):
    server.conditions = conditions
    with machine("one").lock(ROW), pytest.raises(ElysiumError, match="another process is running step ingest in s3://"):
        run(machine("two"))
    assert not run(machine("two")).skipped


def test_shares_keep_out_each_other_only_where_they_are_the_same(machine):
    with machine("one").lock(ROW, Share(0, 2)), machine("two").lock(ROW, Share(1, 2)):
        for share in (Share(0, 2), None):
            with pytest.raises(ElysiumError, match="another process is running"), machine("three").lock(ROW, share):
                pass


@pytest.mark.parametrize("conditions", [False, True])
def test_a_dead_owner_s_lease_is_waited_out(machine, server, caplog, conditions):
    server.conditions = conditions
    server.tick = 10
    server.put(f"{RUN}/.partial/ingest/lease-whole.json", b'{"owner": "dead", "host": "node-7", "machine": "x"}')
    run(machine())
    assert "an earlier attempt on another machine has not said that it ended" in caplog.text
    assert "taking over from node-7" in caplog.text


def test_an_owner_that_lost_its_lease_publishes_nothing(machine, server):
    place = machine()
    place.partial(ROW).mkdir(parents=True)
    manifest = _run(ROW, step_context(place, ROW, place.settings()), "k")
    place._rhythm = Rhythm(settle=0)
    with place.lock(ROW):
        server.put(f"{RUN}/.partial/ingest/lease-whole.json", b'{"owner": "other"}')
        with pytest.raises(ElysiumError, match="another process took over step ingest"):
            place.publish(ROW, manifest)
    assert server.names(f"{RUN}/raw") == []


@pytest.mark.parametrize("name", ["warmup", "evaluate", "promote"])
def test_a_step_that_needs_the_registry_is_refused_without_a_server(machine, monkeypatch, name):
    place = machine()
    with pytest.raises(UsageError, match=rf"step {name} needs the registry.*MLFLOW_TRACKING_URI, got None"):
        place.adapted(place.settings(), step(name))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert place.adapted(place.settings(), step(name)).registry.tracking_uri == "http://mlflow:5000"


def test_data_versions_are_kept_beside_the_runs(machine, server):
    place = machine()
    adapted = place.adapted(place.settings(), step("snapshot")).snapshot
    assert (adapted.remote, adapted.s3_endpoint) == ("s3://bucket/prefix/dvc-remote", server.address)


def test_what_is_read_for_people_is_checked(machine, server):
    place = machine()
    run(place)
    assert (place.read(ROW, "first"), place.read(ROW, "nothing")) == (b"first", None)
    server.put(f"{RUN}/raw/first", b"other")
    with pytest.raises(ElysiumError, match="is not what was published"):
        place.read(ROW, "first")


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://bucket/a//b", "s3://bucket/../run", "s3:///run"])
def test_an_address_that_names_no_run_is_refused(uri):
    with pytest.raises(UsageError, match="s3://bucket/prefix"):
        open_workspace(uri)


def test_runs_of_one_parent_share_a_scratch_folder_on_a_machine(server, monkeypatch, tmp_path):
    monkeypatch.setenv("ELYSIUM_SCRATCH", str(tmp_path))
    one, two, other = (open_workspace(f"s3://bucket/{name}") for name in ("a/one", "a/two/", "b/one"))
    assert (one.run_id, two.run_id, two.uri) == ("one", "two", "s3://bucket/a/two")
    assert one.home == two.home != other.home
    assert one.home.parent == tmp_path


@pytest.mark.parametrize(
    ("environment", "uri", "kind", "sentence"),
    [
        ({}, "s3://other/run", UsageError, "the bucket 'other' does not exist on http://127.0.0.1"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, "s3://bucket/run", UsageError, "S3 refuses the credentials"),
        (
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "s3://bucket/run",
            ElysiumError,
            "the S3 server cannot be reached",
        ),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "s3://bucket/run", UsageError, "AWS_ENDPOINT_URL is the URL of a server"),
        ({"AWS_PROFILE": "nobody"}, "s3://bucket/run", UsageError, "there are no credentials for S3"),
    ],
)
def test_what_is_wrong_with_server_and_credentials_is_told_before_work_starts(
    server, monkeypatch, tmp_path, environment, uri, kind, sentence
):
    monkeypatch.setenv("ELYSIUM_SCRATCH", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(kind, match=sentence) as caught:
        open_workspace(uri).settings("nano")
    assert "\n" not in str(caught.value)
    assert type(caught.value) is kind


def test_a_denied_permission_is_told_before_work_starts(machine, server):
    place = machine()
    server.denied.add("PUT")
    with pytest.raises(UsageError, match=r"access to s3://.*lease-whole\.json is denied .*need s3:ListBucket"):
        run(place)


def test_secrets_are_never_logged(server, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("botocore").setLevel(logging.NOTSET)
    monkeypatch.setenv("ELYSIUM_SCRATCH", str(tmp_path))
    token = tmp_path / "token"
    token.write_text("token-of-the-service-account")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/elysium")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.address)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    place = open_workspace(f"s3://bucket/{RUN}")
    place.settings("nano")
    run(place)
    assert server.tokens[-1] == "token-of-the-service-account"
    assert f"{RUN}/raw/_manifest.json" in server.objects
    for secret in ("the-secret-of-the-role", "session-token", "token-of-the-service-account"):
        assert secret not in caplog.text


def test_credentials_come_from_a_mounted_secret(server, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = key\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    ObjectStore("s3://bucket/x").check()


def test_opening_a_workspace_imports_no_torch():
    code = "import sys, elysium.pipeline.remote; sys.exit('torch' in sys.modules or 'boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _machine_of(scratch):
    (mirror,) = scratch.glob("*/run")
    return RemoteWorkspace(ObjectStore(f"s3://bucket/{RUN}"), Workspace(mirror), QUICK)


def _step(scratch, server, *, wait=True, **environment):
    """Starts the step in a process of its own."""
    code = f"""
        import sys
        from elysium.errors import ElysiumError
        from elysium.logs import show_logs
        from elysium.pipeline.execute import run_step
        from elysium.pipeline.workspace import open_workspace
        import test_remote_workspace
        show_logs(20)
        place = open_workspace("s3://bucket/{RUN}")
        place._rhythm = test_remote_workspace.QUICK
        try:
            run_step(place, test_remote_workspace.ROW, place.settings("nano"))
        except ElysiumError as error:
            print(error, file=sys.stderr)
            sys.exit(error.exit_code)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={
            **os.environ,
            "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1]}",
            "ELYSIUM_SCRATCH": str(scratch),
            **environment,
        },
        stderr=subprocess.PIPE if "ELYSIUM_SAVE_SECONDS" not in environment and wait else None,
        text=True,
    )


def _until(true):
    """Returns when something holds; the time limit of the tests ends it where it never does."""
    while not true():
        threading.Event().wait(0.02)
