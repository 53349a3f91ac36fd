"""What a gate leaves for people and machines, and that it does so quietly."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest

from elysium.errors import ElysiumError, GateRefused
from elysium.quality.gate import MAX_SHOWN, Rule, Suite, check

NUMBER = Rule(
    "small", "ExpectColumnValuesToBeBetween", {"column": "x", "max_value": 9}, "x is at most 9 <m>", "make it small"
)


def run(output, values, *rules):
    table = pd.DataFrame({"id": [f"row-{i:03}" for i in range(len(values))], "x": [float(v) for v in values]})
    return check(
        "Things & more", [Suite("things", table, "things", rules or (NUMBER,))], output, {"things": len(values)}
    )


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, value) for name, value in attrs if name in ("href", "src") and value]


def test_every_link_of_every_page_leads_to_a_file_that_is_there(tmp_path):
    run(tmp_path, [1, 20])
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) == 4
    for page in pages:
        for _, target in Links(page.read_text()).found:
            path = target.partition("#")[0]
            if path and not path.startswith("https://greatexpectations.io"):
                assert (page.parent / path).is_file(), f"{page}: {target}"


def test_no_page_loads_anything_from_elsewhere(tmp_path):
    run(tmp_path, [1, 20])
    for page in tmp_path.rglob("*.html"):
        text = page.read_text()
        loads = [(tag, target) for tag, target in Links(text).found if tag != "a"]
        assert loads == []
        assert "<script" not in text
        assert not re.search(r"(url\(|@import)", text)


def test_the_data_docs_hold_the_validation_result(tmp_path):
    run(tmp_path, [1, 20])
    (page,) = (tmp_path / "docs" / "validations").rglob("*.html")
    assert "row-001" in page.read_text()


def test_the_page_names_rule_number_and_remedy(tmp_path):
    run(tmp_path, [1, 20])
    text = (tmp_path / "index.html").read_text()
    assert "Refused: 1 of 1 rules broken" in text
    assert "1 of 2 things (50%) break it, 0% allowed" in text
    assert "make it small" in text
    assert "x is at most 9 &lt;m&gt;" in text


def test_the_refusal_is_one_line(tmp_path):
    verdict = run(tmp_path, [1, 20])
    with pytest.raises(GateRefused) as refusal:
        verdict.refuse_if_failed("report/index.html")
    assert str(refusal.value) == (
        "small: 1 of 2 things (50%) break it, 0% allowed (x is at most 9 <m>); make it small; see report/index.html"
    )


def test_equal_data_gives_equal_results(tmp_path):
    for name in ("a", "b"):
        run(tmp_path / name, [1, 20, 5])
    assert (tmp_path / "a" / "result.json").read_bytes() == (tmp_path / "b" / "result.json").read_bytes()


def test_a_second_run_into_the_same_folder_replaces_the_first(tmp_path):
    run(tmp_path, [1, 20])
    assert run(tmp_path, [1, 2]).success
    assert len(list((tmp_path / "docs" / "validations").rglob("*.html"))) == 1
    assert json.loads((tmp_path / "result.json").read_text())["success"]


def test_of_many_that_break_a_rule_the_first_are_shown_and_all_are_listed(tmp_path):
    run(tmp_path, [50] * 300)
    result = json.loads((tmp_path / "result.json").read_text())
    (found,) = result["expectations"]
    assert found["failing"] == [f"row-{i:03}" for i in range(MAX_SHOWN)]
    assert (found["num_bad"], len(result["bad"])) == (300, 300)
    assert sum(page.stat().st_size for page in tmp_path.rglob("*.html")) < 500_000


def test_missing_values_are_not_judged_twice(tmp_path):
    verdict = run(tmp_path, [1, float("nan")])
    assert verdict.success
    assert verdict.findings[0].num_rows == 1


def test_an_empty_table_keeps_every_rule_about_rows(tmp_path):
    assert run(tmp_path, []).success


def test_a_rule_that_cannot_be_evaluated_is_an_error(tmp_path):
    wrong = Rule("wrong", "ExpectColumnValuesToBeBetween", {"column": "y", "max_value": 9}, "y", "…")
    with pytest.raises(ElysiumError, match="rule wrong of things could not be evaluated"):
        run(tmp_path, [1], wrong)


QUIET = """
import logging, pathlib, socket, sys, tempfile
socket.getaddrinfo = socket.socket.connect = lambda *arguments, **keywords: print("calls", arguments, file=sys.stderr)
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
tempfile.tempdir = sys.argv[2]
import pandas as pd
from elysium.quality.gate import Rule, Suite, check
logging.getLogger().handlers[0].addFilter(lambda entry: entry.levelno >= logging.INFO)
rule = Rule("small", "ExpectColumnValuesToBeBetween", {"column": "x", "max_value": 9}, "x", "x")
check("x", [Suite("x", pd.DataFrame({"id": ["a"], "x": [1.0]}), "x", [rule])], pathlib.Path(sys.argv[1]), {})
"""


def test_it_is_quiet_leaves_nothing_behind_and_tells_nobody(tmp_path):
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-c", QUIET, str(tmp_path / "out"), str(tmp_path / "tmp")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert list((tmp_path / "tmp").iterdir()) == []
