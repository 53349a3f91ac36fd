"""The files that VideoQA sets come as: where they lie, and what their entries mean.

| layout | files | sets |
| --- | --- | --- |
| `list` | `test_qa.json`: `[{id, video_id, question, answer}, …]`; for MSVD-QA `youtube_mapping.txt` beside it | MSVD-QA, MSRVTT-QA |
| `frameqa` | `Test_frameqa_question.csv`, tab separated: `gif_name question answer type vid_id …` | TGIF-QA's FrameQA |
| `pairs` | `test_q.json`: `[{video_name, question, question_id}]`, and `test_a.json`: `[{question_id, answer, type}]` | ActivityNet-QA; all four as Video-ChatGPT and Video-LLaVA repackage them |
| `lines` | `test.jsonl`: `{"id": …, "video": …, "question": …, "answer": …}` a line | own ones |

Sources: xudejing/video-question-answering, YunseokJANG/tgif-qa, MILVLG/activitynet-qa (dataset/README.md of the latter
two), and the scripts that read the repackaged files.
"""  # noqa: E501 (a table's rows are lines)

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from elysium.data.sets.rows import first_character, read_rows
from elysium.data.sets.source import BrokenSample, id_or, take, take_id
from elysium.errors import UsageError
from elysium.evaluation.videoqa.matching import MIN_VOTES

MAPPING = "youtube_mapping.txt"
_FOLDERS = ("", "dataset", "annotations")
_LINES = (".jsonl", ".ndjson")
_FRAMEQA_COLUMNS = ("gif_name", "question", "answer", "vid_id")
# TGIF-QA, dataset/README.md.
_FRAMEQA_KINDS = {"0": "object", "1": "number", "2": "color", "3": "location"}
# ActivityNet-QA, dataset/README.md.
ACTIVITYNET_KINDS = dict(
    enumerate(("motion", "spatial", "temporal", "yes/no", "color", "object", "location", "number", "other"))
)
# What MSVD-QA's and MSRVTT-QA's paper divides its questions by.
_QUESTION_WORDS = ("what", "who", "how", "when", "where")


@dataclass(frozen=True)
class RawQuestion:
    """One entry, before its video is looked for.

    Attributes:
        id: As the set gives it.
        videos: Names that the video may have, the likeliest first.
        question: Text.
        answers: Accepted answers, or one a person.
        kind: What the set divides questions by.
        votes: Whether the answers are one a person.
    """

    id: str
    videos: tuple[str, ...]
    question: str
    answers: tuple[str, ...]
    kind: str | None = None
    votes: bool = False


@dataclass(frozen=True)
class Entry:
    """One entry, not yet looked at: `make` returns the question, or raises BrokenSample with the reason."""

    where: str
    make: Callable[[], RawQuestion]


@dataclass(frozen=True)
class Layout:
    """The files of one question set.

    Attributes:
        name: `list`, `frameqa`, `pairs` or `lines`.
        files: Those that are read, the questions first.
    """

    name: str
    files: tuple[Path, ...]

    def entries(self, set_name: str) -> Iterator[Entry]:
        """Yields the entries in the order of the questions' file.

        Args:
            set_name: Decides how videos are called, and what the types of questions mean.

        Raises:
            UsageError: If a file cannot be read as what it is.
        """
        if self.name == "list":
            return _list_entries(self.files, set_name)
        if self.name == "frameqa":
            return _frameqa_entries(self.files[0])
        if self.name == "pairs":
            return _pair_entries(self.files[0], self.files[1], set_name)
        return _line_entries(self.files[0])


def find_layout(place: Path, split: str) -> Layout:
    """Returns what a folder, or a file named itself, holds of one part of a set.

    Raises:
        UsageError: If it holds none, only half of one, or several; the message lists what was looked for.
    """
    if place.is_file():
        return _layout_of(place)
    if not place.is_dir():
        raise UsageError(f"{place} does not exist; name the folder with the question files, or one file")
    found = [layout for name in _FOLDERS for layout in _layouts_in(place / name, split)]
    if not found:
        lines = sorted(path for path in place.iterdir() if path.suffix in _LINES and path.is_file())
        if len(lines) == 1:
            return Layout("lines", (lines[0],))
        others = sorted(path.name for path in place.iterdir() if path.suffix in (".json", ".csv", *_LINES))
        seen = f"; it holds {', '.join(others[:8])}" if others else ""
        raise UsageError(
            f"{place} holds no questions of {split!r}: {split}_qa.json, {split}_q.json with {split}_a.json, "
            f"{split.title()}_frameqa_question.csv or {split}.jsonl is needed{seen}"
        )
    if len(found) > 1:
        names = " and ".join(str(layout.files[0]) for layout in found)
        raise UsageError(f"{place} holds questions twice, {names}; name the file that is meant")
    return found[0]


