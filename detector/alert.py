"""What is sent about a finding: the contract's alert body. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detector.blindness import Sense
from detector.core.episode import CLOSED, WITHDRAWN
from detector.core.finding import SCHEMA, Finding
from detector.core.rule import Rule
from detector.core.times import iso


def alert(
    finding: Finding,
    rule: Rule | Sense,
    plan: Mapping[str, Any] | None,
    now: int,
    learning: Sequence[str] = (),
) -> dict[str, Any]:
    """The alert of a finding. `now`: epoch seconds of receipt. learning: ids of rules that know too little to judge.

    `finding_id` stands in closed alerts only: it is made of the final opening, which later records may still move. The
    last word, closed or withdrawn, names all alerts of the finding.
    """
    body = finding.to_json()
    if finding.state != CLOSED:
        del body["finding_id"]
    if finding.state in (CLOSED, WITHDRAWN):
        body["alert_ids"] = list(finding.alert_ids)
    return body | {
        "schema": SCHEMA,
        "alert_id": finding.alert_ids[0],
        "sent_at": iso(now),
        "runbook": rule.runbook,
        "respond": list(rule.respond),
        "stage": rule.stage,
        "plan": plan,
        "delivery_delay_seconds": max(0, now - finding.last_at),
        **{name: told for name in ("references", "blind_spot") if (told := getattr(rule, name, None))},
        **({"learning": list(learning)} if learning else {}),
    }
