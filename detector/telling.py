"""What the daemon tells of findings and of trouble: which entries go into the outbox, who is paged, what is answered.

Rules of this file
- Nothing leaves the program here: an entry is journalled, sent and carried out by the outbox, after the checkpoint.
- Every finding is journalled. Only what pages and is not suppressed is sent, as a part of its incident.
- An alert that leaves is redacted as the operator says; the journal has it whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from detector.alert import alert
from detector.blindness import SENSES, Sense
from detector.core.access import AccessBatch
from detector.core.engine import Engine
from detector.core.episode import CLOSED, OPENED, WITHDRAWN
from detector.core.finding import Finding
from detector.core.redaction import Redaction, leaving
from detector.core.rule import Rule
from detector.core.suppression import Suppression
from detector.daily import Daily
from detector.edges import Edges
from detector.incidents import Joining
from detector.outbox import Outbox, Say
from detector.response.guards import ResponsePolicy
from detector.response.plan import plan
from detector.spool import Entry

REJECTS_JOURNALLED = 20
"""Rejected records of one poll that are journalled one by one; the rest is counted."""


class Telling:
    """From findings to the outbox. enforcing_since: epoch second; 0: not in enforce mode. failed: rules told of."""

    def __init__(
        self, engine: Engine, edges: Edges, outbox: Outbox, policy: ResponsePolicy, redact: Redaction, *, say: Say
    ) -> None:
        self._engine, self._edges, self._outbox, self._say = engine, edges, outbox, say
        self._policy, self._redact = policy, redact
        self.daily = Daily(redact)
        self.enforcing_since = 0
        self.failed: set[str] = set()
        self._idle: set[str] = set()

    def enforce(self, since: int) -> None:
        """Enforce mode, where that is the mode, began at this epoch second."""
        self.enforcing_since = since if self._policy.mode == "enforce" else 0

    def tell(
        self, findings: Sequence[Finding], rules: Mapping[str, Rule], suppressions: Iterable[Suppression], now: int
    ) -> None:
        """Put findings into the outbox: journalled all, sent where the rule pages, answered where it says so."""
        learning = self._engine.learning() if findings else []
        for finding in findings:
            rule = SENSES.get(finding.rule_id) or rules[finding.rule_id]
            self._tell_one(finding, rule, suppressions, learning, now)

    def _tell_one(
        self, finding: Finding, rule: Rule | Sense, hushed: Iterable[Suppression], learning: list[str], now: int
    ) -> None:
        self._outbox.count(f"findings_{finding.state}")
        planned = self._plan(finding, rule, now)
        quiet, told = self.daily.weigh(finding, rule, hushed, now)
        self._outbox.count("alerts_suppressed", quiet)
        joining = self._joining(finding, rule, now) if rule.pages and not quiet else None
        body = alert(finding, rule, planned, now, learning) | told
        entry = self._outbox.note("finding", body | (dict(joining.fields) if joining else {}))
        sent = leaving(entry.body, self._redact)
        self._say("finding", state=finding.state, rule=finding.rule_id, alert=finding.alert_ids[0], who=sent["group"])
        if joining:
            self._outbox.page(entry, sent, joining)
        if not quiet:
            self._answer(finding, rule, planned, entry)

    def _joining(self, finding: Finding, rule: Rule | Sense, now: int) -> Joining:
        """The incident it is a part of. What the daemon says of itself is nobody's."""
        return Joining(pages=True) if isinstance(rule, Sense) else self._outbox.incidents.take(finding, now)

    def _answer(self, finding: Finding, rule: Rule | Sense, planned: dict[str, Any] | None, entry: Entry) -> None:
        """What is done about it: a plan is carried out, or it is said why not; a finding taken back is taken back."""
        if planned and self._edges.responder and finding.state == OPENED:
            if planned["applicable"]:
                entry.plan = planned
            elif "revoke" in rule.respond:
                would, why = planned["commands"][:1], planned["refusals"]
                self._say("not_revoked", case=planned["case_id"], session=planned["session"], would=would, why=why)
        if finding.state == WITHDRAWN:
            for alert_id in finding.alert_ids:
                self._outbox.casework.withdrawn(alert_id)

    def _plan(self, finding: Finding, rule: Rule | Sense, now: int) -> dict[str, Any] | None:
        """The revocation plan of a finding about one session; None where none is wanted or nobody could be revoked."""
        if finding.state in (CLOSED, WITHDRAWN) or finding.principal is None or self._policy.mode == "off":
            return None
        about = finding.to_json() | {
            "alert_id": finding.alert_ids[0],
            "respond": list(rule.respond),
            "accept_withdrawable": rule.accept_withdrawable,
            "stage": rule.stage,
            "late": finding.late,
        }
        about = self._outbox.casework.in_company(about, self._engine.people)
        policy = replace(self._policy, enforcing_since=self.enforcing_since)
        return plan(about, planned_at=now, settings=policy).to_json()

    def note_trouble(self, batch: AccessBatch, now: int) -> None:
        """Journal what a person should know: rejected records, rules that failed, partitions fallen silent."""
        for reject in batch.rejects[:REJECTS_JOURNALLED]:
            self._outbox.note("rejected", {"file": reject.file, "position": reject.position, "reason": reject.reason})
        if len(batch.rejects) > REJECTS_JOURNALLED:
            self._outbox.note("rejected", {"and_more": len(batch.rejects) - REJECTS_JOURNALLED})
        for rule, why in self._engine.failures.items():
            if rule not in self.failed:
                self.failed.add(rule)
                self._say("rule_failed", rule=rule, error=why)
                self._outbox.note("rule_failed", {"rule": rule, "error": why})
        idle = set(self._engine.watermark.idle(now))
        for partition in sorted(idle - self._idle):
            self._say("partition_idle", partition=partition)
            self._outbox.note("idle", {"partition": partition})
        self._idle = idle
