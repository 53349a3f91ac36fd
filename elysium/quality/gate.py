"""Runs suites of rules over tables with Great Expectations, and writes what came out for people and for machines.

```
index.html      the verdict: every rule, what was asked, what was seen, which ids broke it
docs/           Great Expectations' own data docs
result.json     the same for machines; equal data gives equal bytes
```
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from elysium.errors import ElysiumError, GateRefused
from elysium.pipeline.workspace import write_atomic
from elysium.quality.pages import tidy_docs, write_index

# Ids shown per rule; `bad` in result.json has all of them.
MAX_SHOWN = 20
_NOISY = ("great_expectations", "great_expectations.data_context.types.base")


@dataclass(frozen=True)
class Rule:
    """One demand on a table.

    Attributes:
        name: Unique in its gate; what result.json and messages call it.
        expectation: Name of the Great Expectations class.
        arguments: Its arguments: column, bounds, `mostly`.
        asks: The demand as a sentence, with its numbers and units.
        remedy: What a person can do where it is broken.
    """

    name: str
    expectation: str
    arguments: dict[str, Any]
    asks: str
    remedy: str


@dataclass(frozen=True)
class Suite:
    """A table and the rules it is held to.

    Attributes:
        name: Of the suite in the data docs.
        table: One row an item; missing values are passed over by all rules but those about missing values.
        noun: What one row is, plural, for messages.
        rules: The rules.
        index: The column that names a row.
    """

    name: str
    table: pd.DataFrame
    noun: str
    rules: Sequence[Rule]
    index: str = "id"


@dataclass(frozen=True)
class Finding:
    """What came out for one rule.

    Attributes:
        name: The rule's.
        suite: The suite's.
        expectation: Great Expectations' name of it.
        success: Whether it holds.
        asks: The demand as a sentence.
        observed: The share of rows that break the rule, or the figure itself for rules about a whole table.
        threshold: The highest share allowed, or the bounds of the figure.
        num_bad: Rows that break it.
        num_rows: Rows that were judged.
        failing: Ids of the first rows that break it.
        seen: What was seen in those rows, as text.
        says: The outcome as a sentence.
        remedy: As the rule's.
    """

    name: str
    suite: str
    expectation: str
    success: bool
    asks: str
    observed: float | None
    threshold: Any
    num_bad: int
    num_rows: int
    failing: list[str]
    seen: list[str]
    says: str
    remedy: str
    all_bad: list[str] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Verdict:
    """All findings of a gate."""

    success: bool
    findings: tuple[Finding, ...]

    def refuse_if_failed(self, page: str) -> None:
        """Raises GateRefused with one line: the rule, the number, the remedy.

        Args:
            page: Where the whole report will stand, relative to the run.
        """
        failed = [finding for finding in self.findings if not finding.success]
        if not failed:
            return
        more = f"; {len(failed) - 1} more rule{'s' if len(failed) > 2 else ''} broken" if len(failed) > 1 else ""
        first = failed[0]
        raise GateRefused(f"{first.name}: {first.says} ({first.asks}); {first.remedy}{more}; see {page}")


def check(title: str, suites: Sequence[Suite], output: Path, figures: dict[str, Any]) -> Verdict:
    """Runs the suites and fills `output` with `index.html`, `docs/` and `result.json`.

    Args:
        title: Heading of the page.
        suites: What to check.
        output: The folder to fill; an earlier attempt's files are written over.
        figures: Counts and the like that the report and result.json show beside the findings.
    """
    shutil.rmtree(output / "docs", ignore_errors=True)
    findings = tuple(finding for found in _run(suites, output / "docs") for finding in found)
    verdict = Verdict(all(finding.success for finding in findings), findings)
    tidy_docs(output / "docs")
    bad: dict[str, list[str]] = {}
    for finding in findings:
        for name in finding.all_bad:
            bad.setdefault(name, []).append(finding.name)
    plain = [{k: v for k, v in asdict(finding).items() if k != "all_bad"} for finding in findings]
    result = {"success": verdict.success, "figures": figures, "expectations": plain, "bad": dict(sorted(bad.items()))}
    write_atomic(output / "result.json", json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_index(output / "index.html", title, verdict.success, plain, figures)
    return verdict


def _run(suites: Sequence[Suite], docs: Path) -> list[list[Finding]]:
    gx = _import_gx()
    base = gx.data_context.types.base
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    config = base.DataContextConfig(
        # Without it a folder for docs nobody asked for is left in the machine's temporary folder.
        store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        data_docs_sites={"elysium": site},
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    source = context.data_sources.add_pandas("elysium")
    found = [_validate(gx, context, source, suite) for suite in suites]
    context.build_data_docs(site_names=["elysium"])
    return found


def _import_gx() -> Any:
    """Returns Great Expectations, silent and without analytics."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # It imports parts of its dependencies under deprecated names; nothing a user of ours could mend.
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx
        import great_expectations.data_context.types.base
        import great_expectations.expectations
    for name in _NOISY:
        # Again: some of its modules set a level of their own when they are imported.
        logging.getLogger(name).setLevel(logging.WARNING)
    return gx


