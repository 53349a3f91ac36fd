"""Who may work on a run on S3: leases, credentials and permissions. The server is a small real one on this machine."""

import logging
import subprocess
import sys

import pytest
from remote_steps import ROW, RUN, run

from elysium.data.objects import ObjectStore
from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.execute import _run, step_context
from elysium.pipeline.remote_lease import Rhythm
from elysium.pipeline.steps import step
from elysium.pipeline.workspace import Share, open_workspace


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
