import json

import pytest

from elysium import cli


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
    assert "done: 2 of 2 videos, 1 of 1 shards" in shown
    assert "not_found_first 1" in shown


def test_status_of_a_run_in_the_middle(finished, tmp_path, capsys):
    import shutil

    shutil.copytree(finished[1], tmp_path / "run")
    (tmp_path / "run" / "tracks" / "stats.json").unlink()
    assert cli.run(["curate", "status", str(tmp_path / "run"), "--json"]) == 0
    shown = last_json(capsys)
    assert (shown["state"], shown["videos_done"], shown["videos"]) == ("stopped", 2, 2)


def test_damage_is_found_by_verifying(finished, tmp_path, capsys):
    import shutil

    shutil.copytree(finished[1], tmp_path / "run")
    assert cli.run(["curate", "status", str(tmp_path / "run"), "--verify"]) == 0
    table = tmp_path / "run" / "tracks" / "shards" / "00000" / "ledger.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    assert cli.run(["curate", "status", str(tmp_path / "run"), "--verify"]) == 1
    assert "ledger.parquet is missing or not what was written" in capsys.readouterr().err


def test_a_trial_estimates_the_whole_and_leaves_the_run_untouched(finished, capsys, tmp_path):
    command = ["curate", "run", "--source", str(finished[0]), "--output", str(tmp_path), "--dry-run", "1"]
    assert cli.run([*command, "--price", "2", "--json"]) == 0
    shown = last_json(capsys)
    assert (shown["videos_tried"], shown["videos"], shown["outcomes"]) == (1, 2, {"rejected": 1})
    assert shown["whole"]["hours"] == pytest.approx(shown["seconds"] * 2 / 3600, abs=1e-3)
    assert shown["stage_seconds"]["decode"] > 0
    assert sum(shown["stage_seconds"].values()) < shown["seconds"] * 2  # decoding runs beside the models
    assert shown["device"] == "cpu"
    assert not (tmp_path / "tracks" / "plan.json").exists()


def test_a_trial_cuts_as_many_videos_short_as_the_whole_would(finished, monkeypatch, tmp_path):
    from elysium.config import load_settings
    from elysium.curation import running

    shares = []
    settings = load_settings("nano", [f"ingest.source={finished[0]}", "curate.num_evaluation_videos=0"])
    curate = running.curate
    monkeypatch.setattr(
        running,
        "curate",
        lambda root, settings, *rest, **named: (
            shares.append(settings.curate.evaluation_share),
            curate(root, settings, *rest, **named),
        )[1],
    )
    running.estimate(tmp_path, settings, 1)
    assert shares == [0]


def test_replaying_decode_asks_the_filters_of_pieces(finished, capsys):
    command = ["curate", "replay", "decode", str(finished[1]), "--set", "curate.min_motion=255"]
    assert cli.run(command) == 0
    assert "clip1_000 filters: kept -> static at motion" in capsys.readouterr().out


@pytest.mark.parametrize("stage", ["chunk", "decode", "ground", "track", "filters"])
def test_every_stage_can_be_replayed_and_gives_what_it_gave(finished, stage, capsys):
    assert cli.run(["curate", "replay", stage, str(finished[1]), "--json"]) == 0
    shown = last_json(capsys)
    assert shown["compared"] == shown["same"]
    assert shown["compared"] > 0 or stage == "track"  # nothing was found that could be followed


def test_replaying_filters_tells_what_would_have_gone_on(finished, capsys):
    command = ["curate", "replay", "filters", str(finished[1]), "--set", "curate.filters=['-vocabulary']"]
    assert cli.run([*command, "--show", "2"]) == 0
    shown = capsys.readouterr().out
    assert "clip2_000 'a red ring': unknown_object at vocabulary -> not_found_first at first_frame" in shown


def test_a_picture_shows_the_way(finished, tmp_path):
    from PIL import Image

    path = tmp_path / "clip1.png"
    assert cli.run(["curate", "explain", str(finished[1]), "clip1", "--picture", str(path)]) == 0
    with Image.open(path) as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 100


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
    assert "holds no curation" in capsys.readouterr().err
