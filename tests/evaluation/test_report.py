"""The page, from a fabricated run at several points of its life."""

import json
import re

import pytest
from PIL import Image
from report_samples import IDS, Tags, evaluation, links, words

from elysium.evaluation.report import render
from elysium.evaluation.report.clips import encode
from elysium.pipeline.steps import STEPS, step
from elysium.pipeline.workspace import Manifest, Workspace, now


def publish(place, name, files=(), status="done", summary="all is well"):
    folder = place.folder(step(name))
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in dict(files).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    manifest = Manifest(
        step=name,
        status=status,
        key="",
        digest="",
        files={},
        summary=summary,
        metrics={},
        started=now(),
        seconds=12.5,
        peak_mib=345.6,
        code="0.1.0+abc",
    )
    (folder / "_manifest.json").write_text(manifest.model_dump_json())


def figures(auc, **changes):
    """Returns `metrics.json` of a task whose sequences lie around the given mean."""
    return evaluation(auc, "sot-simulated", data_hash="abc.dir", **changes).model_dump(mode="json", exclude_none=True)


def record(split, kind, number):
    return {"vid": f"v{number}", "frames": [f"frames/v{number}/0.jpg"], "metadata": {"kind": kind, "split": split}}


def lines(*entries):
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


TRACKS = {
    "train.jsonl": lines(record("train", "simulated", 1), record("train", "simulated", 1), record("train", "real", 2)),
    "evaluation.jsonl": lines(record("evaluation", "simulated", 3)),
    "rejects.jsonl": lines(
        *[{"stage": "grounding", "reason": "not_found_first"}] * 7, {"stage": "chunk", "reason": "x<y"}
    ),
    "stats.json": {"num_candidates": 12, "funnel": [{"stage": "grounding", "passed": 5}]},
}
WEBP = encode([Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")])
DECISION = {
    "promoted": False,
    "summary": "version 2 is not champion (version 1 stays): too weak",
    "reasons": ["too weak"],
    "version": "2",
    "champion_before": "1",
    "checks": [
        {
            "name": "floor",
            "kind": "floor",
            "value": 12.5,
            "bound": 20.0,
            "interval": None,
            "passed": False,
            "text": "too weak",
        }
    ],
}


@pytest.fixture
def place(tmp_path):
    place = Workspace.at(tmp_path / "my-run")
    place.create("nano", ["seed=5"])
    return place


@pytest.fixture
def whole(place):
    for row in STEPS:
        publish(place, row.name)
    publish(place, "curate", TRACKS)
    publish(place, "snapshot", {"lineage.json": {"data_hash": "abc.dir"}})
    history = [{"step": 10, "loss": 3.0, "learning_rate": 1e-3}, {"step": 20, "loss": 1.25, "learning_rate": 5e-4}]
    publish(place, "finetune", {"history.json": history, "training.json": {"samples": 3200, "seconds": 125.0}})
    clip = {
        "file": "a.webp",
        "pictures": "a.bare.webp",
        "task": "sot-simulated",
        "rank": "best",
        "id": "clip-11",
        "metric": "auc",
        "figure": 55.0,
        "caption": "a <b> car",
        "numbers": [1, 2],
        "length": 9,
        "true": [None, None],
        "predicted": [None, None],
    }
    measured = {
        "metrics.json": figures(50.0, failures=4),
        "champion.json": figures(60.0, version="1"),
        "clips/index.json": [clip],
        "clips/a.webp": WEBP,
    }
    publish(place, "evaluate", measured)
    publish(place, "promote", {"decision.json": DECISION})
    return place


def test_a_whole_run_shows_every_part(whole):
    page = render(whole.root)
    text = words(page)
    parts = ("Look at it", "Beside the champion", "Follow a given box · simulated clips", "The decision", "The data")
    for part in (*parts, "Training", "The steps", "How to read it", "Versions"):
        assert f"<h2>{part}</h2>" in page
    assert "Run my-run" in text
    assert "Not promoted" in text
    assert "seed=5" in text
    assert "abc.dir" in text
    assert "0.1.0+abc" in text
    assert "12.5 s" in text
    assert "346 MiB" in text
    assert "Not there yet" not in text


def test_the_page_is_one_file_that_asks_for_nothing(whole):
    page = render(whole.root)
    assert "data:image/webp;base64," in page
    assert links(page) == ["raw_report/index.html", "tracks_report/index.html"]
    assert "@import" not in page
    script = "".join(re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL))
    assert not re.findall(
        r"fetch|XMLHttpRequest|WebSocket|importScripts|import\(|sendBeacon|https?://(?!www\.w3\.org/)", script
    )


def test_figures_stand_beside_baselines_and_champion_with_intervals(whole):
    text = words(render(whole.root))
    assert re.search(r"this model 50\.0 4\d\.\d to 5\d\.\d", text)
    assert re.search(r"the champion, version 1 60\.0 5\d\.\d to 6\d\.\d ▲ better \+10\.0", text)
    assert re.search(r"static box 30\.0 2\d\.\d to 3\d\.\d ▼ worse −20\.0", text)
    assert "4 unparsed" in text
    assert "The champion, version 1 is better than this model: better in sot-simulated auc, worse in none." in text


def test_two_sequences_are_too_few_to_judge(whole):
    publish(whole, "evaluate", {"metrics.json": figures(50.0, ids=IDS[:2])})
    (whole.folder(step("evaluate")) / "champion.json").unlink()
    text = words(render(whole.root))
    assert "−20.0, too few to judge" in text
    assert not re.search(r"[▲▼≈] (better|worse|cannot tell) [+−]", text)


def test_data_is_counted_and_reject_reasons_are_drawn(whole):
    page = render(whole.root)
    assert "train real 1 1 1 train simulated 2 1 1" in words(page)
    assert re.search(r"grounding: not found first.*?width:100\.00%.*?>7<", page)
    assert "chunk: x&lt;y" in page, "what comes from data is escaped"
    assert "a &lt;b&gt; car" in page


@pytest.mark.parametrize(
    ("count", "missing"), [(0, "the data"), (5, "figures, success plots and clips"), (9, "the promotion decision")]
)
def test_it_works_after_any_step_and_names_what_is_missing(place, count, missing):
    for row in STEPS[:count]:
        publish(place, row.name, TRACKS if row.name == "curate" else {})
    text = words(render(place.root))
    assert f"{missing}: the step" in text
    assert text.count("not run") == len(STEPS) - count


def test_a_refused_gate_is_told_first(place):
    publish(place, "ingest")
    publish(place, "validate-raw", status="refused", summary="3 of 4 clips are too short")
    page = render(place.root)
    assert "Stopped at validate-raw" in words(page)
    assert "The quality gate said no: 3 of 4 clips are too short." in words(page)
    assert page.index("<h2>The steps</h2>") < page.index("<h2>The data</h2>")


def test_a_step_that_died_shows_its_last_lines(place):
    publish(place, "ingest")
    place.partial(step("validate-raw")).mkdir(parents=True)
    place.log_path("validate-raw").parent.mkdir()
    place.log_path("validate-raw").write_text("first\n" * 50 + "error: no space left <here>\n")
    page = render(place.root)
    assert "validate-raw has not finished" in words(page)
    assert "error: no space left &lt;here&gt;" in page
    assert page.count("first") < 20


def test_a_folder_without_a_run_still_gives_a_page(tmp_path):
    assert "Under way" in render(tmp_path / "nothing")


def test_every_tag_is_closed(whole):
    Tags(render(whole.root))
