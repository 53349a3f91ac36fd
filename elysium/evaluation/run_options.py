"""Options of `elysium evaluate run` and `elysium reproduce`: which set, how it is shared out, and who judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elysium.errors import UsageError
from elysium.options import ShardOption, together

if TYPE_CHECKING:
    from elysium.evaluation.tasks.answering import Judging

_PLACE = click.Path(path_type=Path, exists=True)
_ANY_TEMPERATURE = "none"
# Fields of `SetRequest` to the tasks that they mean something for.
_FLAGS = {"name": "--dataset", "form": "--boxes", "missing": "--missing-videos", "judging": "--judge-model"}


set_options = together(
    click.option("--dataset", default=None, metavar="NAME", help="Which set --data holds [default: its layout tells]."),
    click.option("--split", default=None, help="Part of the set [default: the one that is published for]."),
    click.option(
        "--annotations",
        type=_PLACE,
        multiple=True,
        help="rec: files with expressions, e.g. refs(unc).p and instances.json [default: those in --data].",
    ),
    click.option("--media", type=_PLACE, default=None, help="Pictures or videos, where they are not in --data."),
    click.option(
        "--missing-videos",
        type=click.Choice(["refuse", "fail"]),
        default="refuse",
        show_default=True,
        help="vqa: whether missing videos are refused, or their questions count as failures.",
    ),
    click.option(
        "--boxes", type=click.Choice(["xyxy", "xywh"]), default=None, help="rec: what a box in --annotations is."
    ),
    click.option(
        "--units",
        type=click.Choice(["pixels", "normalised", "thousandths"]),
        default=None,
        help="rec: what its numbers count [default: shares of the picture if none is above 1, else pixels].",
    ),
    click.option(
        "--only",
        multiple=True,
        metavar="A,B|@FILE",
        help="Measure only these items, by name or from a file with one a line; the result says so.",
    ),
    click.option("--limit", type=click.IntRange(1), default=None, help="Measure only the first so many items."),
    click.option("--max-frames", type=click.IntRange(2), default=None, help="Follow only the first so many frames."),
)

training_option = click.option(
    "--training-data",
    "training",
    type=_PLACE,
    multiple=True,
    help="What the model was trained on, e.g. RUN/snapshot/data: items that are in it stop the evaluation.",
)

sharing_options = together(
    click.option(
        "--processes",
        type=click.IntRange(1),
        default=None,
        help="Share the items among so many processes [default: one for each GPU].",
    ),
    click.option(
        "--shard",
        type=ShardOption(),
        default=None,
        metavar="INDEX/COUNT",
        help="Measure only this share, for machines that share --output; the last of them ends the run.",
    ),
)

judge_options = together(
    click.option(
        "--judge-model",
        default=None,
        metavar="NAME",
        help="vqa: who judges, as the server calls it; without --judge-url a folder or OWNER/NAME.",
    ),
    click.option("--judge-url", default=None, metavar="URL", help="OpenAI-compatible server; key: ELYSIUM_JUDGE_KEY."),
    click.option("--judge-prompt", type=_PLACE, default=None, help="Another wording; see docs/evaluation.md."),
    click.option(
        "--judge-temperature", default="0", show_default=True, help="none leaves it to the server, as some demand."
    ),
    click.option("--judge-price", default=None, metavar="IN,OUT", help="Of a million tokens; the cost is then shown."),
    click.option("--judge-max-cost", type=float, default=None, help="Stop before this much is spent."),
    click.option("--judge-rpm", type=float, default=None, help="Most requests a minute."),
    click.option("--judge-concurrent", type=click.IntRange(1), default=8, show_default=True, help="Requests at once."),
    click.option("--judge-timeout", type=float, default=60.0, show_default=True, help="Seconds an attempt may take."),
    click.option("--judge-batch-size", type=click.IntRange(1), default=8, show_default=True, help="Of a local judge."),
    click.option("--retry-unjudged", is_flag=True, help="Ask again for what could not be read in an earlier run."),
)


def take_set_options(others: dict[str, Any]) -> dict[str, Any]:
    """Takes what says which set, and which part of it, out of a command's options: fields of `SetRequest`."""
    only = read_names(others.pop("only"))
    return {
        "name": others.pop("dataset"),
        "split": others.pop("split"),
        "annotations": others.pop("annotations"),
        "media": others.pop("media"),
        "missing": others.pop("missing_videos"),
        "form": others.pop("boxes"),
        "units": others.pop("units"),
        "only": only or None,
        "limit": others.pop("limit"),
        "max_frames": others.pop("max_frames"),
    }


def read_names(given: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of items in an option's values: `A,B`, or `@FILE` with one a line.

    Raises:
        UsageError: If a file cannot be read.

    Example:
        >>> read_names(["airplane-1, airplane-9", "zebra-10"])
        ('airplane-1', 'airplane-9', 'zebra-10')
    """
    names: list[str] = []
    for text in given:
        if not text.startswith("@"):
            names += text.split(",")
            continue
        try:
            names += Path(text[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--only: {text[1:]} cannot be read: {error}") from error
    return tuple(name.strip() for name in names if name.strip())


def refuse_set_options(chosen: dict[str, Any], why: str) -> None:
    """Raises UsageError where options of published sets are given and do not apply."""
    given = _given(chosen)
    if given:
        flags = ", ".join(map(_flag, given))
        raise UsageError(
            f"{why}, where {flags} mean{'s' * (len(given) == 1)} nothing; there --set evaluate.max_sequences=N and "
            "evaluate.max_frames=N choose"
        )


def take_judge_options(others: dict[str, Any]) -> Judging | None:
    """Takes who judges, and how, out of a command's options; None where nobody does.

    Raises:
        UsageError: If options of the judge do not fit together.
    """
    taken = {name: others.pop(name) for name in list(others) if name.startswith("judge_") or name == "retry_unjudged"}
    if taken["judge_model"] is None:
        if taken["judge_url"] is not None:
            raise UsageError("--judge-url needs --judge-model, the judge's name there")
        return None
    from elysium.evaluation.tasks.answering import Judging
    from elysium.evaluation.videoqa.judges import JudgeOptions
    from elysium.evaluation.videoqa.spending import JudgeLimits, Prices

    return Judging(
        JudgeOptions(
            model=taken["judge_model"],
            url=taken["judge_url"],
            temperature=_temperature(taken["judge_temperature"]),
            timeout=taken["judge_timeout"],
            requests_per_minute=taken["judge_rpm"],
            concurrent=taken["judge_concurrent"],
            batch_size=taken["judge_batch_size"],
        ),
        JudgeLimits(
            None if taken["judge_price"] is None else Prices.parse(taken["judge_price"]), taken["judge_max_cost"]
        ),
        prompt=taken["judge_prompt"],
        retry_unjudged=taken["retry_unjudged"],
    )


def _given(chosen: dict[str, Any]) -> list[str]:
    return [name for name, value in chosen.items() if value and value != "refuse"]


def _flag(name: str) -> str:
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


def _temperature(text: str) -> float | None:
    if text == _ANY_TEMPERATURE:
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--judge-temperature is a number or {_ANY_TEMPERATURE}, got {text!r}") from None
