"""The files of printed figures: every cell has a source, and the figures are those that PROTOCOL has."""

import pytest

from elysium.errors import UsageError
from elysium.evaluation.paper.sets import Missing, find_known_set, load_sets, locate
from elysium.evaluation.paper.tables import TABLES, PaperTable, Row, load_sources, load_table, read_figures

# PROTOCOL §8 and §3, typed from there.
PROTOCOL = {
    ("table2", "elysium"): {
        "refcoco-val": 89.07, "refcoco-testA": 92.12, "refcoco-testB": 84.95,
        "refcoco+-val": 82.86, "refcoco+-testA": 88.93, "refcoco+-testB": 75.64,
        "refcocog-val": 82.92, "refcocog-test": 83.62, "tokens": 108,
    },
    ("table4", "elysium"): {
        "lasot-auc": 56.1, "lasot-p": 61.0, "lasot-p-norm": 50.1, "uav123-auc": 56.6, "uav123-p": 79.2,
    },
    ("table6", "elysium"): {"meteor": 46.7, "cider": 115.3},
    ("table7", "None-224"): {"average": 76.81, "tokens": 256},
    ("table7", "None-336"): {"average": 81.45, "tokens": 576},
    ("table7", "Concatenation-144"): {"average": 54.65},
    ("table7", "Cross-Attention-144"): {"average": 49.23},
    ("table7", "T-Selector-1"): {"average": 43.70},
    ("table7", "T-Selector-36"): {"average": 74.48},
    ("table7", "T-Selector-108"): {"average": 78.54},
    ("table7", "T-Selector-256"): {"average": 80.09},
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_every_figure_has_a_known_source_and_every_filled_cell_a_known_set(name):
    table = load_table(name)
    assert table.keys, "no row is filled by a model"
    for row in table.rows:
        for figure in row.printed.values():
            assert figure.sources
            assert set(figure.sources) <= set(load_sources())
    for key in table.keys:
        for _, set_name in table.needs(key):
            assert find_known_set(set_name)


@pytest.mark.parametrize(("name", "key"), PROTOCOL)
def test_printed_figures_are_those_of_the_protocol(name, key):
    row = next(row for row in load_table(name).rows if row.key == key)
    for column, value in PROTOCOL[name, key].items():
        assert row.printed[column].value == value
        assert "protocol" in row.printed[column].sources


def test_named_and_given_objects_are_rows_of_one_table():
    rows = {row.system: [figure.value for figure in row.printed.values()] for row in load_table("table5").rows}
    assert list(rows.values()) == [[65.4, 70.1, 67.4], [87.5, 94.5, 93.7], [88.7, 94.6, 93.8]]
    assert load_table("table5").needs("elysium") == (("rsot", "elysiumtrack"), ("sot", "elysiumtrack"))


def test_what_nobody_wrote_down_is_left_out():
    elysium = load_table("table3").rows[-1]
    assert {name: figure.value for name, figure in elysium.printed.items()} == {
        "msvd-accuracy": 75.8,
        "msrvtt-accuracy": 67.5,
        "tgif-accuracy": 66.6,
    }


def test_the_note_on_table_7_gives_the_mean_of_table_2():
    figures = PROTOCOL["table2", "elysium"]
    parts = [value for name, value in figures.items() if name != "tokens"]
    assert f"{sum(parts) / len(parts):.2f}" in " ".join(load_table("table7").notes)


def test_known_sizes():
    counts = {name: list(known.counts.values()) for name, known in load_sets().items()}
    assert counts["lasot"] == [280]
    assert counts["uav123"] == [123]
    assert (counts["elysiumtrack"], find_known_set("elysiumtrack").unit) == ([500], "videos")
    # The UNC splits' test parts: 10,752 and 10,615 expressions together.
    assert counts["refcoco-testA"][0] + counts["refcoco-testB"][0] == 10_752
    # Of question sets the test part comes first: it is what a result is of that does not say.
    assert counts["msvd-qa"] == [13_157, 6_415]
    assert all(counts.values())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"columns": [{"key": "a", "heading": "A"}, {"key": "a", "heading": "B"}]}, "twice"),
        ({"rows": [{"system": "x", "printed": {"b": [1.0, "protocol"]}}]}, "no column is called b"),
        ({"rows": [{"system": "x", "printed": {"a": [1.0, "memory"]}}]}, "no source memory"),
        ({"rows": [{"system": "x", "printed": {"a": [1.0]}}]}, "at least 1 item"),
        ({"columns": [{"key": "a", "heading": "A", "metric": "auc", "sets": ["lasot"]}]}, "no task"),
        ({"columns": [{"key": "a", "heading": "A", "metric": "auc", "task": "sot"}]}, "no set"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(change, word):
    plain = {
        "name": "table2",
        "title": "t",
        "numbering": "known",
        "columns": [{"key": "a", "heading": "A"}],
        "rows": [{"system": "x", "key": "elysium", "printed": {"a": [1.0, "protocol"]}}],
    }
    PaperTable.model_validate(plain)
    with pytest.raises(ValueError, match=word):
        PaperTable.model_validate({**plain, **change})


def test_a_dash_of_the_paper_is_not_the_same_as_an_unknown_figure():
    row = Row.model_validate({"system": "x", "printed": {"a": [None, "protocol"]}})
    assert row.printed["a"].value is None
    assert "b" not in row.printed


def test_an_unknown_table_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean table4"):
        load_table("tabel4")


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        ("lasot", "LaSOT", "airplane/airplane-1/groundtruth.txt"),
        ("lasot", "lasot", "airplane/airplane-1/groundtruth.txt"),
        ("uav123", "UAV123", "anno/UAV123/bike1.txt"),
        ("elysiumtrack", "ElysiumTrack-val500", "ElysiumTrack-val500.json"),
        ("refcoco-testA", "refcoco", "refs(unc).p"),
        ("refcoco+-val", "RefCOCO+", "refs(unc).p"),
        ("refcocog-test", "refcocog", "refs(umd).p"),
        ("msvd-qa", "MSVD_Zero_Shot_QA", "test_q.json"),
        ("tgif-qa", "TGIF-QA", "dataset/Test_frameqa_question.csv"),
    ],
)
def test_sets_are_found_by_their_folder_whatever_its_case(tmp_path, name, folder, file):
    path = tmp_path / folder / file
    path.parent.mkdir(parents=True)
    path.touch()
    assert locate(tmp_path, name) == tmp_path / folder


def test_a_set_that_is_missing_says_what_is_needed_and_where_to_get_it(tmp_path):
    found = locate(tmp_path, "lasot")
    assert isinstance(found, Missing)
    for word in ("LaSOT is not in", "groundtruth.txt", "http://vision.cs.stonybrook.edu/~lasot/"):
        assert word in found.reason
    (tmp_path / "LaSOT").mkdir()
    found = locate(tmp_path, "lasot")
    assert isinstance(found, Missing)
    assert "does not hold" in found.reason


def test_a_folder_of_data_that_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        locate(tmp_path / "sets", "lasot")
    with pytest.raises(UsageError, match="no set 'otb'"):
        locate(tmp_path, "otb")


def test_the_sets_file_has_a_page_and_a_layout_for_everything():
    for place in read_figures("sets"):
        assert place["page"].startswith("http")
        assert place["layout"]
        assert place["signs"]
