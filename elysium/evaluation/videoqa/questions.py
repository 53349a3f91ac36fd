"""Question sets about videos: MSVD-QA, MSRVTT-QA, TGIF-QA, ActivityNet-QA, and own ones, in one form."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from elysium.data.sets.source import BrokenSample
from elysium.errors import UsageError
from elysium.evaluation.videoqa.layouts import Layout, RawQuestion, find_layout, guess_set
from elysium.evaluation.videoqa.videos import VideoFolder

logger = logging.getLogger(__name__)

MissingVideos = Literal["refuse", "fail"]
# Where unpacked archives of these sets, and of their repackaged forms, leave the videos.
_VIDEO_FOLDERS = ("videos", "video", "YouTubeClips", "gifs", "tgif", "TrainValVideo", "TestVideo", "all_test")
_FIRST = 5


@dataclass(frozen=True)
class PublicQuestions:
    """A public set.

    Attributes:
        title: What people call it.
        page: Where to get it.
        layouts: Forms that it comes in.
        counts: Part → number of questions, as published in the first of these forms.
    """

    title: str
    page: str
    layouts: tuple[str, ...]
    counts: dict[str, int]


# Numbers of questions: ACM MM 2017 (Xu et al.), CVPR 2017 (TGIF-QA, FrameQA of the extended release), AAAI 2019.
QUESTION_SETS: dict[str, PublicQuestions] = {
    "msvd-qa": PublicQuestions(
        "MSVD-QA",
        "https://github.com/xudejing/video-question-answering",
        ("list", "pairs"),
        {"train": 30_933, "val": 6_415, "test": 13_157},
    ),
    "msrvtt-qa": PublicQuestions(
        "MSRVTT-QA",
        "https://github.com/xudejing/video-question-answering",
        ("list", "pairs"),
        {"train": 158_581, "val": 12_278, "test": 72_821},
    ),
    "tgif-qa": PublicQuestions(
        "TGIF-QA (FrameQA)",
        "https://github.com/YunseokJANG/tgif-qa",
        ("frameqa", "pairs"),
        {"train": 39_392, "test": 13_691},
    ),
    "activitynet-qa": PublicQuestions(
        "ActivityNet-QA",
        "https://github.com/MILVLG/activitynet-qa",
        ("pairs",),
        {"train": 32_000, "val": 18_000, "test": 8_000},
    ),
}


@dataclass(frozen=True)
class VideoQuestion:
    """One question about one video.

    Attributes:
        id: Unique in its set.
        video: The file; None where it is missing and that counts as a failure.
        question: Text.
        answers: Accepted answers, at least one; or one a person, the same ones repeated.
        kind: What the set divides its questions by, for tables; None where it does not.
        votes: Whether `answers` are one a person.
    """

    id: str
    video: Path | None
    question: str
    answers: tuple[str, ...]
    kind: str | None = None
    votes: bool = False

    @property
    def answer(self) -> str:
        """The right answer in one text: all accepted ones, or the one that most people gave."""
        if self.votes:
            return Counter(self.answers).most_common(1)[0][0]
        return " or ".join(dict.fromkeys(self.answers))


@dataclass(frozen=True)
class QuestionSet:
    """The questions of one part of a set.

    Attributes:
        name: A key of `QUESTION_SETS`, or what an own set is called.
        layout: As in `layouts.py`.
        split: The part.
        files: What was read.
        videos: The folder with the videos.
        questions: In the files' order.
        note: What a reader of figures should know, one sentence; None where there is nothing.
    """

    name: str
    layout: str
    split: str
    files: tuple[Path, ...]
    videos: Path
    questions: tuple[VideoQuestion, ...]
    note: str | None = None

    def __len__(self) -> int:
        return len(self.questions)

    def __iter__(self) -> Iterator[VideoQuestion]:
        return iter(self.questions)

    @property
    def missing(self) -> tuple[VideoQuestion, ...]:
        """Questions whose video is not there; each of them is a failure."""
        return tuple(question for question in self.questions if question.video is None)

    @property
    def digest(self) -> str:
        """SHA-256 of ids, questions and answers: two results are about the same questions if it is the same."""
        lines = (json.dumps([entry.id, entry.question, *entry.answers]) + "\n" for entry in self.questions)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def open_question_set(
    name: str | None,
    folder: Path,
    videos: Path | None = None,
    split: str = "test",
    *,
    missing: MissingVideos = "refuse",
) -> QuestionSet:
    """Reads one part of a question set, and finds its videos; no video is opened.

    Args:
        name: A key of `QUESTION_SETS`, or any name of an own set; None tells it from the files.
        folder: With the question files in any layout of `layouts.py`, or one such file.
        videos: The folder with the videos, at any depth; None looks beside the files.
        split: The part. Video-ChatGPT's published figures are of `val` for MSVD-QA and MSRVTT-QA (its issue 113).
        missing: Whether missing videos are refused, or `fail`: their questions stay, without a video.

    Raises:
        UsageError: If there are no questions, an entry is broken, ids come twice, questions lack answers, or videos
            are missing; with counts and the first names.
    """
    layout = find_layout(folder, split)
    guessed = guess_set(layout)
    known = name or guessed or (folder.stem if folder.is_file() else folder.resolve().name)
    _check_name(known, layout, given=name is not None)
    raw = _read(layout, known)
    where = VideoFolder(videos or _beside(folder))
    found = _with_videos(raw, where)
    lost = [raw_question.videos[0] for raw_question, entry in zip(raw, found, strict=True) if entry.video is None]
    if lost and missing == "refuse":
        names = list(dict.fromkeys(lost))
        raise UsageError(
            f"the videos of {len(lost)} of {len(found)} questions are not in {where.root}: {len(names)} videos, first "
            f"{', '.join(names[:_FIRST])}. Fetch them, name their folder with --media, or count their questions as "
            "failures with --missing-videos fail"
        )
    note = _note(known, layout, split, len(found))
    if note:
        logger.warning("%s", note)
    return QuestionSet(known, layout.name, split, layout.files, where.root, tuple(found), note)


def _check_name(name: str, layout: Layout, *, given: bool) -> None:
    if name in QUESTION_SETS:
        if layout.name not in QUESTION_SETS[name].layouts:
            raise UsageError(
                f"{layout.files[0]} is no file of {QUESTION_SETS[name].title}, but of the layout {layout.name!r}; get "
                f"the set from {QUESTION_SETS[name].page}"
            )
        return
    near = difflib.get_close_matches(name.lower(), QUESTION_SETS, n=1, cutoff=0.7)
    if given and near:
        raise UsageError(f"there is no question set {name!r}; did you mean {near[0]}? Call an own set by another name")


def _read(layout: Layout, name: str) -> list[RawQuestion]:
    questions: dict[str, RawQuestion] = {}
    broken: list[str] = []
    twice: list[str] = []
    for entry in layout.entries(name):
        try:
            question = entry.make()
        except BrokenSample as error:
            broken.append(f"{entry.where}: {error}")
            continue
        if question.id in questions:
            twice.append(entry.where)
        questions[question.id] = question
    if broken:
        raise UsageError(f"{len(broken)} entries cannot be used: {_first(broken)}; mend or remove them")
    if twice:
        raise UsageError(f"{len(twice)} entries have the id of one before them: {_first(twice)}; ids are unique")
    if not questions:
        raise UsageError(f"{layout.files[0]} holds no question")
    return list(questions.values())


def _with_videos(questions: Sequence[RawQuestion], folder: VideoFolder) -> list[VideoQuestion]:
    paths: dict[tuple[str, ...], Path | None] = {}
    found = []
    for raw in questions:
        if raw.videos not in paths:
            try:
                paths[raw.videos] = folder.find(*raw.videos)
            except BrokenSample as error:
                raise UsageError(f"question {raw.id}, video {raw.videos[0]!r}: {error}") from error
        found.append(VideoQuestion(raw.id, paths[raw.videos], raw.question, raw.answers, raw.kind, raw.votes))
    return found


def _beside(place: Path) -> Path:
    folder = place.parent if place.is_file() else place
    return next((folder / name for name in _VIDEO_FOLDERS if (folder / name).is_dir()), folder)


def _note(name: str, layout: Layout, split: str, count: int) -> str | None:
    known = QUESTION_SETS.get(name)
    published = known.counts.get(split) if known and layout.name == known.layouts[0] else None
    if known is None or published is None or published == count:
        return None
    return (
        f"{layout.files[0]} holds {count} questions, and {known.title} has {published} in its part {split!r}: these "
        "figures are not those of the whole part"
    )


def _first(texts: Sequence[str]) -> str:
    return "; ".join(texts[:_FIRST]) + (" …" if len(texts) > _FIRST else "")
