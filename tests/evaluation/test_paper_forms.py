"""The forms that a table is written in, and the command."""

import io
import json
import re
from html.parser import HTMLParser

import pytest
from paper_results import evaluation

from elysium.cli import run
from elysium.errors import ElysiumError
from elysium.evaluation.paper.filling import Results, fill
from elysium.evaluation.paper.forms import latex, markdown, page, terminal
from elysium.evaluation.paper.tables import TABLES, load_table

LASOT = evaluation(
    "sot-lasot",
    280,
    {"auc": 55.9, "precision": 50.3, "norm_precision": 63.2},
    intervals={"auc": (53.1, 58.8)},
    baselines={"static_box": {"auc": 9.8, "precision": 5.1, "norm_precision": 7.9}},
    num_failures=31,
)
UAV123 = evaluation("sot-uav123", 7, {"auc": 56.6})


def filled(name="table4", *evaluations):
    measured = {task: found for found in evaluations or (LASOT, UAV123) for task in found.tasks}
    return fill(load_table(name), {"elysium": Results(measured=measured)} if name != "table7" else {})


def test_markdown_has_printed_and_measured_figures_line_under_line():
    lines = markdown(filled()).splitlines()
    heads = next(line for line in lines if line.startswith("| system"))
    printed = next(line for line in lines if line.startswith("| Elysium, printed"))
    measured = lines[lines.index(printed) + 1]
    assert "LaSOT P (means P_norm)" in heads
    cells = [cell.strip() for cell in measured.strip("|").split("|")]
    assert cells == ["**measured**", "55.9 ✓ †", "63.2 (+2.2) †", "50.3 ✓ †", "56.6 (7 of 123)", "data missing"]
    assert re.sub(r"<sup>[\d,]+</sup>", "", printed) == "| Elysium, printed | 56.1 | 61.0 | 50.1 | 56.6 | 79.2 |"
    assert lines[lines.index(measured) + 1] == "| static box, measured | 9.8 | 7.9 | 5.1 |  |  |"
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_markdown_tells_cells_tolerance_states_and_sources():
    text = markdown(filled())
    assert "LaSOT P, **differs**: Measured 63.2; printed 61.0, difference +2.2; 31 answers" in text
    assert "Measured 55.9 (53.1 to 58.8); printed 56.1, difference −0.2; the printed figure lies in the 95 %" in text
    assert "within 0.5 points" in text
    assert "? It was not found what the paper prints here" in text
    assert "*partial*: measured, but not on as many items" in text
    assert "arXiv 2403.16558" in text


def test_what_is_the_same_of_several_cells_is_said_once():
    result = Results(missing={"sot-lasot": "LaSOT is not in sets", "sot-uav123": "UAV123 is not in sets"})
    text = markdown(fill(load_table("table4"), {"elysium": result}))
    assert "- Elysium: LaSOT AUC, LaSOT P, LaSOT P_norm, **data missing**: LaSOT is not in sets." in text


@pytest.mark.parametrize("name", TABLES)
def test_latex_rows_have_as_many_cells_as_columns_and_nothing_unescaped(name):
    lines = latex(filled(name)).splitlines()
    columns = len(load_table(name).columns) + 1
    rows = [line for line in lines if line.endswith(r"\\")]
    body = [line for line in rows if "multicolumn" not in line]
    assert body
    assert {len(re.split(r"(?<!\\)&", line)) for line in body} == {columns}
    for line in rows:
        assert not re.search(r"(?<!\\)[%#_]", line)
        assert line.count("{") == line.count("}")
        assert line.isascii(), line
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{table}"):
        assert any(line == word for line in lines)
    comments = lines[lines.index(r"\end{table}") + 1 :]
    assert comments
    assert all(line.startswith("% ") for line in comments)


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.rows, self.links = [], 0, []

    def handle_starttag(self, tag, attrs):
        self.rows += tag == "tr"
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", TABLES)
def test_the_page_is_whole_and_needs_no_other_file(name):
    found = _Page()
    found.feed(page(filled(name)))
    assert found.open == []
    assert found.links == []
    assert found.rows > len(load_table(name).rows)


def test_the_page_escapes_what_an_evaluation_says():
    broken = Results(failed={"sot-lasot": "<script>alert(1)</script>"})
    assert "<script>" not in page(fill(load_table("table4"), {"elysium": broken}))


