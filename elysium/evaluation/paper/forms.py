"""A filled table as Markdown, LaTeX, JSON, a page, or for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from elysium.evaluation.paper.cells import State
from elysium.evaluation.paper.filling import FilledTable
from elysium.evaluation.paper.layout import Line, Sheet, Shown, lay_out
from elysium.pipeline.workspace import write_atomic

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS: dict[State, str] = {"reproduced": "green", "differs": "red", "failed": "red"}
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": r"$-$", "✓": r"$\checkmark$",
    "†": r"$\dagger$", "§": r"\S{}",
}  # fmt: skip


def write_table(filled: FilledTable, folder: Path) -> dict[str, Path]:
    """Writes a table in all forms, e.g. `table2.md`; each file is there whole or not at all.

    Returns:
        Form to file: `json`, `markdown`, `latex`, `html`.
    """
    name = filled.table.name
    forms = {
        "json": (f"{name}.json", json.dumps(filled.as_json(), indent=1, ensure_ascii=False) + "\n"),
        "markdown": (f"{name}.md", markdown(filled)),
        "latex": (f"{name}.tex", latex(filled)),
        "html": (f"{name}.html", page(filled)),
    }
    for file, text in forms.values():
        write_atomic(folder / file, text)
    return {form: folder / file for form, (file, _) in forms.items()}


def markdown(filled: FilledTable) -> str:
    """Returns the table as Markdown, with what is to be said of its cells below."""
    sheet = lay_out(filled)
    headings = [f"{name} {text}".strip() for name, text in zip(_spread(sheet), sheet.headings, strict=True)]
    lines = [
        f"## {sheet.number}: {sheet.title}", "", f"{sheet.summary}.", "",
        "| " + " | ".join(_pipes(["system", *headings])) + " |",
        "| --- |" + " ---: |" * len(headings),
    ]  # fmt: skip
    for line in sheet.lines:
        cells = [f"{cell.text}{_superscript(cell.sources)}" for cell in line.cells]
        label = f"**{line.label}**" if line.kind == "measured" else line.label
        lines.append("| " + " | ".join(_pipes([label, *cells])) + " |")
    if sheet.findings:
        lines += ["", "What is to be said of single cells:", ""]
        lines += [f"- {found.where}, **{found.state}**: {found.text}" for found in sheet.findings]
    lines += ["", "Notes:", "", *(f"- {note}" for note in sheet.notes)]
    lines += [f"- *{state}*: {meaning}" for state, meaning in sheet.legend.items()]
    lines += ["", "Sources of the printed figures:", ""]
    lines += [f"{number}. {source}" for number, source in enumerate(sheet.sources, start=1)]
    return "\n".join(lines) + "\n"


def latex(filled: FilledTable) -> str:
    """Returns the table for LaTeX: the packages `booktabs` and `amssymb` are needed."""
    sheet = lay_out(filled)
    columns = len(sheet.headings)
    lines = [
        r"% needs \usepackage{booktabs,amssymb}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(f'{sheet.title}: the printed figures of {sheet.number}, and what was measured.')}}}",
        rf"\label{{tab:reproduced-{filled.table.name}}}",
        rf"\begin{{tabular}}{{l{'r' * columns}}}",
        r"\toprule",
    ]
    if any(name for name, _ in sheet.groups):
        cells = [rf"\multicolumn{{{width}}}{{c}}{{{_tex(name)}}}" for name, width in sheet.groups]
        lines.append(" & ".join(["", *cells]) + r" \\")
        lines += list(_rules(sheet))
    lines.append(" & ".join(["system", *map(_tex, sheet.headings)]) + r" \\")
    for line in sheet.lines:
        if line.begins:
            lines.append(r"\midrule")
        cells = [_tex(cell.text) for cell in line.cells]
        label = rf"\quad {_tex(line.label)}" if line.kind != "printed" else _tex(line.label)
        lines.append(" & ".join([label, *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    # Comments end at the line's end: what is to be said of cells stays with the table, out of the printed page.
    said = [f"{found.where}, {found.state}: {found.text}" for found in sheet.findings]
    lines += [f"% {text}" for text in (f"{sheet.summary}.", *said, *sheet.notes)]
    return "\n".join(lines) + "\n"


def page(filled: FilledTable) -> str:
    """Returns the table as one page that needs no other file."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_text("page.html.j2")).render(
        sheet=lay_out(filled),
        counts=filled.counts,
        total=sum(filled.counts.values()),
        style=Markup(_text("page.css")),  # noqa: S704 - the package's own file
    )


def terminal(filled: FilledTable) -> RenderableType:
    """Returns the table for `rich`, with what is to be said of its cells below."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    sheet = lay_out(filled)
    table = Table(title=f"{sheet.number}: {sheet.title}", title_justify="left")
    table.add_column("system", overflow="fold")
    for group, text in zip(_spread(sheet), sheet.headings, strict=True):
        table.add_column(f"{group}\n{text}".strip(), justify="right", overflow="fold")
    for number, line in enumerate(sheet.lines):
        last = number + 1 == len(sheet.lines) or sheet.lines[number + 1].begins
        cells = [Text(cell.text, style=_colour(line, cell)) for cell in line.cells]
        label = Text(line.label if line.begins else f"  {line.label}", style="bold" if line.kind == "measured" else "")
        table.add_row(label, *cells, end_section=last)
    said = [Text(f"{found.where}, {found.state}: {found.text}") for found in sheet.findings]
    return Group(table, *said, Text(f"{sheet.summary}.", style="bold"))


def _colour(line: Line, cell: Shown) -> str:
    if line.kind != "measured":
        return "dim" if line.kind == "baseline" else ""
    return _COLOURS.get(cell.state, "yellow") if cell.state else ""


def _spread(sheet: Sheet) -> list[str]:
    """Returns the group of every column."""
    return [name for name, width in sheet.groups for _ in range(width)]


def _rules(sheet: Sheet) -> Sequence[str]:
    rules, first = [], 2
    for name, width in sheet.groups:
        if name:
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return rules


def _superscript(sources: Sequence[int]) -> str:
    return f"<sup>{','.join(map(str, sources))}</sup>" if sources else ""


def _pipes(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)


def _text(name: str) -> str:
    return (resources.files("elysium.evaluation.paper") / name).read_text(encoding="utf-8")
