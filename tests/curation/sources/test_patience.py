"""How often and how long a transfer is tried again, in made-up time."""

import pickle

import pytest
from source_servers import Time

from elysium.data.transfer import FetchError, Patience, TooLargeError


def failing(*errors):
    """Something that raises each of the errors in turn, and then returns the number of calls."""
    waiting, calls = list(errors), []

    def once():
        calls.append(None)
        if waiting:
            raise waiting.pop(0)
        return len(calls)

    return once


def passing(**options):
    return FetchError("slow down", kind="throttled", passing=True, **options)


def patience(time, **options):
    return Patience(sleep=time.sleep, clock=time.clock, **options)


def test_pauses_double_and_each_is_a_share_between_half_and_all(time):
    assert patience(time, retries=5, pause=1, longest=6).persist("a", failing(*[passing()] * 5)) == 6
    for full, slept in zip([1, 2, 4, 6, 6], time.slept, strict=True):
        assert full / 2 <= slept <= full


def test_the_share_is_the_files_own_and_always_the_same():
    waits = [Patience().wait(f"https://host/{number}.mp4", 3) for number in range(100)]
    assert waits == [Patience().wait(f"https://host/{number}.mp4", 3) for number in range(100)]
    assert len(set(waits)) == 100
    assert max(waits) - min(waits) > 0.8  # of a pause of 2 s, spread over its second half


def test_what_does_not_pass_is_not_tried_again(time):
    with pytest.raises(FetchError, match=r"^gone$"):
        patience(time).persist("a", failing(FetchError("gone", kind="missing")))
    assert time.slept == []


def test_the_last_attempt_counts_them(time):
    with pytest.raises(FetchError, match=r"^slow down \(after 3 attempts\)$") as caught:
        patience(time, retries=2).persist("a", failing(*[passing()] * 3))
    assert (caught.value.kind, caught.value.scope) == ("throttled", "video")
    assert len(time.slept) == 2


def test_a_server_that_names_a_time_is_believed(time):
    patience(time, pause=0.5).persist("a", failing(passing(retry_after=30)))
    assert time.slept == [30]


def test_a_server_that_asks_for_too_long_is_given_up_at_once(time):
    with pytest.raises(FetchError, match="slow down"):
        patience(time, seconds=60).persist("a", failing(passing(retry_after=3600)))
    assert time.slept == []


def test_all_pauses_together_are_bounded(time):
    with pytest.raises(FetchError):
        patience(time, retries=1000, seconds=100, longest=20).persist("a", failing(*[passing()] * 1000))
    assert 80 <= sum(time.slept) <= 100


def test_the_bound_counts_from_the_first_failure():
    time = Time()
    time.now = 1e6
    assert patience(time, seconds=10).persist("a", failing(passing())) == 2


@pytest.mark.parametrize("error", [passing(retry_after=3.0), TooLargeError("2 MiB", kind="too_large", scope="run")])
def test_errors_keep_what_they_say_between_processes(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (made here)
    assert type(again) is type(error)
    assert (str(again), again.kind, again.scope, again.passing, again.retry_after) == (
        *(str(error), error.kind, error.scope, error.passing, error.retry_after),
    )
