"""VideoChat's instructions: a JSON array of `{video, QA: [{i, q, a}, …]}` about videos of WebVid."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from elysium.data.sets.conversations import DESCRIBE, turn
from elysium.data.sets.rows import check_rows, expand, read_rows
from elysium.data.sets.schema import SetRecord, Turn
from elysium.data.sets.source import BrokenSample, Sample, Source, take


def read(source: Source) -> Iterator[Sample]:
    """Reads `videochat_instruct_11k.json`, or any file of that form.

    Raises:
        UsageError: If a file is none.
    """
    files = expand(source.paths)
    for path in files:
        check_rows(path, {"video", "QA"}, source.title)
    return _samples(source, files)


def _samples(source: Source, files: list[Path]) -> Iterator[Sample]:
    for path in files:
        for number, row in enumerate(read_rows(path)):
            # A video has a description and a conversation, as rows of their own: the row's number is the only id.
            sample_id = f"{path.stem}-{number}"
            yield Sample(sample_id, partial(_record, source, sample_id, row))


def _record(source: Source, sample_id: str, row: Any) -> SetRecord:
    name = take(row, "video", str)
    if "start" in row or "end" in row:
        raise BrokenSample("it is about a part of its video, which is not read")
    turns = [_turn(source, pair, first=number == 0) for number, pair in enumerate(take(row, "QA", list))]
    if not turns:
        raise BrokenSample("the conversation is empty")
    video = source.images.find(name, PurePosixPath(name).name)
    return SetRecord(id=sample_id, dataset=source.name, video=video, turns=turns)


def _turn(source: Source, pair: Any, *, first: bool) -> Turn:
    """Returns a turn; the first one's instruction, if there is any, comes before the question."""
    answer = take(pair, "a", str)
    texts = [pair.get("i") if first else "", pair.get("q")]
    question = " ".join(text.strip() for text in texts if isinstance(text, str) and text.strip())
    return turn(question or DESCRIBE, answer, source.codec)
