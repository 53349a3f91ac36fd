"""LLaVA's conversations: a JSON array of `{id, image, conversations: [{from, value}, …]}`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from elysium.boxes import BoxCodec
from elysium.data.sets.conversations import pair_turns
from elysium.data.sets.rows import check_rows, expand, read_rows
from elysium.data.sets.schema import SetRecord, Turn
from elysium.data.sets.source import Sample, Source, id_or, take


def read(source: Source) -> Iterator[Sample]:
    """Reads `blip_laion_cc_sbu_558k.json`, or any file of that form.

    Raises:
        UsageError: If a file is none.
    """
    files = expand(source.paths)
    for path in files:
        check_rows(path, {"image", "conversations"}, source.title)
    return _samples(source, files)


def _samples(source: Source, files: list[Path]) -> Iterator[Sample]:
    for path in files:
        for number, row in enumerate(read_rows(path)):
            sample_id = id_or(row, ["id"], f"{path.stem}-{number}")
            yield Sample(sample_id, partial(_record, source, sample_id, row))


def _record(source: Source, sample_id: str, row: Any) -> SetRecord:
    image = source.images.find(take(row, "image", str))
    turns = _turns(take(row, "conversations", list), source.codec)
    return SetRecord(id=sample_id, dataset=source.name, frames=[image], turns=turns)


def _turns(lines: list[Any], codec: BoxCodec) -> list[Turn]:
    return pair_turns(((take(line, "from", str), take(line, "value", str)) for line in lines), codec)
