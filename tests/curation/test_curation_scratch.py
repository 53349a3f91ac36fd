"""The folder for videos while they are worked on: gone with its process, and missed if somebody else removes it."""

import shutil
import subprocess
import sys

import pytest

from elysium.config import load_settings
from elysium.curation.fetcher import Fetcher
from elysium.curation.sources.tasks import VideoTask
from elysium.data.limits import VideoError
from elysium.data.transfer import FetchError

TASK = VideoTask("a", "simulator:3", "A ring.", "simulator", number=0)


@pytest.fixture
def settings(tmp_path):
    return load_settings("nano", [f"engine.scratch={tmp_path}"])


def test_nothing_is_left_after_use(settings, tmp_path):
    with Fetcher(settings) as fetcher, fetcher.fetch(TASK) as video:
        assert video.path.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_and_what_is_in_use_stays(settings, tmp_path):
    program = (
        "import os, sys; from elysium.config import load_settings; from elysium.curation.fetcher import Fetcher\n"
        "Fetcher(load_settings('nano', ['engine.scratch=' + sys.argv[1]])); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    (left / "video.mp4").touch()
    with Fetcher(settings) as first:
        assert not left.exists()
        with Fetcher(settings), first.fetch(TASK) as video:
            assert video.path.is_file()


def test_a_folder_that_somebody_removed_stops_the_run_and_is_no_videos_failure(settings, tmp_path):
    def decode(fetcher):
        with fetcher.fetch(TASK):
            shutil.rmtree(next(tmp_path.iterdir()))
            raise VideoError("a.mp4 cannot be read")

    with Fetcher(settings) as fetcher, pytest.raises(FetchError, match=r"engine\.scratch") as caught:
        decode(fetcher)
    assert (caught.value.kind, caught.value.scope) == ("disk", "run")
