"""Options that the commands of inference share, and what they mean; without importing the model at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from elysium.errors import UsageError
from elysium.options import home_option, together, tracking_uri_option

if TYPE_CHECKING:
    from elysium.inference.checkpoints import EngineOptions
    from elysium.inference.choice import ReadOptions
    from elysium.inference.decoding import Sampling
    from elysium.inference.results import PixelBox


class Box(click.ParamType):  # type: ignore[type-arg] # generic only in newer releases
    """`X1,Y1,X2,Y2` in pixels, with `=NAME` behind it where the object has one."""

    name = "box"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[PixelBox, str | None]:
        """Returns the box, and the object's name if it has one."""
        numbers, _, name = str(value).partition("=")
        try:
            corners = [float(part) for part in numbers.split(",")]
            x1, y1, x2, y2 = corners
        except ValueError:
            self.fail(f"{value!r} is no box; write X1,Y1,X2,Y2 in pixels, for example 10,20,110,90", param, ctx)
        if not all(map(math.isfinite, corners)) or x1 >= x2 or y1 >= y2:
            self.fail(f"{value!r}: a box is X1,Y1,X2,Y2 in pixels with X1 < X2 and Y1 < Y2", param, ctx)
        return (x1, y1, x2, y2), name.strip() or None


engine_options = together(
    click.option(
        "--checkpoint",
        default=None,
        metavar="CKPT",
        help="A folder; nano, which Elysium carries; OWNER/NAME[@REVISION] on the Hugging Face hub; or "
        "models:/NAME@ALIAS in the registry. By default the registry's champion, and nano before there is one.",
    ),
    home_option,
    tracking_uri_option,
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
        default="auto",
        show_default=True,
        help="Number format; auto is bfloat16 on a GPU and float32 on a CPU.",
    ),
    click.option(
        "--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Questions answered together."
    ),
)

source_options = together(
    click.option("--start", type=int, default=0, show_default=True, metavar="N", help="Number of the first frame."),
    click.option("--stop", type=int, default=None, metavar="N", help="Number of the frame to stop before."),
    click.option("--stride", type=int, default=1, show_default=True, metavar="N", help="Take every N-th frame."),
    click.option("--fps", type=float, default=None, help="Take so many frames a second, by their times."),
    click.option("--max-pixels", type=int, default=None, help="Largest frame that is decoded [default: 8K]."),
    click.option("--max-seconds", type=float, default=None, help="Longest video that is read [default: 24 hours]."),
    click.option("--max-decoded-bytes", type=int, default=None, help="What one video may unfold to [default: 16 TiB]."),
    click.option("--max-file-bytes", type=int, default=None, help="Largest download [default: 4 GiB]."),
    click.option("--s3-endpoint", default=None, metavar="URL", help="S3 server; by default AWS."),
    click.option("--allow-private-hosts", is_flag=True, help="Let web addresses lead into private networks."),
)

sampling_options = together(
    click.option(
        "--temperature", type=float, default=0.0, show_default=True, help="Draw words; 0 takes the likeliest ones."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of what --temperature draws."),
    click.option("--max-tokens", type=click.IntRange(1), default=128, show_default=True, help="Longest answer."),
)


def read_options(others: dict[str, Any]) -> ReadOptions:
    """Takes what says how sources are read out of a command's options."""
    from elysium.data.limits import Limits
    from elysium.inference.choice import ReadOptions

    limits = {name: others.pop(name) for name in ("max_pixels", "max_seconds", "max_decoded_bytes", "max_file_bytes")}
    names = ("start", "stop", "stride", "fps", "s3_endpoint", "allow_private_hosts", "buffer", "drop", "timeout")
    read = {name: others.pop(name) for name in names if name in others}
    return ReadOptions(limits=Limits(**{name: value for name, value in limits.items() if value is not None}), **read)


def take_engine_options(others: dict[str, Any]) -> EngineOptions:
    """Takes what says which model answers, and where, out of a command's options."""
    from transformers.utils.logging import disable_progress_bar

    from elysium.inference.checkpoints import EngineOptions

    disable_progress_bar()  # of loading weights, which a terminal shows in a blink and a log for ever
    return EngineOptions(**others)


def choose_sampling(temperature: float, seed: int) -> Sampling | None:
    """Returns how words are drawn, or None where the likeliest is taken.

    Raises:
        UsageError: If the temperature is negative or no number.
    """
    from elysium.inference.decoding import Sampling

    if not 0 <= temperature < math.inf:
        raise UsageError(f"--temperature is 0 or more, got {temperature:g}")
    return Sampling(temperature, seed) if temperature else None
