"""`elysium evaluate run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elysium.cli import print_json
from elysium.evaluation.run_options import (
    judge_options,
    refuse_set_options,
    set_options,
    sharing_options,
    take_judge_options,
    take_set_options,
    training_option,
)
from elysium.options import home_option, json_option, set_option

if TYPE_CHECKING:
    from elysium.evaluation.request import HeldOutRequest, SetRequest

_TRAINING = "train.jsonl"
_TASKS = {"sot": "sot", "rsot": "rsot", "rec": "rec", "reg": "video-reg", "video-reg": "video-reg", "vqa": "vqa"}


@click.command("run")
@click.option("--task", type=click.Choice(list(_TASKS)), required=True, help="reg is another name of video-reg.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="A snapshot's data, e.g. RUN/snapshot/data, or a published set as it was unpacked.",
)
@click.option(
    "--checkpoint",
    required=True,
    metavar="CKPT",
    help="A folder, e.g. RUN/checkpoints/finetune/model; nano, which Elysium carries; or models:/NAME@ALIAS in --home.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="For figures, predictions, the report and, item by item as they land, parts/. Named again, a run goes on.",
)
@click.option(
    "--log-run",
    default=None,
    metavar="RUN",
    help="Log figures, report and tables into this run's MLflow page, made where there is none; the server is --home's "
    "or --set registry.tracking_uri=URI.",
)
@home_option
@set_options
@training_option
@sharing_options
@judge_options
@set_option
@json_option
def run_command(
    task: str,
    data: Path,
    checkpoint: str,
    output: Path,
    log_run: str | None,
    home: Path,
    training: tuple[Path, ...],
    processes: int | None,
    shard: tuple[int, int] | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **others: Any,
) -> None:
    """Measure a checkpoint on one task, with the baselines beside it.

    Every result is on the disk as soon as it is there: run again, a command that was stopped goes on from them.

    \b
    Example:
      elysium evaluate run --task rsot --data runs/x/snapshot/data --checkpoint nano --output rsot
      elysium evaluate run --task sot --data LaSOT --checkpoint CKPT --output lasot --shard $INDEX/8
      elysium evaluate run --task rec --dataset refcoco --split testA --data refcoco --media train2014 \\
        --checkpoint CKPT --output testA
      elysium evaluate run --task vqa --data MSVD-QA --media videos --checkpoint CKPT --output msvd \\
        --judge-url http://localhost:8000/v1 --judge-model NAME
    """
    from elysium.config import load_settings
    from elysium.evaluation.evaluating import LEAK_CACHE, evaluate_into
    from elysium.evaluation.request import EvaluationRequest, HeldOutRequest
    from elysium.evaluation.running import Shard
    from elysium.inference.checkpoints import find_checkpoint

    settings = load_settings("nano", (*overrides, *([f"evaluate.processes={processes}"] if processes else ())))
    part = _part(_TASKS[task], data, others)
    # A snapshot's own training records lie beside those that it holds back.
    beside = (data,) if isinstance(part, HeldOutRequest) and (data / _TRAINING).is_file() else ()
    request = EvaluationRequest(
        checkpoint=find_checkpoint(checkpoint, home),
        name=checkpoint,
        sets=(part,),
        settings=settings.evaluate,
        training=training or beside,
        leak_cache=home / LEAK_CACHE,
        seed=settings.seed,
    )
    found = evaluate_into(request, output, None if shard is None else Shard(*shard))
    if found.evaluation is None:
        click.echo(f"this share is measured; of all, {sum(found.missing.values())} items are still missing", err=True)
        if as_json:
            print_json({"missing": found.missing})
        return
    if log_run is not None:
        from elysium.registry.evaluation_log import log_evaluation
        from elysium.registry.store import open_store

        log_evaluation(open_store(settings.registry, home), log_run, output)
    if found.evaluation.leaks is None:
        click.echo("nobody looked for the items in training data: --training-data names it", err=True)
    shown = {
        name: {"model": entry.model, "baselines": entry.baselines, "failures": entry.num_failures, "notes": entry.notes}
        for name, entry in found.evaluation.tasks.items()
    }
    for name, entry in found.evaluation.tasks.items():
        click.echo(f"{name}: model {entry.model}, baselines {entry.baselines}", err=as_json)
        for note in entry.notes:
            click.echo(f"  {note}", err=as_json)
    if as_json:
        print_json({"tasks": shown, "output": str(output)})


def _part(task: str, data: Path, others: dict[str, Any]) -> HeldOutRequest | SetRequest:
    from elysium.evaluation.request import HeldOutRequest, SetRequest
    from elysium.evaluation.tasks.held_out import RECORDS

    chosen, judging = take_set_options(others), take_judge_options(others)
    if task != "vqa" and chosen["name"] is None and (data / RECORDS).is_file():
        refuse_set_options({**chosen, "judging": judging}, f"{data} holds a snapshot's records")
        return HeldOutRequest(data=data, tasks=(f"{task}-simulated", f"{task}-real"))
    return SetRequest.model_validate({"task": task, "data": data, "judging": judging, **chosen})