def guess_set(layout: Layout) -> str | None:
    """Returns the name of the public set that files look like, from their first entry; None for own ones."""
    if layout.name == "frameqa":
        return "tgif-qa"
    if layout.name == "list":
        if _mapping_file(layout.files[0]) is not None:
            return "msvd-qa"
        first = next(read_rows(layout.files[0]), None)
        return "msrvtt-qa" if isinstance(first, dict) and "category_id" in first else None
    if layout.name == "pairs":
        first = next(read_rows(layout.files[0]), None)
        name = str(first.get("video_name", "")) if isinstance(first, dict) else ""
        forms = {
            "tgif-qa": r"tumblr_\w+",
            "msrvtt-qa": r"video\d+",
            "msvd-qa": r"(vid\d+|[\w-]{11}_\d+_\d+)",
            "activitynet-qa": r"(v_)?[\w-]{11}",
        }
        return next((known for known, form in forms.items() if re.fullmatch(form, name)), None)
    return None


def _layouts_in(folder: Path, split: str) -> Iterator[Layout]:
    def there(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    listed, frameqa = there(f"{split}_qa.json"), there(f"{split.title()}_frameqa_question.csv")
    asked, answered = there(f"{split}_q.json"), there(f"{split}_a.json")
    if listed:
        yield Layout("list", (listed,))
    if frameqa:
        yield Layout("frameqa", (frameqa,))
    if asked or answered:
        yield _pair(folder / f"{split}_q.json")
    for suffix in _LINES:
        if lines := there(f"{split}{suffix}"):
            yield Layout("lines", (lines,))


def _layout_of(path: Path) -> Layout:
    if path.suffix in _LINES:
        return Layout("lines", (path,))
    if path.suffix in (".csv", ".tsv"):
        return Layout("frameqa", (path,))
    if path.suffix == ".json":
        return _pair(path) if path.stem.endswith(("_q", "_a")) else Layout("list", (path,))
    raise UsageError(f"{path} is no file of questions; a .json, .jsonl or .csv is needed")


def _pair(path: Path) -> Layout:
    part = path.stem.removesuffix("_q").removesuffix("_a")
    files = path.with_name(f"{part}_q.json"), path.with_name(f"{part}_a.json")
    for file, other, what in zip(files, files[::-1], ("questions", "answers"), strict=True):
        if not file.is_file():
            raise UsageError(f"{file} is missing: {other} needs its {what} beside it")
    return Layout("pairs", files)


def _list_entries(files: tuple[Path, ...], set_name: str) -> Iterator[Entry]:
    mapping = _read_mapping(_mapping_file(files[0])) if set_name == "msvd-qa" else {}
    for number, row in enumerate(_rows(files[0]), start=1):
        yield Entry(_where(files[0], number, row, "id"), partial(_list_question, row, set_name, mapping))


def _list_question(row: Any, set_name: str, mapping: dict[str, str]) -> RawQuestion:
    video, question = take_id(row, "video_id"), take(row, "question", str)
    names: tuple[str, ...]
    if set_name == "msvd-qa":
        own = video if video.startswith("vid") else f"vid{video}"
        names = (mapping[own], own) if own in mapping else (own, video)
    else:
        names = (f"video{video}", video) if video.isdecimal() else (video,)
    return RawQuestion(take_id(row, "id"), names, question, (_answer(row),), _question_word(question))


def _frameqa_entries(path: Path) -> Iterator[Entry]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", strict=True)
        missing = [name for name in _FRAMEQA_COLUMNS if name not in (rows.fieldnames or [])]
        if missing:
            raise UsageError(
                f"{path} has no column {', '.join(missing)}; TGIF-QA's FrameQA files are tab separated, with the "
                f"columns {', '.join(_FRAMEQA_COLUMNS)}"
            )
        try:
            for row in rows:
                yield Entry(f"{path}, line {rows.line_num} ({row['vid_id']})", partial(_frameqa_question, row))
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageError(f"{path}, line {rows.line_num}: no row of a tab separated file: {error}") from error


def _frameqa_question(row: dict[str | Any, Any]) -> RawQuestion:
    if None in row or None in row.values():
        raise BrokenSample("it has another number of columns than the first line")
    texts = [take(row, name, str) for name in ("vid_id", "gif_name", "question", "answer")]
    return RawQuestion(texts[0], (texts[1],), texts[2], (texts[3],), _FRAMEQA_KINDS.get(row.get("type", "")))


def _pair_entries(questions: Path, answers: Path, set_name: str) -> Iterator[Entry]:
    given: dict[str, Any] = {}
    for number, row in enumerate(_rows(answers), start=1):
        where = _where(answers, number, row, "question_id")
        answer_id = id_or(row, ["question_id"], "")
        if not answer_id:
            raise UsageError(f"{where}: an answer needs its question_id")
        if answer_id in given:
            raise UsageError(f"{where}: there are two answers of that question_id")
        given[answer_id] = row
    asked = set()
    for number, row in enumerate(_rows(questions), start=1):
        where = _where(questions, number, row, "question_id")
        asked.add(id_or(row, ["question_id"], ""))
        yield Entry(where, partial(_pair_question, row, given, set_name))
    for answer_id in given:
        if answer_id not in asked:
            yield Entry(f"{answers} ({answer_id})", _answer_without_question)


def _pair_question(row: Any, given: dict[str, Any], set_name: str) -> RawQuestion:
    question_id, video = take_id(row, "question_id"), take_id(row, "video_name")
    question = take(row, "question", str)
    if question_id not in given:
        raise BrokenSample("it has no answer")
    answered = given[question_id]
    kind = answered.get("type")
    if set_name == "activitynet-qa":
        kind = ACTIVITYNET_KINDS.get(kind) if isinstance(kind, int) else None
    else:
        kind = _question_word(question)
    names = (video, f"v_{video}", video.removeprefix("v_"))
    return RawQuestion(question_id, names, question, (_answer(answered),), kind)


def _answer_without_question() -> RawQuestion:
    raise BrokenSample("the answer has no question")


def _line_entries(path: Path) -> Iterator[Entry]:
    for number, row in enumerate(_rows(path), start=1):
        yield Entry(_where(path, number, row, "id"), partial(_line_question, row))


def _line_question(row: Any) -> RawQuestion:
    kind = take(row, "kind", str) if isinstance(row, dict) and row.get("kind") is not None else None
    raw = RawQuestion(take_id(row, "id"), (take(row, "video", str),), take(row, "question", str), (), kind)
    if "answers" in row and "answer" in row:
        raise BrokenSample("it has both answer (what is accepted) and answers (what people said, one each)")
    if "answers" not in row:
        several = row.get("answer")
        accepted = several if isinstance(several, list) else [several]
        return RawQuestion(raw.id, raw.videos, raw.question, _texts(accepted), kind)
    votes = [entry.get("answer") if isinstance(entry, dict) else entry for entry in take(row, "answers", list)]
    if len(votes) < MIN_VOTES:
        raise BrokenSample(f"answers holds what at least {MIN_VOTES} people said; what is accepted goes into answer")
    return RawQuestion(raw.id, raw.videos, raw.question, _texts(votes), kind, votes=True)


def _texts(answers: list[Any]) -> tuple[str, ...]:
    return tuple(_answer({"answer": answer}) for answer in answers or [None])


def _answer(row: Any) -> str:
    """Returns an answer; numbers are answers, too."""
    return str(take(row, "answer", (str, int, float)))


def _question_word(question: str) -> str:
    first = question.lower().split()[0]
    return first if first in _QUESTION_WORDS else "other"


def _rows(path: Path) -> Iterator[Any]:
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty (0 bytes); fetch it again")
    if path.suffix == ".json" and first_character(path) != "[":
        raise UsageError(f"{path} is no JSON array of entries; it begins with {first_character(path)!r}")
    return read_rows(path)


def _where(path: Path, number: int, row: Any, name: str) -> str:
    known = id_or(row, [name], "")
    return f"{path}, entry {number}" + (f" ({known})" if known else "")


def _mapping_file(questions: Path) -> Path | None:
    places = (questions.parent / MAPPING, questions.parent.parent / MAPPING)
    return next((place for place in places if place.is_file()), None)


def _read_mapping(path: Path | None) -> dict[str, str]:
    """Returns MSVD's videos by the name that MSVD-QA gives them: `vid1` → `-4wsuPCjDBc_5_15`."""
    if path is None:
        return {}
    mapping = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        words = line.split()
        if len(words) not in (0, 2):
            raise UsageError(f"{path}, line {number}: a video's name and its vidN are needed, got {line!r}")
        if words:
            mapping[words[1]] = words[0]
    return mapping
