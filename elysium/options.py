"""Options that many commands share, each said once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a setting, e.g. curate.min_iou=0.4."
)
json_option = click.option("--json", "as_json", is_flag=True, help="End with one JSON object on standard output.")
home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    metavar="DIR",
    help="The folder with the runs, which holds the local registry.",
)
tracking_uri_option = click.option(
    "--tracking-uri", default=None, metavar="URI", help="MLflow server; instead of --home's registry."
)
gpus_option = click.option(
    "--gpus", type=click.IntRange(1), default=1, show_default=True, help="How many share the work."
)
price_option = click.option("--price", type=click.FloatRange(0), default=None, help="Of a GPU-hour, in any currency.")


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Returns one decorator that adds several options, which `--help` shows in their order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


class ShardOption(click.ParamType):  # type: ignore[type-arg] # generic only in newer releases
    """`INDEX/COUNT`, with INDEX from 0."""

    name = "shard"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Returns index and count."""
        if isinstance(value, tuple):
            return value
        index, sign, count = value.partition("/")
        if not (sign and index.isdigit() and count.isdigit() and int(index) < int(count)):
            self.fail(f"{value!r} is no INDEX/COUNT, e.g. 0/4 to 3/4", param, ctx)
        return int(index), int(count)
