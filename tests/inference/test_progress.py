"""How far a run is, told to a terminal and to a log."""

import logging
import os
import pty
import subprocess
import sys

import pytest

from elysium.inference.progress import LogProgress, open_progress

SHOWN = """
import time
from elysium.inference.progress import open_progress
with open_progress(2) as progress:
    progress.begin("first", 40, 10)
    for _ in range(20):
        progress.advance("first", 1)
        time.sleep(0.02)
    progress.end("first")
"""


def test_a_log_says_how_many_frames_are_left(caplog):
    with caplog.at_level(logging.INFO), LogProgress(2, pause=0) as progress:
        progress.begin("a", 10, done=4)
        progress.begin("b", 20)
        progress.advance("a", 6)
        progress.end("a")
        progress.advance("b", 5)
    assert [record.message.rpartition(", ")[0].rpartition(", ")[0] for record in caplog.records] == [
        "10 of 30 frames, 0 of 2 videos",
        "15 of 30 frames, 1 of 2 videos",
    ]
    assert all(record.message.endswith(" left") for record in caplog.records)
    assert all("frames/s" in record.message for record in caplog.records)


def test_of_a_stream_without_an_end_nothing_is_said_to_be_left(caplog):
    with caplog.at_level(logging.INFO), LogProgress(1, pause=0) as progress:
        progress.begin("camera-0", None)
        progress.advance("camera-0", 7)
    assert caplog.records[0].message.startswith("7 frames, ")
    assert "left" not in caplog.records[0].message


def test_a_log_is_not_flooded(caplog):
    with caplog.at_level(logging.INFO), LogProgress(1) as progress:
        progress.begin("a", 100)
        for _ in range(100):
            progress.advance("a", 1)
    assert not caplog.records


def test_without_a_terminal_there_is_a_log():
    assert isinstance(open_progress(1), LogProgress)


@pytest.mark.timeout(60)
def test_a_terminal_shows_a_bar_with_speed_and_time_left():
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SHOWN], stdout=subprocess.PIPE, stderr=slave, env={**os.environ, "TERM": "xterm"}
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # how Linux says that nobody has the other end any more
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert output == b"", "standard output belongs to the results"
    text = shown.decode()
    assert "first" in text
    assert "frames/s" in text
    assert "/40" in text
