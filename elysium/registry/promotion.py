"""Step `promote`: registers the model and makes it champion if the policy allows, else says why not.

Killed at any point and run again it ends the same: the version is found by its run and checkpoint instead of made
anew, the decision depends on files alone, and aliases are set to where they may already be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elysium.data.versions import remote_location
from elysium.errors import ElysiumError
from elysium.pipeline.steps import StepContext, StepResult
from elysium.pipeline.versions import code_version
from elysium.pipeline.workspace import write_atomic
from elysium.registry import models
from elysium.registry.approval import APPROVED_TAG, AWAITS, BEFORE_TAG, DECISION_TAG, SUMMARY_TAG
from elysium.registry.card import render_card
from elysium.registry.evaluation_log import log_evaluation
from elysium.registry.policy import Check, Policy, judge, load_policy
from elysium.registry.store import Store, in_one_sentence, open_store

_MAX_TAG = 1000


@in_one_sentence()
def run(context: StepContext) -> StepResult:
    """Fills the output with `decision.json`; a refused promotion is a normal end, too.

    Raises:
        ElysiumError: If the evaluation is not of this data or not against the current champion, or the registry
            cannot be used.
        UsageError: If the policy is not valid.
    """
    policy = load_policy(context.settings.promote.policy)
    lineage = _read(context.inputs["snapshot"] / "lineage.json")
    metrics = _read(context.inputs["evaluation"] / "metrics.json")
    champion_path = context.inputs["evaluation"] / "champion.json"
    champion = _read(champion_path) if champion_path.is_file() else None
    if metrics["data_hash"] != lineage["data_hash"]:
        raise ElysiumError(
            f"the evaluation was made on data {metrics['data_hash']}, the snapshot is {lineage['data_hash']}; "
            "run the step evaluate again"
        )
    store = open_store(context.settings.registry, context.home)
    checks = judge(
        policy,
        metrics,
        champion,
        {"data validation": _broken_rules(context.inputs["tracks_report"])},
        samples=context.settings.evaluate.bootstrap_samples,
        seed=context.settings.seed,
    )
    card = render_card(context.settings, context.run_id, lineage, metrics, checks)
    version = models.register(
        store,
        context.run_id,
        context.inputs["finetune"] / "model",
        files={models.CARD_FILE: card, models.METRICS_FILE: json.dumps(metrics, indent=1)},
        tags=_origin(context, lineage),
    )
    past = models.history(store)
    already = bool(past) and past[-1] == version.version
    before = (past[-2] if len(past) > 1 else None) if already else (past[-1] if past else None)
    _demand_measured(champion, before, version.version if already else None)

    approver = version.tags.get(APPROVED_TAG)
    decision = _decision(policy, checks, version.version, before, already=already, approver=approver)
    _write_down(store, version.version, decision, checks)
    log_evaluation(store, context.run_id, context.inputs["evaluation"])
    # Before the alias moves: a kill in between is mended by the next run, which finds version and history.
    write_atomic(context.output / "decision.json", json.dumps(decision, indent=1, ensure_ascii=False) + "\n")
    if decision["promoted"]:
        models.make_champion(store, version.version)
    return StepResult(
        summary=decision["summary"],
        metrics={
            "promoted": decision["promoted"],
            "awaits_approval": decision["awaits_approval"],
            "version": version.version,
            "champion_before": before,
            "checks": len(checks),
            "checks_failed": sum(not check.passed for check in checks),
        },
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ElysiumError(f"{path} cannot be read: {error}; run the step that writes it again") from error
    return content


def _broken_rules(report: Path) -> int:
    result = _read(report / "result.json")
    broken = sum(not rule["success"] for rule in result["expectations"])
    return broken if broken or result["success"] else 1


def _demand_measured(champion: dict[str, Any] | None, before: str | None, itself: str | None) -> None:
    """Raises ElysiumError unless the champion that was measured is the one that stands to be replaced."""
    again = "delete the run's evaluation/ folder and go on with the run, which measures the current champion"
    if champion is None:
        if before is not None:
            raise ElysiumError(f"version {before} became champion after this run was evaluated without one; {again}")
        return
    measured = champion.get("version")
    if measured is not None and str(measured) not in (before, itself):
        now = "there is none now" if before is None else f"now it is version {before}"
        raise ElysiumError(f"this run was compared with version {measured} as champion, {now}; {again}")


def _decision(
    policy: Policy, checks: Sequence[Check], version: str, before: str | None, *, already: bool, approver: str | None
) -> dict[str, Any]:
    failed = [check for check in checks if not check.passed]
    awaits = not failed and policy.approval == "manual" and not (already or approver)
    if failed:
        stays = f"version {before} stays" if before else "there is still none"
        summary = f"version {version} is not champion ({stays}): {failed[0].text}"
        if already:
            summary = (
                f"version {version} is champion but no longer passes: {failed[0].text}; "
                "`elysium registry rollback` takes it back"
            )
        summary += f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        reasons = [check.text for check in failed]
    elif awaits:
        stays = f"version {before} stays" if before else "there is none"
        summary = f"version {version} passed {_every(checks)} and awaits approval as champion (until then {stays})"
        reasons = ["the policy leaves the last word to a person", *(check.text for check in checks)]
    elif before is None:
        summary = f"version {version} is the first champion: it passed {_every(checks)}"
        reasons = ["there was no champion to compare with", *(check.text for check in checks)]
    else:
        summary = f"version {version} replaces version {before} as champion: it passed {_every(checks)}"
        reasons = [check.text for check in checks]
    return {
        "promoted": not failed and not awaits,
        "awaits_approval": awaits,
        "approved_by": approver,
        "summary": summary,
        "reasons": reasons,
        "version": version,
        "champion_before": before,
        "checks": [check.model_dump(mode="json") for check in checks],
        "policy": policy.model_dump(mode="json", exclude_none=True),
    }


def _every(checks: Sequence[Check]) -> str:
    return "the one check" if len(checks) == 1 else f"all {len(checks)} checks"


def _origin(context: StepContext, lineage: dict[str, Any]) -> dict[str, str]:
    tags = {
        "elysium.data_hash": str(lineage["data_hash"]),
        "elysium.code_version": code_version(),
        "elysium.dvc_remote": str(lineage.get("remote") or remote_location(context.settings.snapshot, context.home)),
    }
    if context.settings.snapshot.s3_endpoint:
        tags["elysium.dvc_endpoint"] = context.settings.snapshot.s3_endpoint
    return tags


def _write_down(store: Store, version: str, decision: dict[str, Any], checks: Sequence[Check]) -> None:
    """Writes the decision as tags of the version."""
    tags = {
        DECISION_TAG: "promoted" if decision["promoted"] else AWAITS if decision["awaits_approval"] else "refused",
        SUMMARY_TAG: decision["summary"],
        BEFORE_TAG: decision["champion_before"] or "none",
    }
    for check in checks:
        # Tag names take letters, digits, blanks and _ - . /
        name = check.name.replace("*", "all")
        tags[f"elysium.check.{name}"] = f"{'passed' if check.passed else 'failed'}: {check.text}"
    for name, value in tags.items():
        store.client.set_model_version_tag(store.model_name, version, name, value[:_MAX_TAG])
