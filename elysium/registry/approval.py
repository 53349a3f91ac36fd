"""The last word of a person: a model that passed the policy, and what happens when somebody agrees."""

from __future__ import annotations

import datetime
from typing import Any

from elysium.errors import GateRefused, UsageError
from elysium.registry import models
from elysium.registry.models import Version
from elysium.registry.store import Store

DECISION_TAG = "elysium.decision"
SUMMARY_TAG = "elysium.decision_summary"
BEFORE_TAG = "elysium.champion_before"
APPROVED_TAG = "elysium.approved_by"
APPROVED_AT_TAG = "elysium.approved_at"
AWAITS = "awaits approval"


def candidate(store: Store, version: Version) -> dict[str, Any]:
    """Returns what somebody who decides about a version must know, as plain data.

    Args:
        store: An open store.
        version: The version.

    Returns:
        `version`, `decision` (`awaits approval`, or `champion` where nothing is left to decide), `approval` (`manual`
        or `none`), `champion` (the version that would be replaced, or None), `summary` and `card` (Markdown).

    Raises:
        GateRefused: If the policy refused it, or was never asked.
    """
    decision, summary = version.tags.get(DECISION_TAG), version.tags.get(SUMMARY_TAG, "")
    champion = models.aliases(store).get(models.CHAMPION)
    if version.version == champion:
        return _told(version, "champion", "none", champion, f"version {champion} is champion")
    if decision != AWAITS:
        why = summary or "the policy was not asked, see `elysium step promote`"
        raise GateRefused(f"version {version.version} stands not to be approved ({decision or 'no decision'}): {why}")
    _demand_same_champion(version, champion)
    return _told(version, AWAITS, "manual", champion, summary)


def approve(store: Store, version: Version, by: str) -> dict[str, Any]:
    """Makes a version champion that awaits approval, and writes down who agreed; done twice, it changes nothing more.

    Args:
        store: An open store.
        version: The version.
        by: Who agreed.

    Returns:
        `champion`, `champion_before`, `approved_by`, `approved_at` (UTC) and `summary`.

    Raises:
        GateRefused: If the policy refused it.
        UsageError: If nobody is named, or it was compared with another champion than there is now.
    """
    if not by.strip():
        raise UsageError("name who approves with --by")
    number, before = version.version, version.tags.get(BEFORE_TAG)
    champion = models.aliases(store).get(models.CHAMPION)
    approver, at = version.tags.get(APPROVED_TAG), version.tags.get(APPROVED_AT_TAG)
    summary = version.tags.get(SUMMARY_TAG, "")
    if champion != number:
        candidate(store, version)
        models.make_champion(store, number)
    if version.tags.get(DECISION_TAG) == AWAITS:
        # Also after a kill that left the alias moved and this unsaid.
        approver, at = by, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        summary = f"version {number} is champion: it passed the policy, and {by} approved it"
        _write(store, number, {APPROVED_TAG: by, APPROVED_AT_TAG: at, SUMMARY_TAG: summary, DECISION_TAG: "promoted"})
    return {
        "champion": number,
        "champion_before": None if before in (None, "none") else before,
        "approved_by": approver,
        "approved_at": at,
        "summary": summary,
    }


def _demand_same_champion(version: Version, champion: str | None) -> None:
    before = version.tags.get(BEFORE_TAG, "none")
    if before != (champion or "none"):
        raise UsageError(
            f"version {version.version} was compared with version {before} as champion, and now it is "
            f"{champion or 'none'}; run the steps evaluate and promote of its run again"
        )


def _told(version: Version, decision: str, approval: str, champion: str | None, summary: str) -> dict[str, Any]:
    checks = [text for name, text in sorted(version.tags.items()) if name.startswith("elysium.check.")]
    lines = [summary, "", *(f"- {text}" for text in checks)]
    return {
        "version": version.version,
        "decision": decision,
        "approval": approval,
        "champion": champion,
        "summary": summary,
        "card": "\n".join(lines),
    }


def _write(store: Store, number: str, tags: dict[str, str]) -> None:
    for name, value in tags.items():
        store.client.set_model_version_tag(store.model_name, number, name, value)
