"""The surface others rely on (DESIGN §8): a name that goes away here is a broken promise, not a clean-up."""

import importlib

import click
import pytest

from elysium.cli import _COMMANDS
from elysium.data.records import TrackRecord
from elysium.pipeline.steps import STEPS

OPTIONS = {
    "pipeline run": {"--preset", "--workspace", "--resume", "--runner", "--set", "--json"},
    "pipeline compile": {"--output"},
    "pipeline report": {"--json"},
    "step": {"--workspace", "--preset", "--shard", "--set", "--json"},
    "data checkout": {"--output", "--json"},
    "data import": {"--annotations", "--images", "--output", "--split", "--max-skipped", "--json"},
    "data sets": {"--json"},
    "data undelete": {"--since", "--dry-run", "--json"},
    "curate run": {"--source", "--output", "--set", "--json"},
    "curate status": {"--json"},
    "curate explain": set(),
    "curate plan": {"--pairs", "--videos", "--from", "--gpus", "--price", "--preset", "--set", "--json"},
    "model describe": {"--json"},
    "model average": {"--output", "--dtype", "--json"},
    "convert": {
        *("--from", "--to", "--vision-config", "--text-config", "--tokenizer", "--max-shard-size", "--json"),
    },
    "train run": {"--data", "--output", "--resume", "--set"},
    "train plan": {"--gpus", "--price"},
    "train compare": {"--output", "--home", "--json"},
    "ablate": {
        *("--output", "--scale", "--selectors", "--shares", "--positions", "--seeds", "--steps", "--jobs", "--preset"),
        *("--set", "--json"),
    },
    "evaluate run": {
        *("--task", "--data", "--checkpoint", "--output", "--dataset", "--split", "--annotations", "--media", "--only"),
        *("--limit", "--max-frames", "--processes", "--shard", "--judge-model", "--judge-url", "--judge-prompt"),
        *("--judge-price", "--judge-max-cost", "--missing-videos", "--training-data", "--log-run", "--set"),
        *("--home", "--json"),
    },
    "evaluate champion": {"--workspace", "--json"},
    "evaluate report": {"--output", "--name", "--json"},
    "evaluate compare": {"--common", "--json"},
    "evaluate score": {
        *("--format", "--predictions", "--ground-truth", "--absent", "--absent-frames", "--dataset", "--split"),
        *("--only", "--protocol", "--units", "--boxes", "--one-based", "--lengths", "--invalid", "--frame-size"),
        *("--attributes", "--curves", "--output", "--json"),
    },
    "reproduce": {
        *("--model", "--data", "--output", "--from-results", "--ablation", "--tolerance", "--score-tolerance"),
        *("--set", "--json"),
    },
    "track": {
        *("--expression", "--box", "--output", "--format", "--resume", "--checkpoint", "--device", "--dtype", "--json"),
        *("--start", "--stop", "--stride", "--fps", "--batch-size", "--multi", "--absent-below", "--zoom"),
        *("--show-confidence", "--max-pixels", "--max-seconds", "--max-file-bytes", "--allow-private-hosts"),
    },
    "ground": {"--box", "--multi", "--output", "--checkpoint", "--json"},
    "describe": {"--box", "--frames", "--temperature", "--seed", "--checkpoint", "--json"},
    "ask": {"--frames", "--temperature", "--seed", "--max-tokens", "--checkpoint", "--json"},
    "registry list": {"--json"},
    "registry show": {"--json"},
    "registry promote": {"--json"},
    "registry rollback": {"--json"},
    "registry candidate": {"--workspace", "--json"},
    "registry approve": {"--by", "--workspace", "--json"},
}


@pytest.mark.parametrize(("command", "options"), OPTIONS.items(), ids=OPTIONS)
def test_commands_and_options_stay(command, options):
    assert options <= {flag for parameter in find(command).params for flag in parameter.opts}


@pytest.mark.parametrize("command", OPTIONS)
def test_every_command_explains_itself_with_an_example(command):
    text = find(command).help or ""
    assert "Example" in text, f"elysium {command} --help shows no example"
    assert r"\b" not in text, "a raw docstring keeps click from keeping the lines of its example"
    for parameter in find(command).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"elysium {command} {parameter.opts[0]} has no help"


def test_the_fields_of_a_record_are_the_published_datasets():
    published = "source id vid metadata frames object_class box object_description frame_size"
    assert list(TrackRecord.model_fields) == published.split()


def test_step_and_artifact_names_stay():
    assert [(row.name, row.output.folder) for row in STEPS] == [
        ("ingest", "raw"),
        ("validate-raw", "raw_report"),
        ("curate", "tracks"),
        ("validate-tracks", "tracks_report"),
        ("snapshot", "snapshot"),
        ("warmup", "checkpoints/warmup"),
        ("pretrain", "checkpoints/pretrain"),
        ("finetune", "checkpoints/finetune"),
        ("evaluate", "evaluation"),
        ("promote", "promotion"),
    ]


def find(path):
    first, *rest = path.split()
    module, _, name = _COMMANDS[first][0].partition(":")
    command = getattr(importlib.import_module(module), name)
    for part in rest:
        command = command.commands[part]
    return command
