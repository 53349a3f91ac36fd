"""The page's script in a real browser, where one is installed: hovering, switching, zooming, by pointer and by keys."""

import json
import shutil
import subprocess

import pytest
from report_samples import evaluation

from elysium.evaluation.report import render_evaluations

BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)

# What a reader does, one after the other, and what the page shows then.
ACTS = """
<pre id="told"></pre><script>
const told = {};
const tip = () => document.getElementById("tip").innerText.split("\\n").filter(Boolean);
const at = (element, x, y, name, more) => {
  const box = element.getBoundingClientRect();
  element.dispatchEvent(new PointerEvent(name, {
    bubbles: true, clientX: box.left + x * box.width, clientY: box.top + y * box.height, pointerType: "mouse", ...more,
  }));
};
const press = (element, key) => element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const chart = document.querySelector(".chart"), svg = chart.querySelector("svg");
SVGElement.prototype.setPointerCapture = () => {};
at(svg, 0.6, 0.5, "pointermove");
told.hover = tip();
at(svg, 0, 0, "pointerleave");
told.left = document.getElementById("tip").hidden;
const key = [...document.querySelectorAll(".legend button")].find((button) => button.innerText === "other");
told.button = [key.tabIndex, key.getAttribute("aria-pressed")];
key.click();
told.switched = [key.getAttribute("aria-pressed"), document.querySelectorAll("polyline[data-series=B].off").length];
at(svg, 0.6, 0.5, "pointermove");
told.without = tip().length;
const line = chart.querySelector("polyline"), before = line.getAttribute("points");
at(svg, 0.3, 0.3, "pointerdown"); at(svg, 0.7, 0.7, "pointermove"); at(svg, 0.7, 0.7, "pointerup");
told.zoomed = [chart.classList.contains("zoomed"), line.getAttribute("points") !== before];
press(svg, "0");
told.whole = [chart.classList.contains("zoomed"), chart.querySelectorAll(".axes text").length];
press(svg, "ArrowRight"); press(svg, "ArrowRight");
told.keys = tip();
const points = document.querySelector(".chart[data-kind=point]");
press(points.querySelector("svg"), "ArrowRight");
told.point = tip();
const rows = document.querySelector(".rows"), end = () => +rows.style.getPropertyValue("--hi");
told.ends = [end()];
[...rows.closest(".group").querySelectorAll(".legend button")][1].click();
told.ends.push(end());
told.off = rows.querySelectorAll(".lane > .off").length;
document.getElementById("told").textContent = JSON.stringify(told);
</script></body>
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the page showed, act by act."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    folder = tmp_path_factory.mktemp("page")
    for name, auc in (("ours", 40), ("other", 60)):
        (folder / name).mkdir()
        evaluation(auc).write(folder / name / "metrics.json")
    page = render_evaluations([folder / "ours", folder / "other"], samples=100)
    (folder / "page.html").write_text(page.replace("</body>", ACTS), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    shown = subprocess.run(
        [*command, "--window-size=1200,900", "--dump-dom", (folder / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    text = shown.partition('<pre id="told">')[2].partition("</pre>")[0]
    assert text, "the script stopped on its way"
    return json.loads(text)


def test_pointing_at_a_plot_tells_every_lines_value(told):
    assert told["hover"] == ["overlap above (IoU): 0.55", "other", "60", "ours", "40", "static box", "30"]
    assert told["left"]


def test_the_legend_switches_lines_in_all_plots_of_its_group(told):
    assert told["button"] == [0, "true"]
    assert told["switched"] == ["false", 2]
    assert told["without"] == len(told["hover"]) - 2


def test_dragging_zooms_and_0_shows_all(told):
    assert told["zoomed"] == [True, True]
    assert told["whole"] == [False, 12]


def test_arrow_keys_read_values(told):
    assert told["keys"][:3] == ["overlap above (IoU): 0.05", "ours", "40"]


def test_a_point_says_which_item_it_is(told):
    assert told["point"] == ["clip-00", "AUC of ours", "35", "other", "55"]


def test_switching_a_model_off_fits_the_axis_of_intervals(told):
    assert told["ends"][0] > 60 > 50 > told["ends"][1] > 40
    assert told["off"] == 2
