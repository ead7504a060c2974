"""An alarm about the daemon itself, in the shape of an alert. Pure."""

from __future__ import annotations

from typing import Any, Literal

from detector.core.finding import alert_id
from detector.core.times import iso

SCHEMA = "bucketwatch.alarm.v1"


def alarm(
    rule: str,
    what: str,
    state: Literal["opened", "closed"],
    *,
    since: int,
    now: int,
    title: str,
    explanation: str,
    runbook: str,
    group: dict[str, str],
    severity: str = "high",
) -> dict[str, Any]:
    """rule: id of the kind of alarm. what: of these the one. since, now: epoch seconds."""
    return {
        "schema": SCHEMA,
        "alert_id": "m" + alert_id(rule, what, since)[1:],
        "rule_id": rule,
        "title": title,
        "kind": "alarm",
        "severity": severity,
        "state": state,
        "opened_at": iso(since),
        "last_at": iso(now),
        "sent_at": iso(now),
        "group": group,
        "principal": None,
        "explanation": explanation,
        "runbook": runbook,
    }
