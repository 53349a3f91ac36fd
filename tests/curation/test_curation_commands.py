import json

import pytest

from elysium import cli
from elysium.data.simulator import simulate
from elysium.data.video import write_video


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The output of `curate run` over a folder with two ordinary clips."""
    folder = tmp_path_factory.mktemp("source")
    for seed, caption in ((1, "A man walks. Two dogs play."), (2, "A red ring moves.")):
        write_video(folder / f"clip{seed}.mp4", simulate(seed, 12, 64).frames, 12)
        (folder / f"clip{seed}.txt").write_text(caption)
    output = tmp_path_factory.mktemp("home") / "run"
    assert cli.run(["curate", "run", "--source", str(folder), "--output", str(output)]) == 0
    return folder, output


def last_json(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_finished_run_is_found_and_summed_up(finished, capsys):
    folder, output = finished
    assert cli.run(["curate", "run", "--source", str(folder), "--output", str(output), "--json"]) == 0
    shown = last_json(capsys)
    assert shown["clips"] == 2
    assert shown["stats"]["num_records"] == 0
    assert shown["stats"]["rejects"]["grounding"] == {"unknown_object": 1, "not_found_first": 1}


def test_status_shows_the_funnel(finished, capsys):
    assert cli.run(["curate", "status", str(finished[1])]) == 0
    shown = capsys.readouterr().out
    assert "done: 2 of 2 clips" in shown
    assert "not_found_first 1" in shown


def test_status_of_a_run_in_the_middle(finished, tmp_path, capsys):
    import shutil

    shutil.copytree(finished[1], tmp_path / "run")
    parts = tmp_path / "run" / ".partial" / "curate" / "parts"
    parts.mkdir(parents=True)
    (parts / "one.json").touch()
    assert cli.run(["curate", "status", str(tmp_path / "run"), "--json"]) == 0
    assert last_json(capsys) == {"state": "running", "clips_done": 1, "clips": 2, "stats": None}


def test_explain_tells_a_clip_s_way(finished, capsys):
    shown = {}
    for video in ("clip1", "clip2"):
        assert cli.run(["curate", "explain", str(finished[1]), video]) == 0
        shown[video] = capsys.readouterr().out
    assert "'two dogs' at chunk: plural word, 1 against 0" in shown["clip1"]
    assert "'a man' at grounding: not found first" in shown["clip1"]
    assert "'a red ring' at grounding: unknown object" in shown["clip2"]


def test_explain_names_the_nearest_clip(finished, capsys):
    assert cli.run(["curate", "explain", str(finished[1]), "clip11"]) == 2
    assert "did you mean 'clip1'" in capsys.readouterr().err


def test_a_folder_without_clips_is_told_so(tmp_path, capsys):
    assert cli.run(["curate", "status", str(tmp_path)]) == 1
    assert "no raw clips" in capsys.readouterr().err
