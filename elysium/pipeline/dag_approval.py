"""The task that waits for a person where the promotion policy leaves the last word to one."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

# What stands for a person where the policy asks for none.
POLICY = "the policy"


class ApprovalIfAsked(ApprovalOperator):
    """Asks for approval of what the task `candidate` found; a rejection skips what follows.

    The result's `by` says who agreed.
    """

    def execute(self, context: Any) -> dict[str, Any]:
        """Asks, and leaves the worker until somebody answers; goes on at once where nobody need be asked."""
        found = context["ti"].xcom_pull(task_ids="candidate")
        if found["approval"] != "manual":
            self.log.info("nobody need be asked: %s", found["summary"])
            return {"by": POLICY}
        asked: dict[str, Any] = super().execute(context)
        return asked

    def execute_complete(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Takes the answer."""
        answer = super().execute_complete(context, event)
        user = answer["responded_by_user"] or {}
        return {"by": user.get("name") or user.get("id") or "somebody", "answer": answer["chosen_options"][0]}
