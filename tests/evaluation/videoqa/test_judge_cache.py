"""What judges said, on disk: nothing that was kept is lost, and nothing damaged counts."""

import json

import pytest

from elysium.errors import UsageError
from elysium.evaluation.videoqa.judge_cache import JudgeCache, StoredAnswer


def answer(number, says="yes", score=5):
    return StoredAnswer(
        key=f"{number:064x}",
        model="judge",
        prompt="elysium-1",
        says=says,
        score=score,
        reply="…",
        prompt_tokens=1,
        completion_tokens=1,
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "judge.jsonl"
    with JudgeCache.open(path) as cache:
        for number in range(3):
            cache.add(answer(number))
    return path


def test_what_was_kept_is_found_again(path):
    with JudgeCache.open(path) as cache:
        assert [cache.find(f"{number:064x}") for number in range(4)] == [answer(0), answer(1), answer(2), None]


def test_of_two_answers_the_later_counts(path):
    with JudgeCache.open(path) as cache:
        cache.add(answer(1, "no", 0))
    with JudgeCache.open(path) as cache:
        assert cache.find(f"{1:064x}").says == "no"


@pytest.mark.parametrize("lost", [1, 20, 150])
def test_a_line_cut_short_is_cut_off_and_the_next_one_is_whole(path, lost):
    path.write_bytes(path.read_bytes()[:-lost])
    with JudgeCache.open(path) as cache:
        assert len(cache) == 2
        cache.add(answer(7))
    with JudgeCache.open(path) as cache:
        assert [cache.find(f"{number:064x}") is not None for number in (0, 1, 2, 7)] == [True, True, False, True]


@pytest.mark.parametrize(
    "changes",
    [{"score": 9}, {"says": "perhaps"}, {"says": None}, {"key": "abc"}, {"more": 1}, {"prompt_tokens": -1}],
    ids=str,
)
def test_a_damaged_line_is_passed_over_and_told(path, changes, caplog):
    lines = path.read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), **changes})
    path.write_text("\n".join(lines) + "\n")
    with JudgeCache.open(path) as cache:
        assert len(cache) == 2
        assert cache.find(f"{1:064x}") is None
    assert "1 damaged lines are passed over" in caplog.text


def test_two_processes_do_not_write_one_file(path):
    with JudgeCache.open(path), pytest.raises(UsageError, match=r"another process keeps answers in .*judge\.jsonl"):
        JudgeCache.open(path)
    JudgeCache.open(path).close()


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be kept in"):
        JudgeCache.open(tmp_path / "file" / "judge.jsonl")
