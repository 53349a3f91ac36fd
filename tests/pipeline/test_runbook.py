"""The runbook tells the truth: its messages are the code's, its files are there, its figures are computed."""

import json
import re
from pathlib import Path

import pytest

from elysium.cli import run

ROOT = Path(__file__).parents[2]
RUNBOOK = ROOT / "docs" / "operations.md"
PAGES = [RUNBOOK, *sorted((ROOT / "docs" / "cluster").glob("*.md"))]
# Not ours: reasons that Kubernetes gives, and what commands end with.
THEIRS = {"DeadlineExceeded"}


def messages():
    """Returns what stands in code letters in the first column of the tables about messages."""
    section = RUNBOOK.read_text().partition("## What messages mean")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| ")]
    return [found for row in rows for found in re.findall(r"`([^`]+)`", row) if found not in THEIRS]


def source():
    """Returns all code as text, with literals that span lines put together."""
    files = [*(ROOT / "elysium").rglob("*.py"), *(ROOT / "components").rglob("*.py"), *(ROOT / "dags").rglob("*.py")]
    return "\n".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in files)


def test_the_messages_it_explains_are_the_codes():
    text = source()
    assert len(messages()) > 30
    assert [message for message in messages() if message not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_files_of_the_pages_are_there(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target
    for name in re.findall(r"\b(?:k8s|tests|benchmarks)/[\w./-]+\.(?:yaml|py|json|md)\b(?!\.)", text):
        assert (ROOT / name).exists() or "/mine/" in name, name


def test_headings_that_are_linked_to_are_there():
    text = RUNBOOK.read_text()
    heads = {re.sub(r"[^\w-]", "", head.lower().replace(" ", "-")) for head in re.findall(r"^#+ (.+)$", text, re.M)}
    for page in PAGES:
        for file, head in re.findall(r"\]\(([^)#]*)#([^)]+)\)", page.read_text()):
            if not file or file.endswith("operations.md"):
                assert head in heads, f"{page.name}: #{head}"


def test_rows_about_curation_are_what_the_command_says(capsys):
    text = (ROOT / "docs" / "cluster" / "capacity.md").read_text()
    for gpus, engine in ((8, "local"), (32, "ray"), (256, "ray")):
        command = ["curate", "plan", "--pairs", "1270000", "--preset", "vicuna-7b", "--gpus", str(gpus)]
        assert run([*command, "--engine", engine, "--price", "2.5", "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)
        row = f"| {gpus} | {engine} | {plan['hours'] / 24:,.1f} | {plan['bound_by']} | {plan['gpu_hours']:,.0f} |"
        assert row in text
    assert f"{plan['bytes_fetched'] / 1e12:.1f} TB fetched" in text


def test_rows_about_training_are_those_of_the_benchmark():
    text = (ROOT / "docs" / "cluster" / "capacity.md").read_text()
    for row in json.loads((ROOT / "benchmarks" / "results" / "capacity.json").read_text())["training"]:
        hours = f"{row['hours']:,.1f} | {row['hours'] * row['gpus']:,.0f}"
        assert f"| {row['gpus']} | {row['part']} | {row['steps']:,} | {row['samples_per_step']} | {hours} |" in text
