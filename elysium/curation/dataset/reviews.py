"""What people say of tracks: one line a tick, the later one counts, and what follows for the data set."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from elysium.data.records import TrackRecord, to_line
from elysium.errors import ElysiumError, UsageError

NAME = "reviews.jsonl"

Verdict = Literal["right", "wrong_box", "wrong_expression", "not_unique", "unsure"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
WRONG = frozenset({"wrong_box", "wrong_expression", "not_unique"})
# The standard normal distribution's 97.5 % point: bounds of 95 %.
_Z = 1.959963984540054
_NAMED = 5


class Review(BaseModel):
    """One line of `reviews.jsonl`.

    Attributes:
        id: Of the record.
        verdict: What was said.
        reviewer: By whom.
        time: When, with its time zone.
        content: What was looked at, from `content_of`: a record with other boxes or words was not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    verdict: Verdict
    reviewer: str = Field(min_length=1, max_length=200)
    time: AwareDatetime
    content: str = Field(pattern=r"^[0-9a-f]{16}$")


@dataclass(frozen=True)
class Conflict:
    """A record that reviewers disagree about: the last verdict of each, in order of time; the last of all counts."""

    id: str
    reviews: tuple[Review, ...]


@dataclass(frozen=True)
class Judged:
    """What reviews say together.

    Attributes:
        verdicts: Of each record that was looked at, the review that counts.
        conflicts: Where reviewers disagree, by id.
    """

    verdicts: Mapping[str, Review]
    conflicts: Sequence[Conflict]


def content_of(record: TrackRecord) -> str:
    """Returns what stands for a track as a person sees it: expression, frames and boxes."""
    seen = [record.object_description, record.frames, record.box]
    return hashlib.blake2b(json.dumps(seen).encode(), digest_size=8).hexdigest()


def read_reviews(path: Path) -> list[Review]:
    """Returns the ticks of a file in its order; none where there is no file.

    A last line that a kill cut short is left out: its tick was never confirmed.

    Raises:
        ElysiumError: If another line is no review; the message names it.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            found.append(Review.model_validate_json(line))
        except ValidationError as error:
            raise ElysiumError(f"{path}, line {number} is no review: {_first(error)}; correct or delete it") from error
    return found


def append_reviews(path: Path, reviews: Sequence[Review]) -> None:
    """Adds ticks to a file; when it returns they are on the disk.

    Raises:
        OSError: If they cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        # What a kill left of a line must not become the beginning of the next one.
        end = file.tell()
        if end:
            file.seek(max(0, end - (1 << 16)))
            tail = file.read()
            file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
        file.write("".join(map(to_line, reviews)).encode())
        file.flush()
        os.fsync(file.fileno())


def judge(reviews: Iterable[Review]) -> Judged:
    """Returns what counts: of one reviewer's ticks on a record the last, of several reviewers' that of the latest."""
    last: dict[str, dict[str, Review]] = {}
    for review in sorted(reviews, key=lambda review: review.time):
        of_record = last.setdefault(review.id, {})
        of_record.pop(review.reviewer, None)
        of_record[review.reviewer] = review
    verdicts = {name: list(found.values())[-1] for name, found in last.items()}
    conflicts = [
        Conflict(name, tuple(found.values()))
        for name, found in sorted(last.items())
        if len({review.verdict for review in found.values()}) > 1
    ]
    return Judged(verdicts, conflicts)


def take_in(answers: Path, path: Path, find: Callable[[str], TrackRecord | None]) -> int:
    """Adds the answers of a page that somebody else filled in, and returns how many are new.

    Args:
        answers: The page's JSON.
        path: The file of reviews.
        find: Returns a record by its id.

    Raises:
        UsageError: If the file is none of answers, names records that there are not, or shows other tracks than these;
            nothing is taken in then.
    """
    try:
        content = json.loads(answers.read_bytes())
        reviews = [Review.model_validate(entry) for entry in content["answers"]]
    except FileNotFoundError as error:
        raise UsageError(f"{answers} does not exist") from error
    except ValidationError as error:
        raise UsageError(f"{answers} holds an answer that is none: {_first(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{answers} is no file of answers that the page's button downloads: {error}") from error
    records = {review.id: find(review.id) for review in reviews}
    unknown = [name for name, record in records.items() if record is None]
    if unknown:
        raise UsageError(f"{answers} answers about {_listed(unknown)}, which the data set does not have")
    stale = {review.id for review in reviews if (one := records[review.id]) and content_of(one) != review.content}
    if stale:
        raise UsageError(f"{answers} answers about another version of {_listed(sorted(stale))}; make a new page")
    known = set(read_reviews(path))
    fresh = [review for review in dict.fromkeys(reviews) if review not in known]
    append_reviews(path, fresh)
    return len(fresh)


def checked_records(records: Iterable[TrackRecord], judged: Judged) -> Iterator[TrackRecord]:
    """Yields the records that nobody called wrong, those called right with `metadata.checked` set to true.

    A verdict on a record that has other boxes, frames or words today says nothing.
    """
    for record in records:
        review = judged.verdicts.get(record.id)
        if review is None or review.content != content_of(record) or review.verdict == "unsure":
            yield record
        elif review.verdict == "right":
            metadata = record.metadata.model_validate({**record.metadata.model_dump(), "checked": True})
            yield record.model_copy(update={"metadata": metadata})


def summarise_reviews(records: Iterable[TrackRecord], judged: Judged) -> dict[str, Any]:
    """Returns what was found of some records: counts, and how many are right with the bounds of 95 %.

    Who is unsure says neither right nor wrong.
    """
    counts: Counter[str] = Counter()
    reviewers: Counter[str] = Counter()
    total = stale = 0
    for record in records:
        total += 1
        review = judged.verdicts.get(record.id)
        if review is None:
            continue
        if review.content != content_of(record):
            stale += 1
            continue
        counts[review.verdict] += 1
        reviewers[review.reviewer] += 1
    decided = sum(counts[name] for name in VERDICTS if name != "unsure")
    low, high = wilson(counts["right"], decided)
    return {
        "records": total,
        "checked": sum(counts.values()),
        "verdicts": {name: counts[name] for name in VERDICTS},
        "right_share": counts["right"] / decided if decided else None,
        "right_interval": [low, high] if decided else None,
        "reviewers": dict(sorted(reviewers.items())),
        "of_other_content": stale,
        "conflicts": [
            {"id": conflict.id, "verdicts": {review.reviewer: review.verdict for review in conflict.reviews}}
            for conflict in judged.conflicts
        ],
    }


def wilson(right: int, total: int) -> tuple[float, float]:
    """Returns the 95 % bounds of a share (Wilson 1927), which also hold for few trials and shares near 0 and 1.

    Example:
        >>> [round(bound, 4) for bound in wilson(10, 10)]
        [0.7225, 1.0]
    """
    if total == 0:
        return 0.0, 1.0
    share, spread = right / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    reach = _Z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_NAMED]))
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}"
