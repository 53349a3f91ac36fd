"""Tells people what failed or was refused: one message to a webhook that understands Slack's `{"text": …}`.

The address is a secret: whoever has it can write there. It comes from `ELYSIUM_NOTIFY_URL`, else from the Airflow
connection `elysium_notify` (the whole URL as password, or, as for Slack's webhooks, the rest of it behind the host). It
is never logged.
"""

from __future__ import annotations

import json
import logging
import os
import re
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)

VARIABLE = "ELYSIUM_NOTIFY_URL"
CONNECTION = "elysium_notify"
# What looks like a secret in a line that a step printed, and what stays of it. Bearers come first: `token: Bearer x`
# would else lose only its second word. `KeyError: 'x'` is no key with its value.
_SECRETS = (
    (
        re.compile(
            r"(?i)(\bbearer\s+|\bauthorization[\"']?\s*[=:]\s*[\"']?(?:(?:bearer|basic|digest|negotiate)\s+)?)[^\s\"',;]+"
        ),
        r"\1***",
    ),
    (re.compile(r"(\w://)[^\s/]+@"), r"\1***@"),
    (
        re.compile(
            r"(?i)((?:secret|passw(?:or)?d|token|credential|signature|key(?!error))[\w.-]*\\*[\"']?\s*[=:]\s*)"
            r"(?:\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|\S+)"
        ),
        r"\1***",
    ),
)
# Slack cuts longer texts by itself, in the middle of a line.
_MOST_LETTERS = 3000
_TIMEOUT = 10.0


def task_failed(context: Any) -> None:
    """Airflow's callback of a task that failed for good: says which, why, and where its log is."""
    tell(f":red_circle: {_title(context)} failed\n{_reason(context)}\n{_link(context)}")


def task_refused(context: Any) -> None:
    """Airflow's callback of a task that skipped itself: a gate said no."""
    tell(f":large_yellow_circle: {_title(context)} said no\n{_reason(context)}\n{_link(context)}")


def tell(text: str) -> bool:
    """Sends one message; returns whether somebody took it. Nothing is raised: a silent channel fails no task.

    Args:
        text: In Slack's markup.
    """
    try:
        url = _address()
        if url is None:
            return False
        # Not urllib3, which logs whole addresses when it is asked for details; this one also heeds proxies.
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked
            url, json.dumps({"text": _shortened(text)}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        logger.warning("nobody was notified: the webhook answered %d", error.code)
    except Exception as error:
        # Only the kind: messages of HTTP libraries hold the address.
        logger.warning("nobody was notified: %s", type(error).__name__)
    return False


def _address() -> str | None:
    url = os.environ.get(VARIABLE)
    if not url:
        from airflow.sdk import Connection
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            found = Connection.get(CONNECTION)
        except AirflowNotFoundException:
            return None
        host, rest = found.host or "", found.password or ""
        url = rest if "://" in rest else f"{host.rstrip('/')}/{rest.lstrip('/')}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("the webhook's address is not http:// or https://")
    return url


def _title(context: Any) -> str:
    task = context["task_instance"]
    index = f"[{task.map_index}]" if task.map_index is not None and task.map_index >= 0 else ""
    return f"*{task.dag_id}* / *{task.task_id}{index}*, run `{task.run_id}`,"


def _reason(context: Any) -> str:
    text = str(context.get("exception") or "").strip() or "no reason was given; see the log"
    return f"```{text}```"


def _link(context: Any) -> str:
    address = getattr(context["task_instance"], "log_url", None)
    return f"<{address}|log of the task>" if address else ""


def _shortened(text: str) -> str:
    """Returns the text cut in its middle where it is too long: what failed stands first, why stands last."""
    for pattern, rest in _SECRETS:
        text = pattern.sub(rest, text)
    if len(text) <= _MOST_LETTERS:
        return text
    half = _MOST_LETTERS // 2
    return f"{text[:half]}\n…\n{text[-half:]}"
