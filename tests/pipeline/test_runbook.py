"""The runbook tells the truth: its messages are the code's, its files are there, its figures are computed."""

import functools
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from rendered_overlays import MINE, rendered, standing_pods

from elysium.cli import cli, run
from elysium.config import load_settings
from elysium.pipeline.airflow import airflow_environment

ROOT = Path(__file__).parents[2]
RUNBOOK = ROOT / "docs" / "operations.md"
PAGES = [RUNBOOK, *sorted((ROOT / "docs" / "cluster").glob("*.md"))]
# Not ours: reasons that Kubernetes gives, and what commands end with.
THEIRS = {"DeadlineExceeded"}
# How many of a quantity's unit are one core, or one GiB.
SCALE = {"m": 1000, "": 1, "Mi": 1024, "Gi": 1}


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
    for name in re.findall(r"\b(?:k8s|tests|benchmarks)/[\w./-]*[\w-](?:/|\b)(?![\w*<{])", text):
        # What readers copy has the place of its own that they give it.
        place = name.replace("k8s/overlays/mine", "k8s/examples/mine")
        assert (ROOT / place).exists(), name


def test_headings_that_are_linked_to_are_there():
    for page in PAGES:
        for file, head in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
            text = (page.parent / file).read_text() if file else page.read_text()
            titles = re.findall(r"^#+ (.+)$", text, re.M)
            heads = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}
            assert head in heads, f"{page.name}: {file}#{head}"


def commands(program):
    """Returns the commands of a program that the pages print, each with its page, as words."""
    found = []
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.M | re.S)
        lines = [line.partition("  #")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"`([^`\n]+)`", text)
        for line in lines:
            words = re.split(r"\s(?:&&|\||;|<<<|<|>)\s|;\s|\s>\s*", line.strip())
            for part in words:
                # At the beginning, behind variables, or behind the two strokes of `kubectl exec`.
                begin = re.search(rf"(?:^|^[A-Z_]+=\S+ |-- ){program} (?=[a-z-])", part)
                if begin:
                    found.append((page.name, split(part[begin.end() :])))
    return found


def split(text):
    """Returns a command's words; one that is cut short in a sentence ends where it is cut."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def options(words):
    """Returns the options among words; short ones that are written together one by one."""
    found = []
    for word in words:
        if re.match(r"--[a-z]", word):
            found.append(word.partition("=")[0].rstrip("]"))
        elif re.fullmatch(r"-[a-z]+", word):
            found += [f"-{letter}" for letter in word[1:]]
    return found


def test_our_commands_take_the_options_that_the_pages_give_them():
    printed = commands("elysium")
    assert len(printed) > 20
    for page, words in printed:
        command, context = cli, click.Context(cli)
        while isinstance(command, click.Group) and words:
            command, words = command.get_command(context, words[0]), words[1:]
        assert command is not None, f"{page}: elysium {words}"
        taken = {name for option in command.params for name in option.opts + option.secondary_opts}
        assert set(options([word.lstrip("[") for word in words])) <= taken | {"--help"}, (
            f"{page}: {command.name} {words}"
        )


def test_airflows_commands_can_be_parsed(tmp_path):
    printed = [(page, words) for page, words in commands("airflow") if len(words) > 1 and "…" not in words]
    assert {words[1] for _, words in printed} >= {"unpause", "trigger", "clean", "downgrade", "set"}
    code = (
        "import json, sys\nfrom airflow.cli import cli_parser\nparser = cli_parser.get_parser()\n"
        "for words in json.load(sys.stdin): parser.parse_args(words)\n"
    )
    # What a shell would put in is a date.
    given = [["2026-11-01" if word.startswith("$(") else word for word in words] for _, words in printed]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=airflow_environment(tmp_path),
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@functools.cache
def help_of(verb):
    """Returns what kubectl says of a verb, and of the options that all take."""
    texts = [subprocess.run(["kubectl", *words], capture_output=True, text=True, check=True).stdout for words in verb]
    return "\n".join(texts)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl on PATH")
def test_kubectls_verbs_take_the_options_that_the_pages_give_them():
    length = {"create": 3, "rollout": 2, "auth": 2}
    for page, words in commands("kubectl"):
        words = words[: words.index("--")] if "--" in words else words
        words = words[2:] if words[0] == "-n" else words
        verb = words[:1] if words[1:2] and words[1].startswith("-") else words[: length.get(words[0], 1)]
        text = help_of(((*verb, "--help"), ("options",)))
        for option in options(words):
            assert re.search(rf"(?:^|[\s,]){re.escape(option)}(?:[=,:\s]|$)", text, re.M), f"{page}: {verb} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_kubectl_is_told_of_is_there(page):
    pods = standing_pods(MINE)
    for name, container in re.findall(r"exec deploy/([\w-]+)(?: -c ([\w-]+))?", page.read_text()):
        assert not container or container in [one["name"] for one in pods[name]["spec"]["containers"]]
    for name in re.findall(r"deploy(?:ment)?/([a-z][\w-]+)", page.read_text()):
        assert name in pods, name


def test_the_models_that_are_fetched_are_those_of_the_preset():
    text = RUNBOOK.read_text()
    preset = ROOT / "k8s" / "examples" / "mine" / "preset.yaml"
    settings = load_settings(str(preset))
    named = {
        *(settings.model.vision.weights, settings.model.llm.weights),
        *(settings.curate.spacy_model, settings.curate.grounder_model, settings.curate.tracker_model),
    }
    fetched = dict(re.findall(r"hf download (\S+) --local-dir (\S+)", text))
    assert {*fetched.values(), "/workspace/models/en_core_web_sm"} == named
    assert "elysium-shell:/workspace/models/en_core_web_sm" in text
    theirs = load_settings("vicuna-7b")
    hub = {theirs.model.vision.weights, theirs.model.llm.weights}
    hub |= {theirs.curate.grounder_model, theirs.curate.tracker_model}
    assert set(fetched) == hub


def test_the_servers_ask_for_no_more_than_the_runbook_says():
    cores, gib = map(int, re.search(r"the servers ask for (\d+) cores and (\d+) GiB", RUNBOOK.read_text()).groups())
    asked = {"cpu": 0.0, "memory": 0.0}
    for document in rendered(MINE):
        if document["kind"] in ("Deployment", "StatefulSet"):
            (container,) = document["spec"]["template"]["spec"]["containers"]
            for name, value in container["resources"]["requests"].items():
                asked[name] += (
                    document["spec"]["replicas"] * float(re.sub(r"\D", "", value)) / SCALE[value.lstrip("0123456789")]
                )
    assert cores - 1 < asked["cpu"] <= cores
    assert gib - 1 < asked["memory"] <= gib


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
