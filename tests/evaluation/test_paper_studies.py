"""An ablation study beside Table 7."""

import json

import pytest

from elysium.errors import UsageError
from elysium.evaluation.paper.filling import Results, fill
from elysium.evaluation.paper.studies import with_study
from elysium.evaluation.paper.tables import load_table

TABLE = load_table("table7")


def row(selector, kept, accuracy, seed=0, position_ids="packed"):
    return {"selector": selector, "kept": kept, "position_ids": position_ids, "seed": seed, "accuracy": accuracy}


ROWS = [
    row("none", 64, 80.0),
    row("gated", 12, 60.0),
    row("gated", 12, 70.0, seed=1),
    row("gated", 12, 99.0, position_ids="grid"),
    row("gated", 28, 75.0),
    row("concat", 16, 40.0),
    row("strided", 12, 50.0),
]


def write(folder, rows):
    folder.mkdir()
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"selector": "ga')
    return folder


def test_a_study_stands_in_the_rows_with_its_share_of_tokens_and_is_never_reproduced(tmp_path):
    filled = fill(TABLE, with_study(TABLE, {}, write(tmp_path / "study", ROWS)))
    found = {row.key: cell for row, _, cell in filled.cells()}
    # 108 of 576 are 18.75 %, as 12 of 64; 256 are 44.4 %, 28 of 64 are 43.75 %; 144 are 25 %, as 16 of 64.
    measured = {key: cell.measured for key, cell in found.items() if cell.measured is not None}
    assert measured == {"None-336": 80.0, "T-Selector-108": 65.0, "T-Selector-256": 75.0, "Concatenation-144": 40.0}
    assert {cell.state for key, cell in found.items() if key in measured} == {"other protocol"}
    assert "the mean of 2 runs" in found["T-Selector-108"].reasons[0]
    assert "12 of 64 tokens (18.8%" in found["T-Selector-108"].reasons[0]


def test_what_the_command_prints_is_read_too(tmp_path):
    file = tmp_path / "ablate.json"
    file.write_text('a line of the log\n{"output": "x", "cells": 7, "results": ' + json.dumps(ROWS) + "}\n")
    assert set(with_study(TABLE, {}, file)) == {"None-336", "T-Selector-108", "T-Selector-256", "Concatenation-144"}


def test_a_models_own_evaluation_goes_before_a_study(tmp_path):
    from paper_results import evaluation

    own = Results(measured={"rec-refcoco-val": evaluation("rec-refcoco-val", 3, {"accuracy": 1.0})})
    assert with_study(TABLE, {"T-Selector-108": own}, write(tmp_path / "study", ROWS))["T-Selector-108"] == own


def test_the_number_of_patches_comes_from_the_settings_where_none_was_not_run(tmp_path):
    folder = write(tmp_path / "study", [row("gated", 12, 60.0)])
    with pytest.raises(UsageError, match="how many patches"):
        with_study(TABLE, {}, folder)
    (folder / "study.json").write_text(json.dumps({"model": {"vision": {"image_size": 64, "patch_size": 8}}}))
    assert set(with_study(TABLE, {}, folder)) == {"T-Selector-108"}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "no study"),
        ("[1]", "no study"),
        ('{"results": [{"kept": 3}]}', "has no selector"),
        ('{"results": []}', "no result"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path, content, word):
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=word):
        with_study(TABLE, {}, file)


def test_a_study_belongs_to_table_7(tmp_path):
    with pytest.raises(UsageError, match="beside table7, not table2"):
        with_study(load_table("table2"), {}, tmp_path)
