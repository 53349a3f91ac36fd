import json
import xml.etree.ElementTree as ET

import pytest

from elysium.evaluation.report.bars import Mark, Row, bar_chart, interval_chart
from elysium.evaluation.report.charts import Series, legend, line_chart, point_chart


def parsed(chart):
    return ET.fromstring(chart)  # noqa: S314 - our own text


def numbers(chart):
    return json.loads(parsed(chart).find("script").text)


LINES = [
    Series("A", "this <model> & more", [(0, 0), (5, 50), (10, 100)]),
    Series("B", "other", [(0, 20), (10, 20)], "c1", shown=False),
]


def test_a_line_chart_is_well_formed_and_holds_every_point_inside():
    figure = parsed(line_chart(LINES, "step", "loss"))
    lines = figure.findall(".//polyline")
    points = [tuple(map(float, pair.split(","))) for line in lines for pair in line.get("points").split()]
    assert len(lines) == 2
    assert len(points) == 5
    plot = next(part for part in figure.iter("svg") if part.get("class") == "plot")
    width, height = float(plot.get("width")), float(plot.get("height"))
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert "this <model> & more" in "".join(figure.itertext())
    assert "off" in lines[1].get("class").split()


def test_the_script_gets_the_numbers_as_they_are():
    chart = line_chart(LINES, "step", "</script>", y_range=(0, 100))
    assert chart.count("</script>") == 1, "a label cannot end the script"
    content = numbers(chart)
    assert content["series"][0] == {"key": "A", "name": "this <model> & more", "x": [0, 5, 10], "y": [0, 50, 100]}
    assert content["y"] == [0, 100]


def test_small_numbers_are_no_zeros():
    content = numbers(line_chart([Series("A", "rate", [(0, 1e-4), (1, 2.5e-5)])], "step", "rate"))
    assert content["series"][0]["y"] == [1e-4, 2.5e-5]


def test_nothing_to_draw_draws_nothing():
    assert line_chart([Series("A", "loss", [(1, float("nan"))])], "step", "loss") == ""
    assert point_chart([], "a", "b") == ""
    assert interval_chart([Row("none", 0, [])], "AUC") == ""


def test_one_point_is_a_dot_in_the_middle():
    figure = parsed(line_chart([Series("A", "loss", [(10, 0.4)])], "step", "loss"))
    first, second = figure.find(".//polyline").get("points").split()
    assert first == second
    labels = [text.text for text in figure.iter("text") if text.get("text-anchor") == "middle"]
    assert len(labels) == len(set(labels)), "every tick says something else"


def test_points_keep_their_names_and_both_axes_are_the_same():
    chart = point_chart([Series("B", "other", [(10, 20), (90, 80)], "c1", ["one", "two"])], "a", "b")
    content = numbers(chart)
    assert content["x"] == content["y"] == [0, 100]
    assert content["series"][0]["labels"] == ["one", "two"]
    assert parsed(chart).find(".//path").get("d").count("M") == 2


def test_the_legend_names_a_key_once_and_tells_who_is_off():
    keys = parsed(f"<div>{legend([*LINES, *LINES])}</div>").findall(".//span[@data-series]")
    assert [(key.get("data-series"), key.get("class")) for key in keys] == [("A", "key"), ("B", "key off")]


def test_bars_are_in_proportion():
    rows = parsed(bar_chart({"a": 4, "b": 1}, "things")).findall(".//i")
    widths = [float(row.get("style").removeprefix("width:").removesuffix("%")) for row in rows]
    assert widths == [100, 25]


@pytest.mark.parametrize("interval", [(40.0, 60.0), None])
def test_intervals_lie_within_the_axis(interval):
    marks = [Mark("A", "c0", 50.0, interval, "A: 50"), Mark("B", "c1", 10.0, (5.0, 20.0), "B: 10")]
    figure = parsed(interval_chart([Row("small <1", 1234, marks)], "AUC"))
    axis = dict(part.split(":") for part in figure.get("style").split(";"))
    assert float(axis["--lo"]) <= 5
    assert float(axis["--hi"]) >= (60 if interval else 50)
    assert "small <1 1,234" in "".join(figure.itertext())
    assert [mark.get("title") for mark in figure.iter("span") if mark.get("data-series")] == ["A: 50", "B: 10"]