def _validate(gx: Any, context: Any, source: Any, suite: Suite) -> list[Finding]:
    batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
    expectations = []
    for rule in suite.rules:
        kind = getattr(gx.expectations, rule.expectation)
        expectations.append(kind(**rule.arguments, notes=rule.asks, meta={"rule": rule.name}))
    made = context.suites.add(gx.ExpectationSuite(name=suite.name, expectations=expectations))
    definition = gx.ValidationDefinition(name=suite.name, data=batch, suite=made)
    form = {"result_format": "COMPLETE", "unexpected_index_column_names": [suite.index]}
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=suite.name,
            validation_definitions=[context.validation_definitions.add(definition)],
            result_format=form,
        )
    )
    run = gx.RunIdentifier(run_name="elysium")
    outcome = checkpoint.run(batch_parameters={"dataframe": suite.table}, run_id=run)
    (validation,) = outcome.run_results.values()
    results = {entry.expectation_config.meta["rule"]: entry for entry in validation.results}
    return [_finding(suite, rule, results[rule.name]) for rule in suite.rules]


def _finding(suite: Suite, rule: Rule, entry: Any) -> Finding:
    raised = _exception(entry.exception_info)
    if raised:
        raise ElysiumError(f"the rule {rule.name} of {suite.name} could not be evaluated: {raised}")
    result = entry.result
    rows = result.get("unexpected_index_list") or []
    about_rows = "unexpected_count" in result
    bad = sorted(str(row[suite.index]) for row in rows)
    num_rows = int(result.get("element_count", len(suite.table)))
    if about_rows:
        if not rule.expectation.endswith("ToBeNull"):
            num_rows -= int(result.get("missing_count") or 0)
        num_bad = int(result["unexpected_count"])
        allowed = round(1 - rule.arguments.get("mostly", 1.0), 6)
        observed: float | None = num_bad / num_rows if num_rows else 0.0
        threshold: Any = allowed
        says = f"{num_bad} of {num_rows} {suite.noun} ({observed:.0%}) break it, {allowed:.0%} allowed"
        if not num_bad:
            says = f"all {num_rows} {suite.noun} keep it"
    else:
        num_bad = 0
        value = result.get("observed_value")
        observed = None if value is None or not math.isfinite(value) else float(value)
        threshold = {key: rule.arguments[key] for key in ("min_value", "max_value") if key in rule.arguments}
        says = f"{'nothing' if observed is None else f'{observed:g}'} seen"
    return Finding(
        name=rule.name,
        suite=suite.name,
        expectation=entry.expectation_config.type,
        success=bool(entry.success),
        asks=rule.asks,
        observed=observed,
        threshold=threshold,
        num_bad=num_bad,
        num_rows=num_rows,
        failing=bad[:MAX_SHOWN],
        seen=[_seen(row, suite.index) for row in sorted(rows, key=lambda row: str(row[suite.index]))[:MAX_SHOWN]],
        says=says,
        remedy=rule.remedy,
        all_bad=bad,
    )


def _exception(info: Any) -> str | None:
    """Returns the message of an exception inside Great Expectations, which keeps one, or one a metric."""
    if not isinstance(info, dict):
        return None
    if "raised_exception" in info:
        return str(info["exception_message"]) if info["raised_exception"] else None
    return next((message for message in map(_exception, info.values()) if message), None)


def _seen(row: dict[str, Any], index: str) -> str:
    values = [value for key, value in row.items() if key != index]
    return ", ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
