"""What the paper's tables print, read from `figures/*.yaml`: every figure with the place it was found at."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from elysium.errors import UsageError

TABLES = ("table2", "table3", "table4", "table5", "table6", "table7")
Unit = Literal["percent", "score", "count"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Printed(_Part):
    """One figure of the paper.

    Attributes:
        value: As printed; None where the paper prints a dash.
        sources: Keys of `figures/sources.yaml`: who wrote it down.
    """

    value: float | None
    sources: tuple[str, ...] = Field(min_length=1)


def _short_form(value: Any) -> Any:
    """Returns `[figure, source, …]`, as the files have it, by name."""
    if isinstance(value, list) and value:
        return {"value": value[0], "sources": tuple(value[1:])}
    return value


class Column(_Part):
    """One column.

    Attributes:
        key: Unique in the table.
        heading: As printed.
        group: What is printed above it, e.g. the set.
        unit: `percent`, `score` (0 to 5), or `count` for what is no result.
        digits: Printed behind the point.
        task: What is measured; None leaves it to the row.
        sets: On which; the mean over several.
        metric: The measured figure that belongs here; None where nothing is measured.
        means: What the heading means where the paper has it wrong.
        perhaps: A metric that the heading may mean instead, where that is not known.
        requires: What `protocol` of a result must not contradict.
    """

    key: str
    heading: str
    group: str = ""
    unit: Unit = "percent"
    digits: int = 1
    task: str | None = None
    sets: tuple[str, ...] = ()
    metric: str | None = None
    means: str | None = None
    perhaps: str | None = None
    requires: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Group and heading, for sentences."""
        return f"{self.group} {self.heading}".strip()


class Row(_Part):
    """One row.

    Attributes:
        system: As printed.
        key: Name of the model that fills it, as `--model` has it; None for rows that nothing fills.
        task: What its columns measure, where they do not say.
        note: What is known of the system.
        printed: Column to figure; a column that is left out is not known.
    """

    system: str
    key: str | None = None
    task: str | None = None
    note: str = ""
    printed: dict[str, Annotated[Printed, BeforeValidator(_short_form)]]


class PaperTable(_Part):
    """One table.

    Attributes:
        name: `table2` to `table7`.
        title: What it shows; not the paper's wording.
        numbering: Whether the number is known to be the paper's, or assumed from the order of its sections.
        judge: Who judged the printed figures, in words; empty where nobody did.
        notes: What a reader must know.
        columns: From left to right.
        rows: From top to bottom.
    """

    name: str
    title: str
    numbering: Literal["known", "assumed"]
    judge: str = ""
    notes: tuple[str, ...] = ()
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> PaperTable:
        keys = [column.key for column in self.columns]
        if len(set(keys)) < len(keys):
            raise ValueError(f"{self.name} has a column twice: {keys}")
        for row in self.rows:
            unknown = set(row.printed) - set(keys)
            if unknown:
                raise ValueError(f"{self.name}, {row.system}: no column is called {', '.join(sorted(unknown))}")
            for column in self.measured_columns:
                if row.key and not (row.task or column.task):
                    raise ValueError(f"{self.name}, {row.system}, {column.key}: no task is named")
        for column in self.measured_columns:
            if not column.sets:
                raise ValueError(f"{self.name}, {column.key}: no set is named")
        sources = load_sources()
        for row in self.rows:
            for figure in row.printed.values():
                unknown = set(figure.sources) - set(sources)
                if unknown:
                    raise ValueError(f"{self.name}, {row.system}: there is no source {', '.join(sorted(unknown))}")
        return self

    @property
    def number(self) -> str:
        """E.g. `Table 2`."""
        return f"Table {self.name.removeprefix('table')}"

    @property
    def measured_columns(self) -> tuple[Column, ...]:
        """Columns of results."""
        return tuple(column for column in self.columns if column.metric)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the models that fill rows."""
        return tuple(dict.fromkeys(row.key for row in self.rows if row.key))

    def needs(self, key: str) -> tuple[tuple[str, str], ...]:
        """Returns task and set of everything that is measured for one model, in the table's order."""
        found = [
            (task_of(row, column), name)
            for row in self.rows
            if row.key == key
            for column in self.measured_columns
            for name in column.sets
        ]
        return tuple(dict.fromkeys(found))

    def metrics(self, key: str, task: str, set_name: str) -> frozenset[str]:
        """Returns what is needed of one evaluation of one model."""
        return frozenset(
            column.metric
            for row in self.rows
            if row.key == key
            for column in self.columns
            if column.metric and task_of(row, column) == task and set_name in column.sets
        )


def task_of(row: Row, column: Column) -> str:
    """Returns what a cell's result is measured as."""
    return row.task or column.task or ""


@cache
def load_table(name: str) -> PaperTable:
    """Returns one of the paper's tables.

    Args:
        name: One of `TABLES`.

    Raises:
        UsageError: If there is none of that name; the message names the nearest.

    Example:
        >>> load_table("table4").rows[-1].printed["lasot-auc"].value
        56.1
    """
    if name not in TABLES:
        near = difflib.get_close_matches(name, TABLES, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"there is no table {name!r}; {hint}the paper's results are in {', '.join(TABLES)}")
    try:
        return PaperTable.model_validate({"name": name, **read_figures(name)})
    except ValidationError as error:
        raise UsageError(f"figures/{name}.yaml: {error.errors()[0]['msg']}") from error


@cache
def load_sources() -> dict[str, str]:
    """Returns the places that figures were found at: key to words."""
    return {name: str(text) for name, text in read_figures("sources").items()}


def read_figures(name: str) -> Any:
    """Returns the content of one file of figures."""
    file = resources.files("elysium.evaluation.paper") / "figures" / f"{name}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))
