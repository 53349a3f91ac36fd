"""`elysium registry`: what it lists, and the way to another champion and back."""

import json

import pytest

from elysium.cli import run
from elysium.registry import models


@pytest.fixture
def three(store, tmp_path):
    """Three versions; the second is champion, the first was before it."""
    for number in range(1, 4):
        checkpoint = tmp_path / f"checkpoint{number}"
        checkpoint.mkdir()
        (checkpoint / "config.json").write_text(f"{number}")
        metrics = json.dumps({"tasks": {"sot-simulated": {"model": {"auc": 10.0 * number}}}})
        files = {models.CARD_FILE: f"# card {number}", models.METRICS_FILE: metrics}
        tags = {"elysium.data_hash": f"data{number}", "elysium.decision": "promoted"}
        models.register(store, f"run{number}", checkpoint, files, tags)
        if number < 3:
            models.make_champion(store, str(number))
    return store


def call(capsys, *arguments):
    """Returns the exit code and the last line of standard output as JSON."""
    code = run(["registry", *arguments, "--json"])
    out = capsys.readouterr().out.strip().splitlines()
    return code, json.loads(out[-1]) if out else None


def test_list_gives_versions_newest_first(capsys, three, home):
    code, found = call(capsys, "list", "--home", str(home))
    assert code == 0
    assert [(entry["version"], entry["aliases"]) for entry in found["versions"]] == [
        ("3", ["challenger"]),
        ("2", ["champion"]),
        ("1", []),
    ]
    assert found["champions"] == ["1", "2"]


def test_list_for_people_names_run_and_data(capsys, three, home):
    assert run(["registry", "list", "--home", str(home)]) == 0
    out = capsys.readouterr().out
    assert "champion" in out
    assert "data2" in out


@pytest.mark.parametrize("name", ["2", "champion"])
def test_show_takes_a_number_or_an_alias(capsys, three, home, name):
    _, found = call(capsys, "show", name, "--home", str(home))
    assert (found["version"], found["run"], found["data_hash"]) == ("2", "run2", "data2")
    assert found["metrics"] == {"sot-simulated": {"auc": 20.0}}


def test_show_prints_the_card(capsys, three, home):
    run(["registry", "show", "1", "--home", str(home)])
    assert "# card 1" in capsys.readouterr().out


def test_promote_by_hand_and_roll_back_step_by_step(capsys, three, home):
    assert call(capsys, "promote", "3", "--home", str(home)) == (0, {"champion": "3", "champion_before": "2"})
    assert models.aliases(three) == {"champion": "3"}
    assert call(capsys, "rollback", "--home", str(home)) == (0, {"champion": "2", "champion_before": "3"})
    assert call(capsys, "rollback", "--home", str(home)) == (0, {"champion": "1", "champion_before": "2"})
    assert models.aliases(three) == {"champion": "1"}


def test_there_is_no_way_back_from_the_first_champion(capsys, three, home):
    call(capsys, "rollback", "--home", str(home))
    assert run(["registry", "rollback", "--home", str(home)]) == 2
    assert "version 1 is the first champion" in capsys.readouterr().err


def test_promoting_the_champion_changes_nothing(capsys, three, home):
    call(capsys, "promote", "2", "--home", str(home))
    assert models.history(three) == ["1", "2"]


def test_an_earlier_champion_promoted_again_rolls_back_to_the_one_it_replaced(capsys, three, home):
    call(capsys, "promote", "1", "--home", str(home))
    assert call(capsys, "rollback", "--home", str(home))[1]["champion"] == "2"


def test_a_history_entry_written_just_before_a_kill_does_not_count(three):
    three.client.set_registered_model_tag(three.model_name, models.HISTORY_TAG, '["1", "2", "3"]')
    assert models.history(three) == ["1", "2"]
    assert models.roll_back(three) == ("2", "1")


def test_a_version_that_is_not_there_lists_those_that_are(capsys, three, home):
    assert run(["registry", "show", "9", "--home", str(home)]) == 2
    assert "no version or alias '9'; versions: 1, 2, 3" in capsys.readouterr().err


def test_a_folder_without_a_registry_is_told_and_left_alone(capsys, tmp_path):
    assert run(["registry", "list", "--home", str(tmp_path)]) == 2
    assert "there is no registry in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["list", "show", "promote", "rollback"])
def test_every_command_helps_with_an_example(capsys, command):
    assert run(["registry", command, "--help"]) == 0
    assert f"elysium registry {command}" in capsys.readouterr().out
