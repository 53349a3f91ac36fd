"""The page, from a fabricated run at several points of its life."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from elysium.evaluation.report import render
from elysium.pipeline.steps import STEPS, step
from elysium.pipeline.workspace import Manifest, Workspace, now

IDS = [f"clip-{number}" for number in range(12)]


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


def figures(auc, static=30.0):
    """Returns one task's entry whose sequences lie around the given means."""
    spread = np.linspace(-5, 5, len(IDS))
    rows = {
        name: {"model": {"auc": auc + d}, "static_box": {"auc": static - d}}
        for name, d in zip(IDS, spread, strict=True)
    }
    curves = {"model": {"success": [auc] * 21}, "static_box": {"success": [static] * 21}}
    return {
        "model": {"auc": auc},
        "baselines": {"static_box": {"auc": static}},
        "intervals": {"auc": [auc - 2, auc + 2]},
        "num_sequences": len(IDS),
        "num_failures": 4,
        "per_sequence": rows,
        "curves": curves,
    }


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
        "task": "sot-simulated",
        "rank": "best",
        "auc": 61.0,
        "id": "x",
        "expression": "a <b> car",
    }
    evaluation = {
        "metrics.json": {"data_hash": "abc.dir", "tasks": {"sot-simulated": figures(50.0)}},
        "champion.json": {"data_hash": "abc.dir", "version": "1", "tasks": {"sot-simulated": figures(60.0)}},
        "clips/index.json": [clip],
        "clips/a.webp": b"RIFF",
    }
    publish(place, "evaluate", evaluation)
    publish(place, "promote", {"decision.json": DECISION})
    return place


def words(page):
    """Returns what a person reads."""
    text = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_a_whole_run_shows_every_part(whole):
    page = render(whole.root)
    text = words(page)
    for part in ("Look at it", "How well it does", "The decision", "The data", "Training", "The steps", "Versions"):
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
    links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert any(link.startswith("data:image/webp;base64,") for link in links)
    local = [link for link in links if not link.startswith("data:")]
    assert local == ["raw_report/index.html", "tracks_report/index.html"]
    assert "<script" not in page
    assert "@import" not in page


def test_figures_stand_beside_baselines_and_champion_with_intervals(whole):
    text = words(render(whole.root))
    assert re.search(r"AUC 50\.0 48\.0 to 52\.0 60\.0 ▼ −10\.0 \(−10\.0 to −10\.0\) 30\.0 ▲ \+20\.0", text)
    assert "12 sequences, 4 answers failed" in text
    assert "Champion, version 1" in text
    assert "this model (50.0)" in text, "the legend of the success plot gives the AUC"


def test_two_sequences_are_too_few_to_judge(whole):
    entry = figures(50.0)
    entry["per_sequence"] = {name: entry["per_sequence"][name] for name in IDS[:2]}
    alone = {"data_hash": "abc.dir", "tasks": {"sot-real": entry}}
    publish(whole, "evaluate", {"metrics.json": alone, "champion.json": {"version": "1", "tasks": {}}})
    table = words(render(whole.root)).partition("Task Metric")[2]
    assert re.search(r"30\.0 [+−][\d.]+, too few to judge", table)
    assert not re.search("[▲▼≈]", table)


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
    checker = _Balance()
    checker.feed(render(whole.root))
    assert checker.open == []


class _Balance(HTMLParser):
    VOID = ("meta", "img", "br", "line", "circle", "polyline")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag
