"""The `elysium` command: groups are imported only when used, so that help is instant."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from importlib import import_module
from typing import Any

import click

from elysium import __version__
from elysium.errors import ElysiumError
from elysium.logs import show_logs

# Command, where it lives, and its line of help (here, so that `elysium --help` imports nothing).
_COMMANDS: dict[str, tuple[str, str]] = {
    "pipeline": ("elysium.pipeline.commands:pipeline", "Run the whole retraining pipeline, or write it for Kubeflow."),
    "step": ("elysium.pipeline.commands:step_command", "Run one step of a workspace."),
    "data": ("elysium.data.commands:data", "Import public data sets; bring back the data of a run or a model."),
    "curate": ("elysium.curation.commands:curate", "Generate expression-track pairs from captioned videos."),
    "model": ("elysium.model_commands:model", "Say what a model is made of and what it needs."),
    "convert": ("elysium.model_commands:convert", "Convert checkpoints of the official release, both ways."),
    "train": ("elysium.training.commands:train", "Train one phase."),
    "ablate": ("elysium.ablation.commands:ablate", "Compare token selectors and budgets: the paper's Table 7, small."),
    "track": ("elysium.track_command:track", "Follow objects through videos, by name or by box."),
    "ground": ("elysium.inference_commands:ground", "Find objects in a picture by name, or name what is in a box."),
    "describe": ("elysium.inference_commands:describe", "Say what an object in a video is."),
    "ask": ("elysium.inference_commands:ask", "Answer questions about a video."),
    "evaluate": ("elysium.evaluation.commands:evaluate", "Measure a model, or score any tracker's result files."),
    "reproduce": ("elysium.evaluation.paper.commands:reproduce", "Fill the paper's tables with measured figures."),
    "registry": ("elysium.registry.commands:registry", "List, show, promote and roll back models."),
}


class _LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="elysium")
@click.option("--verbose", "-v", is_flag=True, help="Log more, and show stack traces of failures.")
@click.pass_context
def cli(ctx: click.Context, verbose: bool) -> None:
    """Elysium finds, follows and describes any object you can name in a video.

    \b
    Examples:
      elysium pipeline run                     the whole retraining pipeline on the built-in samples
      elysium step curate --workspace runs/x   one step of a run
      elysium track clip.mp4 --expression "a red car" --output found.mp4
    """
    ctx.obj = {"verbose": verbose}
    show_logs(logging.DEBUG if verbose else logging.INFO)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 bad usage, 3 a quality gate said no, 1 failed."""
    if os.getpid() == 1:
        # The kernel keeps signals from a container's first process that it has no handler for.
        signal.signal(signal.SIGTERM, lambda number, _: _end(number))
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        result = cli.main(args=arguments, prog_name="elysium", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("stopped", err=True)
        return 130
    except ElysiumError as error:
        if "-v" in arguments or "--verbose" in arguments:
            logging.getLogger(__name__).exception("stack trace")
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    return result if isinstance(result, int) else 0


def _end(number: int) -> None:
    os.write(sys.stderr.fileno(), f"error: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)


def print_json(value: dict[str, Any]) -> None:
    """Prints one JSON object as the last line of standard output, the contract of every `--json`."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
