"""Tables in Markdown, read back; and in LaTeX, read by a small parser of its own."""

import re

import pytest
from report_samples import evaluation

from elysium.evaluation.report.side_by_side import put_side_by_side
from elysium.evaluation.report.tables import escape_latex, latex, markdown, write_tables
from elysium.evaluation.results import read_evaluation

NAMES = ("ours_7b & co", "theirs 100% #1", "third")
SPECIAL = "#$%&_"


@pytest.fixture(scope="module")
def sides():
    found = {
        NAMES[0]: evaluation(60.0, speed=4.0, failures=3),
        NAMES[1]: evaluation(50.0),
        NAMES[2]: evaluation(50.0),
    }
    return put_side_by_side(found, samples=300, seed=0)


def rows(text):
    """Returns the cells of a Markdown table, its head first."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_has_a_row_for_each_system(sides):
    head, *body = rows(markdown(sides))
    assert head == ["System", "AUC", "P, 20 px", "Failed", "Frames/s", "Tokens/frame", "Peak MiB"]
    assert {len(row) for row in body} == {len(head)}
    assert [row[0] for row in body] == [r"ours\_7b & co", "theirs 100% #1", "third", "static box"]
    assert re.fullmatch(r"\*\*60\.0\*\* \[5\d\.\d, 6\d\.\d\]", body[0][1]), "the best, beyond chance"
    assert re.fullmatch(r"50\.0 \[4\d\.\d, 5\d\.\d\] ▼", body[1][1])
    assert body[0][3:] == ["3", "4.0", "13.0", "2,048"]
    assert body[1][3:] == ["0", "", "", ""]


def test_what_is_not_better_beyond_chance_is_not_bold():
    twins = put_side_by_side({"a": evaluation(50), "b": evaluation(50.0)}, samples=300, seed=0)
    assert "**" not in markdown(twins).replace("**bold**", "")
    assert r"\textbf" not in latex(twins)


def test_an_interval_may_be_half_its_width(sides):
    assert re.search(r"\| 50\.0 ± \d\.\d ▼ \|", markdown(sides, interval="plus-minus"))
    assert re.search(r"50\.0 \{\\scriptsize \$\\pm\$ \d\.\d\} \$\\downarrow\$", latex(sides, interval="plus-minus"))


def environments(text):
    """Returns how deep environments go, having checked that each is ended where it was begun."""
    opened, deepest = [], 0
    for word, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if word == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
        deepest = max(deepest, len(opened))
    assert not opened
    return deepest


def test_latex_is_well_formed(sides):
    text = latex(sides)
    assert environments(text) == 2
    bare = re.sub(r"\\[{}%$#_&]", "", re.sub(r"(?m)^%.*$", "", text))
    depth = 0
    for sign in bare:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not set("#%") & set(bare), "nothing special is left that is not escaped"
    assert not re.search(r"_", re.sub(r"\$[^$]*\$", "", bare))
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text).group(1))
    lines = re.findall(r"(?m)^    (.*) \\\\$", text)
    assert len(lines) == 5
    assert all(len(re.split(r"(?<!\\)&", line)) == columns for line in lines)
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert rule in text


def test_a_row_never_begins_like_an_argument():
    named = {"[a]": evaluation(60), "b": evaluation(50)}
    text = latex(put_side_by_side(named, samples=100, seed=0))
    assert not re.search(r"\\\\\s*\[", text)


@pytest.mark.parametrize("sign", [*SPECIAL, "{", "}"])
def test_special_signs_are_escaped(sign):
    assert escape_latex(f"a{sign}b") == f"a\\{sign}b"


def test_both_files_are_written_and_say_the_same(tmp_path):
    evaluation(61.5).write(tmp_path / "metrics.json")
    write_tables({"only": read_evaluation(tmp_path)}, tmp_path, samples=100)
    for name in ("tables.md", "tables.tex"):
        text = (tmp_path / name).read_text()
        assert "only" in text
        assert "61.5" in text
        assert "12 items" in text