def test_every_cell_of_the_page_says_more_on_hovering():
    assert 'title="Measured 55.9 (53.1 to 58.8); printed 56.1, difference −0.2;' in page(filled())


def test_the_terminal_shows_the_same():
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal(filled()))
    text = console.export_text()
    assert "55.9 ✓ †" in text
    assert "Table 4: 2 reproduced, 1 differs, 1 partial, 1 data missing (of 5 cells)." in text


def test_a_narrow_terminal_breaks_figures_over_lines_and_cuts_none():
    from rich.console import Console

    console = Console(width=60, record=True, file=io.StringIO())
    console.print(terminal(filled()))
    assert "…" not in console.export_text()


def test_plain_data_has_everything_about_a_cell():
    plain = json.loads(json.dumps(filled().as_json()))
    row = next(row for row in plain["rows"] if row.get("model") == "elysium")
    assert row["cells"]["lasot-p"] == {
        "state": "differs",
        "printed": 61.0,
        "measured": 63.2,
        "difference": 2.2,
        "tolerance": 0.5,
        "count": 280,
        "whole": 280,
        "reasons": ["31 answers of sot-lasot failed and count as wrong"],
        "sources": ["protocol", "notes-en"],
    }
    assert plain["counts"] == {"reproduced": 2, "differs": 1, "partial": 1, "data missing": 1}
    assert plain["columns"][1]["means"] == "P_norm"
    assert set(plain["sources"]) == {"protocol", "notes-en", "notes-zh", "wizwand"}
    assert row["baselines"] == {"static_box": {"lasot-auc": 9.8, "lasot-p": 7.9, "lasot-p-norm": 5.1}}


def test_the_command_fills_from_existing_results_and_writes_every_form(tmp_path, capsys):
    LASOT.write(tmp_path / "results" / "lasot" / "metrics.json")
    out = tmp_path / "out"
    arguments = ["reproduce", "table4", "--from-results", str(tmp_path / "results"), "--output", str(out), "--json"]
    assert run(arguments) == 0
    plain = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert plain["counts"] == {"reproduced": 2, "differs": 1, "data missing": 2}
    assert set(plain["files"]) == {"json", "markdown", "latex", "html"}
    assert sorted(path.name for path in out.iterdir()) == ["table4.html", "table4.json", "table4.md", "table4.tex"]
    assert run([*arguments, "--tolerance", "3"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["counts"] == {"reproduced": 3, "data missing": 2}


def test_the_command_measures_what_it_is_given_and_ends_with_1_where_an_evaluation_failed(
    tmp_path, capsys, monkeypatch
):
    def open_measure(checkpoint, overrides, judging, training):
        def measure(task, set_name, folder, output):
            raise ElysiumError(f"{checkpoint} with {', '.join(overrides)} broke")

        return measure

    monkeypatch.setattr("elysium.evaluation.paper.measuring.open_measure", open_measure)
    (tmp_path / "sets" / "UAV123" / "anno" / "UAV123").mkdir(parents=True)
    (tmp_path / "sets" / "UAV123" / "anno" / "UAV123" / "bike1.txt").touch()
    arguments = [
        "--model",
        "nano",
        "--data",
        str(tmp_path / "sets"),
        "--set",
        "evaluate.batch_size=2",
        "--output",
        str(tmp_path / "out"),
    ]
    assert run(["reproduce", "table4", *arguments]) == 1
    shown = capsys.readouterr()
    assert "Table 4: 3 data missing, 2 failed (of 5 cells)." in shown.out
    assert "nano with evaluate.batch_size=2 broke" in (tmp_path / "out" / "table4.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["table4"], "nothing to fill"),
        (["table4", "--model", "nano"], "--data"),
        (["table7", "--model", "nano", "--data", "."], "T-Selector-108"),
        (["table4", "--model", "a", "--model", "b", "--data", "."], "two models"),
        (["table4", "--model", "elysium=", "--data", "."], "no checkpoint"),
        (["table4", "--ablation", "."], "beside table7"),
        (["table8"], "table2"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(arguments, word, tmp_path, capsys):
    assert run(["reproduce", *arguments, "--output", str(tmp_path / "out")]) == 2
    assert word in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
