"""Small evaluations, and ways to look into a page, for the tests of reports and tables."""

import re
from html.parser import HTMLParser

import numpy as np

from elysium.evaluation.results import Cost, Evaluation, ItemResult, summarise

IDS = [f"clip-{number:02}" for number in range(12)]
ATTRIBUTES = ("fast motion", "full occlusion")


def task(auc, *, static=30.0, ids=IDS, spread=5.0, failures=0, speed=None, **changes):
    """Returns a tracking task whose items lie around a mean, and whose static box lies around another."""
    offsets = np.linspace(-spread, spread, len(ids))
    items = [
        ItemResult(
            id=name,
            video=name,
            figures={
                "model": {"auc": auc + offset, "precision": auc + 2 * offset},
                "static_box": {"auc": static - offset, "precision": static},
            },
            failures={"unparsed": failures} if number == 0 else {},
            groups={"attribute": [ATTRIBUTES[number % 2]], "size": [("small", "medium", "large")[number % 3]]},
            curves={
                "model": {"success": [auc] * 21, "precision": [auc] * 51},
                "static_box": {"success": [static] * 21, "precision": [static] * 51},
            },
            cost=None if speed is None else Cost(seconds=1 / speed, frames=1, tokens=13, peak_mib=2048),
        )
        for number, (name, offset) in enumerate(zip(ids, offsets, strict=True))
    ]
    return summarise(items, samples=200, seed=0, **changes)


def evaluation(auc, name="sot-lasot", *, checkpoint=None, version=None, data_hash=None, leaks=None, **changes):
    """Returns an evaluation with one such task."""
    return Evaluation(
        tasks={name: task(auc, **changes)}, checkpoint=checkpoint, version=version, data_hash=data_hash, leaks=leaks
    )


def answers(hits, name="rec-refcoco-val"):
    """Returns an evaluation of a task whose items are right or wrong."""
    items = [
        ItemResult(id=f"q{n}", video=f"v{n}", figures={"model": {"accuracy": 100.0 * hit}})
        for n, hit in enumerate(hits)
    ]
    return Evaluation(tasks={name: summarise(items, samples=200, seed=0)})


def words(page):
    """Returns what a person reads."""
    text = re.sub(r"<(style|script)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def links(page):
    """Returns every address that a page names, without those inside of it."""
    page = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    found = re.findall(r"""(?:\bsrc|\bhref|\burl)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    return [link for link in found if not link.startswith(("#", "data:"))]


class Tags(HTMLParser):
    """Checks that every tag is closed, and collects the attributes of all."""

    VOID = ("meta", "img", "br")

    def __init__(self, page):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def all(self, tag):
        """Returns the attributes of each such tag."""
        return [attrs for name, attrs in self.seen if name == tag]
