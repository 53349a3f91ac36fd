"""What the environment says of waiting is understood, or refused with its name and value."""

import pytest

from elysium.errors import UsageError
from elysium.pipeline.seconds import seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("", 5), ("2.5", 2.5), ("180", 180)])
def test_a_number_is_taken(monkeypatch, text, seconds):
    monkeypatch.setenv("ELYSIUM_LOOK_SECONDS", text)
    assert seconds_of("ELYSIUM_LOOK_SECONDS", 5) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "5 s"])
def test_what_is_no_number_is_refused(monkeypatch, text):
    monkeypatch.setenv("ELYSIUM_LOOK_SECONDS", text)
    with pytest.raises(UsageError, match=f"ELYSIUM_LOOK_SECONDS is a number of seconds above 0, got '{text}'"):
        seconds_of("ELYSIUM_LOOK_SECONDS", 5)


def test_none_at_all_may_be_a_number_too(monkeypatch):
    monkeypatch.setenv("ELYSIUM_START_PATIENCE", "0")
    assert seconds_of("ELYSIUM_START_PATIENCE", 180, zero=True) == 0
