import xml.etree.ElementTree as ET

from elysium.evaluation.charts import bar_chart, line_chart


def test_a_line_chart_is_well_formed_and_holds_every_point_inside():
    chart = line_chart({"this <model>": [(0, 0), (5, 50), (10, 100)], "other": [(0, 20), (10, 20)]}, "step", "loss")
    figure = ET.fromstring(chart)  # noqa: S314 - our own text
    lines = figure.findall(".//polyline")
    assert len(lines) == 2
    points = [tuple(map(float, pair.split(","))) for line in lines for pair in line.get("points").split()]
    assert len(points) == 5
    _, _, width, height = map(float, figure.find("svg").get("viewBox").split())
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert "this <model>" in "".join(figure.itertext())


def test_nothing_to_draw_draws_nothing():
    assert line_chart({"loss": [(1, float("nan"))]}, "step", "loss") == ""


def test_bars_are_in_proportion():
    rows = ET.fromstring(bar_chart({"a": 4, "b": 1}, "things")).findall(".//i")  # noqa: S314 - our own text
    widths = [float(row.get("style").removeprefix("width:").removesuffix("%")) for row in rows]
    assert widths == [100, 25]
