"""Colours that people can tell apart: contrast by WCAG 2.2, colour blindness by Machado et al. 2009."""

import itertools
import re
from importlib.resources import files

import numpy as np
import pytest

from elysium.evaluation.report.clips import COLOURS, TRUE_COLOUR

CSS = (files("elysium.evaluation.report") / "report.css").read_text(encoding="utf-8")
THEMES = dict(zip(("light", "dark"), re.findall(r":root \{(.*?)\}", CSS, flags=re.DOTALL), strict=True))
MODELS = tuple(f"c{number}" for number in range(5))
# Of full severity, on linear RGB (Machado, Oliveira and Fernandes, 2009, table 1).
SIGHT = {
    "all colours": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# Differences in CIELAB; about 2 can just be seen.
FAR = 15


def colours(theme):
    return {
        name: "#" + "".join(sign * 2 for sign in value[1:]) if len(value) == 4 else value
        for name, value in re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", THEMES[theme])
    }


def linear(colour):
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(first, second):
    light, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb):
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(matrix) @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def least_difference(chosen, sight):
    seen = [lab(np.array(SIGHT[sight]) @ linear(colour)) for colour in chosen]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("ground", ["card", "page"])
@pytest.mark.parametrize("ink", ["ink", "soft", "good", "held", "bad", "up", "down", "link"])
def test_text_is_legible(theme, ground, ink):
    found = colours(theme)
    assert contrast(found[ink], found[ground]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("line", [*MODELS, "b0", "b1", "b2", "b3"])
def test_lines_can_be_seen(theme, line):
    found = colours(theme)
    assert contrast(found[line], found["card"]) >= 3


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("sight", SIGHT)
def test_models_are_told_apart(theme, sight):
    found = colours(theme)
    assert least_difference([found[name] for name in MODELS], sight) >= FAR


@pytest.mark.parametrize("sight", SIGHT)
def test_boxes_of_a_clip_are_told_apart(sight):
    assert least_difference([TRUE_COLOUR, *COLOURS], sight) >= 12


def test_the_swatches_of_the_page_are_the_colours_of_the_clips():
    swatches = re.findall(r"\.swatch\.p\d \{ color: (#\w+); \}", CSS)
    assert tuple(swatches) == COLOURS
