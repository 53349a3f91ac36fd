"""Components at work: run by Kubeflow's own runner, by a step that refuses, fails, or is lost."""

import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from elysium.errors import ElysiumError, UsageError
from elysium.pipeline.component import RunArguments, run_component, run_shard, run_workspace
from elysium.pipeline.exit_report import run_report, step_ends
from elysium.pipeline.kubeflow import kubeflow_python
from elysium.pipeline.page import self_contained
from elysium.pipeline.steps import STEPS, step
from elysium.pipeline.workspace import Workspace

ROOT = Path(__file__).parents[2]

# Stands in for the Python of `python -m elysium.cli step …`, without a step's work: what is published already is
# finished, anything else is published at once, or ends as `plan.json` says. Steps named real run as they are.
STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path

_, _, _, command, name, *rest = sys.argv
plan = json.loads(Path(__file__).with_name("plan.json").read_text())
if command != "step":
    sys.exit(1)
if name in plan["real"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
print("arguments", json.dumps(rest))
end = plan["ends"].get(name, 0)
if end not in (0, 3):
    print("the disk is broken")
    sys.exit(end)
folder = Path(rest[rest.index("--workspace") + 1]) / plan["folders"][name]
if "--shard" in rest or (folder / "_manifest.json").exists():
    sys.exit(0)
(folder / "model").mkdir(parents=True)
(folder / "model" / "weights").write_text(name)
(folder / "index.html").write_text('<a href="docs/index.html">all</a><img src="plot.png">')
(folder / "plot.png").write_bytes(b"png")
status = "refused" if end else "done"
manifest = dict(step=name, status=status, summary=f"{{name}} is {{status}}", started="s")
manifest.update(key="k", digest="d", files={{}}, metrics=dict(clips=3, share=0.5, word="yes"))
manifest.update(seconds=1.5, peak_mib=1, code="c")
(folder / "_manifest.json").write_text(json.dumps(manifest))
sys.exit(end)
"""


class Thing:
    """What Kubeflow hands a component for an artifact."""

    def __init__(self, path):
        self.path, self.metadata, self.metrics = str(path), {}, {}

    def log_metric(self, name, value):
        self.metrics[name] = value


@pytest.fixture
def ends(tmp_path, monkeypatch):
    """Makes steps end as is said, by name, without doing their work; those named real do it."""
    program = tmp_path / "stand-in" / "python"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("ELYSIUM_PYTHON", str(program))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def say(real=(), **codes):
        plan = {
            "real": list(real),
            "ends": {name.replace("_", "-"): code for name, code in codes.items()},
            "folders": {row.name: row.output.folder for row in STEPS},
        }
        (program.parent / "plan.json").write_text(json.dumps(plan))

    say()
    return say


@pytest.fixture
def run(tmp_path):
    return RunArguments(f"{tmp_path}/runs/", "nano", ["a.b=1"], "id-1")


def kubeflow(workspace, preset):
    try:
        python = kubeflow_python()
    except UsageError as error:
        pytest.skip(str(error))
    command = [python, str(ROOT / "components" / "pipeline.py"), "run", "--workspace", str(workspace)]
    return subprocess.run(
        [*command, "--preset", str(preset)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=workspace.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def one(folder, name):
    (found,) = folder.rglob(name)
    return found


def test_a_run_that_another_runner_began_goes_to_its_end_on_kubeflow(finished, toy, ends, tmp_path):
    source, shown = finished
    home = tmp_path / "first"
    shutil.copytree(source.root, home)
    # This one is done again, for real: it reads from three blocks, and others read from it.
    shutil.rmtree(home / "snapshot")
    ends(real=["snapshot"])
    result = kubeflow(home, toy)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    place = Workspace.at(home)
    assert [place.manifest(row).status for row in STEPS] == ["done"] * len(STEPS)
    assert json.loads((home / "snapshot" / "lineage.json").read_text())["data_hash"] == shown["data_hash"]
    artifacts = tmp_path / "kubeflow"
    weights = one(artifacts, "finetune_output/model.safetensors")
    assert weights.read_bytes() == (home / "checkpoints" / "finetune" / "model" / "model.safetensors").read_bytes()
    assert "href" not in one(artifacts, "raw_report_output").read_text(), "the data docs stand alone"
    assert one(artifacts, "validate-raw-step/reason").read_text() == place.manifest(step("validate-raw")).summary
    summary = one(artifacts, "run_summary").read_text()
    assert summary.count("✓") == len(STEPS)
    assert place.manifest(step("promote")).summary in summary


def test_a_gate_that_refuses_is_not_tried_again_and_nothing_builds_on_it(ends, tmp_path):
    ends(validate_tracks=3)
    result = kubeflow(tmp_path / "run", "nano")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    place = Workspace.at(tmp_path / "run")
    done = {row.name for row in STEPS if place.manifest(row) is not None}
    assert done == {"ingest", "validate-raw", "curate", "validate-tracks"}
    assert result.stdout.count("validate-tracks is refused") >= 1
    summary = one(tmp_path / "kubeflow", "run_summary").read_text()
    assert "validate-tracks refused: validate-tracks is refused" in summary
    assert "| – | snapshot |  | skipped: validate-tracks refused |" in summary
    assert "skipped: validate-tracks refused" in one(tmp_path / "kubeflow", "run_report").read_text()


def test_a_component_fills_its_artifacts(ends, run, tmp_path):
    output, page, metrics = (Thing(tmp_path / name) for name in ("output", "page", "metrics"))
    assert run_component("finetune", run, output, page=page, metrics=metrics) == "done"
    assert (tmp_path / "output" / "weights").read_text() == "finetune"
    assert metrics.metrics == {"clips": 3.0, "share": 0.5}
    assert output.metadata["summary"] == "finetune is done"
    assert output.metadata["folder"] == str(tmp_path / "runs" / "id-1" / "checkpoints" / "finetune")
    log = (tmp_path / "runs" / "id-1" / "logs" / "finetune.log").read_text()
    assert json.loads(log.removeprefix("arguments "))[-4:] == ["--preset", "nano", "--set", "a.b=1"]


def test_a_checkpoint_can_stay_in_the_workspace(ends, run, tmp_path):
    run_component("finetune", run, Thing(tmp_path / "output"), copy_model=False)
    assert json.loads((tmp_path / "output").read_text())["step"] == "finetune"


def test_a_refused_gate_ends_well_and_says_why(ends, run, tmp_path):
    ends(validate_raw=3)
    output = Thing(tmp_path / "output")
    assert run_component("validate-raw", run, output, reason=str(tmp_path / "deep" / "reason")) == "refused"
    assert (tmp_path / "deep" / "reason").read_text() == "validate-raw is refused"
    assert "data:image/png;base64,cG5n" in (tmp_path / "output").read_text()


@pytest.mark.parametrize("code", [1, 2, 137])
def test_a_failed_step_fails_its_task_with_its_last_line(ends, run, tmp_path, code):
    ends(curate=code)
    with pytest.raises(ElysiumError, match=f"exit code {code}: the disk is broken"):
        run_component("curate", run, Thing(tmp_path / "output"))


def test_a_step_that_is_no_gate_cannot_refuse(ends, run, tmp_path):
    ends(curate=3)
    with pytest.raises(ElysiumError, match="exit code 3: curate is refused"):
        run_component("curate", run, Thing(tmp_path / "output"))


@pytest.mark.parametrize(("code", "attempts"), [(1, 4), (2, 1)])
def test_a_part_is_tried_again_inside_its_pod(ends, run, tmp_path, code, attempts):
    assert run_shard("curate", run, "1/3") == "1/3"
    ends(curate=code)
    with pytest.raises(ElysiumError, match=f"shard 2/3 .* exit code {code}"):
        run_shard("curate", run, "2/3")
    log = (tmp_path / "runs" / "id-1" / "logs" / "curate-2-of-3.log").read_text()
    assert log.count("the disk is broken") == attempts


def test_the_report_tells_failed_lost_and_skipped_apart(ends, run, tmp_path):
    for name in ("ingest", "validate-raw"):
        run_component(name, run, Thing(tmp_path / name))
    place = Workspace.at(run_workspace(run.workspace, run.run_id))
    found = {end.name: (end.status, end.text) for end in step_ends(place)}
    assert found["validate-raw"] == ("done", "validate-raw is done")
    assert found["curate"][0] == "failed"
    assert "no word" in found["curate"][1]
    assert found["snapshot"] == ("skipped", "validate-tracks skipped")
    ends(curate=1)
    with pytest.raises(ElysiumError):
        run_component("curate", run, Thing(tmp_path / "output"))
    assert {end.name: end.text for end in step_ends(place)}["curate"] == "exit code 1: the disk is broken"
    ends()
    run_component("curate", run, Thing(tmp_path / "output"))
    assert {end.name: end.status for end in step_ends(place)}["curate"] == "done"


@pytest.fixture
def chat():
    """A webhook on this machine; its list holds what was posted, `answer` is what it says."""

    class Chat(BaseHTTPRequestHandler):
        posted, answer = [], 200

        def do_POST(self):
            self.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(Chat.answer)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Chat)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Chat.url = f"http://127.0.0.1:{server.server_port}/services/secret-part"
    yield Chat
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("answer", [200, 500])
def test_the_report_is_posted_and_a_deaf_chat_fails_nothing(ends, chat, run, tmp_path, monkeypatch, caplog, answer):
    chat.answer = answer
    monkeypatch.setenv("ELYSIUM_NOTIFY_URL", chat.url)
    run_report(run.workspace, run.run_id, "weekly", Thing(tmp_path / "summary"), Thing(tmp_path / "page"))
    assert chat.posted == [{"text": f"Elysium weekly: ingest failed: {step_ends(Workspace.at(tmp_path))[0].text}"}]
    assert ("nobody was notified: the webhook answered 500" in caplog.text) == (answer == 500)
    assert "secret-part" not in caplog.text
    assert "| ✗ | ingest |" in (tmp_path / "summary").read_text()


def test_a_page_stands_alone():
    page = '<img src="clip.gif"><img src="https://x/y.png"><a class="a" href="docs/i.html">docs</a> <a href="#t">t</a>'
    html = self_contained(page, {"clip.gif": b"gif"}.get, "s3://bucket/run/raw_report")
    assert '<img src="data:image/gif;base64,Z2lm">' in html
    assert '<img src="https://x/y.png">' in html
    assert '<a href="#t">t</a>' in html
    assert "docs (<code>s3://bucket/run/raw_report/docs/i.html</code>)" in html
