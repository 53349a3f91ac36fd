"""The gate's pages: one of our own on top, and Great Expectations' data docs made fit to be opened from disk."""

from __future__ import annotations

import re
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from elysium.pipeline.workspace import write_atomic

# The data docs load styles, scripts and pictures from five servers; without a network they are bare and slow.
_REMOTE = (
    re.compile(r"<script\b.*?</script>", re.DOTALL),
    re.compile(r"<link\b[^>]*>"),
    re.compile(r"<img\b[^>]*https?://[^>]*>", re.DOTALL),
    re.compile(r"<footer\b.*?</footer>", re.DOTALL),
    re.compile(r"<style>.*?</style>", re.DOTALL),
)


def tidy_docs(folder: Path) -> None:
    """Rewrites a data docs site so that every page looks right without network and scripts.

    Args:
        folder: The site as Great Expectations built it.
    """
    style = "<style>\n" + _text("docs.css") + "</style>\n</head>"
    for page in sorted(folder.rglob("*.html")):
        text = page.read_text(encoding="utf-8")
        for pattern in _REMOTE:
            text = pattern.sub("", text)
        home = "../" * (len(page.relative_to(folder).parts)) + "index.html"
        text = text.replace("<body>", f'<body>\n<p class="back"><a href="{home}">← the gate\'s report</a></p>', 1)
        write_atomic(page, text.replace("</head>", style, 1))
    write_atomic(folder / "index.html", _contents(folder))
    # Logos, fonts and animations of several MiB that no page shows any more.
    shutil.rmtree(folder / "static", ignore_errors=True)


def write_index(path: Path, title: str, success: bool, findings: list[dict[str, Any]], figures: dict[str, Any]) -> None:
    """Writes the page that a person opens first.

    Args:
        path: The file.
        title: Heading.
        success: The gate's verdict.
        findings: As in `result.json`.
        figures: Name → number, shown on top; mappings become bar charts.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_text("index.html.j2")).render(
        title=title,
        success=success,
        findings=sorted(findings, key=lambda finding: finding["success"]),
        numbers={name: value for name, value in figures.items() if not isinstance(value, dict)},
        charts={name: value for name, value in figures.items() if isinstance(value, dict) and value},
    )
    write_atomic(path, page)


def _contents(folder: Path) -> str:
    """Returns the site's first page; Great Expectations' own is a table that only its scripts can fill."""
    parts = []
    for kind in ("validations", "expectations"):
        pages = sorted(page.relative_to(folder).as_posix() for page in (folder / kind).rglob("*.html"))
        links = "".join(f'<li><a href="{page}">{page.split("/")[1].removesuffix(".html")}</a></li>\n' for page in pages)
        parts.append(f'<div class="ge-section"><h5>{kind.capitalize()}</h5>\n<ul>\n{links}</ul></div>\n')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Data docs</title>\n'
        f"<style>\n{_text('docs.css')}</style>\n</head>\n<body>\n"
        '<p class="back"><a href="../index.html">← the gate\'s report</a></p>\n<h4>Data docs</h4>\n'
        f"{''.join(parts)}</body>\n</html>\n"
    )


def _text(name: str) -> str:
    return (resources.files("elysium.quality") / name).read_text(encoding="utf-8")
